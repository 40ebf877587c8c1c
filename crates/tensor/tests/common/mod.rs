//! Tensors from numbers and back, for the tests of the engine from outside.

#![allow(dead_code)] // Each test file uses some of it.

use avjepa_tensor::{DType, Device, Result, Tensor, Var, autograd, backend::cpu, op};
use std::sync::{Arc, LazyLock};

/// The device tests share that need none of their own.
pub fn shared() -> Arc<Device> {
    static CPU: LazyLock<Arc<Device>> = LazyLock::new(cpu::device);
    CPU.clone()
}

/// A tensor of another type than float64 holds the numbers rounded.
pub fn tensor(device: &Arc<Device>, shape: &[usize], dtype: DType, values: &[f64]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let wide = Tensor::from_bytes(device, shape, DType::F64, bytes).expect("as many values as the shape has elements");
    op::cast(&Var::constant(wide), dtype).expect("numbers can be cast").tensor
}

pub fn indices(device: &Arc<Device>, values: &[i32]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::from_bytes(device, &[values.len()], DType::I32, bytes).expect("as many bytes")
}

pub fn values(t: &Tensor) -> Vec<f64> {
    let wide = op::cast(&Var::constant(t.clone()), DType::F64).expect("numbers can be cast").tensor;
    let bytes = wide.device().read_now(&wide).expect("the kernels ran");
    bytes.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().expect("8 bytes"))).collect()
}

/// `len` numbers in [−1, 1) that depend on `seed`.
pub fn numbers(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

pub fn random(device: &Arc<Device>, shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    tensor(device, shape, dtype, &numbers(shape.iter().product(), seed))
}

/// `random`, as a parameter.
pub fn leaf(device: &Arc<Device>, shape: &[usize], dtype: DType, seed: u64) -> Var {
    Var::leaf(random(device, shape, dtype, seed), None).expect("a float type")
}

/// Backward from every element alike.
pub fn backward(y: &Var) -> Result<()> {
    let t = &y.tensor;
    autograd::backward(&[(y.clone(), Tensor::full(t.device(), &t.shape, t.dtype, 1.0))])
}

pub fn grad(v: &Var) -> Vec<f64> {
    values(&v.grad().expect("a gradient has reached it"))
}

/// The bytes of a gradient: equal means equal in every bit.
pub fn grad_bytes(v: &Var) -> Vec<u8> {
    let gradient = v.grad().expect("a gradient has reached it");
    gradient.device().read_now(&gradient).expect("the kernels ran")
}

/// `|got − expected| / |expected|` over all elements.
pub fn distance(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(expected).map(|(g, e)| g - e));
    match difference == 0.0 {
        true => 0.0,
        false => difference / norm(&mut expected.iter().copied()),
    }
}

/// How far an operation computed in `dtype` may be from the truth, by [`distance`].
pub fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 1.0 / 128.0,
        DType::F32 => 1e-5,
        _ => 1e-12,
    }
}

/// A pre-norm transformer block of `heads` heads.
pub struct Block {
    norm1: [Var; 2],
    qkv: [Var; 2],
    out: [Var; 2],
    norm2: [Var; 2],
    fc1: [Var; 2],
    fc2: [Var; 2],
    heads: usize,
    compute: DType,
}

impl Block {
    pub fn new(device: &Arc<Device>, dim: usize, heads: usize, compute: DType, seed: u64) -> Block {
        let pair = |rows: usize, columns: usize, n: u64| {
            [leaf(device, &[rows, columns], DType::F32, seed + n), leaf(device, &[rows], DType::F32, seed + n + 1)]
        };
        let norm = |n| [leaf(device, &[dim], DType::F32, seed + n), leaf(device, &[dim], DType::F32, seed + n + 1)];
        Block {
            norm1: norm(0),
            qkv: pair(3 * dim, dim, 2),
            out: pair(dim, dim, 4),
            norm2: norm(6),
            fc1: pair(2 * dim, dim, 8),
            fc2: pair(dim, 2 * dim, 10),
            heads,
            compute,
        }
    }

    pub fn forward(&self, x: &Var, offsets: &Tensor) -> Result<Var> {
        let compute = self.compute;
        let [w, b] = &self.norm1;
        let h = op::layer_norm(x, Some(w), Some(b), 1e-6, compute)?;
        let [w, b] = &self.qkv;
        let qkv = op::linear(&h, w, Some(b), None, false, compute)?;
        let a = op::attention(&qkv, offsets, self.heads, None)?;
        let [w, b] = &self.out;
        let x = op::linear(&a, w, Some(b), Some(x), false, compute)?;
        let [w, b] = &self.norm2;
        let h = op::layer_norm(&x, Some(w), Some(b), 1e-6, compute)?;
        let ([w1, b1], [w2, b2]) = (&self.fc1, &self.fc2);
        op::mlp(&h, w1, Some(b1), w2, Some(b2), Some(&x), compute)
    }

    /// The same block of other parameters.
    pub fn map(&self, f: impl Fn(&Var) -> Var) -> Block {
        let pair = |[a, b]: &[Var; 2]| [f(a), f(b)];
        Block {
            norm1: pair(&self.norm1),
            qkv: pair(&self.qkv),
            out: pair(&self.out),
            norm2: pair(&self.norm2),
            fc1: pair(&self.fc1),
            fc2: pair(&self.fc2),
            ..*self
        }
    }

    pub fn parameters(&self) -> impl Iterator<Item = &Var> {
        [&self.norm1, &self.qkv, &self.out, &self.norm2, &self.fc1, &self.fc2].into_iter().flatten()
    }
}
