//! Tensors for the tests of kernels.

use crate::{
    dtype::{DType, bf16_to_f32},
    op::testing::cpu,
    tensor::Tensor,
};

pub const FLOATS: [DType; 3] = [DType::F32, DType::BF16, DType::F64];
/// Sizes below, at and above those of lanes, tiles and tasks.
pub const SIZES: [usize; 8] = [0, 1, 5, 31, 64, 513, 4099, 70001];

pub fn random(shape: &[usize], seed: u64, dtype: DType) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xdead_beef;
    let values: Vec<f64> = (0..shape.iter().product::<usize>())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 51) as f64 - 2.0
        })
        .collect();
    tensor(shape, &values, dtype)
}

pub fn tensor(shape: &[usize], values: &[f64], dtype: DType) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let wide = Tensor::from_bytes(&cpu(), shape, DType::F64, bytes).unwrap();
    run(&wide.shape.clone(), dtype, |b, y| b.cast(&wide, y))
}

pub fn int(values: &[i32]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::from_bytes(&cpu(), &[values.len()], DType::I32, bytes).unwrap()
}

pub fn empty(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::empty(&cpu(), shape, dtype)
}

/// Runs a kernel that writes a tensor of this shape and type.
pub fn run(
    shape: &[usize],
    dtype: DType,
    kernel: impl FnOnce(&dyn crate::backend::Backend, &Tensor) -> crate::Result<()> + Send,
) -> Tensor {
    let y = empty(shape, dtype);
    // Everything uploaded before must have arrived.
    sync();
    kernel(cpu().backend(), &y).unwrap();
    y
}

pub fn sync() {
    let (send, receive) = std::sync::mpsc::channel();
    cpu().sync(move |result| drop(send.send(result)));
    receive.recv().unwrap().unwrap();
}

pub fn bits(t: &Tensor) -> Vec<u8> {
    cpu().read_now(t).unwrap()
}

pub fn to_vec(t: &Tensor) -> Vec<f64> {
    let bytes = bits(t);
    match t.dtype {
        DType::F64 => bytes.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect(),
        DType::F32 => bytes.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes(c.try_into().unwrap()))).collect(),
        DType::BF16 => {
            bytes.chunks_exact(2).map(|c| f64::from(bf16_to_f32(u16::from_le_bytes(c.try_into().unwrap())))).collect()
        }
        DType::I32 => bytes.chunks_exact(4).map(|c| f64::from(i32::from_le_bytes(c.try_into().unwrap()))).collect(),
        DType::I64 => bytes.chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().unwrap()) as f64).collect(),
        DType::U8 => bytes.iter().map(|&b| f64::from(b)).collect(),
    }
}

/// Room for rounding in results of this type.
pub fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-12,
        DType::BF16 => 8e-3,
        _ => 2e-6,
    }
}

/// Equal to within `tolerance` of their type, times `scale` and one more than the magnitude expected.
pub fn assert_close(got: &Tensor, expected: &[f64], scale: f64) {
    let values = to_vec(got);
    assert_eq!(values.len(), expected.len());
    for (i, (&g, &e)) in values.iter().zip(expected).enumerate() {
        let bound = tolerance(got.dtype) * scale * (1.0 + e.abs());
        let same = g == e || (g.is_nan() && e.is_nan());
        assert!(same || (g - e).abs() <= bound, "element {i} of {got:?}: {g}, expected {e} (bound {bound:e})");
    }
}

/// The same bytes on 1, 2, 3 and 5 threads.
pub fn assert_same_on_threads(f: impl Fn() -> Vec<Tensor>) {
    let on = |n| super::pool::with_threads(n, || f().iter().map(bits).collect::<Vec<_>>());
    let one = on(1);
    for n in [2, 3, 5] {
        assert!(on(n) == one, "{n} threads give other bytes than one");
    }
}
