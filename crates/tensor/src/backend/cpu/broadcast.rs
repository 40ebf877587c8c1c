//! Elementwise functions of two tensors, broadcast against each other. y may be the memory of an operand of its own shape.

use super::{
    element::{Input, Output, Real, elements, output_bytes, with_real},
    parallel::{TASK, TILE, for_blocks},
};
use crate::{
    backend::{Binary, Broadcast},
    dtype::DType,
    error::{Code, Error, Result},
};

/// Shape and strides with neighbouring axes merged wherever both operands allow.
#[derive(Debug, PartialEq)]
struct Plan {
    /// (size, stride of a, stride of b), outermost first; at least one.
    axes: Vec<(usize, usize, usize)>,
}

impl Plan {
    fn new(d: &Broadcast) -> Plan {
        let mut axes: Vec<(usize, usize, usize)> = vec![];
        for (i, &size) in d.y.shape.iter().enumerate() {
            let axis = (size, d.a_strides[i], d.b_strides[i]);
            if size == 1 {
                continue;
            }
            match axes.last_mut() {
                Some(last) if last.1 == axis.1 * size && last.2 == axis.2 * size => {
                    *last = (last.0 * size, axis.1, axis.2)
                }
                _ => axes.push(axis),
            }
        }
        if axes.is_empty() {
            axes.push((1, 0, 0));
        }
        Plan { axes }
    }

    /// Walks elements `start .. end` of y in runs along the last axis: `f(y start, a start, b start, length)`.
    #[inline(always)]
    fn runs(&self, start: usize, end: usize, limit: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
        let (&(inner, ..), outer) = self.axes.split_last().expect("at least one axis");
        let last = self.axes[outer.len()];
        let mut at = start;
        while at < end {
            let column = at % inner;
            let (mut rest, mut a, mut b) = (at / inner, column * last.1, column * last.2);
            for &(size, sa, sb) in outer.iter().rev() {
                a += rest % size * sa;
                b += rest % size * sb;
                rest /= size;
            }
            let mut left = (inner - column).min(end - at);
            while left > 0 {
                let n = left.min(limit);
                f(at, a, b, n);
                at += n;
                a += n * last.1;
                b += n * last.2;
                left -= n;
            }
        }
    }

    fn last(&self) -> (usize, usize) {
        let (_, a, b) = self.axes[self.axes.len() - 1];
        (a, b)
    }
}

pub fn broadcast(d: &Broadcast) -> Result<()> {
    let plan = Plan::new(d);
    if d.y.dtype == DType::I32 {
        return integers(d, &plan);
    }
    let (a, b, y) = (Input::new(&d.a)?, Input::new(&d.b)?, Output::add_to(&d.y, d.accumulate)?);
    with_real!(d.y.dtype, A => floats::<A>(d.op, &plan, a, b, y));
    Ok(())
}

fn floats<A: Real>(op: Binary, plan: &Plan, a: Input, b: Input, y: Output) {
    let (stride_a, stride_b) = plan.last();
    for_blocks(
        y.len,
        TASK,
        #[inline(always)]
        |block| {
            let (mut left, mut right) = ([A::ZERO; TILE], [A::ZERO; TILE]);
            plan.runs(
                block.start,
                block.end,
                TILE,
                #[inline(always)]
                |at, from_a, from_b, n| {
                    let (left, right) = (&mut left[..n], &mut right[..n]);
                    a.gather(from_a, stride_a, left);
                    b.gather(from_b, stride_b, right);
                    apply(op, left, right);
                    y.store(at, left);
                },
            );
        },
    );
}

/// `a = f(a, b)` for every pair.
macro_rules! each {
    ($left:ident, $right:ident, $a:ident, $b:ident => $f:expr) => {
        for (place, &$b) in $left.iter_mut().zip($right) {
            let $a = *place;
            *place = $f;
        }
    };
}

/// `left = op(left, right)`.
#[inline(always)]
fn apply<A: Real>(op: Binary, left: &mut [A], right: &[A]) {
    let (zero, one) = (A::ZERO, A::ONE);
    match op {
        Binary::Add => each!(left, right, a, b => a + b),
        Binary::Sub => each!(left, right, a, b => a - b),
        Binary::Mul => each!(left, right, a, b => a * b),
        Binary::Div => each!(left, right, a, b => a / b),
        Binary::Max => each!(left, right, a, b => a.greater(b)),
        Binary::Min => each!(left, right, a, b => a.smaller(b)),
        Binary::Pow => each!(left, right, a, b => a.powf(b)),
        Binary::Equal => each!(left, right, a, b => if a == b { one } else { zero }),
        Binary::Less => each!(left, right, a, b => if a < b { one } else { zero }),
    }
}

/// I32: sums and products wrap around, quotients are cut towards zero.
fn integers(d: &Broadcast, plan: &Plan) -> Result<()> {
    let (a, b) = (elements::<i32>(&d.a)?, elements::<i32>(&d.b)?);
    if d.op == Binary::Div && b.contains(&0) {
        return Err(Error::new(Code::Argument, "division of an int32 tensor by zero"));
    }
    if d.op == Binary::Pow {
        return Err(Error::new(Code::DType, "int32 tensors have no powers").hint("cast to a float type first"));
    }
    let y = Output::add_to(&d.y, d.accumulate)?;
    // `y` may be the memory of `a` or `b`: no slice of it is made while theirs are read.
    let out = output_bytes(&d.y)?.cast::<i32>();
    let (stride_a, stride_b) = plan.last();
    plan.runs(0, y.len, usize::MAX, |at, from_a, from_b, n| {
        for i in 0..n {
            let (a, b) = (a[from_a + i * stride_a], b[from_b + i * stride_b]);
            let value = match d.op {
                Binary::Add => a.wrapping_add(b),
                Binary::Sub => a.wrapping_sub(b),
                Binary::Mul => a.wrapping_mul(b),
                Binary::Div => a.wrapping_div(b),
                Binary::Max => a.max(b),
                Binary::Min => a.min(b),
                Binary::Equal => i32::from(a == b),
                Binary::Less => i32::from(a < b),
                Binary::Pow => unreachable!("refused above"),
            };
            // In bounds: `runs` stays within y.
            unsafe {
                let out = out.add(at + i);
                out.write(if d.accumulate { out.read().wrapping_add(value) } else { value });
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::cpu::testing::{FLOATS, assert_close, assert_same_on_threads, int, random, run, tensor, to_vec},
        tensor::Tensor,
    };

    const ALL: [Binary; 9] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Max,
        Binary::Min,
        Binary::Pow,
        Binary::Equal,
        Binary::Less,
    ];

    fn reference(op: Binary, a: f64, b: f64) -> f64 {
        match op {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
            Binary::Pow => a.powf(b),
            Binary::Equal => f64::from(a == b),
            Binary::Less => f64::from(a < b),
        }
    }

    /// Strides of `from` stretched to `to`, both of the same rank.
    fn strides(from: &[usize], to: &[usize]) -> Vec<usize> {
        let mut stride = 1;
        let mut strides = vec![0; to.len()];
        for i in (0..to.len()).rev() {
            strides[i] = if from[i] == to[i] { stride } else { 0 };
            stride *= from[i];
        }
        strides
    }

    fn descriptor(op: Binary, a: &Tensor, b: &Tensor, y: &Tensor) -> Broadcast {
        Broadcast {
            op,
            a_strides: strides(&a.shape, &y.shape),
            b_strides: strides(&b.shape, &y.shape),
            a: a.clone(),
            b: b.clone(),
            y: y.clone(),
            accumulate: false,
        }
    }

    fn naive(op: Binary, a: &Tensor, b: &Tensor, shape: &[usize]) -> Vec<f64> {
        let (sa, sb) = (strides(&a.shape, shape), strides(&b.shape, shape));
        let (va, vb) = (to_vec(a), to_vec(b));
        (0..shape.iter().product())
            .map(|mut i: usize| {
                let (mut at, mut bt) = (0, 0);
                for d in (0..shape.len()).rev() {
                    at += i % shape[d] * sa[d];
                    bt += i % shape[d] * sb[d];
                    i /= shape[d];
                }
                reference(op, va[at], vb[bt])
            })
            .collect()
    }

    #[test]
    fn shapes_against_the_formula() {
        let shapes: [[&[usize]; 3]; 9] = [
            [&[5, 7], &[5, 7], &[5, 7]],
            [&[70, 1031], &[1, 1031], &[70, 1031]],
            [&[70, 1], &[70, 600], &[70, 600]],
            [&[4, 1, 3], &[1, 5, 1], &[4, 5, 3]],
            [&[2, 3, 4, 5], &[2, 1, 4, 1], &[2, 3, 4, 5]],
            [&[1, 1], &[9, 11], &[9, 11]],
            [&[0, 4], &[1, 4], &[0, 4]],
            [&[], &[], &[]],
            [&[3, 1, 1, 700], &[1, 2, 5, 700], &[3, 2, 5, 700]],
        ];
        for dtype in FLOATS {
            for [sa, sb, shape] in shapes {
                let (a, b) = (random(sa, 1, dtype), random(sb, 2, dtype));
                let y = run(shape, dtype, |k, y| k.broadcast(&descriptor(Binary::Sub, &a, &b, y)));
                assert_close(&y, &naive(Binary::Sub, &a, &b, shape), 1.0);
            }
        }
    }

    #[test]
    fn every_function() {
        for dtype in FLOATS {
            let a = tensor(&[6], &[0.5, 1.0, 2.0, 3.0, 0.25, 1.5], dtype);
            let b = tensor(&[6], &[2.0, 1.0, -1.0, 0.5, 3.0, 1.5], dtype);
            for op in ALL {
                let y = run(&[6], dtype, |k, y| k.broadcast(&descriptor(op, &a, &b, y)));
                assert_close(&y, &naive(op, &a, &b, &[6]), 1.0);
            }
        }
        let (a, b) = (int(&[7, -7, i32::MAX, 2]), int(&[2, 2, 1, 2]));
        let of = |op| to_vec(&run(&[4], DType::I32, |k, y| k.broadcast(&descriptor(op, &a, &b, y))));
        assert_eq!(of(Binary::Div), [3.0, -3.0, f64::from(i32::MAX), 1.0]);
        assert_eq!(of(Binary::Add), [9.0, -5.0, f64::from(i32::MIN), 4.0]);
        assert_eq!(of(Binary::Less), [0.0, 1.0, 0.0, 0.0]);
        let d = descriptor(Binary::Div, &a, &int(&[1, 0, 1, 1]), &int(&[0; 4]));
        crate::backend::cpu::testing::sync();
        assert_eq!(broadcast(&d).unwrap_err().code, Code::Argument);
    }

    #[test]
    fn nan_wins_in_extrema() {
        let (a, b) = (tensor(&[2], &[f64::NAN, 1.0], DType::F32), tensor(&[2], &[1.0, f64::NAN], DType::F32));
        for op in [Binary::Max, Binary::Min] {
            let y = run(&[2], DType::F32, |k, y| k.broadcast(&descriptor(op, &a, &b, y)));
            assert!(to_vec(&y).iter().all(|v| v.is_nan()));
        }
    }

    #[test]
    fn in_place_adding_and_threads() {
        for dtype in FLOATS {
            let (a, b) = (random(&[70_001], 1, dtype), random(&[70_001], 2, dtype));
            let expected = naive(Binary::Mul, &a, &b, &[70_001]);
            assert_same_on_threads(|| {
                vec![run(&[70_001], dtype, |k, y| k.broadcast(&descriptor(Binary::Mul, &a, &b, y)))]
            });
            let more: Vec<f64> = to_vec(&a).iter().zip(&expected).map(|(a, e)| a + e).collect();
            let sum = run(&[70_001], dtype, |k, y| {
                k.cast(&a, y)?;
                k.broadcast(&Broadcast { accumulate: true, ..descriptor(Binary::Mul, &a, &b, y) })
            });
            assert_close(&sum, &more, 2.0);
            run(&[1], dtype, |k, _| k.broadcast(&descriptor(Binary::Mul, &a, &b, &b)));
            assert_close(&b, &expected, 1.0);
        }
    }

    #[test]
    fn neighbouring_axes_are_merged() {
        let (a, b) = (random(&[2, 3, 4], 1, DType::F32), random(&[2, 3, 4], 1, DType::F32));
        assert_eq!(Plan::new(&descriptor(Binary::Add, &a, &b, &a)).axes, [(24, 1, 1)]);
        let b = random(&[1, 1, 4], 1, DType::F32);
        assert_eq!(Plan::new(&descriptor(Binary::Add, &a, &b, &a)).axes, [(6, 4, 0), (4, 1, 1)]);
    }
}
