//! Elementwise functions of two tensors, broadcast against each other. y may be the memory of an operand of its own shape.

use super::{
    element::{Input, Output, Real, bytes_mut, elements, with_real},
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
    let out = bytes_mut(&d.y)?.as_mut_ptr().cast::<i32>();
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
