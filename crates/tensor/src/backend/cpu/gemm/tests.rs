use super::*;
use crate::backend::cpu::pool::with_threads;
use crate::dtype::{bf16_to_f32, f32_to_bf16};
use proptest::prelude::*;

/// A matrix of any type, with what its elements are as f64.
struct Matrix {
    bytes: Vec<u8>,
    dtype: DType,
    ld: usize,
}

fn write(bytes: &mut [u8], dtype: DType, i: usize, x: f64) {
    match dtype {
        DType::F32 => bytes[4 * i..4 * i + 4].copy_from_slice(&(x as f32).to_ne_bytes()),
        DType::BF16 => bytes[2 * i..2 * i + 2].copy_from_slice(&f32_to_bf16(x as f32).to_ne_bytes()),
        _ => bytes[8 * i..8 * i + 8].copy_from_slice(&x.to_ne_bytes()),
    }
}

fn read(bytes: &[u8], dtype: DType, i: usize) -> f64 {
    match dtype {
        DType::F32 => f64::from(f32::from_ne_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap())),
        DType::BF16 => f64::from(bf16_to_f32(u16::from_ne_bytes(bytes[2 * i..2 * i + 2].try_into().unwrap()))),
        _ => f64::from_ne_bytes(bytes[8 * i..8 * i + 8].try_into().unwrap()),
    }
}

impl Matrix {
    /// Numbers between -1 and 1; `gap` unused columns behind each row.
    fn random(rows: usize, columns: usize, gap: usize, dtype: DType, seed: u64) -> Matrix {
        let ld = columns + gap;
        let mut bytes = vec![0; rows * ld * dtype.size()];
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for i in 0..rows * ld {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write(&mut bytes, dtype, i, (state >> 40) as f64 / f64::from(1 << 23) - 1.0);
        }
        Matrix { bytes, dtype, ld }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        read(&self.bytes, self.dtype, i * self.ld + j)
    }

    fn operand(&self) -> Operand {
        Operand { ptr: self.bytes.as_ptr(), dtype: self.dtype, ld: self.ld }
    }
}

#[derive(Clone, Copy, Debug)]
enum After {
    None,
    Gelu,
    GeluGrad,
    Residual,
    ResidualInPlace,
}

#[derive(Clone, Debug)]
struct Case {
    layout: Layout,
    m: usize,
    n: usize,
    k: usize,
    gap: usize,
    a: DType,
    b: DType,
    c: DType,
    compute: DType,
    after: After,
    bias: bool,
    accumulate: bool,
    alpha: f64,
}

fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum(); // to 1e-17; the series would overflow
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

fn cdf(x: f64) -> f64 {
    0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

/// C and, for `After::Gelu`, the pre-activation.
fn compute(isa: Isa, case: &Case) -> (Matrix, Matrix) {
    let Case { m, n, k, gap, .. } = *case;
    let ((ar, ac), (br, bc)) = match case.layout {
        Layout::NT => ((m, k), (n, k)),
        Layout::NN => ((m, k), (k, n)),
        Layout::TN => ((k, m), (k, n)),
    };
    let (a, b) = (Matrix::random(ar, ac, gap, case.a, 1), Matrix::random(br, bc, gap + 1, case.b, 2));
    let wide = if case.compute == DType::F64 { DType::F64 } else { DType::F32 };
    let bias = Matrix::random(1, n, 0, wide, 3);
    let mut pre = Matrix::random(m, n, gap, case.c, 4);
    let residual = Matrix::random(m, n, gap + 2, wide, 5);
    let mut c = Matrix::random(m, n, gap, case.c, 6);
    let epilogue = match case.after {
        After::None => Epilogue::None,
        After::Gelu => Epilogue::Gelu { pre: pre.bytes.as_mut_ptr(), dtype: pre.dtype, ld: pre.ld },
        After::GeluGrad => Epilogue::GeluGrad(pre.operand()),
        After::Residual => Epilogue::Residual(residual.operand()),
        After::ResidualInPlace => Epilogue::Residual(Operand { ptr: c.bytes.as_mut_ptr(), dtype: c.dtype, ld: c.ld }),
    };
    let g = Gemm {
        layout: case.layout,
        m,
        n,
        k,
        a: a.operand(),
        b: b.operand(),
        c: c.bytes.as_mut_ptr(),
        c_dtype: c.dtype,
        ldc: c.ld,
        compute: case.compute,
        alpha: case.alpha,
        bias: case.bias.then_some((bias.bytes.as_ptr(), wide)),
        epilogue,
        accumulate: case.accumulate,
    };
    unsafe { gemm(isa, &g) };
    (c, pre)
}

/// The largest relative error of rounding to a type.
fn half_ulp(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2f64.powi(-53),
        DType::F32 => 2f64.powi(-24),
        _ => 2f64.powi(-8),
    }
}

fn check(isa: Isa, case: &Case) {
    let Case { m, n, k, gap, .. } = *case;
    let ((ar, ac), (br, bc)) = match case.layout {
        Layout::NT => ((m, k), (n, k)),
        Layout::NN => ((m, k), (k, n)),
        Layout::TN => ((k, m), (k, n)),
    };
    let (a, b) = (Matrix::random(ar, ac, gap, case.a, 1), Matrix::random(br, bc, gap + 1, case.b, 2));
    let wide = if case.compute == DType::F64 { DType::F64 } else { DType::F32 };
    let bias = Matrix::random(1, n, 0, wide, 3);
    let pre_before = Matrix::random(m, n, gap, case.c, 4);
    let residual = Matrix::random(m, n, gap + 2, wide, 5);
    let before = Matrix::random(m, n, gap, case.c, 6);
    let (c, pre) = compute(isa, case);
    // What the product sees of a number.
    let rounded = |x: f64| match case.compute {
        DType::F64 => x,
        DType::F32 => f64::from(x as f32),
        _ => f64::from(bf16_to_f32(f32_to_bf16(x as f32))),
    };
    let (u, u_c) = (half_ulp(wide), half_ulp(case.c));
    for i in 0..m {
        for j in 0..n {
            let (mut sum, mut size) = (0.0, 0.0);
            for l in 0..k {
                let x = if case.layout == Layout::TN { a.at(l, i) } else { a.at(i, l) };
                let y = if case.layout == Layout::NT { b.at(j, l) } else { b.at(l, j) };
                sum += rounded(x) * rounded(y);
                size += (rounded(x) * rounded(y)).abs();
            }
            let bias = if case.bias { bias.at(0, j) } else { 0.0 };
            let v = case.alpha * sum + bias;
            // k roundings of the sum, one each of its scaling and the bias.
            let error_v = u * (k as f64 + 2.0) * (case.alpha.abs() * size + bias.abs());
            // GELU and its derivative are as exact as the tests of `vmath` say; both have slopes below 1.13.
            let own = if wide == DType::F64 { 4e-14 } else { 4e-6 };
            let (result, mut error) = match case.after {
                After::None => (v, error_v),
                After::Gelu => (v * cdf(v), 1.13 * error_v + own * (v * cdf(v)).abs() + 1e-15 * (1.0 + v.abs())),
                After::GeluGrad => {
                    let p = pre_before.at(i, j);
                    let slope = cdf(p) + p * (-0.5 * p * p).exp() / (2.0 * std::f64::consts::PI).sqrt();
                    (v * slope, error_v * 1.13 + own * v.abs())
                }
                After::Residual => (v + residual.at(i, j), error_v + 2.0 * u * (v.abs() + residual.at(i, j).abs())),
                After::ResidualInPlace => (v + before.at(i, j), error_v + 2.0 * u * (v.abs() + before.at(i, j).abs())),
            };
            let mut want = result;
            if case.accumulate {
                want += before.at(i, j);
                error += 2.0 * u * (result.abs() + before.at(i, j).abs());
            }
            // The result is rounded to f32 on its way from f64 to bfloat16.
            let stored = |want: f64, error: f64| {
                (error + (u_c + 2f64.powi(-24) * f64::from(u8::from(u_c > u))) * want.abs()) * 1.01
            };
            let (got, tolerance) = (c.at(i, j), stored(want, error));
            assert!(
                (got - want).abs() <= tolerance,
                "{isa:?} {case:?} [{i},{j}]: {got} for {want} (tolerance {tolerance:e})"
            );
            if matches!(case.after, After::Gelu) {
                assert!((pre.at(i, j) - v).abs() <= stored(v, error_v), "pre-activation {case:?}");
            }
        }
        // Nothing is written past the row.
        for j in n..c.ld {
            assert_eq!(c.at(i, j), before.at(i, j));
        }
    }
}

fn case() -> impl Strategy<Value = Case> {
    let size = || prop_oneof![0usize..5, 1usize..40, 30usize..70];
    let depth = prop_oneof![0usize..5, 1usize..40, 380usize..390, 760usize..790];
    let layout = prop_oneof![Just(Layout::NT), Just(Layout::NN), Just(Layout::TN)];
    let float = || prop_oneof![Just(DType::F32), Just(DType::BF16), Just(DType::F64)];
    let after = prop_oneof![
        Just(After::None),
        Just(After::Gelu),
        Just(After::GeluGrad),
        Just(After::Residual),
        Just(After::ResidualInPlace)
    ];
    let flags = (after, any::<bool>(), any::<bool>(), prop_oneof![Just(1.0), Just(-0.5)]);
    ((layout, size(), size(), depth, 0usize..4), (float(), float(), float(), float()), flags).prop_map(
        |((layout, m, n, k, gap), (a, b, c, compute), (after, bias, accumulate, alpha))| {
            let accumulate = accumulate && !matches!(after, After::ResidualInPlace);
            Case { layout, m, n, k, gap, a, b, c, compute, after, bias, accumulate, alpha }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_of_any_shape_and_type(case in case()) {
        for isa in Isa::available() {
            check(isa, &case);
        }
    }

    #[test]
    fn threads_and_instruction_sets_do_not_change_a_bit(case in case(), m in 30usize..300) {
        let case = Case { m, ..case };
        let one = with_threads(1, || compute(Isa::current(), &case).0.bytes);
        for threads in 2..=3 {
            assert_eq!(with_threads(threads, || compute(Isa::current(), &case).0.bytes), one);
        }
    }
}

#[test]
fn fused_instruction_sets_agree_in_f32() {
    let all = Isa::available().into_iter().filter(|isa| !matches!(isa, Isa::Portable | Isa::Pairs));
    let case = Case {
        layout: Layout::NT,
        m: 75,
        n: 83,
        k: 900,
        gap: 0,
        a: DType::F32,
        b: DType::F32,
        c: DType::F32,
        compute: DType::F32,
        after: After::None,
        bias: true,
        accumulate: false,
        alpha: 1.0,
    };
    let results: Vec<Vec<u8>> = all.map(|isa| compute(isa, &case).0.bytes).collect();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn batches() {
    for isa in Isa::available() {
        for (batch, shared) in [(3, false), (20, true)] {
            let (m, n, k) = (17, 21, 9);
            let a = Matrix::random(batch * m, k, 0, DType::F32, 1);
            let b = Matrix::random(batch * k, n, 0, DType::F32, 2);
            let mut c = Matrix::random(batch * m, n, 0, DType::F32, 3);
            let g = Gemm {
                layout: Layout::NN,
                m,
                n,
                k,
                a: a.operand(),
                b: b.operand(),
                c: c.bytes.as_mut_ptr(),
                c_dtype: DType::F32,
                ldc: n,
                compute: DType::F32,
                alpha: 1.0,
                bias: None,
                epilogue: Epilogue::None,
                accumulate: false,
            };
            unsafe { gemm_batched(isa, &g, batch, m * k, if shared { 0 } else { k * n }, m * n) };
            for i in 0..batch * m {
                for j in 0..n {
                    let base = if shared { 0 } else { i / m * k };
                    let want: f64 = (0..k).map(|l| a.at(i, l) * b.at(base + l, j)).sum();
                    assert!((c.at(i, j) - want).abs() < 1e-5);
                }
            }
        }
    }
}

#[test]
fn sums_of_columns() {
    for isa in Isa::available() {
        for dtype in [DType::F32, DType::BF16, DType::F64] {
            for (m, n) in [(0, 5), (1, 1), (200, 150), (333, 67), (64, 64)] {
                for accumulate in [false, true] {
                    let a = Matrix::random(m, n, 3, dtype, 7);
                    let sum = |threads| {
                        let mut out = Matrix::random(1, n, 0, if dtype == DType::F64 { dtype } else { DType::F32 }, 8);
                        let out_dtype = out.dtype;
                        let x = ColumnSum { m, n, a: a.operand(), out: out.bytes.as_mut_ptr(), out_dtype, accumulate };
                        with_threads(threads, || unsafe { column_sum(isa, &x) });
                        out
                    };
                    let (out, before) = (sum(1), Matrix::random(1, n, 0, sum(1).dtype, 8));
                    assert_eq!(out.bytes, sum(3).bytes);
                    for j in 0..n {
                        let want =
                            (0..m).map(|i| a.at(i, j)).sum::<f64>() + if accumulate { before.at(0, j) } else { 0.0 };
                        assert!(
                            (out.at(0, j) - want).abs() < 3e-5,
                            "{isa:?} {dtype} {m}x{n}: {} for {want}",
                            out.at(0, j)
                        );
                    }
                }
            }
        }
    }
}
