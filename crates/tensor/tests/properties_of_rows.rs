//! Layers, functions and losses of arbitrary sizes and types against their formulas in plain loops.

mod common;

use avjepa_tensor::{DType, Tensor, Var, backend::Unary, op};
use common::{distance, indices, random, shared, tensor, tolerance, values};
use proptest::prelude::*;

fn constant(shape: &[usize], dtype: DType, seed: u64) -> Var {
    Var::constant(random(&shared(), shape, dtype, seed))
}

fn float() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F32), Just(DType::BF16), Just(DType::F64)]
}

/// The type of what belongs to rows of `dtype`: weights, losses, tables.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn gelu(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x / 2f64.sqrt())
}

/// `x [m, k] · wᵀ [n, k] + b`.
fn layer(x: &[f64], w: &[f64], b: Option<&[f64]>, k: usize, n: usize) -> Vec<f64> {
    let row =
        |x: &[f64], j: usize| x.iter().zip(&w[j * k..]).map(|(x, w)| x * w).sum::<f64>() + b.map_or(0.0, |b| b[j]);
    x.chunks_exact(k).flat_map(|x| (0..n).map(|j| row(x, j)).collect::<Vec<_>>()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn functions(shape in prop::collection::vec(0usize..40, 0..3), dtype in float()) {
        let x = constant(&shape, dtype, 1);
        let v = values(&x.tensor);
        for (f, formula) in [
            (Unary::Neg, (|x| -x) as fn(f64) -> f64),
            (Unary::Abs, f64::abs),
            (Unary::Exp, f64::exp),
            (Unary::Square, |x| x * x),
            (Unary::Sin, f64::sin),
            (Unary::Cos, f64::cos),
            (Unary::Tanh, f64::tanh),
            (Unary::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (Unary::Relu, |x| x.max(0.0)),
            (Unary::Gelu, gelu),
            (Unary::Erf, libm::erf),
            (Unary::Affine { scale: -2.5, shift: 0.75 }, |x| -2.5 * x + 0.75),
            (Unary::Clamp { min: -0.5, max: 0.75 }, |x| x.clamp(-0.5, 0.75)),
        ] {
            let y = op::unary(&x, f).unwrap().tensor;
            prop_assert_eq!((&y.shape, y.dtype), (&shape, dtype));
            let expected: Vec<f64> = v.iter().map(|&x| formula(x)).collect();
            prop_assert!(distance(&values(&y), &expected) <= tolerance(dtype), "{:?}", f);
        }
        // Where they are defined: x² + ¼.
        let x = op::unary(&op::unary(&x, Unary::Square).unwrap(), Unary::Affine { scale: 1.0, shift: 0.25 }).unwrap();
        let v = values(&x.tensor);
        for (f, formula) in [
            (Unary::Log, f64::ln as fn(f64) -> f64),
            (Unary::Sqrt, f64::sqrt),
            (Unary::Rsqrt, |x| 1.0 / x.sqrt()),
            (Unary::Reciprocal, |x| 1.0 / x),
            (Unary::Pow { exponent: 1.7 }, |x| x.powf(1.7)),
        ] {
            let expected: Vec<f64> = v.iter().map(|&x| formula(x)).collect();
            prop_assert!(distance(&values(&op::unary(&x, f).unwrap().tensor), &expected) <= tolerance(dtype), "{:?}", f);
        }
    }

    #[test]
    fn linear_layers(
        [m, n, k] in [0usize..40, 1..70, 1..50],
        (bias, residual, act) in any::<(bool, bool, bool)>(),
        compute in float(),
    ) {
        let act = act && !residual;
        let x = constant(&[m, k], compute, 1);
        let w = constant(&[n, k], compute, 2);
        let (b, r) = (constant(&[n], wide(compute), 3), constant(&[m, n], wide(compute), 4));
        let y = op::linear(&x, &w, bias.then_some(&b), residual.then_some(&r), act, compute).unwrap().tensor;
        let (b, r) = (values(&b.tensor), values(&r.tensor));
        let mut expected = layer(&values(&x.tensor), &values(&w.tensor), bias.then_some(&b), k, n);
        for (y, r) in expected.iter_mut().zip(&r) {
            *y = if act { gelu(*y) } else { *y };
            *y += if residual { *r } else { 0.0 };
        }
        prop_assert!(distance(&values(&y), &expected) <= tolerance(compute));
    }

    #[test]
    fn perceptrons([m, k, h, n] in [0usize..40, 1..20, 1..70, 1..40], (bias, residual) in any::<(bool, bool)>(), compute in float()) {
        let x = constant(&[m, k], compute, 1);
        let (w1, w2) = (constant(&[h, k], compute, 2), constant(&[n, h], compute, 3));
        let (b1, b2) = (constant(&[h], wide(compute), 4), constant(&[n], wide(compute), 5));
        let r = constant(&[m, n], wide(compute), 6);
        let y = op::mlp(&x, &w1, bias.then_some(&b1), &w2, bias.then_some(&b2), residual.then_some(&r), compute).unwrap().tensor;
        let of = |v: &Var| values(&v.tensor);
        let hidden: Vec<f64> = layer(&of(&x), &of(&w1), bias.then_some(&of(&b1)), k, h).into_iter().map(gelu).collect();
        let mut expected = layer(&hidden, &of(&w2), bias.then_some(&of(&b2)), h, n);
        if residual {
            expected.iter_mut().zip(of(&r)).for_each(|(y, r)| *y += r);
        }
        // Of the narrow type, the hidden layer is rounded too.
        prop_assert!(distance(&values(&y), &expected) <= 2.0 * tolerance(compute));
    }

    #[test]
    fn distributions_and_labels(rows in 0usize..12, columns in 1usize..300, smoothing in 0.0f64..1.0, picks in any::<[u32; 12]>(), dtype in float()) {
        let x = constant(&[rows, columns], dtype, 1);
        let labels: Vec<i32> = picks[..rows].iter().map(|&p| (p as usize % columns) as i32).collect();
        let shares = op::softmax(&x).unwrap().tensor;
        let loss = op::cross_entropy(&x, &indices(&shared(), &labels), smoothing).unwrap().tensor;
        let (mut softmax, mut losses) = (vec![], vec![]);
        for (row, &label) in values(&x.tensor).chunks_exact(columns).zip(&labels) {
            let total: f64 = row.iter().map(|v| v.exp()).sum();
            softmax.extend(row.iter().map(|v| v.exp() / total));
            let mean = row.iter().sum::<f64>() / columns as f64;
            losses.push(total.ln() - (1.0 - smoothing) * row[label as usize] - smoothing * mean);
        }
        prop_assert!(distance(&values(&shares), &softmax) <= tolerance(dtype));
        prop_assert_eq!(loss.dtype, wide(dtype));
        // Of one class there is no loss: what is left is rounding.
        prop_assert!(columns == 1 || distance(&values(&loss), &losses) <= tolerance(wide(dtype)));
    }

    #[test]
    fn yes_or_no(shape in prop::collection::vec(0usize..30, 0..3), dtype in float()) {
        let (x, t) = (constant(&shape, dtype, 1), random(&shared(), &shape, wide(dtype), 2));
        let y = op::binary_cross_entropy(&x, &t).unwrap().tensor;
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let expected: Vec<f64> =
            values(&x.tensor).iter().zip(values(&t)).map(|(&x, t)| -t * sigmoid(x).ln() - (1.0 - t) * sigmoid(-x).ln()).collect();
        prop_assert!(distance(&values(&y), &expected) <= tolerance(wide(dtype)));
    }

    #[test]
    fn regression(m in 0usize..12, r in 1usize..9, d in 1usize..150, p in 0.5f64..3.0, normalise: bool, picks in any::<[u32; 12]>(), dtype in float()) {
        let (z, h) = (constant(&[m, d], dtype, 1), constant(&[r, d], dtype, 2));
        let rows: Vec<i32> = picks[..m].iter().map(|&p| (p as usize % r) as i32).collect();
        let y = op::lp_loss(&z, &h, &indices(&shared(), &rows), p, normalise.then_some(1e-3)).unwrap().tensor;
        let (z, h) = (values(&z.tensor), values(&h.tensor));
        let expected: Vec<f64> = rows.iter().enumerate().map(|(i, &row)| {
            let target = &h[row as usize * d..][..d];
            let mean = target.iter().sum::<f64>() / d as f64;
            let variance = target.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / d as f64;
            let of = |t: f64| if normalise { (t - mean) / (variance + 1e-3).sqrt() } else { t };
            target.iter().zip(&z[i * d..]).map(|(&t, z)| (z - of(t)).abs().powf(p)).sum::<f64>() / d as f64 / p
        }).collect();
        prop_assert!(distance(&values(&y), &expected) <= tolerance(wide(dtype)));
    }

    #[test]
    fn spreads(lengths in prop::collection::vec(0usize..30, 1..6), d in 1usize..70, dtype in float()) {
        let offsets = lengths.iter().fold(vec![0], |mut o, &n| { o.push(o[o.len() - 1] + n as i32); o });
        let m = offsets[lengths.len()] as usize;
        let x = constant(&[m, d], dtype, 1);
        let y = op::segment_std(&x, &indices(&shared(), &offsets), 1e-3).unwrap().tensor;
        let x = values(&x.tensor);
        let mut expected = vec![];
        for (s, &n) in lengths.iter().enumerate() {
            for c in 0..d {
                let column: Vec<f64> = (0..n).map(|i| x[(offsets[s] as usize + i) * d + c]).collect();
                let mean = column.iter().sum::<f64>() / n as f64;
                let squares = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
                expected.push((if n < 2 { 0.0 } else { squares / (n - 1) as f64 } + 1e-3).sqrt());
            }
        }
        prop_assert!(distance(&values(&y), &expected) <= tolerance(wide(dtype)));
    }

    #[test]
    fn characteristic_functions(n in 1usize..60, s in 0usize..70, knots in prop::collection::vec((0.05f64..3.0, 0.0f64..2.0), 1..5), dtype in float()) {
        let x = constant(&[n, s], dtype, 1);
        let (t, weights): (Vec<f64>, Vec<f64>) = knots.into_iter().unzip();
        let y = op::epps_pulley(&x, &t, &weights).unwrap().tensor;
        let x = values(&x.tensor);
        let expected: Vec<f64> = (0..s).map(|c| {
            let mean = |f: &dyn Fn(f64) -> f64| (0..n).map(|i| f(x[i * s + c])).sum::<f64>() / n as f64;
            let term = |t: f64| (mean(&|v| (t * v).cos()) - (-t * t / 2.0).exp()).powi(2) + mean(&|v| (t * v).sin()).powi(2);
            n as f64 * t.iter().zip(&weights).map(|(&t, w)| w * term(t)).sum::<f64>()
        }).collect();
        // Differences of numbers near 1: their rounding, not their size, is what can be asked for.
        for (got, expected) in values(&y).iter().zip(&expected) {
            let bound = if dtype == DType::F64 { 1e-12 } else { 1e-5 };
            prop_assert!((got - expected).abs() <= bound * (1.0 + expected) * n as f64, "{} for {}", got, expected);
        }
    }

    #[test]
    fn rotations(m in 0usize..12, heads in 1usize..4, head_dim in 1usize..40, [before, after] in [0usize..9, 0..9], dtype in float()) {
        let columns = before + heads * head_dim + after;
        let x = constant(&[m, columns], dtype, 1);
        let (cos, sin) = (random(&shared(), &[m, head_dim], wide(dtype), 2), random(&shared(), &[m, head_dim], wide(dtype), 3));
        let y = op::rotary(&x, heads, head_dim, before, &cos, &sin).unwrap().tensor;
        let (x, cos, sin) = (values(&x.tensor), values(&cos), values(&sin));
        let mut expected = x.clone();
        for i in 0..m {
            for h in 0..heads {
                for c in 0..head_dim / 2 * 2 {
                    let at = i * columns + before + h * head_dim + c;
                    let other = if c % 2 == 0 { -x[at + 1] } else { x[at - 1] };
                    expected[at] = x[at] * cos[i * head_dim + c] + other * sin[i * head_dim + c];
                }
            }
        }
        prop_assert!(distance(&values(&y), &expected) <= tolerance(dtype));
    }

    /// What two types hold exactly is the same in both, with a gradient cast back.
    #[test]
    fn casts_with_gradients(n in 0usize..300, narrow in prop_oneof![Just(DType::F32), Just(DType::BF16)]) {
        let eighths: Vec<f64> = (0..n).map(|i| (i % 57) as f64 / 8.0 - 3.5).collect();
        let x = Var::leaf(tensor(&shared(), &[n], DType::F64, &eighths), None).unwrap();
        let y = op::cast(&x, narrow).unwrap();
        prop_assert_eq!(values(&y.tensor), eighths.clone());
        let dy: Tensor = tensor(&shared(), &[n], narrow, &eighths);
        avjepa_tensor::autograd::backward(&[(y, dy)]).unwrap();
        prop_assert_eq!(common::grad(&x), eighths);
    }
}
