use super::*;

/// Every method of one vector type against the scalar it stands for.
struct Check<E>(std::marker::PhantomData<E>);

impl<E: Float> Kernel for Check<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        check::<E::V<S>>();
    }
}

fn lanes<V: Vector>(v: V) -> Vec<f64> {
    let mut out = [V::Elem::ZERO; MAX_LANES];
    unsafe { v.store(out.as_mut_ptr()) };
    out[..V::LANES].iter().map(|x| x.to_f64()).collect()
}

#[inline(always)]
fn check<V: Vector>() {
    let e = V::Elem::from_f64;
    let l = V::LANES;
    let data: Vec<V::Elem> = (0..64).map(|i| e(f64::from(i * 7 % 23) - 9.75)).collect();
    let x: Vec<f64> = data.iter().map(|x| x.to_f64()).collect();
    let load = |at: usize| unsafe { V::load(data.as_ptr().add(at)) };
    let (a, b, c) = (load(0), load(l), load(2 * l));
    let want = |f: &dyn Fn(f64, f64, f64) -> f64| (0..l).map(|i| f(x[i], x[l + i], x[2 * l + i])).collect::<Vec<_>>();
    assert_eq!(lanes(a.add(b)), want(&|a, b, _| a + b));
    assert_eq!(lanes(a.sub(b)), want(&|a, b, _| a - b));
    assert_eq!(lanes(a.mul(b)), want(&|a, b, _| a * b));
    assert_eq!(lanes(a.mul_add(b, c)), want(&|a, b, c| a * b + c));
    assert_eq!(lanes(a.neg_mul_add(b, c)), want(&|a, b, c| c - a * b));
    assert_eq!(lanes(a.max(b)), want(&|a, b, _| a.max(b)));
    assert_eq!(lanes(a.min(b)), want(&|a, b, _| a.min(b)));
    assert_eq!(lanes(a.abs()), want(&|a, _, _| a.abs()));
    assert_eq!(lanes(a.round()), want(&|a, _, _| a.round_ties_even()));
    assert_eq!(lanes(V::select_lt(a, b, b, c)), want(&|a, b, c| if a < b { b } else { c }));
    assert_eq!(lanes(a.scale2(V::splat(e(5.0)))), want(&|a, _, _| a * 32.0));
    assert_eq!(lanes(V::splat(e(1.75)).scale2(V::splat(e(-20.0)))), vec![1.75 / 1048576.0; l]);
    assert_eq!(lanes(a.mul(a).sqrt()), want(&|a, _, _| a.abs()));
    assert_eq!(lanes(V::splat(e(6.0)).div(V::splat(e(4.0)))), vec![1.5; l]);
    assert_eq!(a.sum().to_f64(), x[..l].iter().sum::<f64>());
    assert_eq!(a.max_lane().to_f64(), x[..l].iter().copied().fold(f64::MIN, f64::max));
    let nan = V::splat(e(f64::NAN));
    assert!(lanes(a.max(nan)).iter().all(|x| x.is_nan()));
    assert!(lanes(V::splat(e(1.0)).min(nan)).iter().all(|x| x.is_nan()));
    for n in 0..=l + 1 {
        let part = unsafe { V::load_part(data.as_ptr(), n) };
        assert_eq!(lanes(part), (0..l).map(|i| if i < n { x[i] } else { 0.0 }).collect::<Vec<_>>());
        let mut out = vec![e(-77.0); l];
        unsafe { b.store_part(out.as_mut_ptr(), n) };
        for i in 0..l {
            assert_eq!(out[i].to_f64(), if i < n { x[l + i] } else { -77.0 });
        }
        let bits: Vec<u16> = (0..l).map(|i| crate::dtype::f32_to_bf16(i as f32 * 1.37 - 3.0)).collect();
        let wide = unsafe { V::load_bf16(bits.as_ptr(), n) };
        let want = |i: usize| f64::from(crate::dtype::bf16_to_f32(bits[i]));
        assert_eq!(lanes(wide), (0..l).map(|i| if i < n { want(i) } else { 0.0 }).collect::<Vec<_>>());
        let values: Vec<f32> =
            (0..l).map(|i| [1.003_906_3, 1.011_718_8, -3.3e38, 1e-40, f32::NAN, 0.1][i % 6]).collect();
        let wide: Vec<V::Elem> = values.iter().map(|&x| e(f64::from(x))).collect();
        let mut out = vec![0xabcd_u16; l];
        unsafe { V::load(wide.as_ptr()).store_bf16(out.as_mut_ptr(), n) };
        let rounded = lanes(unsafe { V::load(wide.as_ptr()).round_bf16() });
        for i in 0..l {
            let bits = crate::dtype::f32_to_bf16(values[i]);
            assert_eq!(out[i], if i < n { bits } else { 0xabcd }, "{}", values[i]);
            let same = rounded[i] == f64::from(crate::dtype::bf16_to_f32(bits));
            assert!(same || values[i].is_nan() && rounded[i].is_nan(), "{}", values[i]);
        }
    }
    let matrix: Vec<V::Elem> = (0..l * (l + 3)).map(|i| e(i as f64)).collect();
    let mut turned = vec![e(0.0); l * (l + 2)];
    unsafe { V::transpose(matrix.as_ptr(), (l + 3) * size_of::<V::Elem>(), turned.as_mut_ptr(), l + 2) };
    for i in 0..l {
        for j in 0..l {
            assert_eq!(turned[j * (l + 2) + i].to_f64(), matrix[i * (l + 3) + j].to_f64());
        }
    }
}

#[test]
fn vectors_do_what_scalars_do() {
    for isa in Isa::available() {
        isa.run(Check::<f32>(std::marker::PhantomData));
        isa.run(Check::<f64>(std::marker::PhantomData));
    }
}

#[test]
fn names_are_checked() {
    assert_eq!(Isa::parse("portable"), Ok(Isa::Portable));
    let error = Isa::parse("sse9").unwrap_err();
    assert!(error.contains("sse9") && error.contains("portable"), "{error}");
    let missing = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    assert!(Isa::parse(missing).unwrap_err().contains("not available"));
}
