//! What has no gradient (optimizer, averages, copies, fills, norms, random numbers) and casts, of arbitrary sizes and types, against
//! plain loops in f64.

mod common;

use avjepa_tensor::{
    DType, Tensor, Var,
    backend::{AdamW, Distribution},
    op,
};
use common::{distance, numbers, random, shared, tensor, tolerance, values};
use proptest::prelude::*;

fn float() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F32), Just(DType::BF16), Just(DType::F64)]
}

/// The types of parameters and what belongs to them.
fn wide() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F32), Just(DType::F64)]
}

/// Few elements, or about as many as several threads share out.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0usize..300, 1 => 30_000usize..70_000]
}

/// Significant bits of a type.
fn digits(dtype: DType) -> i32 {
    match dtype {
        DType::BF16 => 8,
        DType::F32 => 24,
        _ => 53,
    }
}

/// The number of that many significant bits next to x, ties to even.
fn rounded(x: f64, digits: i32) -> f64 {
    if x == 0.0 {
        return x;
    }
    let unit = 2f64.powi(x.abs().log2().floor() as i32 + 1 - digits);
    (x / unit).round_ties_even() * unit
}

/// Philox4x32-10 as its paper states it: round by round, keys bumped between rounds.
fn philox(counter: u64, seed: u64) -> [u32; 4] {
    let mut x = [counter as u32, (counter >> 32) as u32, 0, 0];
    for round in 0..10u32 {
        let key = [
            (seed as u32).wrapping_add(round.wrapping_mul(0x9E37_79B9)),
            ((seed >> 32) as u32).wrapping_add(round.wrapping_mul(0xBB67_AE85)),
        ];
        let (p0, p1) = (u128::from(x[0]) * 0xD251_1F53, u128::from(x[2]) * 0xCD9E_8D57);
        x = [(p1 >> 32) as u32 ^ x[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ x[3] ^ key[1], p0 as u32];
    }
    x
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn casts_and_copies(n in length(), from in float(), to in float(), gap in 0usize..40) {
        let x = random(&shared(), &[n], from, 1);
        let expected: Vec<f64> = values(&x).into_iter().map(|v| if digits(to) < digits(from) { rounded(v, digits(to)) } else { v }).collect();
        let cast = op::cast(&Var::constant(x.clone()), to).unwrap().tensor;
        prop_assert_eq!(cast.dtype, to);
        prop_assert_eq!(&values(&cast), &expected);
        // Into part of a larger tensor, whose other elements stay.
        let whole = Tensor::full(&shared(), &[gap + n + 3], to, 9.0);
        op::copy_(&whole.view(gap, &[n]).unwrap(), &x).unwrap();
        let whole = values(&whole);
        prop_assert_eq!(&whole[gap..gap + n], &expected[..]);
        prop_assert!(whole[..gap].iter().chain(&whole[gap + n..]).all(|&v| v == 9.0));
    }

    #[test]
    fn fills(n in length(), gap in 0usize..40, value in -1e4f64..1e4, dtype in prop::sample::select(&DType::ALL[..])) {
        let whole = Tensor::zeros(&shared(), &[gap + n + 3], dtype);
        // What an unsigned byte holds, too.
        let value = if dtype == DType::U8 { value.abs() % 256.0 } else { value };
        op::fill_(&whole.view(gap, &[n]).unwrap(), value).unwrap();
        let expected = if dtype.is_float() { rounded(value, digits(dtype)) } else { value.trunc() };
        let whole = values(&whole);
        prop_assert!(whole[gap..gap + n].iter().all(|&v| v == expected), "{} for {}", whole[gap], expected);
        prop_assert!(whole[..gap].iter().chain(&whole[gap + n..]).all(|&v| v == 0.0));
    }

    #[test]
    fn averages(n in length(), momentum in 0.0f64..1.0, dtype in float()) {
        let (target, online) = (random(&shared(), &[n], dtype, 1), random(&shared(), &[n], dtype, 2));
        let (old, new) = (values(&target), values(&online));
        op::ema_(&target, &online, momentum).unwrap();
        let expected: Vec<f64> = old.iter().zip(&new).map(|(t, o)| momentum * t + (1.0 - momentum) * o).collect();
        prop_assert!(distance(&values(&target), &expected) <= tolerance(dtype));
        prop_assert_eq!(values(&online), new);
    }

    #[test]
    fn norms(lengths in prop::collection::vec(length(), 1..4), scale in -30i32..30, dtype in float()) {
        let scale = 2f64.powi(scale);
        let chunks: Vec<Tensor> = lengths.iter().enumerate().map(|(i, &n)| {
            let scaled: Vec<f64> = numbers(n, i as u64).into_iter().map(|v| v * scale).collect();
            tensor(&shared(), &[n], dtype, &scaled)
        }).collect();
        let expected = chunks.iter().flat_map(values).map(|v| v * v).sum::<f64>().sqrt();
        let y = op::norm(&chunks).unwrap();
        prop_assert_eq!(&y.shape[..], &[1][..]);
        prop_assert!(distance(&values(&y), &[expected]) <= tolerance(y.dtype));
    }

    #[test]
    fn optimizer_steps(
        n in length(),
        [lr, weight_decay, beta1, beta2, momentum] in [1e-6f64..0.1, 0.0..0.5, 0.0..0.99, 0.0..0.999, 0.0..1.0],
        step in 1u64..10_000,
        clip in prop_oneof![Just(None), (1e-3f64..10.0).prop_map(Some)],
        (with_ema, with_shadow, zero_grad) in any::<(bool, bool, bool)>(),
        dtype in wide(),
    ) {
        let t = |seed| random(&shared(), &[n], dtype, seed);
        let squares: Vec<f64> = numbers(n, 4).into_iter().map(|v| v * v).collect();
        let d = AdamW {
            param: t(1), grad: t(2), m: t(3), v: tensor(&shared(), &[n], dtype, &squares),
            ema: with_ema.then(|| t(5)),
            shadow: with_shadow.then(|| random(&shared(), &[n], DType::BF16, 6)),
            clip: clip.map(|limit| (op::norm(&[t(2)]).unwrap(), limit)),
            lr, weight_decay, beta1, beta2, eps: 1e-8, step, momentum, zero_grad,
        };
        let [p, g, m, v] = [&d.param, &d.grad, &d.m, &d.v].map(values);
        let average = d.ema.as_ref().map(values);
        op::adamw(d.clone()).unwrap();

        let length = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        let factor = clip.map_or(1.0, |limit: f64| (limit / (length + 1e-6)).min(1.0));
        let clipped: Vec<f64> = g.iter().map(|g| g * factor).collect();
        let first: Vec<f64> = m.iter().zip(&clipped).map(|(m, g)| beta1 * m + (1.0 - beta1) * g).collect();
        let second: Vec<f64> = v.iter().zip(&clipped).map(|(v, g)| beta2 * v + (1.0 - beta2) * g * g).collect();
        let unbiased = |beta: f64| 1.0 - beta.powf(step as f64);
        let moved: Vec<f64> = (0..n).map(|i| {
            let (m, v) = (first[i] / unbiased(beta1), second[i] / unbiased(beta2));
            p[i] - lr * weight_decay * p[i] - lr * m / (v.sqrt() + 1e-8)
        }).collect();
        for (what, got, expected) in [("parameters", &d.param, &moved), ("first moment", &d.m, &first), ("second moment", &d.v, &second)] {
            prop_assert!(distance(&values(got), expected) <= tolerance(dtype), "{}", what);
        }
        prop_assert_eq!(values(&d.grad), if zero_grad { vec![0.0; n] } else { g });
        if let (Some(ema), Some(old)) = (&d.ema, average) {
            let expected: Vec<f64> = old.iter().zip(&moved).map(|(e, p)| momentum * e + (1.0 - momentum) * p).collect();
            prop_assert!(distance(&values(ema), &expected) <= tolerance(dtype));
        }
        if let Some(shadow) = &d.shadow {
            // By way of float32, as from every type: float64 may be rounded twice.
            let expected: Vec<f64> = values(&d.param).into_iter().map(|p| rounded(f64::from(p as f32), 8)).collect();
            prop_assert_eq!(values(shadow), expected);
        }
    }

    #[test]
    fn random_numbers(n in length(), low in -3.0f64..3.0, width in 0.1f64..5.0, seed: u64, counter: u64, dtype in float()) {
        let draw = |n, counter| op::random(&shared(), &[n], dtype, Distribution::Uniform { low, high: low + width }, seed, counter).unwrap();
        let expected: Vec<f64> = (0..n as u64).map(|i| {
            let word = philox(counter.wrapping_add(i / 4), seed)[(i % 4) as usize];
            low + width * (f64::from(word) / 2f64.powi(32))
        }).collect();
        let got = values(&draw(n, counter));
        // `high` itself is never drawn, though rounding may carry a number there.
        let unit = 4.0 * 8f64 * 2f64.powi(-digits(dtype));
        for (got, expected) in got.iter().zip(&expected) {
            prop_assert!((got - expected).abs() <= unit && *got < low + width, "{} for {}", got, expected);
        }
        // Cut at any block, the stream goes on.
        let cut = n / 4 / 2 * 4;
        prop_assert_eq!(&values(&draw(n - cut, counter.wrapping_add(cut as u64 / 4))), &got[cut..]);
        // A normal is a function of the same bits, and rises with them.
        let normal = values(&op::random(&shared(), &[n], DType::F64, Distribution::Normal { mean: low, std: width }, seed, counter).unwrap());
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| expected[a].total_cmp(&expected[b]));
        prop_assert!(order.windows(2).all(|pair| normal[pair[0]] <= normal[pair[1]]));
    }
}
