use super::*;
use crate::backend::cpu::isa::Isa;
use crate::backend::cpu::pool::with_threads;
use crate::dtype::{bf16_to_f32, f32_to_bf16};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    heads: usize,
    d: usize,
    /// Queries and keys of each sequence.
    lengths: Vec<(usize, usize)>,
    dtype: DType,
    compute: DType,
}

/// A matrix of any float type.
#[derive(Clone)]
struct Matrix {
    bytes: Vec<u8>,
    dtype: DType,
    ld: usize,
}

impl Matrix {
    fn random(rows: usize, ld: usize, dtype: DType, seed: u64) -> Matrix {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut matrix = Matrix { bytes: vec![0; rows * ld * dtype.size()], dtype, ld };
        for i in 0..rows * ld {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            matrix.write(i, ((state >> 40) as f64 / f64::from(1 << 23) - 1.0) * 2.0);
        }
        matrix
    }

    fn write(&mut self, i: usize, x: f64) {
        match self.dtype {
            DType::F32 => self.bytes[4 * i..4 * i + 4].copy_from_slice(&(x as f32).to_ne_bytes()),
            DType::BF16 => self.bytes[2 * i..2 * i + 2].copy_from_slice(&f32_to_bf16(x as f32).to_ne_bytes()),
            _ => self.bytes[8 * i..8 * i + 8].copy_from_slice(&x.to_ne_bytes()),
        }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        let i = row * self.ld + column;
        match self.dtype {
            DType::F32 => f64::from(f32::from_ne_bytes(self.bytes[4 * i..4 * i + 4].try_into().unwrap())),
            DType::BF16 => f64::from(bf16_to_f32(u16::from_ne_bytes(self.bytes[2 * i..2 * i + 2].try_into().unwrap()))),
            _ => f64::from_ne_bytes(self.bytes[8 * i..8 * i + 8].try_into().unwrap()),
        }
    }

    fn operand(&self, column: usize) -> Operand {
        Operand { ptr: self.bytes[column * self.dtype.size()..].as_ptr(), dtype: self.dtype, ld: self.ld }
    }

    fn target(&mut self, column: usize) -> Target {
        Target { ptr: self.bytes[column * self.dtype.size()..].as_mut_ptr(), dtype: self.dtype, ld: self.ld }
    }
}

struct Results {
    out: Matrix,
    lse: Matrix,
    /// dq in a `[q tokens, D + 1]` matrix; dk and dv side by side in `[k tokens, 2D]`.
    dq: Matrix,
    dkv: Matrix,
}

struct Inputs {
    q: Matrix,
    kv: Matrix,
    dout: Matrix,
    q_offsets: Vec<i32>,
    kv_offsets: Vec<i32>,
    scale: f64,
}

fn inputs(case: &Case) -> Inputs {
    let width = case.heads * case.d;
    let offsets = |f: &dyn Fn(&(usize, usize)) -> usize| {
        let mut sum = 0;
        std::iter::once(0)
            .chain(case.lengths.iter().map(|l| {
                sum += f(l) as i32;
                sum
            }))
            .collect::<Vec<i32>>()
    };
    let (q_offsets, kv_offsets) = (offsets(&|l| l.0), offsets(&|l| l.1));
    let (queries, keys) = (*q_offsets.last().unwrap() as usize, *kv_offsets.last().unwrap() as usize);
    Inputs {
        q: Matrix::random(queries + 1, width + 1, case.dtype, 1),
        kv: Matrix::random(keys + 1, 2 * width, case.dtype, 2),
        dout: Matrix::random(queries + 1, width, case.dtype, 3),
        q_offsets,
        kv_offsets,
        scale: 1.0 / (case.d as f64).sqrt(),
    }
}

fn compute(isa: Isa, case: &Case) -> Results {
    let x = inputs(case);
    let width = case.heads * case.d;
    let (queries, keys) = (*x.q_offsets.last().unwrap() as usize, *x.kv_offsets.last().unwrap() as usize);
    let wide = if case.compute == DType::F64 { DType::F64 } else { DType::F32 };
    let mut r = Results {
        out: Matrix::random(queries + 1, width, case.dtype, 4),
        lse: Matrix::random(case.heads, queries.max(1), wide, 5),
        dq: Matrix::random(queries + 1, width + 1, case.dtype, 6),
        dkv: Matrix::random(keys + 1, 2 * width, case.dtype, 7),
    };
    let attention = Attention {
        heads: case.heads,
        head_dim: case.d,
        scale: x.scale,
        seqs: case.lengths.len(),
        q_offsets: x.q_offsets.as_ptr(),
        kv_offsets: x.kv_offsets.as_ptr(),
        q: x.q.operand(0),
        k: x.kv.operand(0),
        v: x.kv.operand(width),
        compute: case.compute,
        out: r.out.target(0),
        lse: r.lse.bytes.as_mut_ptr(),
    };
    unsafe { attention_forward(isa, &attention) };
    let (dq, dk, dv) = (r.dq.target(0), r.dkv.target(0), r.dkv.target(width));
    let grad = AttentionGrad { forward: attention, dout: x.dout.operand(0), dq, dk, dv };
    unsafe { attention_backward(isa, &grad) };
    r
}

/// The largest relative error of rounding to a type.
fn half_ulp(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2f64.powi(-53),
        DType::F32 => 2f64.powi(-24),
        _ => 2f64.powi(-8),
    }
}

/// Sums, and bounds of the errors that rounding may leave in them.
struct Sums {
    value: Vec<f64>,
    error: Vec<f64>,
}

impl Sums {
    fn zero(n: usize) -> Sums {
        Sums { value: vec![0.0; n], error: vec![0.0; n] }
    }

    fn add(&mut self, i: usize, value: f64, error: f64) {
        self.value[i] += value;
        self.error[i] += error;
    }
}

/// `stored`: the relative error of the stored type. The last factor is for products of errors.
fn compare(name: &str, got: &Matrix, want: &Sums, columns: usize, from: usize, stored: f64) {
    for (i, (want, error)) in want.value.iter().zip(&want.error).enumerate() {
        let value = got.at(i / columns, from + i % columns);
        let bound = (error + stored * want.abs() + 1e-30) * 1.05;
        assert!(
            (value - want).abs() <= bound,
            "{name}[{},{}]: {value} for {want} within {bound:e}",
            i / columns,
            i % columns
        );
    }
}

fn check(isa: Isa, case: &Case) {
    let (x, got) = (inputs(case), compute(isa, case));
    let (d, width) = (case.d, case.heads * case.d);
    let (queries, keys) = (*x.q_offsets.last().unwrap() as usize, *x.kv_offsets.last().unwrap() as usize);
    // What the products see of a number.
    let seen = |y: f64| match case.compute {
        DType::F64 => y,
        DType::F32 => f64::from(y as f32),
        _ => f64::from(bf16_to_f32(f32_to_bf16(y as f32))),
    };
    // Of one operation (the reference in f64 errs as much as what it is compared with), and of weights as operands.
    let u = if case.compute == DType::F64 { 2.0 * half_ulp(DType::F64) } else { half_ulp(DType::F32) };
    let u_weight = if case.compute == DType::BF16 { half_ulp(DType::BF16) } else { 0.0 };
    let stored = half_ulp(case.dtype);
    let mut out = Sums::zero(queries * width);
    let mut lse = vec![(f64::NEG_INFINITY, 0.0); case.heads * queries];
    let [mut dq, mut dk, mut dv] = [queries, keys, keys].map(|rows| Sums::zero(rows * width));
    for seq in 0..case.lengths.len() {
        let [qs, ks] = [&x.q_offsets, &x.kv_offsets].map(|o| o[seq] as usize..o[seq + 1] as usize);
        // A sum of n terms has n roundings; a few more for scaling and the like.
        let [u_q, u_k, u_d] = [qs.len(), ks.len(), d].map(|n| u * (n as f64 + 4.0));
        for h in 0..case.heads {
            let columns = h * d..(h + 1) * d;
            // A product of two rows, and that of their absolute values.
            let dot =
                |f: &dyn Fn(usize) -> f64| columns.clone().map(f).fold((0.0, 0.0), |(s, a), y| (s + y, a + y.abs()));
            for i in qs.clone() {
                let scores: Vec<(f64, f64)> =
                    (ks.clone()).map(|j| dot(&|c| x.scale * seen(x.q.at(i, c)) * seen(x.kv.at(j, c)))).collect();
                let max = scores.iter().map(|s| s.0).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s.0 - max).exp()).sum();
                let log_sum = max + sum.ln();
                // Of a score and the maximum (or the log-sum-exp) it is taken from; then of exp2 and the sum of weights.
                let size = scores.iter().map(|s| s.1).fold(0.0, f64::max);
                let error_exponent = u_d * size + 8.0 * u * (size + log_sum.abs());
                let error_p = 2.0 * error_exponent + u_k + 16.0 * u;
                if !scores.is_empty() {
                    lse[h * queries + i] = (log_sum, error_p);
                }
                let p: Vec<f64> = scores.iter().map(|s| (s.0 - max).exp() / sum).collect();
                for (n, j) in ks.clone().enumerate() {
                    for c in columns.clone() {
                        let o = p[n] * seen(x.kv.at(j, width + c));
                        out.add(i * width + c, o, o.abs() * (error_p + u_weight + u_k));
                    }
                }
                let dp: Vec<(f64, f64)> =
                    ks.clone().map(|j| dot(&|c| seen(x.dout.at(i, c)) * seen(x.kv.at(j, width + c)))).collect();
                let delta: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp.0).sum();
                let error_delta = dot(&|c| {
                    let (o, error) = (out.value[i * width + c].abs(), out.error[i * width + c]);
                    seen(x.dout.at(i, c)) * (error + (stored + u_d) * o)
                })
                .1;
                for (n, j) in ks.clone().enumerate() {
                    let ds = x.scale * p[n] * (dp[n].0 - delta);
                    let error_ds = ds.abs() * (error_p + u_weight + 4.0 * u)
                        + x.scale * p[n] * (u_d * dp[n].1 + error_delta + u * delta.abs());
                    for c in columns.clone() {
                        let (q, k) = (seen(x.q.at(i, c)), seen(x.kv.at(j, c)));
                        let v = p[n] * seen(x.dout.at(i, c));
                        dv.add(j * width + c, v, v.abs() * (error_p + u_weight + u_q));
                        dq.add(i * width + c, ds * k, k.abs() * (error_ds + u_k * ds.abs()));
                        dk.add(j * width + c, ds * q, q.abs() * (error_ds + u_q * ds.abs()));
                    }
                }
            }
        }
    }
    for (i, (want, bound)) in lse.iter().enumerate() {
        let value = got.lse.at(0, i);
        let error = if want.is_finite() { (value - want).abs() } else { f64::from(u8::from(value != *want)) };
        assert!(error <= *bound, "{isa:?} {case:?} lse[{i}]: {value} for {want} within {bound:e}");
    }
    compare(&format!("{isa:?} {case:?} out"), &got.out, &out, width, 0, stored);
    compare(&format!("{isa:?} {case:?} dq"), &got.dq, &dq, width, 0, stored);
    compare(&format!("{isa:?} {case:?} dk"), &got.dkv, &dk, width, 0, stored);
    compare(&format!("{isa:?} {case:?} dv"), &got.dkv, &dv, width, width, stored);
    // Nothing is written behind a row or behind the last token.
    let before = Matrix::random(queries + 1, width + 1, case.dtype, 6);
    assert!((0..=queries).all(|i| got.dq.at(i, width) == before.at(i, width)));
    assert_eq!(got.out.at(queries, 0), Matrix::random(queries + 1, width, case.dtype, 4).at(queries, 0));
    assert_eq!(got.dkv.at(keys, 0), Matrix::random(keys + 1, 2 * width, case.dtype, 7).at(keys, 0));
}

fn case() -> impl Strategy<Value = Case> {
    let d = prop_oneof![1usize..=128, prop::sample::select(vec![24usize, 32, 64, 80, 88, 104, 128])];
    let length = || prop_oneof![Just(0usize), Just(1), 1usize..40, 100usize..150];
    let types = prop::sample::select(vec![
        (DType::F32, DType::F32),
        (DType::F32, DType::F32),
        (DType::F64, DType::F64),
        (DType::BF16, DType::F32),
        (DType::BF16, DType::BF16),
        (DType::F32, DType::BF16),
        (DType::F64, DType::F32),
    ]);
    (1usize..4, d, prop::collection::vec((length(), length()), 1..4), types)
        .prop_map(|(heads, d, lengths, (dtype, compute))| Case { heads, d, lengths, dtype, compute })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_lengths_and_head_dimensions(case in case()) {
        for isa in Isa::available() {
            check(isa, &case);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit(case in case()) {
        let bytes = |threads| with_threads(threads, || {
            let r = compute(Isa::current(), &case);
            [r.out.bytes, r.lse.bytes, r.dq.bytes, r.dkv.bytes]
        });
        let one = bytes(1);
        prop_assert!(bytes(2) == one);
        prop_assert!(bytes(3) == one);
    }
}

#[test]
fn long_sequences_are_split_over_keys() {
    let base = Case { heads: 1, d: 24, lengths: vec![], dtype: DType::F32, compute: DType::F32 };
    for lengths in [vec![(1, 2000)], vec![(300, 1000), (0, 50)], vec![(2, 950), (40, 449)]] {
        for (dtype, compute) in [(DType::F32, DType::F32), (DType::F64, DType::F64), (DType::BF16, DType::BF16)] {
            let case = Case { lengths: lengths.clone(), dtype, compute, ..base.clone() };
            for isa in Isa::available() {
                check(isa, &case);
            }
        }
    }
}

#[test]
fn scores_may_be_huge() {
    // exp(scores) overflows, their softmax does not.
    for isa in Isa::available() {
        let (q, k, v) = ([300.0f32, -300.0], [1.0f32, 0.5], [3.0f32, 7.0]);
        let (mut out, mut lse) = ([0.0f32; 2], [0.0f32; 2]);
        let operand = |x: &[f32; 2]| Operand { ptr: x.as_ptr().cast(), dtype: DType::F32, ld: 1 };
        let x = Attention {
            heads: 1,
            head_dim: 1,
            scale: 1.0,
            seqs: 1,
            q_offsets: [0, 2].as_ptr(),
            kv_offsets: [0, 2].as_ptr(),
            q: operand(&q),
            k: operand(&k),
            v: operand(&v),
            compute: DType::F32,
            out: Target { ptr: out.as_mut_ptr().cast(), dtype: DType::F32, ld: 1 },
            lse: lse.as_mut_ptr().cast(),
        };
        unsafe { attention_forward(isa, &x) };
        // Scaling and taking the maximum off are one operation with one rounding, so the largest weight is only nearly 1: the
        // division by it, the product with it and the result are rounded.
        assert_eq!(out[0], 3.0);
        assert!((out[1] / 7.0 - 1.0).abs() <= 1.5 * f32::EPSILON, "{out:?}");
        assert!((lse[0] - 300.0).abs() < 1e-4 && (lse[1] + 150.0).abs() < 1e-4, "{lse:?}");
    }
}
