//! Elementwise functions of one tensor. x and y may be the same memory.

use super::{
    element::{Input, Output, Real, with_real},
    parallel::{TASK, TILE, for_blocks, tiles},
    vmath,
};
use crate::{backend::Unary, error::Result, tensor::Tensor};

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

/// `x = f(x)` for every element.
macro_rules! each {
    ($part:ident, $x:ident => $f:expr) => {
        for place in $part.iter_mut() {
            let $x = *place;
            *place = $f;
        }
    };
}

/// The function, over a tile in place.
#[inline(always)]
fn apply<A: Real>(op: Unary, part: &mut [A]) {
    let (zero, one) = (A::ZERO, A::ONE);
    match op {
        Unary::Neg => each!(part, x => -x),
        Unary::Abs => each!(part, x => x.abs()),
        Unary::Exp => A::map(vmath::Exp, part),
        Unary::Log => each!(part, x => x.ln()),
        Unary::Sqrt => each!(part, x => x.sqrt()),
        Unary::Rsqrt => each!(part, x => one / x.sqrt()),
        Unary::Square => each!(part, x => x * x),
        Unary::Reciprocal => each!(part, x => one / x),
        Unary::Sin => each!(part, x => x.sin()),
        Unary::Cos => each!(part, x => x.cos()),
        Unary::Tanh => each!(part, x => x.tanh()),
        Unary::Sigmoid => sigmoid(part),
        Unary::Relu => each!(part, x => if x < zero { zero } else { x }),
        Unary::Gelu => A::map(vmath::Gelu, part),
        Unary::GeluGrad => A::map(vmath::GeluGrad, part),
        Unary::Erf => A::map(vmath::Erf, part),
        Unary::Sign => each!(part, x => x.sign()),
        Unary::Step => each!(part, x => if x > zero { one } else { zero }),
        Unary::IsFinite => each!(part, x => if x.is_finite() { one } else { zero }),
        Unary::Affine { scale, shift } => {
            let (scale, shift) = (A::of(scale), A::of(shift));
            each!(part, x => x * scale + shift);
        }
        Unary::Pow { exponent: 2.0 } => each!(part, x => x * x),
        Unary::Pow { exponent } => {
            let exponent = A::of(exponent);
            each!(part, x => x.powf(exponent));
        }
        Unary::Clamp { min, max } => {
            let (min, max) = (A::of(min), A::of(max));
            each!(part, x => { let x = if x < min { min } else { x }; if x > max { max } else { x } });
        }
    }
}

/// `1 / (1 + e^−x)` over a tile in place; `e^−|x|` cannot overflow.
#[inline(always)]
pub fn sigmoid<A: Real>(part: &mut [A]) {
    let mut tile = [A::ZERO; TILE];
    let decay = &mut tile[..part.len()];
    decays(part, decay);
    for (x, &e) in part.iter_mut().zip(&*decay) {
        let upper = A::ONE / (A::ONE + e);
        let lower = e * upper;
        *x = if *x < A::ZERO { lower } else { upper };
    }
}

/// `e^−|x|`.
#[inline(always)]
pub fn decays<A: Real>(x: &[A], out: &mut [A]) {
    for (e, &x) in out.iter_mut().zip(x) {
        *e = -x.abs();
    }
    A::map(vmath::Exp, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        backend::cpu::testing::{FLOATS, SIZES, assert_close, assert_same_on_threads, random, run, tensor, to_vec},
    };

    fn reference(op: Unary, x: f64) -> f64 {
        let phi = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
        match op {
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Sqrt => x.sqrt(),
            Unary::Rsqrt => 1.0 / x.sqrt(),
            Unary::Square => x * x,
            Unary::Reciprocal => 1.0 / x,
            Unary::Sin => x.sin(),
            Unary::Cos => x.cos(),
            Unary::Tanh => x.tanh(),
            Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Unary::Relu => x.max(0.0),
            Unary::Gelu => x * phi(x),
            Unary::GeluGrad => phi(x) + x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt(),
            Unary::Erf => libm::erf(x),
            Unary::Sign => {
                if x == 0.0 {
                    0.0
                } else {
                    x.signum()
                }
            }
            Unary::Step => f64::from(x > 0.0),
            Unary::IsFinite => f64::from(x.is_finite()),
            Unary::Affine { scale, shift } => x * scale + shift,
            Unary::Pow { exponent } => x.powf(exponent),
            Unary::Clamp { min, max } => x.clamp(min, max),
        }
    }

    const ALL: [Unary; 24] = [
        Unary::Neg,
        Unary::Abs,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Rsqrt,
        Unary::Square,
        Unary::Reciprocal,
        Unary::Sin,
        Unary::Cos,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::Relu,
        Unary::Gelu,
        Unary::GeluGrad,
        Unary::Erf,
        Unary::Sign,
        Unary::Step,
        Unary::IsFinite,
        Unary::Affine { scale: 2.5, shift: -0.5 },
        Unary::Pow { exponent: 2.0 },
        Unary::Pow { exponent: 1.7 },
        Unary::Pow { exponent: -3.0 },
        Unary::Clamp { min: -0.5, max: 0.75 },
    ];

    #[test]
    fn formulae() {
        for op in ALL {
            let positive =
                matches!(op, Unary::Log | Unary::Sqrt | Unary::Rsqrt | Unary::Pow { .. } | Unary::Reciprocal);
            for dtype in FLOATS {
                let x = random(&[777], 3, dtype);
                // Away from the poles.
                let x = match positive {
                    true => tensor(&[777], &to_vec(&x).iter().map(|x| x.abs() + 0.25).collect::<Vec<_>>(), dtype),
                    false => x,
                };
                let expected: Vec<f64> = to_vec(&x).iter().map(|&x| reference(op, x)).collect();
                assert_close(&run(&[777], dtype, |b, y| b.unary(op, &x, y)), &expected, 1.0);
            }
        }
    }

    #[test]
    fn sizes_and_threads() {
        for n in SIZES {
            let x = random(&[n], 5, DType::F32);
            let expected: Vec<f64> = to_vec(&x).iter().map(|x| 3.0 * x + 1.0).collect();
            let op = Unary::Affine { scale: 3.0, shift: 1.0 };
            assert_close(&run(&[n], DType::F32, |b, y| b.unary(op, &x, y)), &expected, 1.0);
            assert_same_on_threads(|| vec![run(&[n], DType::F32, |b, y| b.unary(Unary::Gelu, &x, y))]);
        }
    }

    #[test]
    fn in_place() {
        for dtype in FLOATS {
            let x = random(&[5000], 6, dtype);
            let expected: Vec<f64> = to_vec(&x).iter().map(|x| x * x).collect();
            run(&[1], dtype, |b, _| b.unary(Unary::Square, &x, &x));
            assert_close(&x, &expected, 1.0);
        }
    }

    #[test]
    fn extremes() {
        let x = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 100.0, -100.0, 1e30];
        for dtype in [DType::F32, DType::F64] {
            let of = |op| to_vec(&run(&[8], dtype, |b, y| b.unary(op, &tensor(&[8], &x, dtype), y)));
            assert_eq!(of(Unary::IsFinite), [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
            assert_eq!(of(Unary::Sigmoid)[..4], [0.5, 0.5, 1.0, 0.0]);
            assert_eq!(of(Unary::Step)[..4], [0.0, 0.0, 1.0, 0.0]);
            for op in [
                Unary::Sigmoid,
                Unary::Relu,
                Unary::Gelu,
                Unary::Exp,
                Unary::Sign,
                Unary::Sin,
                Unary::Clamp { min: 0.0, max: 1.0 },
            ] {
                let y = of(op);
                assert!(y[4].is_nan(), "{op:?} of NaN is {}", y[4]);
                // A sine in f32 is only bounded there: neighbouring arguments are many periods apart.
                let bounded = op == Unary::Sin && dtype == DType::F32 && y[7].abs() <= 1.0;
                let large = if dtype == DType::F32 { f64::from(x[7] as f32) } else { x[7] };
                assert!(
                    (y[7] - reference(op, large)).abs() < 1e-6 || y[7] > 1e29 || bounded,
                    "{op:?} of 1e30 is {}",
                    y[7]
                );
            }
        }
    }
}
