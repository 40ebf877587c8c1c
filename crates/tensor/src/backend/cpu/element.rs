//! Elements in memory and numbers in registers.
//!
//! A kernel is written once for each type it computes in ([`Real`]: f32 or f64). [`Input`] and [`Output`] stand between it and the
//! tensors: they widen and round on the way, a run of elements at a time, so the storage types never multiply the kernels.

use super::{isa::Isa, memory::Memory, vmath};
use crate::{
    dtype::{DType, bf16_to_f32, f32_to_bf16},
    error::{Code, Error, Result},
    tensor::Tensor,
};
use std::{
    marker::PhantomData,
    ops::{Add, AddAssign, Div, Mul, Neg, Sub},
};

/// The 16 bits of a bfloat16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

/// A float as it is stored.
pub trait Float: Copy + Default + Send + Sync + 'static {
    const DTYPE: DType;
    fn widen<A: Real>(self) -> A;
    fn narrow<A: Real>(a: A) -> Self;
}

/// A float as it is computed with.
pub trait Real:
    Float
    + PartialOrd
    + std::fmt::Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    const ZERO: Self;
    const ONE: Self;
    const INFINITY: Self;
    fn of(x: f64) -> Self;
    fn of_f32(x: f32) -> Self;
    fn to_f64(self) -> f64;
    fn to_f32(self) -> f32;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn ln(self) -> Self;
    fn ln_1p(self) -> Self;
    /// Fast, for loops.
    fn sin_cos(self) -> (Self, Self);
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tanh(self) -> Self;
    fn powf(self, exponent: Self) -> Self;
    fn is_finite(self) -> bool;
    fn is_nan(self) -> bool;
    /// Applies a function to every element, on vectors.
    fn map(f: impl vmath::Unary, x: &mut [Self]);
    /// −1, 0 or 1; NaN stays NaN.
    #[inline(always)]
    fn sign(self) -> Self {
        let below = if self < Self::ZERO { -Self::ONE } else { self };
        if self > Self::ZERO { Self::ONE } else { below }
    }
    /// The larger, or NaN when either is.
    #[inline(always)]
    fn greater(self, other: Self) -> Self {
        if self > other || self.is_nan() { self } else { other }
    }
    /// The smaller, or NaN when either is.
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        if self < other || self.is_nan() { self } else { other }
    }
}

macro_rules! real {
    ($t:ident, $sin_cos:path) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const INFINITY: Self = $t::INFINITY;
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn of_f32(x: f32) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $t::ln(self)
            }
            #[inline(always)]
            fn ln_1p(self) -> Self {
                $t::ln_1p(self)
            }
            #[inline(always)]
            fn sin_cos(self) -> (Self, Self) {
                $sin_cos(self)
            }
            #[inline(always)]
            fn sin(self) -> Self {
                $t::sin(self)
            }
            #[inline(always)]
            fn cos(self) -> Self {
                $t::cos(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $t::tanh(self)
            }
            #[inline(always)]
            fn map(f: impl vmath::Unary, x: &mut [Self]) {
                // In place, as it may be.
                unsafe { vmath::map(Isa::current(), f, x.as_ptr(), x.as_mut_ptr(), x.len()) }
            }
            #[inline(always)]
            fn powf(self, exponent: Self) -> Self {
                $t::powf(self, exponent)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
        }
    };
}
real!(f32, super::sin_cos::sin_cos);
real!(f64, f64::sin_cos);

impl Float for f32 {
    const DTYPE: DType = DType::F32;
    #[inline(always)]
    fn widen<A: Real>(self) -> A {
        A::of_f32(self)
    }
    #[inline(always)]
    fn narrow<A: Real>(a: A) -> Self {
        a.to_f32()
    }
}

impl Float for f64 {
    const DTYPE: DType = DType::F64;
    #[inline(always)]
    fn widen<A: Real>(self) -> A {
        A::of(self)
    }
    #[inline(always)]
    fn narrow<A: Real>(a: A) -> Self {
        a.to_f64()
    }
}

impl Float for Bf16 {
    const DTYPE: DType = DType::BF16;
    #[inline(always)]
    fn widen<A: Real>(self) -> A {
        A::of_f32(bf16_to_f32(self.0))
    }
    #[inline(always)]
    fn narrow<A: Real>(a: A) -> Self {
        Bf16(f32_to_bf16(a.to_f32()))
    }
}

/// Runs the body with `$T` standing for the type of a float tensor's elements.
macro_rules! with_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::dtype::DType::BF16 => {
                type $T = $crate::backend::cpu::element::Bf16;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $body
            }
            other => unreachable!("a float tensor is needed here, not {other}"),
        }
    };
}

/// Runs the body with `$A` standing for the type to compute in for tensors of `$dtype`.
macro_rules! with_real {
    ($dtype:expr, $A:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F64 => {
                type $A = f64;
                $body
            }
            _ => {
                type $A = f32;
                $body
            }
        }
    };
}
pub(super) use with_real;

/// Where the tensor's bytes lie; memory for it is taken now if nothing has been written to it yet.
fn address(t: &Tensor, write: bool) -> Result<*mut u8> {
    if t.is_empty() {
        return Ok(std::ptr::without_provenance_mut(64));
    }
    let allocation = match (write, t.buffer.allocation()) {
        (_, Some(allocation)) => allocation,
        (true, None) => t.buffer.allocate()?,
        (false, None) => {
            let message =
                format!("a tensor of shape {:?}, {}, is read before anything has been written to it", t.shape, t.dtype);
            return Err(Error::new(Code::Handle, message));
        }
    };
    let memory = allocation.as_any().downcast_ref::<Memory>().ok_or_else(|| {
        Error::new(Code::Device, format!("a tensor of {} was handed to a kernel of the CPU", t.device().name()))
    })?;
    assert!(t.offset + t.bytes() <= memory.len(), "{t:?} at byte {} reaches past its buffer", t.offset);
    // In bounds by the assertion.
    Ok(unsafe { memory.ptr().add(t.offset) })
}

/// The elements of a tensor whose type is known.
pub fn elements<T>(t: &Tensor) -> Result<&[T]> {
    assert_eq!(size_of::<T>(), t.dtype.size());
    let ptr = address(t, false)?;
    // The queue runs one kernel at a time, and none writes its inputs (elementwise kernels on themselves go by `Input`).
    Ok(unsafe { std::slice::from_raw_parts(ptr.cast(), t.len()) })
}

/// Its bytes.
pub fn bytes(t: &Tensor) -> Result<&[u8]> {
    Ok(unsafe { std::slice::from_raw_parts(address(t, false)?, t.bytes()) })
}

/// Where the `t.bytes()` bytes of an output are.
pub fn output_bytes(t: &Tensor) -> Result<*mut u8> {
    address(t, true)
}

/// A float tensor to read.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    ptr: *const u8,
    pub len: usize,
    pub dtype: DType,
    tensor: PhantomData<&'a Tensor>,
}

// Kernels only read through it.
unsafe impl Send for Input<'_> {}
unsafe impl Sync for Input<'_> {}

impl<'a> Input<'a> {
    pub fn new(t: &'a Tensor) -> Result<Input<'a>> {
        Ok(Input { ptr: address(t, false)?, len: t.len(), dtype: t.dtype, tensor: PhantomData })
    }

    pub fn ptr(&self) -> *const u8 {
        self.ptr
    }

    /// None for an absent tensor.
    pub fn optional(t: &'a Option<Tensor>) -> Result<Option<Input<'a>>> {
        t.as_ref().map(Input::new).transpose()
    }

    /// `out[i] = self[start + i]`.
    #[inline(always)]
    pub fn load<A: Real>(&self, start: usize, out: &mut [A]) {
        assert!(start + out.len() <= self.len);
        with_float!(self.dtype, T => {
            let ptr = unsafe { self.ptr.cast::<T>().add(start) };
            for (i, o) in out.iter_mut().enumerate() {
                *o = unsafe { ptr.add(i).read() }.widen();
            }
        })
    }

    /// `out[i] = self[start + i·stride]`.
    #[inline(always)]
    pub fn gather<A: Real>(&self, start: usize, stride: usize, out: &mut [A]) {
        if stride == 1 || out.is_empty() {
            return self.load(start, out);
        }
        assert!(start + (out.len() - 1) * stride < self.len);
        with_float!(self.dtype, T => {
            let ptr = unsafe { self.ptr.cast::<T>().add(start) };
            if stride == 0 {
                out.fill(unsafe { ptr.read() }.widen());
            } else {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = unsafe { ptr.add(i * stride).read() }.widen();
                }
            }
        })
    }

    /// Elements `start .. start + len`: the tensor's own where they are of the type asked for, else widened into `scratch`.
    #[inline(always)]
    pub fn run<'s, A: Real>(&self, start: usize, len: usize, scratch: &'s mut [A]) -> &'s [A]
    where
        'a: 's,
    {
        if self.dtype == A::DTYPE {
            assert!(start + len <= self.len);
            return unsafe { std::slice::from_raw_parts(self.ptr.cast::<A>().add(start), len) };
        }
        self.load(start, &mut scratch[..len]);
        &scratch[..len]
    }

    /// All of it, widened.
    pub fn to_vec<A: Real>(self) -> Vec<A> {
        let mut out = vec![A::ZERO; self.len];
        self.load(0, &mut out);
        out
    }
}

/// A float tensor to write, in disjoint parts, by several threads.
#[derive(Clone, Copy)]
pub struct Output<'a> {
    ptr: *mut u8,
    pub len: usize,
    pub dtype: DType,
    pub accumulate: bool,
    tensor: PhantomData<&'a Tensor>,
}

// Each task writes a part of its own.
unsafe impl Send for Output<'_> {}
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    pub fn new(t: &'a Tensor) -> Result<Output<'a>> {
        Output::add_to(t, false)
    }

    /// With `accumulate`, values are added to what is there, which must have been written.
    pub fn add_to(t: &'a Tensor, accumulate: bool) -> Result<Output<'a>> {
        Ok(Output { ptr: address(t, !accumulate)?, len: t.len(), dtype: t.dtype, accumulate, tensor: PhantomData })
    }

    pub fn ptr(&self) -> *mut u8 {
        self.ptr
    }

    pub fn optional(t: &'a Option<(Tensor, bool)>) -> Result<Option<Output<'a>>> {
        t.as_ref().map(|(t, accumulate)| Output::add_to(t, *accumulate)).transpose()
    }

    /// `self[start + i] (+)= values[i]`.
    #[inline(always)]
    pub fn store<A: Real>(&self, start: usize, values: &[A]) {
        assert!(start + values.len() <= self.len);
        with_float!(self.dtype, T => {
            // No other task writes this part.
            let out = unsafe { std::slice::from_raw_parts_mut(self.ptr.cast::<T>().add(start), values.len()) };
            if self.accumulate {
                for (o, &v) in out.iter_mut().zip(values) {
                    *o = T::narrow(o.widen::<A>() + v);
                }
            } else {
                for (o, &v) in out.iter_mut().zip(values) {
                    *o = T::narrow(v);
                }
            }
        })
    }

    /// The part itself, for tensors whose element type is known to be `T`.
    ///
    /// # Safety
    /// No other task may touch elements `start .. start + len` meanwhile.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part<T>(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start + len <= self.len && size_of::<T>() == self.dtype.size());
        unsafe { std::slice::from_raw_parts_mut(self.ptr.cast::<T>().add(start), len) }
    }
}

/// I32 indices.
pub fn indices(t: &Tensor) -> Result<&[i32]> {
    elements(t)
}

/// I32 indices, each within `0 .. limit`; `what` names one of them in the error.
pub fn indices_below<'a>(t: &'a Tensor, limit: usize, what: &str) -> Result<&'a [i32]> {
    let indices = indices(t)?;
    match indices.iter().position(|&i| i < 0 || i as usize >= limit) {
        None => Ok(indices),
        Some(at) => {
            let value = indices[at];
            let message = format!("{what} {at} is {value}, but there are {limit} to choose from");
            Err(Error::new(Code::Argument, message))
        }
    }
}

/// I32 offsets of packed sequences: from 0, never falling, up to the number of tokens.
pub fn offsets<'a>(t: &'a Tensor, tokens: usize, what: &str) -> Result<&'a [i32]> {
    let offsets = indices(t)?;
    let message = match (offsets.first(), offsets.last(), offsets.windows(2).position(|w| w[0] > w[1])) {
        (Some(&first), ..) if first != 0 => format!("{what} start at {first}, not at 0"),
        (.., Some(i)) => format!("{what} fall from {} to {} after sequence {i}", offsets[i], offsets[i + 1]),
        (_, Some(&last), _) if last as usize != tokens => {
            format!("{what} end at {last}, but there are {tokens} tokens")
        }
        _ => return Ok(offsets),
    };
    Err(Error::new(Code::Argument, message))
}
