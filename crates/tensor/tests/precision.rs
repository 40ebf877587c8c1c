//! Every operation in f32 and bf16 on every device present: outputs and gradients against the same in f64 on the CPU, which the
//! finite differences beside each operation prove right.

mod common;

use avjepa_tensor::{
    DType, Device, Result, Tensor, Var, autograd,
    backend::{Binary, Reduction, Unary},
    op,
};
use common::{distance, indices, numbers, shared, tensor, tolerance, values};
use std::sync::Arc;

/// Devices to be tested: the CPU, and whatever else this machine has.
fn devices() -> Vec<Arc<Device>> {
    vec![shared()]
}

/// Where and in what an operation runs.
struct At {
    device: Arc<Device>,
    dtype: DType,
}

impl At {
    fn indices(&self, values: &[i32]) -> Tensor {
        indices(&self.device, values)
    }

    /// A constant of the type that sums are kept in.
    fn wide(&self, shape: &[usize], seed: u64) -> Tensor {
        tensor(&self.device, shape, self.sums(), &single(shape, seed))
    }

    fn sums(&self) -> DType {
        if self.dtype == DType::F64 { DType::F64 } else { DType::F32 }
    }
}

/// Random numbers that f32 holds exactly.
fn single(shape: &[usize], seed: u64) -> Vec<f64> {
    numbers(shape.iter().product(), seed).into_iter().map(|v| f64::from(v as f32)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Of the type computed in.
    Narrow,
    /// Of the type sums are kept in: biases, norms, the residual stream.
    Wide,
}
use Kind::{Narrow, Wide};

type Apply = Box<dyn Fn(&At, &[Var]) -> Result<Var>>;

struct Case {
    name: &'static str,
    inputs: Vec<(Kind, Vec<usize>)>,
    apply: Apply,
}

fn case(name: &'static str, inputs: &[(Kind, &[usize])], apply: impl Fn(&At, &[Var]) -> Result<Var> + 'static) -> Case {
    let inputs = inputs.iter().map(|(k, s)| (*k, s.to_vec())).collect();
    Case { name, inputs, apply: Box::new(apply) }
}

/// The model's own operations, at sizes that fill no tile.
fn fused() -> Vec<Case> {
    vec![
        case("linear", &[(Narrow, &[67, 45]), (Wide, &[39, 45]), (Wide, &[39])], |at, v| {
            op::linear(&v[0], &v[1], Some(&v[2]), None, false, at.dtype)
        }),
        case("linear + gelu", &[(Narrow, &[67, 45]), (Wide, &[39, 45]), (Wide, &[39])], |at, v| {
            op::linear(&v[0], &v[1], Some(&v[2]), None, true, at.dtype)
        }),
        case(
            "linear + residual",
            &[(Narrow, &[67, 45]), (Wide, &[39, 45]), (Wide, &[39]), (Wide, &[67, 39])],
            |at, v| op::linear(&v[0], &v[1], Some(&v[2]), Some(&v[3]), false, at.dtype),
        ),
        case(
            "mlp",
            &[
                (Narrow, &[67, 24]),
                (Wide, &[99, 24]),
                (Wide, &[99]),
                (Wide, &[24, 99]),
                (Wide, &[24]),
                (Wide, &[67, 24]),
            ],
            |at, v| op::mlp(&v[0], &v[1], Some(&v[2]), &v[3], Some(&v[4]), Some(&v[5]), at.dtype),
        ),
        case("attention", &[(Narrow, &[70, 3 * 48])], |at, v| {
            op::attention(&v[0], &at.indices(&[0, 33, 33, 34, 70]), 2, None)
        }),
        case("attention of 64", &[(Narrow, &[130, 3 * 64])], |at, v| {
            op::attention(&v[0], &at.indices(&[0, 130]), 1, None)
        }),
        case("crossAttention", &[(Narrow, &[7, 33]), (Narrow, &[70, 66])], |at, v| {
            let (q, kv) = (at.indices(&[0, 3, 7, 7]), at.indices(&[0, 0, 41, 70]));
            op::cross_attention(&v[0], &v[1], &q, &kv, 3, Some(0.5))
        }),
        case("layerNorm of the stream", &[(Wide, &[37, 65]), (Wide, &[65]), (Wide, &[65])], |at, v| {
            op::layer_norm(&v[0], Some(&v[1]), Some(&v[2]), 1e-6, at.dtype)
        }),
        case("layerNorm", &[(Narrow, &[5, 7, 65])], |at, v| op::layer_norm(&v[0], None, None, 1e-6, at.dtype)),
        case("patchify", &[(Narrow, &[2, 3, 5, 9, 8])], |at, v| {
            op::patchify(&v[0], [2, 3, 4], Some(&at.indices(&[3, 0, 17, 22, 3])), &[], &[], at.dtype)
        }),
        case("assemble", &[(Narrow, &[9, 33]), (Wide, &[1, 33]), (Wide, &[8, 33])], |at, v| {
            let rows: Vec<i32> = (0..50).map(|i| if i % 3 == 0 { i % 9 } else { 9 }).collect();
            let places: Vec<i32> = (0..50).map(|i| i % 8).collect();
            op::assemble(&[&v[0], &v[1]], &at.indices(&rows), Some((&v[2], &at.indices(&places))), at.dtype)
        }),
        case("indexSelect", &[(Narrow, &[9, 3, 11])], |at, v| {
            op::index_select(&v[0], &at.indices(&[8, 0, 0, 5, 8, 8]))
        }),
        case("lpLoss 1", &[(Narrow, &[21, 65])], |at, v| lp_loss(at, &v[0], 1.0, Some(1e-6))),
        case("lpLoss 2", &[(Narrow, &[21, 65])], |at, v| lp_loss(at, &v[0], 2.0, None)),
        case("segmentStd", &[(Narrow, &[40, 33])], |at, v| {
            op::segment_std(&v[0], &at.indices(&[0, 1, 1, 19, 40]), 1e-4)
        }),
        case("crossEntropy", &[(Narrow, &[19, 41])], |at, v| {
            op::cross_entropy(&v[0], &at.indices(&(0..19).map(|i| i * 7 % 41).collect::<Vec<_>>()), 0.1)
        }),
        case("binaryCrossEntropy", &[(Narrow, &[19, 41])], |at, v| {
            op::binary_cross_entropy(&v[0], &at.wide(&[19, 41], 50))
        }),
        case("eppsPulley", &[(Narrow, &[33, 17])], |_, v| op::epps_pulley(&v[0], &[0.2, 1.0, 3.0], &[0.3, 0.5, 0.1])),
        case("rotary", &[(Narrow, &[21, 60])], |at, v| {
            op::rotary(&v[0], 2, 10, 20, &at.wide(&[21, 10], 51), &at.wide(&[21, 10], 52))
        }),
    ]
}

fn lp_loss(at: &At, z: &Var, p: f64, norm_eps: Option<f64>) -> Result<Var> {
    let rows: Vec<i32> = (0..21).map(|i| i * 5 % 13).collect();
    op::lp_loss(z, &Var::constant(at.wide(&[13, 65], 53)), &at.indices(&rows), p, norm_eps)
}

fn generic() -> Vec<Case> {
    let two: [(Kind, &[usize]); 2] = [(Narrow, &[5, 1, 33]), (Narrow, &[7, 33])];
    let mut cases = vec![
        case("softmax", &[(Narrow, &[3, 5, 33])], |_, v| op::softmax(&v[0])),
        case("matmul", &[(Narrow, &[3, 17, 33]), (Narrow, &[3, 33, 9])], |at, v| {
            op::matmul(&v[0], &v[1], false, at.dtype)
        }),
        case("matmul of one", &[(Narrow, &[3, 17, 33]), (Narrow, &[9, 33])], |at, v| {
            op::matmul(&v[0], &v[1], true, at.dtype)
        }),
        case("permute", &[(Narrow, &[3, 4, 5])], |_, v| op::permute(&v[0], &[2, 0, 1])),
        case("slice", &[(Narrow, &[3, 14, 5])], |_, v| op::slice(&v[0], 1, 3, -2)),
        case("concat", &[(Narrow, &[3, 4]), (Narrow, &[3, 7])], |_, v| op::concat(&[&v[0], &v[1], &v[0]], 1)),
        case("reshape", &[(Narrow, &[3, 4])], |_, v| op::reshape(&v[0], &[2, -1])),
        case("cast", &[(Narrow, &[33])], |at, v| op::cast(&v[0], at.sums())),
        case("sum", &[(Narrow, &[7, 33, 5])], |_, v| op::reduce(&v[0], &[0, 2], false, Reduction::Sum)),
        case("mean", &[(Narrow, &[7, 33, 5])], |_, v| op::reduce(&v[0], &[1], true, Reduction::Mean)),
        case("max", &[(Narrow, &[7, 33, 5])], |_, v| op::reduce(&v[0], &[-1], true, Reduction::Max)),
        case("add", &two, |_, v| op::binary(&v[0], &v[1], Binary::Add)),
        case("sub", &two, |_, v| op::binary(&v[0], &v[1], Binary::Sub)),
        case("mul", &two, |_, v| op::binary(&v[0], &v[1], Binary::Mul)),
        case("div", &two, |_, v| op::binary(&v[0], &positive(&v[1])?, Binary::Div)),
        case("maximum", &two, |_, v| op::binary(&v[0], &v[1], Binary::Max)),
    ];
    for (name, f) in [
        ("exp", Unary::Exp),
        ("sin", Unary::Sin),
        ("cos", Unary::Cos),
        ("tanh", Unary::Tanh),
        ("sigmoid", Unary::Sigmoid),
        ("relu", Unary::Relu),
        ("gelu", Unary::Gelu),
        ("erf", Unary::Erf),
        ("square", Unary::Square),
        ("affine", Unary::Affine { scale: -0.75, shift: 2.0 }),
    ] {
        cases.push(case(name, &[(Narrow, &[7, 33])], move |_, v| op::unary(&v[0], f)));
    }
    cases
}

/// `x² + 1`.
fn positive(x: &Var) -> Result<Var> {
    op::unary(&op::unary(x, Unary::Square)?, Unary::Affine { scale: 1.0, shift: 1.0 })
}

/// The output and the gradient of each input, with inputs and output gradient rounded to `rounded` beforehand.
fn run(case: &Case, at: &At, rounded: DType) -> Vec<Vec<f64>> {
    let round = |kind: Kind, shape: &[usize], seed: u64| {
        let dtype = if matches!(kind, Narrow) { rounded } else { DType::F32 };
        values(&tensor(&shared(), shape, dtype, &single(shape, seed)))
    };
    let leaves: Vec<Var> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(i, (kind, shape))| {
            let dtype = if matches!(kind, Narrow) { at.dtype } else { at.sums() };
            Var::leaf(tensor(&at.device, shape, dtype, &round(*kind, shape, i as u64)), None).unwrap()
        })
        .collect();
    let y = (case.apply)(at, &leaves).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let dy = tensor(&at.device, &y.tensor.shape, y.tensor.dtype, &round(Narrow, &y.tensor.shape, 40));
    let output = values(&y.tensor);
    autograd::backward(&[(y, dy)]).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    std::iter::once(output).chain(leaves.iter().map(common::grad)).collect()
}

#[test]
fn narrow_types_and_devices_agree_with_f64() {
    let mut far = vec![];
    for case in fused().into_iter().chain(generic()) {
        for dtype in [DType::F32, DType::BF16] {
            let expected = run(&case, &At { device: shared(), dtype: DType::F64 }, dtype);
            for device in devices() {
                let name = device.name().to_string();
                let got = run(&case, &At { device, dtype }, dtype);
                for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let distance = distance(got, expected);
                    if distance.is_nan() || distance > tolerance(dtype) {
                        let what = if i == 0 { "output".into() } else { format!("gradient {}", i - 1) };
                        far.push(format!("{} in {dtype} on {name}, {what}: {distance:.1e}", case.name));
                    }
                }
            }
        }
    }
    assert!(far.is_empty(), "{far:#?}");
}
