//! Reverse-mode differentiation: how gradients meet, are kept and are given back.

mod common;

use avjepa_tensor::{
    Code, DType, Tensor, Var,
    autograd::{self, no_grad},
    backend::{Binary, Reduction, Unary, cpu},
    op,
};
use common::{Block, backward, grad, grad_bytes, indices, leaf, random, shared, tensor, values};

fn number(value: f64) -> Var {
    Var::leaf(tensor(&shared(), &[1], DType::F64, &[value]), None).unwrap()
}

fn add(a: &Var, b: &Var) -> Var {
    op::binary(a, b, Binary::Add).unwrap()
}

fn mul(a: &Var, b: &Var) -> Var {
    op::binary(a, b, Binary::Mul).unwrap()
}

fn neg(a: &Var) -> Var {
    op::unary(a, Unary::Neg).unwrap()
}

#[test]
fn gradients_meet() {
    // y = x² + 3x + sin x + x, in which x stands five times; h of them goes through a node.
    let x = number(0.7);
    let h = neg(&neg(&x));
    let three = op::unary(&h, Unary::Affine { scale: 3.0, shift: 0.0 }).unwrap();
    let y = add(&add(&add(&mul(&h, &h), &three), &op::unary(&h, Unary::Sin).unwrap()), &x);
    backward(&y).unwrap();
    assert!((grad(&x)[0] - (2.0 * 0.7 + 3.0 + 0.7f64.cos() + 1.0)).abs() < 1e-12);
}

/// A gradient that several variables are given is nobody's to add to.
#[test]
fn shared_gradients_are_not_written() {
    let (x, z) = (number(5.0), number(7.0));
    let (a, b) = (neg(&x), neg(&z));
    // Both get the gradient of the sum; a gets more, before and after.
    let y = add(&a, &b);
    let y = add(&y, &add(&a, &a));
    let y = add(&y, &mul(&a, &b));
    backward(&y).unwrap();
    assert_eq!((grad(&x), grad(&z)), (vec![-(3.0 - 7.0)], vec![-(1.0 - 5.0)]));

    // The sum is the last to be made and so the first to give: to four variables, of which two are then added to.
    let (x, z) = (number(5.0), number(7.0));
    let (a, b) = (neg(&x), neg(&z));
    let product = mul(&a, &b);
    backward(&add(&product, &add(&a, &b))).unwrap();
    assert_eq!((grad(&x), grad(&z)), (vec![6.0], vec![4.0]));

    let x = number(2.0);
    let h = neg(&x);
    let doubled = add(&h, &h);
    backward(&add(&doubled, &doubled)).unwrap();
    assert_eq!(grad(&x), [-4.0]);
}

/// The gradient that backward is given is read only, whatever it is passed on to.
#[test]
fn given_gradients_are_not_written() {
    let device = shared();
    let x = leaf(&device, &[5, 4], DType::F32, 1);
    let w = leaf(&device, &[4, 4], DType::F32, 2);
    let h = neg(&x);
    let y = op::linear(&h, &w, None, Some(&h), false, DType::F32).unwrap();
    let y = op::reshape(&op::linear(&y, &w, None, Some(&y), false, DType::F32).unwrap(), &[20]).unwrap();
    let given = random(&device, &[20], DType::F32, 3);
    let before = values(&given);
    autograd::backward(&[(y, given.clone())]).unwrap();
    assert_eq!(values(&given), before);
    // Nor is a leaf's gradient the very same memory.
    let z = leaf(&device, &[20], DType::F32, 4);
    autograd::backward(&[(z.clone(), given.clone())]).unwrap();
    op::fill_(&z.grad().unwrap(), 0.0).unwrap();
    assert_eq!(values(&given), before);
}

/// A residual stream with two readers, against the derivative by hand.
#[test]
fn residuals_twice() {
    let device = shared();
    let x = leaf(&device, &[3, 2], DType::F64, 1);
    let w = leaf(&device, &[2, 2], DType::F64, 2);
    let h = neg(&x);
    let a = op::linear(&h, &w, None, Some(&h), false, DType::F64).unwrap();
    let b = op::linear(&h, &w, None, Some(&a), false, DType::F64).unwrap();
    backward(&add(&b, &h)).unwrap();
    // y = 2hWᵀ + 2h: a row of dx is −(2·column sums of W + 2).
    let w = values(&w.tensor);
    let expected = [-(2.0 * (w[0] + w[2]) + 2.0), -(2.0 * (w[1] + w[3]) + 2.0)];
    for (i, g) in grad(&x).into_iter().enumerate() {
        assert!((g - expected[i % 2]).abs() < 1e-12);
    }
}

#[test]
fn leaves_add_up_over_passes() {
    let x = number(3.0);
    for passes in 1..=3 {
        backward(&mul(&x, &x)).unwrap();
        assert_eq!(grad(&x), [6.0 * f64::from(passes)]);
    }
    x.set_grad(None).unwrap();
    assert!(x.grad().is_none());
    // Two roots at once.
    let (a, b) = (mul(&x, &x), neg(&x));
    let one = tensor(&shared(), &[1], DType::F64, &[1.0]);
    autograd::backward(&[(a, one.clone()), (b, one)]).unwrap();
    assert_eq!(grad(&x), [5.0]);
}

/// Gradients go where they are told to: into one stretch of memory for all parameters.
#[test]
fn gradients_land_in_the_given_memory() {
    let device = shared();
    let chunk = Tensor::full(&device, &[8], DType::F64, 100.0);
    let parameter = |start: usize, n: usize| {
        let value = Tensor::full(&device, &[n], DType::F64, 2.0);
        Var::leaf(value, Some(chunk.view(start, &[n]).unwrap())).unwrap()
    };
    let (a, b) = (parameter(0, 3), parameter(4, 3));
    backward(&mul(&a, &b)).unwrap();
    assert_eq!(values(&chunk), [102.0, 102.0, 102.0, 100.0, 102.0, 102.0, 102.0, 100.0]);
    let wrong = Var::leaf(Tensor::zeros(&device, &[3], DType::F64), Some(chunk.view(0, &[4]).unwrap()));
    assert_eq!(wrong.expect_err("four into three").code, Code::Shape);
    assert_eq!(a.set_grad(Some(chunk.clone())).expect_err("eight into three").code, Code::Shape);
}

#[test]
fn a_graph_is_walked_once() {
    let x = number(3.0);
    let y = mul(&x, &x);
    backward(&y).unwrap();
    let error = backward(&y).expect_err("freed");
    assert_eq!(error.code, Code::Autograd);
    assert_eq!(error.message, "backward: the record of mul has been used already");
}

#[test]
fn chains_of_any_length() {
    let chain = || {
        let x = number(1.0);
        let one = x.detach();
        let mut y = x.clone();
        for _ in 0..200_000 {
            y = add(&y, &one);
        }
        (x, y)
    };
    let (x, y) = chain();
    backward(&y).unwrap();
    assert_eq!((values(&y.tensor), grad(&x)), (vec![200_001.0], vec![1.0]));
    drop(y);
    // Freed without a backward pass, too.
    drop(chain());
}

#[test]
fn refusals() {
    let device = shared();
    let error = Var::leaf(indices(&device, &[1, 2]), None).expect_err("integers");
    assert_eq!(error.message, "requiresGrad: a int32 tensor cannot have a gradient");
    let constant = number(1.0).detach();
    assert_eq!(backward(&constant).expect_err("constant").code, Code::Autograd);
    assert_eq!(constant.set_grad(None).expect_err("constant").code, Code::Autograd);
    let x = number(1.0);
    let error = autograd::backward(&[(x.clone(), Tensor::zeros(&device, &[2], DType::F64))]).expect_err("two for one");
    assert_eq!(error.code, Code::Shape);
    let error = autograd::backward(&[(x.clone(), Tensor::zeros(&device, &[1], DType::F32))]).expect_err("another type");
    assert_eq!(error.code, Code::Shape);

    let elsewhere = Var::constant(Tensor::zeros(&cpu::device(), &[1], DType::F64));
    let error = op::binary(&x, &elsewhere, Binary::Add).expect_err("two devices");
    assert_eq!(error.message, "add: its tensors lie on two devices, cpu and cpu");
}

#[test]
fn integers_are_constants() {
    let x = leaf(&shared(), &[4], DType::F32, 1);
    let y = op::cast(&x, DType::I32).unwrap();
    assert!(!y.requires_grad());
    assert_eq!(backward(&y).expect_err("no way back").code, Code::Autograd);
}

#[test]
fn no_grad_leaves_nothing_behind() {
    let x = number(2.0);
    assert!(!no_grad(|| mul(&x, &x)).requires_grad());
    no_grad(|| {
        no_grad(|| ());
        assert!(!mul(&x, &x).requires_grad());
    });
    assert!(mul(&x, &x).requires_grad());
    // Not even when what runs inside gives up.
    let result = std::panic::catch_unwind(|| no_grad(|| std::panic::resume_unwind(Box::new("given up"))));
    assert!(result.is_err());
    assert!(mul(&x, &x).requires_grad());
}

/// The same step gives the same bits, and leaves no memory behind.
#[test]
fn steps_repeat_and_leave_nothing() {
    let device = cpu::device();
    let step = || {
        let block = Block::new(&device, 12, 2, DType::BF16, 1);
        let x = leaf(&device, &[9, 12], DType::F32, 2);
        let y = block.forward(&x, &indices(&device, &[0, 5, 9])).unwrap();
        backward(&op::reduce(&y, &[], false, Reduction::Mean).unwrap()).unwrap();
        block.parameters().chain([&x]).map(grad_bytes).collect::<Vec<_>>()
    };
    let first = step();
    let held = || {
        device.read_now(&Tensor::zeros(&device, &[1], DType::U8)).unwrap();
        (device.memory().bytes, device.memory().buffers)
    };
    assert_eq!(held(), (0, 0));
    assert!(device.memory().peak_bytes > 0);
    assert_eq!(first, step());
    assert_eq!(held(), (0, 0));
}
