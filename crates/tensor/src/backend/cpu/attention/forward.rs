//! The forward pass: for each panel of queries, blocks of keys are weighed and summed with a running maximum.

use super::Attention;
use super::tile::{
    STRIDE, block_keys, columns_times, panel_width, prefetch_rows, row_tile, rows_times, store_units, vectors,
};
use crate::backend::cpu::gemm::micro::{DotBf16, F32, F64, Multiply, Product, RoundedBf16};
use crate::backend::cpu::gemm::pack::{PackColumns, PackRows, PackTurned, store_as, units};
use crate::backend::cpu::isa::{Float, Isa, Kernel, Simd, Vector};
use crate::backend::cpu::pool::parallel_for;
use crate::backend::cpu::scratch::Scratch;
use crate::backend::cpu::vmath::{Math, exp2_softmax};
use crate::dtype::DType;
use std::cmp::Reverse;
use std::marker::PhantomData;

/// Queries that a task runs against each block of keys it has packed.
const QUERIES: usize = 256;
/// With fewer tasks than this, long runs of keys are split.
const TASKS: usize = 16;
/// Keys that a split has at least.
const SPLIT_KEYS: usize = 448;

/// Computes `out` and the log-sum-exp on the pool.
///
/// # Safety
/// The matrices hold the tokens that the offsets name; `out` and `lse` overlap no input.
pub unsafe fn attention_forward(isa: Isa, x: &Attention) {
    match x.compute {
        DType::F64 => isa.run(Run::<F64>(x, PhantomData)),
        DType::F32 => isa.run(Run::<F32>(x, PhantomData)),
        DType::BF16 if isa.has_pairs() => isa.run_pairs(Run::<DotBf16>(x, PhantomData)),
        DType::BF16 => isa.run(Run::<RoundedBf16>(x, PhantomData)),
        other => unreachable!("attention computes in floats, not {other}"),
    }
}

struct Run<'a, P>(&'a Attention, PhantomData<P>);

/// Some panels of queries of one head against a run of keys.
#[derive(Clone, Copy)]
struct Task {
    head: usize,
    /// First query (a row of q) and number of queries.
    q: (usize, usize),
    /// First key and number of keys.
    kv: (usize, usize),
    /// Where the partial sums go when the keys of these queries are split: number of the first of `splits` partial panels.
    partial: Option<usize>,
}

/// Panels whose keys are split: where they are and where their partial sums lie.
struct Merge {
    head: usize,
    q: (usize, usize),
    first: usize,
    splits: usize,
    /// Partial panels between one split and the next.
    step: usize,
}

impl<P: Product<E: Math>> Kernel for Run<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let x = self.0;
        let width = panel_width::<S, P>();
        let (tasks, merges, partials) = unsafe { plan(x, width) };
        let memory = Scratch::take::<P::E>(partials * partial_size(x.head_dim, width));
        let partial = memory.ptr::<P::E>() as usize;
        parallel_for(tasks.len(), |t| unsafe {
            S::call(Queries::<P> { x, task: tasks[t], partial: partial as *mut P::E });
        });
        parallel_for(merges.len(), |t| unsafe {
            S::call(MergePanels::<P> { x, merge: &merges[t], partial: partial as *mut P::E });
        });
    }
}

/// Elements of a panel's partial result: weighted sums `[head_dim, width]`, maxima `[width]` and sums of weights `[width]`.
const fn partial_size(head_dim: usize, width: usize) -> usize {
    (head_dim + 2) * width
}

/// Tasks, largest first, what is to be merged after them, and the number of partial panels. From shapes alone.
unsafe fn plan(x: &Attention, width: usize) -> (Vec<Task>, Vec<Merge>, usize) {
    let (mut tasks, mut merges, mut partials) = (Vec::new(), Vec::new(), 0);
    let chunks = |queries: usize| queries.div_ceil(width).div_ceil(QUERIES / width);
    let units: usize = (0..x.seqs).map(|s| x.heads * chunks(unsafe { x.tokens(s) }[0].1)).sum();
    for seq in 0..x.seqs {
        let [(q0, queries), (k0, keys)] = unsafe { x.tokens(seq) };
        let panels = queries.div_ceil(width);
        let splits = if units < TASKS { TASKS.div_ceil(units.max(1)).min(keys / SPLIT_KEYS).max(1) } else { 1 };
        for head in 0..x.heads {
            for chunk in 0..chunks(queries) {
                let (first, count) = row_tile(panels, chunks(queries), chunk);
                let q = (q0 + first * width, (count * width).min(queries - first * width));
                for split in 0..splits {
                    let (key, kv_count) = row_tile(keys, splits, split);
                    let partial = (splits > 1).then_some(partials + split * count);
                    tasks.push(Task { head, q, kv: (k0 + key, kv_count), partial });
                }
                if splits > 1 {
                    merges.push(Merge { head, q, first: partials, splits, step: count });
                    partials += splits * count;
                }
            }
        }
    }
    tasks.sort_by_key(|task| Reverse(task.q.1 * task.kv.1));
    (tasks, merges, partials)
}

struct Queries<'a, P: Product> {
    x: &'a Attention,
    task: Task,
    partial: *mut P::E,
}

impl<P: Product<E: Math>> Kernel for Queries<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (x, task) = (self.x, self.task);
        let lanes = <P::E as Float>::V::<S>::LANES;
        let (width, d) = (panel_width::<S, P>(), x.head_dim);
        let (d_units, d_wide, block) = (units::<P>(d), d.next_multiple_of(lanes), block_keys::<S>());
        let panels = task.q.1.div_ceil(width);
        let size = partial_size(d, width);
        let queries = Scratch::take::<P::E>(panels * d_units * width);
        let sums = Scratch::take::<P::E>(panels * size);
        let block_memory = Scratch::take::<P::E>(block * (STRIDE + d_wide + width) + width);
        let column = task.head * d;
        unsafe {
            let k_rows = block_memory.ptr::<P::E>();
            let v_columns = k_rows.add(block * STRIDE);
            let scores = v_columns.add(block * d_wide);
            let rescale = scores.add(block * width);
            let sums = match task.partial {
                Some(number) => self.partial.add(number * size),
                None => sums.ptr::<P::E>(),
            };
            for p in 0..panels {
                let rows = width.min(task.q.1 - p * width);
                pack_queries::<S, P>(
                    x,
                    task.q.0 + p * width,
                    rows,
                    column,
                    queries.ptr::<P::E>().add(p * d_units * width),
                );
                Panel::<P>::at(sums, p, d, width).clear::<S>();
            }
            let scale = P::E::from_f64(x.scale * std::f64::consts::LOG2_E);
            for first in (0..task.kv.1).step_by(block) {
                let keys = block.min(task.kv.1 - first);
                let token = task.kv.0 + first;
                let (src, row_bytes) = (x.k.at(token, column), x.k.ld * x.k.dtype.size());
                S::call(PackRows::<P> {
                    src,
                    dtype: x.k.dtype,
                    row_bytes,
                    rows: keys,
                    k: d,
                    dst: k_rows,
                    dst_ld: STRIDE,
                });
                let (src, row_bytes) = (x.v.at(token, column), x.v.ld * x.v.dtype.size());
                let product = PhantomData;
                let dst = v_columns;
                S::call(PackColumns::<P> {
                    src,
                    dtype: x.v.dtype,
                    row_bytes,
                    columns: d,
                    k: keys,
                    dst,
                    width: d_wide,
                    product,
                });
                let next = first + keys;
                for p in 0..panels {
                    // The next block's rows lie far apart: their way from memory is hidden behind this one's arithmetic.
                    let ahead = row_tile(block.min(task.kv.1 - next), panels, p);
                    prefetch_rows(&[x.k, x.v], task.kv.0 + next + ahead.0, ahead.1, column, d);
                    let vectors = vectors::<S, P>(task.q.1 - p * width);
                    let q = queries.ptr::<P::E>().add(p * d_units * width).cast_const();
                    let tiles = keys.div_ceil(S::ROWS);
                    for i in 0..tiles {
                        let (row, rows) = row_tile(keys, tiles, i);
                        let (a, tile) = (k_rows.add(row * STRIDE).cast_const(), scores.add(row * width));
                        let tile_ld = width;
                        rows_times::<S, P>(
                            rows,
                            vectors,
                            &Multiply { k: d_units, a, a_step: 1, b: q, b_step: width, tile, tile_ld, resume: false },
                        );
                    }
                    let panel = Panel::<P>::at(sums, p, d, width);
                    weigh::<S, P>(scores, keys, vectors, scale, &panel, rescale);
                    panel.rescale::<S>(rescale, vectors);
                    let (a, b) = (v_columns.cast_const(), scores.cast_const());
                    let (tile, tile_ld) = (panel.sums, width);
                    let k = units::<P>(keys);
                    columns_times::<S, P>(
                        d,
                        vectors,
                        &Multiply { k, a, a_step: d_wide, b, b_step: width, tile, tile_ld, resume: true },
                    );
                }
            }
            if task.partial.is_none() {
                for p in 0..panels {
                    let rows = width.min(task.q.1 - p * width);
                    let panel = Panel::<P>::at(sums, p, d, width);
                    S::call(WriteOut { x, panel, head: task.head, query: task.q.0 + p * width, rows });
                }
            }
        }
    }
}

/// Turns up to a panel of queries into `[head_dim, width]`, in units.
#[inline(always)]
pub unsafe fn pack_queries<S: Simd, P: Product>(
    x: &Attention,
    query: usize,
    rows: usize,
    column: usize,
    dst: *mut P::E,
) {
    let (dtype, row_bytes) = (x.q.dtype, x.q.ld * x.q.dtype.size());
    unsafe {
        let src = x.q.at(query, column);
        S::call(PackTurned::<P> { src, dtype, row_bytes, rows, k: x.head_dim, dst, width: panel_width::<S, P>() });
    }
}

/// A panel's running result.
struct Panel<P: Product> {
    /// `[head_dim, width]`: weighted sums of V.
    sums: *mut P::E,
    /// `[width]`: largest score so far.
    max: *mut P::E,
    /// `[width]`: sum of weights.
    weight: *mut P::E,
    d: usize,
    width: usize,
}

impl<P: Product<E: Math>> Panel<P> {
    #[inline(always)]
    unsafe fn at(base: *mut P::E, p: usize, d: usize, width: usize) -> Self {
        unsafe {
            let sums = base.add(p * partial_size(d, width));
            Panel { sums, max: sums.add(d * width), weight: sums.add((d + 1) * width), d, width }
        }
    }

    #[inline(always)]
    unsafe fn clear<S: Simd>(&self) {
        let lanes = <P::E as Float>::V::<S>::LANES;
        unsafe {
            for i in (0..self.d * self.width).step_by(lanes) {
                <P::E as Float>::V::<S>::zero().store(self.sums.add(i));
            }
            for i in (0..self.width).step_by(lanes) {
                <P::E as Float>::V::<S>::splat(P::E::ZERO - P::E::INFINITY).store(self.max.add(i));
                <P::E as Float>::V::<S>::zero().store(self.weight.add(i));
            }
        }
    }

    #[inline(always)]
    unsafe fn rescale<S: Simd>(&self, by: *const P::E, vectors: usize) {
        let lanes = <P::E as Float>::V::<S>::LANES;
        for v in 0..vectors {
            unsafe {
                let factor = <P::E as Float>::V::<S>::load(by.add(v * lanes));
                for i in 0..self.d {
                    let sum = self.sums.add(i * self.width + v * lanes);
                    <P::E as Float>::V::<S>::load(sum).mul(factor).store(sum);
                }
            }
        }
    }
}

/// Turns scores `[keys, width]` into weights in place (as units of the product), with the new maxima, and adds them up. `rescale`
/// receives what earlier sums are to be multiplied with.
#[inline(always)]
unsafe fn weigh<S: Simd, P: Product<E: Math>>(
    scores: *mut P::E,
    keys: usize,
    vectors: usize,
    scale: P::E,
    panel: &Panel<P>,
    rescale: *mut P::E,
) {
    let lanes = <P::E as Float>::V::<S>::LANES;
    let (width, scale) = (panel.width, <P::E as Float>::V::<S>::splat(scale));
    unsafe {
        for column in (0..vectors * lanes).step_by(lanes) {
            let scores = scores.add(column);
            let mut high = [<P::E as Float>::V::<S>::load(scores); 2];
            for i in (0..keys - keys % 2).step_by(2) {
                high[0] = high[0].max(<P::E as Float>::V::<S>::load(scores.add(i * width)));
                high[1] = high[1].max(<P::E as Float>::V::<S>::load(scores.add((i + 1) * width)));
            }
            let last = <P::E as Float>::V::<S>::load(scores.add((keys - 1) * width));
            let old = <P::E as Float>::V::<S>::load(panel.max.add(column));
            let new = old.max(high[0].max(high[1]).max(last).mul(scale));
            let factor = exp2_softmax(old.sub(new));
            new.store(panel.max.add(column));
            factor.store(rescale.add(column));
            let shift = <P::E as Float>::V::<S>::zero().sub(new);
            let mut sum = [<P::E as Float>::V::<S>::zero(); 2];
            for i in (0..keys - keys % 2).step_by(2) {
                let first = exp2_softmax(<P::E as Float>::V::<S>::load(scores.add(i * width)).mul_add(scale, shift));
                let second =
                    exp2_softmax(<P::E as Float>::V::<S>::load(scores.add((i + 1) * width)).mul_add(scale, shift));
                sum = [sum[0].add(first), sum[1].add(second)];
                store_units::<S, P>(first, second, scores.add(i / P::PAIR * width), width, true);
            }
            if keys % 2 == 1 {
                let weight = exp2_softmax(last.mul_add(scale, shift));
                sum[0] = sum[0].add(weight);
                let zero = <P::E as Float>::V::<S>::zero();
                store_units::<S, P>(weight, zero, scores.add((keys - 1) / P::PAIR * width), width, false);
            }
            let weight = <P::E as Float>::V::<S>::load(panel.weight.add(column));
            weight.mul_add(factor, sum[0].add(sum[1])).store(panel.weight.add(column));
        }
    }
}

/// Divides a panel's sums by their weights and writes them, and the log-sum-exp.
struct WriteOut<'a, P: Product> {
    x: &'a Attention,
    panel: Panel<P>,
    head: usize,
    query: usize,
    rows: usize,
}

impl<P: Product<E: Math>> Kernel for WriteOut<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let WriteOut { x, panel, head, query, rows } = self;
        let lanes = <P::E as Float>::V::<S>::LANES;
        let Panel { d, width, .. } = panel;
        let d_wide = d.next_multiple_of(lanes);
        let turned = Scratch::take::<P::E>(width * d_wide);
        unsafe {
            let lse = x.lse.cast::<P::E>().add(head * x.total_queries() + query);
            for r in 0..rows {
                let weight = panel.weight.add(r).read().to_f64();
                let max = panel.max.add(r).read().to_f64();
                lse.add(r).write_unaligned(P::E::from_f64((max + weight.log2()) * std::f64::consts::LN_2));
                // Without keys there is no weight, and the result is zero.
                panel.weight.add(r).write(P::E::from_f64(if weight > 0.0 || weight.is_nan() {
                    1.0 / weight
                } else {
                    0.0
                }));
            }
            for r in rows..width {
                panel.weight.add(r).write(P::E::ZERO);
            }
            panel.rescale::<S>(panel.weight, 2);
            let (src, row_bytes) = (panel.sums.cast_const().cast::<u8>(), width * size_of::<P::E>());
            let dst = turned.ptr();
            S::call(PackTurned::<P::Plain> {
                src,
                dtype: P::E::DTYPE,
                row_bytes,
                rows: d,
                k: width,
                dst,
                width: d_wide,
            });
            for r in 0..rows {
                for j in (0..d).step_by(lanes) {
                    let v = <P::E as Float>::V::<S>::load(turned.ptr::<P::E>().add(r * d_wide + j));
                    store_as(v, x.out.at(query + r, head * d + j), x.out.dtype, d - j);
                }
            }
        }
    }
}

/// Adds up the splits of some panels, first to last, and writes them.
struct MergePanels<'a, P: Product> {
    x: &'a Attention,
    merge: &'a Merge,
    partial: *mut P::E,
}

impl<P: Product<E: Math>> Kernel for MergePanels<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (x, merge) = (self.x, self.merge);
        let lanes = <P::E as Float>::V::<S>::LANES;
        let (width, d) = (panel_width::<S, P>(), x.head_dim);
        unsafe {
            for p in 0..merge.step {
                let total = Panel::<P>::at(self.partial, merge.first + p, d, width);
                for split in 1..merge.splits {
                    let part = Panel::<P>::at(self.partial, merge.first + split * merge.step + p, d, width);
                    for j in (0..width).step_by(lanes) {
                        let a = <P::E as Float>::V::<S>::load(total.max.add(j));
                        let b = <P::E as Float>::V::<S>::load(part.max.add(j));
                        let max = a.max(b);
                        max.store(total.max.add(j));
                        let (fa, fb) = (exp2_softmax(a.sub(max)), exp2_softmax(b.sub(max)));
                        // The sums of weights lie two rows behind those of V.
                        for i in (0..d).chain([d + 1]) {
                            let (sum, more) = (total.sums.add(i * width + j), part.sums.add(i * width + j));
                            let more = <P::E as Float>::V::<S>::load(more).mul(fb);
                            <P::E as Float>::V::<S>::load(sum).mul_add(fa, more).store(sum);
                        }
                    }
                }
                let rows = width.min(merge.q.1 - p * width);
                S::call(WriteOut { x, panel: total, head: merge.head, query: merge.q.0 + p * width, rows });
            }
        }
    }
}
