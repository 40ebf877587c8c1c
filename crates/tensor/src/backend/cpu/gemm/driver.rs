//! Cutting a product into blocks and tasks.

use super::finish::Finish;
use super::micro::{Columns, DotBf16, F32, F64, Multiply, Product, RoundedBf16, Rows, multiply};
use super::pack::{PackPanels, PackRows, PackTurned, units};
use super::{Epilogue, Gemm, Layout};
use crate::backend::cpu::isa::{Float, Isa, Kernel, Simd, Vector, prefetch};
use crate::backend::cpu::pool::parallel_for;
use crate::backend::cpu::scratch::Scratch;
use crate::backend::cpu::vmath::Math;
use crate::dtype::DType;
use std::marker::PhantomData;
use std::ops::Range;

/// Units of k between rows of packed A: the most that a round takes.
const DEPTH: usize = 256;
/// Bytes of a panel of B that a round takes: half of a first-level cache, where it stays while panels of A go by.
const PANEL_BYTES_PER_LANE: usize = 2 << 10;
/// Bytes of packed B (a round deep) that a task works on for each lane of an f32 vector: about half of a second-level cache, which
/// is larger where vectors are wider (512 KiB beside AVX2 on Zen 3, 1 MiB and more beside AVX-512).
const BLOCK_BYTES_PER_LANE: usize = 64 << 10;
/// Panels of A that a task takes at most: with a round's depth they fill a part of the second-level cache beside B.
const PANELS_M: usize = 12;
/// Bytes of B that are packed at a time (one panel at least).
const PACKED_BYTES: usize = 16 << 20;
/// Tasks a product is cut into if it is large enough: several for each core, so that cores finish together.
const TASKS: usize = 32;

pub unsafe fn run(isa: Isa, g: &Gemm) {
    match g.compute {
        DType::F64 => isa.run(Run::<F64>::of(g)),
        DType::F32 => isa.run(Run::<F32>::of(g)),
        DType::BF16 if isa.has_pairs() => isa.run_pairs(Run::<DotBf16>::of(g)),
        DType::BF16 => isa.run(Run::<RoundedBf16>::of(g)),
        other => unreachable!("a matrix product computes in floats, not {other}"),
    }
}

struct Run<'a, P> {
    g: &'a Gemm,
    product: PhantomData<P>,
}

impl<'a, P> Run<'a, P> {
    fn of(g: &'a Gemm) -> Self {
        Run { g, product: PhantomData }
    }
}

/// A call's blocks. Panels are register tiles' worth of rows of A or columns of B.
#[derive(Clone, Copy)]
struct Plan {
    /// Columns of a panel of B.
    width: usize,
    /// Units of k, and how many rounds they are cut into.
    k: usize,
    rounds: usize,
    /// Panels a task takes.
    panels_m: usize,
    panels_n: usize,
    /// Tasks along m.
    tasks_m: usize,
}

impl Plan {
    /// For `panels` panels of B.
    fn new<S: Simd, P: Product>(g: &Gemm, panels: usize) -> Plan {
        let width = 2 * <P::E as Float>::V::<S>::LANES;
        let k = units::<P>(g.k);
        let rows = g.m.div_ceil(S::ROWS);
        let bytes_deep = width * size_of::<P::E>();
        let rounds = k.div_ceil(DEPTH.min(PANEL_BYTES_PER_LANE * S::F32::LANES / bytes_deep)).max(1);
        let panel_bytes = k.div_ceil(rounds).max(1) * bytes_deep;
        let block_bytes = BLOCK_BYTES_PER_LANE * S::F32::LANES;
        let mut panels_n = panels.div_ceil(panels.div_ceil((block_bytes / panel_bytes).max(1)));
        let mut panels_m = PANELS_M.min(rows);
        let tasks = |m: usize, n: usize| rows.div_ceil(m) * panels.div_ceil(n);
        while tasks(panels_m, panels_n) < TASKS && panels_m > 1 {
            panels_m -= 1;
        }
        while tasks(panels_m, panels_n) < TASKS / 2 && panels_n > 2 {
            panels_n = panels_n.div_ceil(2);
        }
        Plan { width, k, rounds, panels_m, panels_n, tasks_m: rows.div_ceil(panels_m) }
    }
}

impl<P: Product<E: Math>> Kernel for Run<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let g = self.g;
        let width = 2 * <P::E as Float>::V::<S>::LANES;
        let k = units::<P>(g.k);
        let panels = g.n.div_ceil(width);
        let at_once = (PACKED_BYTES / (k.max(1) * width * size_of::<P::E>())).clamp(1, panels);
        let packed = Scratch::take::<P::E>(at_once * k * width);
        let b = Shared(packed.ptr::<P::E>());
        for first in (0..panels).step_by(at_once) {
            let count = at_once.min(panels - first);
            let b_part = Packing::new(g.layout, k, width, count);
            parallel_for(b_part.tasks(), |t| unsafe {
                let b = &b;
                let (panels, units) = b_part.task(t);
                pack_b::<S, P>(g, first, panels, units, b.0, k, width);
            });
            let plan = Plan::new::<S, P>(g, count);
            parallel_for(plan.tasks_m * count.div_ceil(plan.panels_n), |t| unsafe {
                let b = &b;
                let (m0, n0) = (t % plan.tasks_m * plan.panels_m, t / plan.tasks_m * plan.panels_n);
                let n_end = count.min(n0 + plan.panels_n);
                S::call(Block::<P> { g, plan, b: b.0, column: first * width, m0, panels: (n0, n_end) });
            });
        }
    }
}

/// A pointer that tasks on other threads use, each its own part.
struct Shared<T>(*mut T);
unsafe impl<T> Sync for Shared<T> {}

/// How the packing of B is cut into tasks of some microseconds.
struct Packing {
    panels: usize,
    k: usize,
    /// Panels and units of k that a task takes.
    group: usize,
    depth: usize,
}

impl Packing {
    fn new(layout: Layout, k: usize, width: usize, panels: usize) -> Packing {
        match layout {
            // Columns of panels are rows in memory: whole ones.
            Layout::NT => Packing { panels, k, group: (16384 / (k * width).max(1)).max(1), depth: k.max(1) },
            // Rows in memory are read across several panels.
            Layout::NN | Layout::TN => Packing { panels, k, group: 8, depth: 16384 / (8 * width) },
        }
    }

    fn tasks(&self) -> usize {
        self.panels.div_ceil(self.group) * self.k.div_ceil(self.depth)
    }

    /// Panels and units of k.
    fn task(&self, t: usize) -> (Range<usize>, Range<usize>) {
        let rounds = self.k.div_ceil(self.depth);
        let (panel, unit) = (t / rounds * self.group, t % rounds * self.depth);
        (panel..self.panels.min(panel + self.group), unit..self.k.min(unit + self.depth))
    }
}

/// Packs `units` of k of some panels of B, counted from panel `first` of C's columns, to their places in `packed`.
#[inline(always)]
unsafe fn pack_b<S: Simd, P: Product>(
    g: &Gemm,
    first: usize,
    panels: Range<usize>,
    units: Range<usize>,
    packed: *mut P::E,
    k: usize,
    width: usize,
) {
    let (dtype, row_bytes) = (g.b.dtype, g.b.ld * g.b.dtype.size());
    let columns = |panel: usize| width.min(g.n - (first + panel) * width);
    unsafe {
        match g.layout {
            Layout::NT => {
                for panel in panels {
                    let (src, dst) = (g.b.at((first + panel) * width, 0), packed.add(panel * k * width));
                    S::call(PackTurned::<P> { src, dtype, row_bytes, rows: columns(panel), k: g.k, dst, width });
                }
            }
            Layout::NN | Layout::TN => {
                let row = units.start * P::PAIR;
                let last = panels.end - 1;
                S::call(PackPanels::<P> {
                    src: g.b.at(row, (first + panels.start) * width),
                    dtype,
                    row_bytes,
                    columns: (last - panels.start) * width + columns(last),
                    k: (units.len() * P::PAIR).min(g.k - row),
                    dst: packed.add((panels.start * k + units.start) * width),
                    panel: k * width,
                    height: width,
                });
            }
        }
    }
}

/// One task: some panels of A against some panels of B.
struct Block<'a, P: Product> {
    g: &'a Gemm,
    plan: Plan,
    b: *const P::E,
    /// Column of C where the first packed panel lies.
    column: usize,
    /// First panel of A.
    m0: usize,
    panels: (usize, usize),
}

impl<P: Product<E: Math>> Kernel for Block<'_, P> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Block { g, plan, .. } = self;
        let width = plan.width;
        let panels_n = self.panels.1 - self.panels.0;
        let first_row = self.m0 * S::ROWS;
        let all_rows = (g.m - first_row).min(plan.panels_m * S::ROWS);
        let panels_m = all_rows.div_ceil(S::ROWS);
        let a_block = Scratch::take::<P::E>(panels_m * a_panel_size::<S, P>());
        // Where k takes several rounds, all of the task's tiles wait for the next one.
        let tile_size = S::ROWS * width;
        let tiles = Scratch::take::<P::E>(tile_size * if plan.rounds > 1 { panels_m * panels_n } else { 1 });
        let a_step = if g.layout == Layout::TN { S::ROWS } else { 1 };
        unsafe {
            for round in 0..plan.rounds {
                let (k0, depth) = part(plan.k, plan.rounds, round);
                if g.layout == Layout::TN {
                    pack_columns::<S, P>(g, first_row, all_rows, k0, depth, a_block.ptr());
                }
                let mut tile = tiles.ptr::<P::E>();
                for p in self.panels.0..self.panels.1 {
                    for i in 0..panels_m {
                        let i0 = first_row + i * S::ROWS;
                        let rows = S::ROWS.min(g.m - i0);
                        let a = a_block.ptr::<P::E>().add(i * a_panel_size::<S, P>());
                        if p == self.panels.0 && g.layout != Layout::TN {
                            // The next panel's rows come from memory while this one is worked on.
                            prefetch_a(
                                g,
                                i0 + S::ROWS,
                                S::ROWS.min(first_row + all_rows - i0 - rows),
                                k0 * P::PAIR,
                                depth * P::PAIR,
                            );
                            pack_rows::<S, P>(g, i0, rows, k0, depth, a);
                        }
                        let x = Multiply {
                            k: depth,
                            a: a.cast_const(),
                            a_step,
                            b: self.b.add((p * plan.k + k0) * width),
                            b_step: width,
                            tile,
                            tile_ld: width,
                            resume: round > 0,
                        };
                        let last = round + 1 == plan.rounds;
                        if last {
                            prefetch_c(g, i0, rows, self.column + p * width, width);
                        }
                        match g.layout {
                            Layout::TN => multiply::<S, P, Columns, 2>(rows, &x),
                            Layout::NN | Layout::NT => multiply::<S, P, Rows<DEPTH>, 2>(rows, &x),
                        }
                        if last {
                            let j0 = self.column + p * width;
                            let columns = width.min(g.n - j0);
                            S::call(Finish { g, tile: tile.cast_const(), tile_ld: width, i0, j0, rows, columns });
                        }
                        if plan.rounds > 1 {
                            tile = tile.add(tile_size);
                        }
                    }
                }
            }
        }
    }
}

/// How `k` units are cut into rounds of nearly equal depth: first unit and depth of one.
fn part(k: usize, rounds: usize, round: usize) -> (usize, usize) {
    let (base, more) = (k / rounds, k % rounds);
    (round * base + round.min(more), base + usize::from(round < more))
}

/// Units from one packed panel of A to the next. Rows of ROWS are written as whole vectors: the last may be wider.
const fn a_panel_size<S: Simd, P: Product>() -> usize {
    DEPTH * S::ROWS + <<P::E as Float>::V<S> as Vector>::LANES
}

/// Numbers `k0 .. k0 + depth` of k that `depth` units from `k0` hold.
fn numbers<P: Product>(g: &Gemm, k0: usize, depth: usize) -> (usize, usize) {
    let from = k0 * P::PAIR;
    (from, (depth * P::PAIR).min(g.k - from))
}

/// Packs `rows` rows of A from `i0`, units `k0 .. k0 + depth`, into one panel.
#[inline(always)]
unsafe fn pack_rows<S: Simd, P: Product>(g: &Gemm, i0: usize, rows: usize, k0: usize, depth: usize, dst: *mut P::E) {
    let (dtype, row_bytes) = (g.a.dtype, g.a.ld * g.a.dtype.size());
    let (from, k) = numbers::<P>(g, k0, depth);
    unsafe { S::call(PackRows::<P> { src: g.a.at(i0, from), dtype, row_bytes, rows, k, dst, dst_ld: DEPTH }) };
}

/// Packs `rows` columns of a turned A from `i0`, units `k0 .. k0 + depth`, into panels.
#[inline(always)]
unsafe fn pack_columns<S: Simd, P: Product>(g: &Gemm, i0: usize, rows: usize, k0: usize, depth: usize, dst: *mut P::E) {
    let (dtype, row_bytes) = (g.a.dtype, g.a.ld * g.a.dtype.size());
    let (from, k) = numbers::<P>(g, k0, depth);
    let (panel, height) = (a_panel_size::<S, P>(), S::ROWS);
    unsafe {
        S::call(PackPanels::<P> { src: g.a.at(from, i0), dtype, row_bytes, columns: rows, k, dst, panel, height })
    };
}

/// Asks for numbers `k0 .. k0 + depth` of some rows of A.
#[inline(always)]
unsafe fn prefetch_a(g: &Gemm, i0: usize, rows: usize, k0: usize, depth: usize) {
    for i in i0..i0 + rows {
        prefetch(unsafe { g.a.at(i, k0) }, depth.min(g.k - k0) * g.a.dtype.size());
    }
}

/// Asks for the places of one tile in C and in what the epilogue reads: rows far apart, which come while the tile is summed up.
#[inline(always)]
unsafe fn prefetch_c(g: &Gemm, i0: usize, rows: usize, j0: usize, width: usize) {
    let bytes = |dtype: DType| width.min(g.n - j0) * dtype.size();
    for i in i0..i0 + rows {
        prefetch(g.c.wrapping_add((i * g.ldc + j0) * g.c_dtype.size()), bytes(g.c_dtype));
        match g.epilogue {
            Epilogue::None => {}
            Epilogue::Gelu { pre, dtype, ld } => prefetch(pre.wrapping_add((i * ld + j0) * dtype.size()), bytes(dtype)),
            Epilogue::GeluGrad(x) | Epilogue::Residual(x) => prefetch(unsafe { x.at(i, j0) }, bytes(x.dtype)),
        }
    }
}
