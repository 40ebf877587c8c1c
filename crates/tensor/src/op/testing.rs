//! Finite-difference checks in f64, for the tests of every operation.

mod twin;

use crate::{
    Code, DType, Device, Result, Tensor, Var,
    autograd::backward,
    backend::{cpu, wgpu},
};
use std::{
    cell::RefCell,
    sync::{Arc, LazyLock},
};

thread_local! {
    static OWN: RefCell<Option<Arc<Device>>> = const { RefCell::new(None) };
}

/// The device all tests share (within [`fault`], one of its own).
pub fn cpu() -> Arc<Device> {
    static CPU: LazyLock<Arc<Device>> = LazyLock::new(device);
    OWN.with_borrow(|own| own.clone()).unwrap_or_else(|| CPU.clone())
}

/// The CPU; with `AVJEPA_TEST_DEVICES=wgpu:0`, every kernel of that adapter beside its own.
pub fn device() -> Arc<Device> {
    static GPU: LazyLock<Option<Result<Arc<Device>>>> = LazyLock::new(|| adapter().as_deref().map(wgpu::device));
    match &*GPU {
        None => cpu::device(),
        Some(Ok(gpu)) => Device::new("cpu", Box::new(twin::Twin::new(gpu.clone()))),
        Some(Err(error)) => panic!("AVJEPA_TEST_DEVICES names wgpu: {error}"),
    }
}

/// The first adapter that `AVJEPA_TEST_DEVICES` names; `wgpu` is `wgpu:0` whatever it is.
pub fn adapter() -> Option<String> {
    let named = std::env::var("AVJEPA_TEST_DEVICES").unwrap_or_default();
    let name = named.split(',').map(str::trim).find(|name| name.starts_with("wgpu"))?;
    Some(if name == "wgpu" { "wgpu:0".to_string() } else { name.to_string() })
}

/// Runs `f` on a device of its own, where its kernel must refuse a value: an argument error that starts with `start` at the next
/// read. The device must work again after it.
pub fn fault(start: &str, f: impl FnOnce() -> Result<Var>) {
    OWN.set(Some(device()));
    let y = f().expect("the fault can be seen on the device only").tensor;
    let error = cpu().read_now(&y).expect_err("the value is not allowed");
    assert_eq!(error.code, Code::Argument, "{error}");
    assert!(error.message.starts_with(start), "{error}");
    assert_eq!(to_f64(&from_f64(&[1], &[3.0])), [3.0]);
    OWN.set(None);
}

/// Every element within `bound` of what is expected.
pub fn close(got: &Tensor, expected: &[f64], bound: f64) {
    let got = to_f64(got);
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= bound, "element {i}: {got}, but {expected} is expected");
    }
}

/// An f64 tensor of values in [−1, 1) that depend on `seed`.
pub fn random(shape: &[usize], seed: u64) -> Tensor {
    let len = shape.iter().product::<usize>();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    let values: Vec<f64> = (0..len).map(|_| next()).collect();
    from_f64(shape, &values)
}

pub fn from_f64(shape: &[usize], values: &[f64]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::from_bytes(&cpu(), shape, DType::F64, bytes).expect("as many values as the shape has elements")
}

pub fn from_i32(values: &[i32]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::from_bytes(&cpu(), &[values.len()], DType::I32, bytes).expect("as many bytes")
}

pub fn to_f64(t: &Tensor) -> Vec<f64> {
    let wide = Tensor::empty(t.device(), &t.shape, DType::F64);
    let (from, to) = (t.clone(), wide.clone());
    t.device().submit("cast", move |b| b.cast(&from, &to));
    let bytes = wide.device().read_now(&wide).expect("the kernels ran");
    bytes.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().expect("8 bytes"))).collect()
}

/// Compares the gradient of `Σ w·f(inputs)` (w random) with central differences, in every element of every input.
pub fn gradient_check(inputs: &[Tensor], f: impl Fn(&[Var]) -> Result<Var>) {
    let leaves: Vec<Var> = inputs.iter().map(|t| Var::leaf(t.clone(), None).expect("floats")).collect();
    let y = f(&leaves).expect("the forward pass runs");
    assert_eq!(y.tensor.dtype, DType::F64, "gradient checks run in f64");
    let w = random(&y.tensor.shape, 77);
    backward(&[(y, w.clone())]).expect("the backward pass runs");
    let weights = to_f64(&w);
    let value = |inputs: &[Tensor]| -> f64 {
        let vars: Vec<Var> = inputs.iter().cloned().map(Var::constant).collect();
        let y = f(&vars).expect("the forward pass runs");
        to_f64(&y.tensor).iter().zip(&weights).map(|(y, w)| y * w).sum()
    };
    for (i, (input, leaf)) in inputs.iter().zip(&leaves).enumerate() {
        let gradient = to_f64(&leaf.grad().expect("every input has reached the output"));
        let values = to_f64(input);
        for e in 0..values.len() {
            let step = 1e-5 * values[e].abs().max(1.0);
            let at = |delta: f64| {
                let mut moved = values.clone();
                moved[e] += delta;
                let mut inputs = inputs.to_vec();
                inputs[i] = from_f64(&input.shape, &moved);
                value(&inputs)
            };
            let expected = (at(step) - at(-step)) / (2.0 * step);
            let got = gradient[e];
            assert!(
                (got - expected).abs() <= 1e-6 * (1.0 + expected.abs()),
                "input {i}, element {e}: gradient {got}, by differences {expected}"
            );
        }
    }
}
