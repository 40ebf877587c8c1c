//! Functions of one number, element by element. x of any shape and float type; y has both.
//!
//! Slopes are taken in f32 (f64 for float64). `sign`, `step` and `isFinite` are flat: their gradient is 0. `clamp` passes gradients
//! on where min ≤ x ≤ max, `relu` where x > 0, `abs` gives 0 at 0 (all as PyTorch does).

use super::{arithmetic as raw, check};
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{Binary, Unary},
    error::{Error, Result},
    tensor::Tensor,
};
use std::f64::consts::{FRAC_2_SQRT_PI, PI};

#[derive(Clone, Copy, Debug)]
struct Elementwise(Unary);

/// `y = op(x)`. See the module.
pub fn unary(x: &Var, op: Unary) -> Result<Var> {
    let name = Elementwise(op).name();
    match op {
        Unary::Affine { scale, shift } => {
            check::finite(name, "the factor", scale)?;
            check::finite(name, "the summand", shift)?;
        }
        Unary::Pow { exponent } => check::finite(name, "the exponent", exponent)?,
        Unary::Clamp { min, max } if min.is_nan() || max.is_nan() || min > max => {
            return Err(Error::argument(name, format!("the limits are {min} and {max}")));
        }
        _ => {}
    }
    apply1(Elementwise(op), &[x])
}

/// What backward needs to see again.
enum Needs {
    Nothing,
    Input,
    Output,
}

/// The slope at each element.
enum Slope {
    Constant(f64),
    Varying(Tensor),
}

impl Elementwise {
    fn needs(self) -> Needs {
        match self.0 {
            Unary::Neg | Unary::Affine { .. } | Unary::Sign | Unary::Step | Unary::IsFinite => Needs::Nothing,
            Unary::Exp | Unary::Sqrt | Unary::Rsqrt | Unary::Reciprocal | Unary::Tanh | Unary::Sigmoid => Needs::Output,
            _ => Needs::Input,
        }
    }

    /// `dy/dx`, from x or y as [`Elementwise::needs`] says.
    fn slope(self, saved: Option<&Tensor>) -> Result<Slope> {
        let s = saved.map(|t| raw::cast(t, check::statistics(t.dtype)));
        let s = || s.clone().expect("saved by forward");
        let pow = |exponent| raw::unary(Unary::Pow { exponent }, &s());
        let square = || raw::unary(Unary::Square, &s());
        // factor · exp(scale · x²).
        let bell =
            |scale, factor| raw::affine(&raw::unary(Unary::Exp, &raw::affine(&square(), scale, 0.0)), factor, 0.0);
        Ok(Slope::Varying(match self.0 {
            Unary::Neg => return Ok(Slope::Constant(-1.0)),
            Unary::Affine { scale, .. } => return Ok(Slope::Constant(scale)),
            Unary::Sign | Unary::Step | Unary::IsFinite => return Ok(Slope::Constant(0.0)),
            Unary::Pow { exponent: 0.0 } => return Ok(Slope::Constant(0.0)),
            Unary::Abs => raw::unary(Unary::Sign, &s()),
            Unary::Exp => s(),
            Unary::Log => raw::unary(Unary::Reciprocal, &s()),
            Unary::Sqrt => raw::affine(&raw::unary(Unary::Reciprocal, &s()), 0.5, 0.0),
            Unary::Rsqrt => raw::affine(&pow(3.0), -0.5, 0.0),
            Unary::Square => raw::affine(&s(), 2.0, 0.0),
            Unary::Reciprocal => raw::affine(&square(), -1.0, 0.0),
            Unary::Sin => raw::unary(Unary::Cos, &s()),
            Unary::Cos => raw::affine(&raw::unary(Unary::Sin, &s()), -1.0, 0.0),
            Unary::Tanh => raw::affine(&square(), -1.0, 1.0),
            Unary::Sigmoid => raw::multiply(&s(), &raw::affine(&s(), -1.0, 1.0))?,
            Unary::Relu => raw::unary(Unary::Step, &s()),
            Unary::Gelu => raw::unary(Unary::GeluGrad, &s()),
            // gelu'' = φ(x)·(2 − x²).
            Unary::GeluGrad => raw::multiply(&bell(-0.5, (2.0 * PI).powf(-0.5)), &raw::affine(&square(), -1.0, 2.0))?,
            Unary::Erf => bell(-1.0, FRAC_2_SQRT_PI),
            Unary::Pow { exponent } => raw::affine(&pow(exponent - 1.0), exponent, 0.0),
            Unary::Clamp { .. } => raw::binary(Binary::Equal, &s(), &raw::unary(self.0, &s()))?,
        }))
    }
}

impl Op for Elementwise {
    fn name(&self) -> &'static str {
        match self.0 {
            Unary::Neg => "neg",
            Unary::Abs => "abs",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Sqrt => "sqrt",
            Unary::Rsqrt => "rsqrt",
            Unary::Square => "square",
            Unary::Reciprocal => "reciprocal",
            Unary::Sin => "sin",
            Unary::Cos => "cos",
            Unary::Tanh => "tanh",
            Unary::Sigmoid => "sigmoid",
            Unary::Relu => "relu",
            Unary::Gelu => "gelu",
            Unary::GeluGrad => "geluGrad",
            Unary::Erf => "erf",
            Unary::Sign => "sign",
            Unary::Step => "step",
            Unary::IsFinite => "isFinite",
            Unary::Affine { .. } => "affine",
            Unary::Pow { .. } => "powScalar",
            Unary::Clamp { .. } => "clamp",
        }
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        check::float(self.name(), "the input", x)?;
        let (op, x, y) = (self.0, x.clone(), x.empty_like());
        match self.needs() {
            Needs::Nothing => {}
            Needs::Input => saved.push(&x),
            Needs::Output => saved.push(&y),
        }
        let out = y.clone();
        y.device().submit(self.name(), move |b| b.unary(op, &x, &out));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let dy = grads.dy();
        match self.slope(saved.first())? {
            Slope::Constant(0.0) => match grads.sink(0)? {
                Some(sink) if !sink.accumulate => {
                    dy.device().submit("fill", move |b| b.fill(&sink.tensor, 0.0));
                }
                _ => {}
            },
            Slope::Constant(slope) => grads.give(0, raw::affine(&dy, slope, 0.0))?,
            Slope::Varying(slope) => {
                let slope = raw::cast(&slope, dy.dtype);
                if let Some(sink) = grads.sink(0)? {
                    raw::binary_into(Binary::Mul, &dy, &slope, &sink.tensor, sink.accumulate);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        autograd::backward,
        op::testing::{close, cpu, from_f64, gradient_check, to_f64},
    };

    type Formula = fn(f64) -> f64;

    /// Every function with an independent formula for it.
    fn functions() -> Vec<(Unary, Formula)> {
        vec![
            (Unary::Neg, |x| -x),
            (Unary::Abs, f64::abs),
            (Unary::Exp, f64::exp),
            (Unary::Log, f64::ln),
            (Unary::Sqrt, f64::sqrt),
            (Unary::Rsqrt, |x| 1.0 / x.sqrt()),
            (Unary::Square, |x| x * x),
            (Unary::Reciprocal, |x| 1.0 / x),
            (Unary::Sin, f64::sin),
            (Unary::Cos, f64::cos),
            (Unary::Tanh, f64::tanh),
            (Unary::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (Unary::Relu, |x| x.max(0.0)),
            (Unary::Gelu, |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()))),
            (Unary::GeluGrad, |x| {
                0.5 * (1.0 + erf(x / 2f64.sqrt())) + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
            }),
            (Unary::Erf, erf),
            (Unary::Sign, f64::signum),
            (Unary::Step, |x| f64::from(x > 0.0)),
            (Unary::IsFinite, |x| f64::from(x.is_finite())),
            (Unary::Affine { scale: -2.5, shift: 0.75 }, |x| -2.5 * x + 0.75),
            (Unary::Pow { exponent: 3.0 }, |x| x.powi(3)),
            (Unary::Pow { exponent: 0.0 }, |_| 1.0),
            (Unary::Clamp { min: -0.5, max: 0.75 }, |x| x.clamp(-0.5, 0.75)),
        ]
    }

    /// By its Taylor series, for |x| < 3.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    const POSITIVE: [f64; 7] = [0.03, 0.4, 0.6, 0.9, 1.3, 2.1, 2.9];

    /// Where each is smooth: positive numbers for all, negative ones too where they are defined.
    fn arguments(op: Unary) -> Vec<f64> {
        match op {
            Unary::Log | Unary::Sqrt | Unary::Rsqrt => POSITIVE.to_vec(),
            _ => POSITIVE.iter().flat_map(|&x| [x, -x]).collect(),
        }
    }

    #[test]
    fn values() {
        for (op, f) in functions() {
            let x = arguments(op);
            let expected: Vec<f64> = x.iter().map(|&x| f(x)).collect();
            let leaf = Var::constant(from_f64(&[x.len()], &x));
            close(&unary(&leaf, op).unwrap().tensor, &expected, 1e-12);
        }
    }

    #[test]
    fn gradients() {
        for (op, _) in functions() {
            let x = arguments(op);
            gradient_check(&[from_f64(&[x.len()], &x)], |v| unary(&v[0], op));
            gradient_check(&[from_f64(&[1, 0], &[])], |v| unary(&v[0], op));
        }
    }

    #[test]
    fn narrow_types_stay_close() {
        for (op, f) in functions() {
            for (dtype, bound) in [(DType::F32, 1e-5), (DType::BF16, 1.0 / 128.0)] {
                let x = Var::leaf(raw::cast(&from_f64(&[7], &POSITIVE), dtype), None).unwrap();
                let rounded = to_f64(&x.tensor);
                let y = unary(&x, op).unwrap();
                assert_eq!(y.tensor.dtype, dtype);
                let (got, expected): (_, Vec<f64>) = (to_f64(&y.tensor), rounded.iter().map(|&x| f(x)).collect());
                let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
                let difference = norm(&mut got.iter().zip(&expected).map(|(a, b)| a - b));
                assert!(
                    difference <= bound * norm(&mut expected.iter().copied()),
                    "{op:?} {dtype}: {got:?}, not {expected:?}"
                );
                backward(&[(y, Tensor::full(&cpu(), &[7], dtype, 1.0))]).unwrap();
                assert_eq!(x.grad().unwrap().dtype, dtype);
            }
        }
    }

    #[test]
    fn at_the_edges() {
        let slope = |op, x: f64| {
            let x = Var::leaf(from_f64(&[1], &[x]), None).unwrap();
            backward(&[(unary(&x, op).unwrap(), from_f64(&[1], &[1.0]))]).unwrap();
            to_f64(&x.grad().unwrap())[0]
        };
        assert_eq!(slope(Unary::Relu, 0.0), 0.0);
        assert_eq!(slope(Unary::Abs, 0.0), 0.0);
        let clamp = Unary::Clamp { min: -1.0, max: 1.0 };
        assert_eq!([slope(clamp, 1.0), slope(clamp, -1.0), slope(clamp, 1.5)], [1.0, 1.0, 0.0]);
        let x = Var::constant(from_f64(&[3], &[f64::INFINITY, f64::NAN, 1.0]));
        assert_eq!(to_f64(&unary(&x, Unary::IsFinite).unwrap().tensor), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn refusals() {
        let x = Var::constant(from_f64(&[1], &[1.0]));
        let message = |x: &Var, op| unary(x, op).expect_err("not allowed").message;
        assert_eq!(message(&x, Unary::Clamp { min: 1.0, max: 0.0 }), "clamp: the limits are 1 and 0");
        assert_eq!(message(&x, Unary::Pow { exponent: f64::NAN }), "powScalar: the exponent is NaN");
        let x = Var::constant(Tensor::zeros(&cpu(), &[1], DType::I32));
        assert_eq!(message(&x, Unary::Exp), "exp: the input is int32, but a float type is needed");
    }
}
