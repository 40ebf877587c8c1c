//! Instruction sets: which ones this machine has, and one vector interface over all of them.
//!
//! A kernel is written once, generic over [`Simd`], as the `run` of a [`Kernel`]; [`Isa::run`] compiles it with the features of the
//! instruction set that was asked for. Everything inside `run` must be `#[inline(always)]`, because a function compiled apart would be
//! compiled without those features (so no closures around vectors, and no `map` or `fold` over them); to leave the inlined body (to bound the code's size), call another kernel through [`Simd::call`].

mod avx2;
mod avx512;
mod neon;
#[cfg(test)]
mod pairs;
mod portable;

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use avx512::{Avx512, Avx512Bf16};
#[cfg(target_arch = "aarch64")]
use neon::Neon;
#[cfg(test)]
use pairs::Pairs;
use portable::Portable;

/// An instruction set that kernels are compiled for, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// AVX-512 (F, BW, DQ, VL) and the bfloat16 dot product.
    Avx512Bf16,
    /// AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// ARM's 128-bit vectors.
    Neon,
    /// Plain Rust.
    Portable,
    /// Plain Rust in the shapes of [`Isa::Avx512Bf16`], for tests of its kernels on machines without it.
    #[cfg(test)]
    Pairs,
}

impl Isa {
    pub const ALL: &[Isa] = &[
        Isa::Avx512Bf16,
        Isa::Avx512,
        Isa::Avx2,
        Isa::Neon,
        Isa::Portable,
        #[cfg(test)]
        Isa::Pairs,
    ];

    /// The name `AVJEPA_ISA` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Avx512 => "avx512f",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
            #[cfg(test)]
            Isa::Pairs => "pairs",
        }
    }

    /// Whether this machine can run it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(test)]
            Isa::Pairs => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Isa::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && Isa::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The instruction sets this machine can run, best first.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.iter().copied().filter(|isa| isa.is_available()).collect()
    }

    /// The best instruction set of this machine, or the one `AVJEPA_ISA` names.
    ///
    /// # Errors
    /// A message when `AVJEPA_ISA` names an instruction set that does not exist or that this machine lacks.
    pub fn detect() -> Result<Isa, String> {
        match std::env::var("AVJEPA_ISA") {
            Ok(name) if !name.is_empty() => Isa::parse(&name),
            _ => Ok(Isa::available()[0]),
        }
    }

    fn parse(name: &str) -> Result<Isa, String> {
        let usable = || Isa::available().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
        match Isa::ALL.iter().copied().find(|isa| isa.name() == name) {
            None => Err(format!("AVJEPA_ISA={name} is not an instruction set; this machine has {}", usable())),
            Some(isa) if !isa.is_available() => {
                Err(format!("AVJEPA_ISA={name} is not available on this machine; it has {}", usable()))
            }
            Some(isa) => Ok(isa),
        }
    }

    /// [`Isa::detect`], once for the process.
    ///
    /// # Panics
    /// With `detect`'s message; call `detect` first where an error is wanted.
    pub fn current() -> Isa {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| Isa::detect().unwrap_or_else(|message| panic!("{message}")))
    }

    /// Runs a kernel compiled for this instruction set.
    ///
    /// # Panics
    /// When the machine lacks it.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: each arm's features were detected, either here or when the `Isa` was chosen.
        unsafe {
            match self {
                Isa::Portable => Portable::call(kernel),
                #[cfg(test)]
                Isa::Pairs => Pairs::call(kernel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Bf16 | Isa::Avx512 => {
                    debug_assert!(self.is_available());
                    Avx512::call(kernel)
                }
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => {
                    debug_assert!(self.is_available());
                    Avx2::call(kernel)
                }
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => Neon::call(kernel),
                #[allow(unreachable_patterns)]
                _ => panic!("the {} instruction set is not of this architecture", self.name()),
            }
        }
    }

    /// Whether it multiplies pairs of bfloat16: whether [`Isa::run_pairs`] may be called.
    pub fn has_pairs(self) -> bool {
        match self {
            Isa::Avx512Bf16 => true,
            #[cfg(test)]
            Isa::Pairs => true,
            _ => false,
        }
    }

    /// [`Isa::run`] for a kernel that uses [`Simd::dot_bf16`].
    ///
    /// # Panics
    /// When the instruction set has no such product.
    #[inline]
    pub fn run_pairs<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: as in `run`.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Bf16 => Avx512Bf16::call(kernel),
                #[cfg(test)]
                Isa::Pairs => Pairs::call(kernel),
                _ => panic!("the {} instruction set multiplies no pairs of bfloat16", self.name()),
            }
        }
    }
}

/// A computation that is compiled once for each instruction set.
pub trait Kernel {
    type Output;

    /// The computation, `#[inline(always)]`.
    ///
    /// # Safety
    /// Only to be called through [`Isa::run`] or [`Simd::call`]; what the kernel's pointers must hold is the kernel's own contract.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// An instruction set: its vectors, its register tile and a way into code compiled for it.
pub trait Simd: Copy + Send + Sync + 'static {
    type F32: Vector<Elem = f32>;
    type F64: Vector<Elem = f64>;

    /// Rows of the register tile of a matrix product (its columns are two vectors).
    const ROWS: usize;

    /// Runs a kernel, compiled apart with this instruction set's features.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output;

    /// `acc + a·b` over pairs of bfloat16: lane `i` of `a` and `b` holds two of them, low half first.
    #[inline(always)]
    fn dot_bf16(_a: Self::F32, _b: Self::F32, _acc: Self::F32) -> Self::F32 {
        unreachable!("only the avx512bf16 kernels multiply pairs of bfloat16")
    }

    /// Pairs for [`Simd::dot_bf16`]: both rounded to bfloat16, `low` in the low halves.
    #[inline(always)]
    fn pair_bf16(_low: Self::F32, _high: Self::F32) -> Self::F32 {
        unreachable!("only the avx512bf16 kernels multiply pairs of bfloat16")
    }
}

/// `f32` or `f64`.
pub trait Float:
    Copy
    + Send
    + Sync
    + PartialOrd
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + 'static
{
    /// Its vector in an instruction set.
    type V<S: Simd>: Vector<Elem = Self>;
    const ZERO: Self;
    const INFINITY: Self;
    const DTYPE: crate::dtype::DType;

    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
}

impl Float for f32 {
    type V<S: Simd> = S::F32;
    const ZERO: f32 = 0.0;
    const INFINITY: f32 = f32::INFINITY;
    const DTYPE: crate::dtype::DType = crate::dtype::DType::F32;

    #[inline(always)]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Float for f64 {
    type V<S: Simd> = S::F64;
    const ZERO: f64 = 0.0;
    const INFINITY: f64 = f64::INFINITY;
    const DTYPE: crate::dtype::DType = crate::dtype::DType::F64;

    #[inline(always)]
    fn from_f64(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

/// Asks for `bytes` from `p` on to be brought into the caches, to be read before long. Nothing where the machine cannot be asked.
#[inline(always)]
pub fn prefetch(p: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        // SAFETY: an instruction of every x86-64, which never faults.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (p, bytes);
}

/// Most lanes any [`Vector`] has.
pub const MAX_LANES: usize = 16;

/// A vector register of [`Vector::LANES`] elements. `part` functions touch only the first `n` elements in memory (`n` may be more than
/// `LANES`, which is then all); lanes that were not loaded are zero.
///
/// The memory functions are unsafe: the elements they touch must be there. No alignment is needed.
#[allow(clippy::missing_safety_doc)] // said once, above
pub trait Vector: Copy {
    type Elem: Float;
    const LANES: usize;

    fn splat(x: Self::Elem) -> Self;
    unsafe fn load(p: *const Self::Elem) -> Self;
    unsafe fn store(self, p: *mut Self::Elem);
    unsafe fn load_part(p: *const Self::Elem, n: usize) -> Self;
    unsafe fn store_part(self, p: *mut Self::Elem, n: usize);

    /// Widens `n` bfloat16.
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16, n: usize) -> Self {
        let mut lanes = [Self::Elem::ZERO; MAX_LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(n.min(Self::LANES)) {
            *lane = Self::Elem::from_f64(f64::from(crate::dtype::bf16_to_f32(unsafe { p.add(i).read() })));
        }
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// Rounds to bfloat16 (nearest, ties to even) and stores `n`.
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, n: usize) {
        let mut lanes = [Self::Elem::ZERO; MAX_LANES];
        unsafe { self.store(lanes.as_mut_ptr()) };
        for (i, lane) in lanes.iter().enumerate().take(n.min(Self::LANES)) {
            unsafe { p.add(i).write(crate::dtype::f32_to_bf16(lane.to_f64() as f32)) };
        }
    }

    /// Every lane rounded to the nearest bfloat16, ties to even.
    #[inline(always)]
    fn round_bf16(self) -> Self {
        let mut bits = [0u16; MAX_LANES];
        unsafe {
            self.store_bf16(bits.as_mut_ptr(), Self::LANES);
            Self::load_bf16(bits.as_ptr(), Self::LANES)
        }
    }

    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    fn div(self, o: Self) -> Self;
    /// `self·a + b`, in one rounding where the machine has it.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// `b - self·a`.
    fn neg_mul_add(self, a: Self, b: Self) -> Self;
    /// The larger; `o` where either is NaN.
    fn max(self, o: Self) -> Self;
    /// The smaller; `o` where either is NaN.
    fn min(self, o: Self) -> Self;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    /// To the nearest integer, ties to even.
    fn round(self) -> Self;
    /// `self·2^n` for integral `n` between -1100 and 1024 (f32: -160 and 128); zero may stand for a subnormal result.
    fn scale2(self, n: Self) -> Self;
    /// `a < b ? x : y`, lane by lane.
    fn select_lt(a: Self, b: Self, x: Self, y: Self) -> Self;
    /// Sum of the lanes: halves are added until one is left.
    fn sum(self) -> Self::Elem;
    fn max_lane(self) -> Self::Elem;

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(Self::Elem::ZERO)
    }

    /// Transposes a block of `LANES × LANES` elements; row `i` is at `src + i·src_ld` and becomes column `i` of `dst`.
    /// The strides are in bytes for `src`, in elements for `dst`.
    #[inline(always)]
    unsafe fn transpose(src: *const Self::Elem, src_bytes: usize, dst: *mut Self::Elem, dst_ld: usize) {
        for i in 0..Self::LANES {
            let row = unsafe { src.byte_add(i * src_bytes) };
            for j in 0..Self::LANES {
                unsafe { dst.add(j * dst_ld + i).write(row.add(j).read_unaligned()) };
            }
        }
    }
}

#[cfg(test)]
mod tests;
