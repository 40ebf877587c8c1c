//! The backward pass: weights are computed again from the log-sum-exp, block by block.
//!
//! With P the weights and dP = dO·Vᵀ: δ = Σ dO·O, dS = P∘(dP − δ), dV = Pᵀ·dO, dK = scale·dSᵀ·Q, dQ = scale·dS·K. One task has one head's
//! keys, or a run of them, against all of its queries: dK and dV are then whole, and the dQ of several runs are added in order.

use super::forward::pack_queries;
use super::tile::{
    QUERIES, STRIDE, block_keys, columns_times, panel_width, prefetch_rows, rounded, row_tile, rows_times, store_units,
    vectors,
};
use super::{Attention, Target};
use crate::backend::cpu::gemm::Operand;
use crate::backend::cpu::gemm::micro::{DotBf16, F32, F64, Multiply, Product, RoundedBf16};
use crate::backend::cpu::gemm::pack::{PackColumns, PackRows, PackTurned, load_as, store_as, units};
use crate::backend::cpu::isa::{Float, Isa, Kernel, Simd, Vector};
use crate::backend::cpu::pool::parallel_for;
use crate::backend::cpu::scratch::Scratch;
use crate::backend::cpu::vmath::{Math, exp2_softmax};
use crate::dtype::DType;
use std::cmp::Reverse;
use std::marker::PhantomData;

/// With fewer pairs of sequence and head than this, runs of keys are split.
const TASKS: usize = 16;
/// Keys that a split has at least.
const SPLIT_KEYS: usize = 224;

/// Gradients of [`Attention`]; `forward` holds its inputs, its result and its log-sum-exp (all read only here).
#[derive(Clone, Copy, Debug)]
pub struct AttentionGrad {
    pub forward: Attention,
    pub dout: Operand,
    /// Written for every token of a sequence, not accumulated.
    pub dq: Target,
    pub dk: Target,
    pub dv: Target,
}

// SAFETY: as for `Attention`.
unsafe impl Send for AttentionGrad {}
unsafe impl Sync for AttentionGrad {}

/// Computes `dq`, `dk` and `dv` on the pool.
///
/// # Safety
/// The matrices hold the tokens that the offsets name; the gradients overlap nothing else.
pub unsafe fn attention_backward(isa: Isa, x: &AttentionGrad) {
    match x.forward.compute {
        DType::F64 => isa.run(Run::<F64>(x, PhantomData)),
        DType::F32 => isa.run(Run::<F32>(x, PhantomData)),
        DType::BF16 if isa.has_pairs() => isa.run_pairs(Run::<DotBf16>(x, PhantomData)),
        DType::BF16 => isa.run(Run::<RoundedBf16>(x, PhantomData)),
        other => unreachable!("attention computes in floats, not {other}"),
    }
}

struct Run<'a, P>(&'a AttentionGrad, PhantomData<P>);

/// One head's queries against a run of keys.
#[derive(Clone, Copy)]
struct Task {
    head: usize,
    /// First query (a row of q) and number of queries.
    q: (usize, usize),
    /// First key and number of keys.
    kv: (usize, usize),
    /// Where dQ goes when several tasks add to it: row of the first of the partial results.
    partial: Option<usize>,
}

/// Queries whose dQ is the sum of several tasks' results: `splits` of them, from partial row `first`, `step` rows from one to the next.
struct Merge {
    head: usize,
    q: (usize, usize),
    first: usize,
    splits: usize,
    step: usize,
}

/// Queries that one merging task adds up.
const MERGE_ROWS: usize = 64;

impl<P: Product<E: Math>> Kernel for Run<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let x = self.0;
        let (tasks, merges, rows) = unsafe { plan(&x.forward) };
        let memory = Scratch::take::<P::E>(rows * x.forward.head_dim);
        let partial = memory.ptr::<P::E>() as usize;
        parallel_for(tasks.len(), |t| unsafe {
            S::call(Keys::<P> { x, task: tasks[t], partial: partial as *mut P::E });
        });
        parallel_for(merges.len(), |t| unsafe {
            S::call(MergeQueries::<P::E> { x, merge: &merges[t], partial: partial as *const P::E });
        });
    }
}

/// Tasks, largest first, what is to be merged after them, and the number of partial rows. From shapes alone.
unsafe fn plan(x: &Attention) -> (Vec<Task>, Vec<Merge>, usize) {
    let (mut tasks, mut merges, mut rows) = (Vec::new(), Vec::new(), 0);
    let pairs = x.heads * x.seqs;
    for seq in 0..x.seqs {
        let [q, (k0, keys)] = unsafe { x.tokens(seq) };
        let splits = if pairs < TASKS { TASKS.div_ceil(pairs).min(keys / SPLIT_KEYS).max(1) } else { 1 };
        for head in 0..x.heads {
            for split in 0..splits {
                let (key, count) = row_tile(keys, splits, split);
                let partial = (splits > 1).then_some(rows + split * q.1);
                tasks.push(Task { head, q, kv: (k0 + key, count), partial });
            }
            if splits > 1 {
                for query in (0..q.1).step_by(MERGE_ROWS) {
                    let count = MERGE_ROWS.min(q.1 - query);
                    merges.push(Merge { head, q: (q.0 + query, count), first: rows + query, splits, step: q.1 });
                }
                rows += splits * q.1;
            }
        }
    }
    tasks.sort_by_key(|task| Reverse(task.q.1 * task.kv.1));
    (tasks, merges, rows)
}

struct Keys<'a, P: Product> {
    x: &'a AttentionGrad,
    task: Task,
    partial: *mut P::E,
}

/// The working memory of a task.
struct Work<E> {
    /// Of a block of queries. Q and dO turned, by panels: `[panels][head_dim, width]`, in units along the head dimension.
    q_turned: *mut E,
    dout_turned: *mut E,
    /// Q and dO as they are, `[QUERIES, d_wide]`, in units along the queries.
    q_rows: *mut E,
    dout_rows: *mut E,
    /// `[QUERIES]`: the log-sum-exp in units of ln 2 (infinite behind the last query, so that weights there are 0), and δ.
    lse: *mut E,
    delta: *mut E,
    /// `[panels][head_dim, width]`.
    dq: *mut E,
    /// Of a block of keys: `[keys, STRIDE]` in units along the head dimension.
    k_rows: *mut E,
    v_rows: *mut E,
    /// `[keys, d_wide]` in units along the keys.
    k_columns: *mut E,
    /// dS, `[keys, QUERIES]`, in units along the keys.
    ds: *mut E,
    /// Of one register tile of keys: weights and dP, `[ROWS, STRIDE]`; then weights and dS in units along the queries.
    p: *mut E,
    dp: *mut E,
    /// `[all keys, d_wide]`.
    dk: *mut E,
    dv: *mut E,
}

impl<E: Float> Work<E> {
    /// Takes the memory for a task; the second part of the result keeps it alive.
    fn new(block: usize, tile: usize, keys: usize, d: usize, d_wide: usize) -> (Self, Scratch) {
        let panel = QUERIES * d;
        let rows = QUERIES * d_wide;
        let sizes = [
            panel,
            panel,
            rows,
            rows,
            QUERIES,
            QUERIES,
            panel,
            block * STRIDE,
            block * STRIDE,
            block * d_wide,
            block * QUERIES,
            tile * STRIDE,
            tile * STRIDE,
            keys * d_wide,
            keys * d_wide,
        ];
        // Each part begins on a cache line.
        let whole = |size: usize| size.next_multiple_of(16);
        let memory = Scratch::take::<E>(sizes.iter().map(|&size| whole(size)).sum());
        let mut next = memory.ptr::<E>();
        let parts = sizes.map(|size| {
            let part = next;
            next = next.wrapping_add(whole(size));
            part
        });
        let [q_turned, dout_turned, q_rows, dout_rows, lse, delta, dq, k_rows, v_rows, k_columns, ds, p, dp, dk, dv] =
            parts;
        let work = Work {
            q_turned,
            dout_turned,
            q_rows,
            dout_rows,
            lse,
            delta,
            dq,
            k_rows,
            v_rows,
            k_columns,
            ds,
            p,
            dp,
            dk,
            dv,
        };
        (work, memory)
    }
}

impl<P: Product<E: Math>> Kernel for Keys<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (x, task) = (self.x, self.task);
        let d = x.forward.head_dim;
        let d_wide = d.next_multiple_of(<P::E as Float>::V::<S>::LANES);
        let block = block_keys::<S>();
        let (work, _memory) = Work::<P::E>::new(block, S::ROWS, task.kv.1, d, d_wide);
        let head = Head { x, column: task.head * d, d, d_wide };
        unsafe {
            fill::<S, P::E>(work.dk, task.kv.1 * d_wide);
            fill::<S, P::E>(work.dv, task.kv.1 * d_wide);
            for first_query in (0..task.q.1).step_by(QUERIES) {
                let queries = QUERIES.min(task.q.1 - first_query);
                let query = task.q.0 + first_query;
                S::call(PackQueries::<P> { head, work: &work, number: task.head, query, queries });
                for first in (0..task.kv.1).step_by(block) {
                    let keys = block.min(task.kv.1 - first);
                    S::call(PackKeys::<P> { head, work: &work, key: task.kv.0 + first, keys });
                    let tiles = keys.div_ceil(S::ROWS);
                    // Units of dS along the keys: a tile begins on a whole pair.
                    for i in 0..tiles {
                        let row = i * S::ROWS;
                        let rows = S::ROWS.min(keys - row);
                        // Those of the next block, which lie far apart, while this one is worked on.
                        let ahead = first + block + row;
                        let count = rows.min(task.kv.1.saturating_sub(ahead));
                        prefetch_rows(&[x.forward.k, x.forward.v], task.kv.0 + ahead, count, head.column, d);
                        S::call(KeyTile::<P> { head, work: &work, row, rows, key: first + row, queries });
                    }
                    let width = panel_width::<S, P>();
                    for p in 0..queries.div_ceil(width) {
                        let (a, b) = (work.k_columns.cast_const(), work.ds.add(p * width).cast_const());
                        let (tile, tile_ld, k) = (work.dq.add(p * width * d), width, units::<P>(keys));
                        columns_times::<S, P>(
                            d,
                            vectors::<S, P>(queries - p * width),
                            &Multiply { k, a, a_step: d_wide, b, b_step: QUERIES, tile, tile_ld, resume: true },
                        );
                    }
                }
                let partial = task.partial.map(|row| self.partial.add((row + first_query) * d));
                S::call(WriteQueries::<P> { head, work: &work, query, queries, partial });
            }
            let scale = x.forward.scale;
            S::call(WriteRows {
                src: work.dk,
                src_ld: d_wide,
                rows: task.kv.1,
                to: &x.dk,
                row: task.kv.0,
                head,
                scale,
            });
            S::call(WriteRows {
                src: work.dv,
                src_ld: d_wide,
                rows: task.kv.1,
                to: &x.dv,
                row: task.kv.0,
                head,
                scale: 1.0,
            });
        }
    }
}

/// One head's place in the matrices.
#[derive(Clone, Copy)]
struct Head<'a> {
    x: &'a AttentionGrad,
    /// Its first column.
    column: usize,
    d: usize,
    /// Its columns filled up to whole vectors.
    d_wide: usize,
}

/// Zeros for `count` elements, rounded up to whole vectors.
#[inline(always)]
unsafe fn fill<S: Simd, E: Float>(p: *mut E, count: usize) {
    for i in (0..count).step_by(E::V::<S>::LANES) {
        unsafe { E::V::<S>::zero().store(p.add(i)) };
    }
}

/// Brings a block of queries into the working memory.
struct PackQueries<'a, P: Product> {
    head: Head<'a>,
    work: &'a Work<P::E>,
    /// Of the head.
    number: usize,
    query: usize,
    queries: usize,
}

impl<P: Product<E: Math>> Kernel for PackQueries<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let PackQueries { head: Head { x, column, d, d_wide }, work, number, query, queries } = self;
        let lanes = <P::E as Float>::V::<S>::LANES;
        let (width, d_units) = (panel_width::<S, P>(), units::<P>(d));
        let q = &x.forward.q;
        unsafe {
            for p in 0..queries.div_ceil(width) {
                let (first, rows) = (query + p * width, width.min(queries - p * width));
                pack_queries::<S, P>(&x.forward, first, rows, column, work.q_turned.add(p * d_units * width));
                let (src, row_bytes) = (x.dout.at(first, column), x.dout.ld * x.dout.dtype.size());
                let dst = work.dout_turned.add(p * d_units * width);
                S::call(PackTurned::<P> { src, dtype: x.dout.dtype, row_bytes, rows, k: d, dst, width });
            }
            for (from, dst) in [(q, work.q_rows), (&x.dout, work.dout_rows)] {
                let (src, row_bytes) = (from.at(query, column), from.ld * from.dtype.size());
                let product = PhantomData;
                S::call(PackColumns::<P> {
                    src,
                    dtype: from.dtype,
                    row_bytes,
                    columns: d,
                    k: queries,
                    dst,
                    width: d_wide,
                    product,
                });
            }
            fill::<S, P::E>(work.dq, queries.next_multiple_of(width) * d);
            let lse = x.forward.lse.cast::<P::E>().add(number * x.forward.total_queries() + query);
            let out = &x.forward.out;
            for r in 0..queries.next_multiple_of(width).min(QUERIES) {
                if r >= queries {
                    work.lse.add(r).write(P::E::INFINITY);
                    work.delta.add(r).write(P::E::ZERO);
                    continue;
                }
                work.lse.add(r).write(lse.add(r).read_unaligned() * P::E::LOG2_E);
                let mut delta = <P::E as Float>::V::<S>::zero();
                for j in (0..d).step_by(lanes) {
                    let a = load_as::<<P::E as Float>::V<S>>(out.at(query + r, column + j), out.dtype, d - j);
                    let b = load_as::<<P::E as Float>::V<S>>(x.dout.at(query + r, column + j), x.dout.dtype, d - j);
                    // As the products see it, or a sum that should cancel would not.
                    let b = if P::BF16 { b.round_bf16() } else { b };
                    delta = a.mul_add(b, delta);
                }
                work.delta.add(r).write(delta.sum());
            }
        }
    }
}

/// Brings a block of keys into the working memory.
struct PackKeys<'a, P: Product> {
    head: Head<'a>,
    work: &'a Work<P::E>,
    key: usize,
    keys: usize,
}

impl<P: Product<E: Math>> Kernel for PackKeys<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let PackKeys { head: Head { x, column, d, d_wide }, work, key, keys } = self;
        unsafe {
            for (from, dst) in [(&x.forward.k, work.k_rows), (&x.forward.v, work.v_rows)] {
                let (src, row_bytes) = (from.at(key, column), from.ld * from.dtype.size());
                S::call(PackRows::<P> { src, dtype: from.dtype, row_bytes, rows: keys, k: d, dst, dst_ld: STRIDE });
            }
            let k = &x.forward.k;
            let (src, row_bytes, dst) = (k.at(key, column), k.ld * k.dtype.size(), work.k_columns);
            let product = PhantomData;
            S::call(PackColumns::<P> {
                src,
                dtype: k.dtype,
                row_bytes,
                columns: d,
                k: keys,
                dst,
                width: d_wide,
                product,
            });
        }
    }
}

/// One register tile of keys against a block of queries: their weights and dS, and what that adds to dV and dK.
struct KeyTile<'a, P: Product> {
    head: Head<'a>,
    work: &'a Work<P::E>,
    /// First key in the block.
    row: usize,
    rows: usize,
    /// First key in the task.
    key: usize,
    queries: usize,
}

impl<P: Product<E: Math>> Kernel for KeyTile<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let KeyTile { head: Head { x, d, d_wide, .. }, work, row, rows, key, queries } = self;
        let lanes = <P::E as Float>::V::<S>::LANES;
        let (width, d_units) = (panel_width::<S, P>(), units::<P>(d));
        unsafe {
            for p in 0..queries.div_ceil(width) {
                let vectors = vectors::<S, P>(queries - p * width);
                for (a, b, tile) in [(work.k_rows, work.q_turned, work.p), (work.v_rows, work.dout_turned, work.dp)] {
                    let (a, b) = (a.add(row * STRIDE).cast_const(), b.add(p * d_units * width).cast_const());
                    let tile = tile.add(p * width);
                    rows_times::<S, P>(
                        rows,
                        vectors,
                        &Multiply { k: d_units, a, a_step: 1, b, b_step: width, tile, tile_ld: STRIDE, resume: false },
                    );
                }
            }
            let scale = P::E::from_f64(x.forward.scale * std::f64::consts::LOG2_E);
            weigh::<S, P>(work, row, rows, queries, scale);
            for j in (0..d_wide).step_by(2 * lanes) {
                let vectors = vectors::<S, P>(d_wide - j);
                for (a, b, sum) in [(work.p, work.dout_rows, work.dv), (work.dp, work.q_rows, work.dk)] {
                    let (a, b) = (a.cast_const(), b.add(j).cast_const());
                    let tile = sum.add(key * d_wide + j);
                    rows_times::<S, P>(
                        rows,
                        vectors,
                        &Multiply {
                            k: units::<P>(queries),
                            a,
                            a_step: 1,
                            b,
                            b_step: d_wide,
                            tile,
                            tile_ld: d_wide,
                            resume: true,
                        },
                    );
                }
            }
        }
    }
}

/// From scores and dP, `[rows, STRIDE]` each, to weights and dS in their places in units along the queries, and dS in units along the
/// keys.
#[inline(always)]
unsafe fn weigh<S: Simd, P: Product<E: Math>>(work: &Work<P::E>, row: usize, rows: usize, queries: usize, scale: P::E) {
    let lanes = <P::E as Float>::V::<S>::LANES;
    let scale = <P::E as Float>::V::<S>::splat(scale);
    unsafe {
        // Lanes behind the last query get weight 0 from their infinite log-sum-exp, so a last pair is whole.
        for j in (0..queries).step_by(lanes) {
            let lse = <P::E as Float>::V::<S>::zero().sub(<P::E as Float>::V::<S>::load(work.lse.add(j)));
            let delta = <P::E as Float>::V::<S>::load(work.delta.add(j));
            for i in (0..rows - rows % 2).step_by(2) {
                let first = weigh_row::<S, P>(work, i, j, scale, lse, delta);
                let second = weigh_row::<S, P>(work, i + 1, j, scale, lse, delta);
                store_units::<S, P>(first, second, work.ds.add((row + i) / P::PAIR * QUERIES + j), QUERIES, true);
            }
            if rows % 2 == 1 {
                let (i, zero) = (rows - 1, <P::E as Float>::V::<S>::zero());
                let last = weigh_row::<S, P>(work, i, j, scale, lse, delta);
                store_units::<S, P>(last, zero, work.ds.add((row + i) / P::PAIR * QUERIES + j), QUERIES, false);
            }
        }
    }
}

/// One vector of [`weigh`]: stores the weights and dS, returns dS.
#[inline(always)]
unsafe fn weigh_row<S: Simd, P: Product<E: Math>>(
    work: &Work<P::E>,
    i: usize,
    j: usize,
    scale: <P::E as Float>::V<S>,
    minus_lse: <P::E as Float>::V<S>,
    delta: <P::E as Float>::V<S>,
) -> <P::E as Float>::V<S> {
    let lanes = <P::E as Float>::V::<S>::LANES;
    unsafe {
        let (p_row, dp_row) = (work.p.add(i * STRIDE), work.dp.add(i * STRIDE));
        let p = exp2_softmax(<P::E as Float>::V::<S>::load(p_row.add(j)).mul_add(scale, minus_lse));
        let ds = p.mul(<P::E as Float>::V::<S>::load(dp_row.add(j)).sub(delta));
        if P::PAIR == 2 {
            // Half as wide: never past what is still to be read of the row.
            p.store_bf16(p_row.cast::<u16>().add(j), lanes);
            ds.store_bf16(dp_row.cast::<u16>().add(j), lanes);
        } else {
            rounded::<S, P>(p).store(p_row.add(j));
            rounded::<S, P>(ds).store(dp_row.add(j));
        }
        ds
    }
}

/// Turns a block's dQ back and writes it, scaled, to its rows or, unscaled, to the partial results.
struct WriteQueries<'a, P: Product> {
    head: Head<'a>,
    work: &'a Work<P::E>,
    query: usize,
    queries: usize,
    partial: Option<*mut P::E>,
}

impl<P: Product<E: Math>> Kernel for WriteQueries<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let WriteQueries { head, work, query, queries, partial } = self;
        let Head { x, d, d_wide, .. } = head;
        let width = panel_width::<S, P>();
        let turned = Scratch::take::<P::E>(width * d_wide);
        let dst = turned.ptr::<P::E>();
        unsafe {
            for p in 0..queries.div_ceil(width) {
                let rows = width.min(queries - p * width);
                let src = work.dq.add(p * width * d).cast_const().cast::<u8>();
                let (dtype, row_bytes) = (P::E::DTYPE, width * size_of::<P::E>());
                S::call(PackTurned::<P::Plain> { src, dtype, row_bytes, rows: d, k: width, dst, width: d_wide });
                match partial {
                    Some(partial) => {
                        for r in 0..rows {
                            std::ptr::copy_nonoverlapping(dst.add(r * d_wide), partial.add((p * width + r) * d), d);
                        }
                    }
                    None => {
                        let (row, scale) = (query + p * width, x.forward.scale);
                        S::call(WriteRows { src: dst, src_ld: d_wide, rows, to: &x.dq, row, head, scale });
                    }
                }
            }
        }
    }
}

/// Writes `scale` times rows of one head, `src_ld` apart, to rows of a matrix from `row`.
struct WriteRows<'a, E> {
    src: *const E,
    src_ld: usize,
    rows: usize,
    to: &'a Target,
    row: usize,
    head: Head<'a>,
    scale: f64,
}

impl<E: Float> Kernel for WriteRows<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Head { column, d, .. } = self.head;
        let scale = E::V::<S>::splat(E::from_f64(self.scale));
        for r in 0..self.rows {
            for j in (0..d).step_by(E::V::<S>::LANES) {
                unsafe {
                    let v = E::V::<S>::load_part(self.src.add(r * self.src_ld + j), d - j).mul(scale);
                    store_as(v, self.to.at(self.row + r, column + j), self.to.dtype, d - j);
                }
            }
        }
    }
}

/// Adds up partial results of dQ, first to last, and writes them.
struct MergeQueries<'a, E> {
    x: &'a AttentionGrad,
    merge: &'a Merge,
    partial: *const E,
}

impl<E: Float> Kernel for MergeQueries<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let MergeQueries { x, merge, partial } = self;
        let d = x.forward.head_dim;
        let scale = E::V::<S>::splat(E::from_f64(x.forward.scale));
        for r in 0..merge.q.1 {
            for j in (0..d).step_by(E::V::<S>::LANES) {
                unsafe {
                    let mut sum = E::V::<S>::zero();
                    for split in 0..merge.splits {
                        let row = merge.first + split * merge.step + r;
                        sum = sum.add(E::V::<S>::load_part(partial.add(row * d + j), d - j));
                    }
                    store_as(sum.mul(scale), x.dq.at(merge.q.0 + r, merge.head * d + j), x.dq.dtype, d - j);
                }
            }
        }
    }
}
