//! Elementwise functions of one tensor. x and y may be the same memory.

use super::{
    element::{Input, Output, Real, with_real},
    parallel::{TASK, TILE, for_blocks, tiles},
};
use crate::{backend::Unary, error::Result, tensor::Tensor};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

pub fn unary(op: Unary, x: &Tensor, y: &Tensor) -> Result<()> {
    let (x, y) = (Input::new(x)?, Output::new(y)?);
    with_real!(x.dtype, A => run::<A>(op, x, y));
    Ok(())
}

fn run<A: Real>(op: Unary, x: Input, y: Output) {
    for_blocks(
        x.len,
        TASK,
        #[inline(always)]
        |block| {
            let mut tile = [A::ZERO; TILE];
            for range in tiles(block) {
                let part = &mut tile[..range.len()];
                x.load(range.start, part);
                apply(op, part);
                y.store(range.start, part);
            }
        },
    );
}

#[inline(always)]
fn map<A: Real>(part: &mut [A], f: impl Fn(A) -> A) {
    for x in part {
        *x = f(*x);
    }
}

/// The function, over a tile in place.
#[inline(always)]
pub fn apply<A: Real>(op: Unary, part: &mut [A]) {
    match op {
        Unary::Neg => map(
            part,
            #[inline(always)]
            |x| -x,
        ),
        Unary::Abs => map(
            part,
            #[inline(always)]
            |x| x.abs(),
        ),
        Unary::Exp => map(
            part,
            #[inline(always)]
            |x| x.exp(),
        ),
        Unary::Log => map(
            part,
            #[inline(always)]
            |x| x.ln(),
        ),
        Unary::Sqrt => map(
            part,
            #[inline(always)]
            |x| x.sqrt(),
        ),
        Unary::Rsqrt => map(
            part,
            #[inline(always)]
            |x| A::ONE / x.sqrt(),
        ),
        Unary::Square => map(
            part,
            #[inline(always)]
            |x| x * x,
        ),
        Unary::Reciprocal => map(
            part,
            #[inline(always)]
            |x| A::ONE / x,
        ),
        Unary::Sin => map(
            part,
            #[inline(always)]
            |x| x.sin_cos().0,
        ),
        Unary::Cos => map(
            part,
            #[inline(always)]
            |x| x.sin_cos().1,
        ),
        Unary::Tanh => map(
            part,
            #[inline(always)]
            |x| x.tanh(),
        ),
        Unary::Sigmoid => map(
            part,
            #[inline(always)]
            |x| sigmoid(x),
        ),
        Unary::Relu => map(
            part,
            #[inline(always)]
            |x| if x < A::ZERO { A::ZERO } else { x },
        ),
        Unary::Gelu => map(
            part,
            #[inline(always)]
            |x| gelu(x),
        ),
        Unary::GeluGrad => map(
            part,
            #[inline(always)]
            |x| gelu_grad(x),
        ),
        Unary::Erf => map(
            part,
            #[inline(always)]
            |x| x.erf(),
        ),
        Unary::Sign => map(
            part,
            #[inline(always)]
            |x| {
                let negative = if x < A::ZERO { -A::ONE } else { x };
                if x > A::ZERO { A::ONE } else { negative }
            },
        ),
        Unary::Step => map(
            part,
            #[inline(always)]
            |x| if x > A::ZERO { A::ONE } else { A::ZERO },
        ),
        Unary::IsFinite => map(
            part,
            #[inline(always)]
            |x| if x.is_finite() { A::ONE } else { A::ZERO },
        ),
        Unary::Affine { scale, shift } => {
            let (scale, shift) = (A::of(scale), A::of(shift));
            map(
                part,
                #[inline(always)]
                |x| x * scale + shift,
            )
        }
        Unary::Pow { exponent } => match exponent {
            2.0 => map(
                part,
                #[inline(always)]
                |x| x * x,
            ),
            0.5 => map(
                part,
                #[inline(always)]
                |x| x.sqrt(),
            ),
            _ => {
                let exponent = A::of(exponent);
                map(
                    part,
                    #[inline(always)]
                    |x| x.powf(exponent),
                )
            }
        },
        Unary::Clamp { min, max } => {
            let (min, max) = (A::of(min), A::of(max));
            map(
                part,
                #[inline(always)]
                |x| {
                    let x = if x < min { min } else { x };
                    if x > max { max } else { x }
                },
            )
        }
    }
}

/// `1 / (1 + e^−x)`; `e^−|x|` cannot overflow.
#[inline(always)]
pub fn sigmoid<A: Real>(x: A) -> A {
    let e = (-x.abs()).exp();
    let upper = A::ONE / (A::ONE + e);
    if x < A::ZERO { e * upper } else { upper }
}

/// `x·Φ(x)`.
#[inline(always)]
pub fn gelu<A: Real>(x: A) -> A {
    x * cumulative(x)
}

/// `Φ(x) + x·φ(x)`.
#[inline(always)]
pub fn gelu_grad<A: Real>(x: A) -> A {
    let density = (x * x * A::of(-0.5)).exp() * A::of(1.0 / (2.0 * PI).sqrt());
    // At ±∞ the density is 0 and the product would be NaN.
    let tail = if density > A::ZERO { x * density } else { density };
    cumulative(x) + tail
}

/// Φ, the distribution function of the standard normal.
#[inline(always)]
fn cumulative<A: Real>(x: A) -> A {
    A::of(0.5) * (A::ONE + (x * A::of(FRAC_1_SQRT_2)).erf())
}
