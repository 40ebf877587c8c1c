//! Cutting a product into blocks and tasks.

use super::finish::Finish;
use super::micro::{Columns, DotBf16, F32, F64, Multiply, Product, RoundedBf16, Rows, multiply};
use super::pack::{PackColumns, PackRows, PackTurned, units};
use super::{Gemm, Layout};
use crate::backend::cpu::isa::{Float, Isa, Kernel, Simd, Vector};
use crate::backend::cpu::pool::parallel_for;
use crate::backend::cpu::scratch::Scratch;
use crate::backend::cpu::vmath::Math;
use crate::dtype::DType;
use std::marker::PhantomData;

/// Units of k that a panel of A holds: with its 14 rows it fills half of a first-level cache.
const DEPTH: usize = 384;
/// Bytes of packed B (DEPTH deep) that a task works on for each lane of an f32 vector: about half of a second-level cache, which is
/// larger where vectors are wider (512 KiB beside AVX2 on Zen 3, 1 MiB and more beside AVX-512).
const BLOCK_BYTES_PER_LANE: usize = 32 << 10;
/// Bytes of B that are packed at a time (one panel at least).
const PACKED_BYTES: usize = 16 << 20;
/// Tasks a product is cut into if it is large enough: several for each core, so that cores finish together.
const TASKS: usize = 32;

pub unsafe fn run(isa: Isa, g: &Gemm) {
    unsafe {
        match g.compute {
            DType::F64 => isa.run(Run::<F64>::of(g)),
            DType::F32 => isa.run(Run::<F32>::of(g)),
            #[cfg(target_arch = "x86_64")]
            DType::BF16 if isa == Isa::Avx512Bf16 => {
                crate::backend::cpu::isa::Avx512Bf16::call(Run::<DotBf16>::of(g));
            }
            DType::BF16 => isa.run(Run::<RoundedBf16>::of(g)),
            other => unreachable!("a matrix product computes in floats, not {other}"),
        }
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
    /// Units of k.
    k: usize,
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
        let panel_bytes = k.clamp(1, DEPTH) * width * size_of::<P::E>();
        let block_bytes = BLOCK_BYTES_PER_LANE * S::F32::LANES;
        let mut panels_n = panels.div_ceil(panels.div_ceil((block_bytes / panel_bytes).max(1)));
        let mut panels_m = 8.min(rows);
        let tasks = |m: usize, n: usize| rows.div_ceil(m) * panels.div_ceil(n);
        while tasks(panels_m, panels_n) < TASKS && panels_m > 1 {
            panels_m -= 1;
        }
        while tasks(panels_m, panels_n) < TASKS / 2 && panels_n > 2 {
            panels_n = panels_n.div_ceil(2);
        }
        Plan { width, k, panels_m, panels_n, tasks_m: rows.div_ceil(panels_m) }
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
            // A few panels a task: a task should take some microseconds.
            let group = (16384 / (k * width).max(1)).max(1);
            parallel_for(count.div_ceil(group), |t| unsafe {
                let b = &b;
                for p in t * group..((t + 1) * group).min(count) {
                    pack_b::<S, P>(g, (first + p) * width, b.0.add(p * k * width), width);
                }
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

#[inline(always)]
unsafe fn pack_b<S: Simd, P: Product>(g: &Gemm, column: usize, dst: *mut P::E, width: usize) {
    let (dtype, row_bytes) = (g.b.dtype, g.b.ld * g.b.dtype.size());
    let columns = width.min(g.n - column);
    unsafe {
        match g.layout {
            Layout::NT => {
                let src = g.b.at(column, 0);
                S::call(PackTurned::<P> { src, dtype, row_bytes, rows: columns, k: g.k, dst, width });
            }
            Layout::NN | Layout::TN => {
                let src = g.b.at(0, column);
                S::call(PackColumns::<P> { src, dtype, row_bytes, columns, k: g.k, dst, width, product: PhantomData });
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
        let rows_end = g.m.min((self.m0 + plan.panels_m) * S::ROWS);
        let a_width = S::ROWS.next_multiple_of(<P::E as Float>::V::<S>::LANES);
        let a_panel = Scratch::take::<P::E>(DEPTH * a_width);
        // Where k takes several rounds, all of the task's tiles wait for the next one.
        let rounds = plan.k.div_ceil(DEPTH).max(1);
        let tile_size = S::ROWS * width;
        let tiles = Scratch::take::<P::E>(tile_size * if rounds > 1 { plan.panels_m * panels_n } else { 1 });
        unsafe {
            for round in 0..rounds {
                let k0 = round * DEPTH;
                let depth = DEPTH.min(plan.k - k0);
                let mut tile = tiles.ptr::<P::E>();
                for i0 in (self.m0 * S::ROWS..rows_end).step_by(S::ROWS) {
                    let rows = S::ROWS.min(rows_end - i0);
                    pack_a::<S, P>(g, i0, rows, k0, depth, a_panel.ptr(), a_width);
                    for p in self.panels.0..self.panels.1 {
                        let x = Multiply {
                            k: depth,
                            a: a_panel.ptr::<P::E>().cast_const(),
                            a_step: if g.layout == Layout::TN { a_width } else { 1 },
                            b: self.b.add((p * plan.k + k0) * width),
                            b_step: width,
                            tile,
                            tile_ld: width,
                            resume: round > 0,
                        };
                        match g.layout {
                            Layout::TN => multiply::<S, P, Columns, 2>(rows, &x),
                            Layout::NN | Layout::NT => multiply::<S, P, Rows<DEPTH>, 2>(rows, &x),
                        }
                        if round + 1 == rounds {
                            let j0 = self.column + p * width;
                            let columns = width.min(g.n - j0);
                            S::call(Finish { g, tile: tile.cast_const(), tile_ld: width, i0, j0, rows, columns });
                        }
                        if rounds > 1 {
                            tile = tile.add(tile_size);
                        }
                    }
                }
            }
        }
    }
}

/// Packs `rows` rows of A from `i0`, units `k0 .. k0 + depth`.
#[inline(always)]
unsafe fn pack_a<S: Simd, P: Product>(
    g: &Gemm,
    i0: usize,
    rows: usize,
    k0: usize,
    depth: usize,
    dst: *mut P::E,
    width: usize,
) {
    let (dtype, row_bytes) = (g.a.dtype, g.a.ld * g.a.dtype.size());
    let k0 = k0 * P::PAIR;
    let k = (depth * P::PAIR).min(g.k - k0);
    unsafe {
        match g.layout {
            Layout::TN => {
                let src = g.a.at(k0, i0);
                S::call(PackColumns::<P> { src, dtype, row_bytes, columns: rows, k, dst, width, product: PhantomData });
            }
            Layout::NN | Layout::NT => {
                S::call(PackRows::<P> { src: g.a.at(i0, k0), dtype, row_bytes, rows, k, dst, dst_ld: DEPTH });
            }
        }
    }
}
