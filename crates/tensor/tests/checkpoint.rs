//! Activation checkpointing changes nothing but memory.

mod common;

use avjepa_tensor::{
    Code, DType, Device, Result, Tensor, Var,
    autograd::{self, begin_checkpoint, end_checkpoint, no_grad},
    backend::{Binary, Reduction, Unary, cpu},
    op,
};
use common::{Block, backward, grad, grad_bytes, indices, leaf, random, shared, tensor, values};
use std::sync::Arc;

fn checkpoint(f: impl FnOnce() -> Result<Var>) -> Result<Var> {
    begin_checkpoint();
    match f() {
        Ok(y) => Ok(end_checkpoint(Some(&[&y]))?.swap_remove(0)),
        Err(error) => {
            end_checkpoint(None)?;
            Err(error)
        }
    }
}

/// `f`, inside a checkpoint or not.
fn maybe(inside: bool, f: impl FnOnce() -> Result<Var>) -> Result<Var> {
    if inside { checkpoint(f) } else { f() }
}

fn add(a: &Var, b: &Var) -> Result<Var> {
    op::binary(a, b, Binary::Add)
}

fn mul(a: &Var, b: &Var) -> Result<Var> {
    op::binary(a, b, Binary::Mul)
}

/// Bytes of the output and of the gradient of every parameter and of the input of a model of two blocks.
fn two_blocks(
    device: &Arc<Device>,
    compute: DType,
    run: impl Fn(&Var, &[Block], &Tensor) -> Result<Var>,
) -> Vec<Vec<u8>> {
    let input = leaf(device, &[11, 24], DType::F32, 1);
    let embed = leaf(device, &[24, 24], DType::F32, 2);
    let blocks = [Block::new(device, 24, 3, compute, 10), Block::new(device, 24, 3, compute, 30)];
    let offsets = indices(device, &[0, 4, 4, 11]);
    let x = op::linear(&input, &embed, None, None, false, DType::F32).unwrap();
    let y = run(&x, &blocks, &offsets).unwrap();
    let output = device.read_now(&y.tensor).unwrap();
    autograd::backward(&[(y.clone(), random(device, &y.tensor.shape, y.tensor.dtype, 3))]).unwrap();
    let parameters = blocks.iter().flat_map(Block::parameters).chain([&input, &embed]);
    std::iter::once(output).chain(parameters.map(grad_bytes)).collect()
}

#[test]
fn gradients_are_those_without_it() {
    for compute in [DType::F32, DType::BF16] {
        let plain = two_blocks(&shared(), compute, |x, blocks, offsets| {
            blocks[1].forward(&blocks[0].forward(x, offsets)?, offsets)
        });
        let each = two_blocks(&shared(), compute, |x, blocks, offsets| {
            let x = checkpoint(|| blocks[0].forward(x, offsets))?;
            checkpoint(|| blocks[1].forward(&x, offsets))
        });
        assert_eq!(plain, each);
        let both = two_blocks(&shared(), compute, |x, blocks, offsets| {
            checkpoint(|| blocks[1].forward(&blocks[0].forward(x, offsets)?, offsets))
        });
        assert_eq!(plain, both);
        let nested = two_blocks(&shared(), compute, |x, blocks, offsets| {
            checkpoint(|| {
                let x = checkpoint(|| blocks[0].forward(x, offsets))?;
                checkpoint(|| checkpoint(|| blocks[1].forward(&x, offsets)))
            })
        });
        assert_eq!(plain, nested);
    }
}

/// The input of each block is looked at from outside too, so that gradients meet there.
#[test]
fn gradients_meet_in_the_order_they_do_without_it() {
    for compute in [DType::F32, DType::BF16] {
        let run = |inside: bool| {
            two_blocks(&shared(), compute, |x, blocks, offsets| {
                let a = maybe(inside, || blocks[0].forward(x, offsets))?;
                let b = maybe(inside, || blocks[1].forward(&a, offsets))?;
                let sum = add(&mul(&a, &a)?, &mul(x, &b)?)?;
                add(&add(&sum, x)?, &a)
            })
        };
        assert_eq!(run(false), run(true));
    }
}

#[test]
fn variables_used_several_times() {
    let run = |inside: bool| {
        let device = shared();
        let x = leaf(&device, &[7], DType::F32, 1);
        let h = op::unary(&x, Unary::Sin).unwrap();
        let y = maybe(inside, || {
            let a = mul(&h, &h)?;
            let b = mul(&a, &h)?;
            add(&add(&b, &mul(&x, &h)?)?, &mul(&a, &x)?)
        });
        backward(&y.unwrap()).unwrap();
        grad_bytes(&x)
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn constants_and_no_grad_inside() {
    let device = shared();
    let x = Var::leaf(tensor(&device, &[2], DType::F64, &[2.0, 3.0]), None).unwrap();
    let c = Var::constant(tensor(&device, &[2], DType::F64, &[10.0, 20.0]));
    let y = checkpoint(|| {
        // A target: x², through which no gradient flows, and a constant made inside.
        let target = no_grad(|| mul(&x, &x))?;
        assert!(!target.requires_grad());
        let inner = mul(&c, &c)?;
        add(&mul(&x, &target)?, &mul(&x, &inner)?)
    })
    .unwrap();
    assert_eq!(values(&y.tensor), [8.0 + 200.0, 27.0 + 1200.0]);
    backward(&y).unwrap();
    assert_eq!(grad(&x), [4.0 + 100.0, 9.0 + 400.0]);
    // Within noGrad a checkpoint is nothing.
    let y = no_grad(|| checkpoint(|| mul(&x, &x))).unwrap();
    assert!(!y.requires_grad());
}

#[test]
fn outputs_that_are_inputs_or_come_twice() {
    let device = shared();
    let x = Var::leaf(tensor(&device, &[1], DType::F64, &[3.0]), None).unwrap();
    let h = op::unary(&x, Unary::Square).unwrap();
    begin_checkpoint();
    let a = mul(&h, &h).unwrap();
    let outputs = end_checkpoint(Some(&[&a, &h, &x, &a])).unwrap();
    assert!(outputs[2].is_leaf());
    assert_eq!(outputs.iter().map(|v| values(&v.tensor)[0]).collect::<Vec<_>>(), [81.0, 9.0, 3.0, 81.0]);
    let sum = outputs[1..].iter().fold(outputs[0].clone(), |sum, v| add(&sum, v).unwrap());
    backward(&sum).unwrap();
    // 2·x⁴ + x² + x.
    assert_eq!(grad(&x), [8.0 * 27.0 + 6.0 + 1.0]);

    begin_checkpoint();
    let same = end_checkpoint(Some(&[&h])).unwrap();
    assert_eq!(values(&same[0].tensor), [9.0]);
}

/// Only one of two outputs is used.
#[test]
fn outputs_nobody_needs() {
    let device = shared();
    let (x, z) = (leaf(&device, &[3], DType::F64, 1), leaf(&device, &[3], DType::F64, 2));
    begin_checkpoint();
    let (a, b) = (op::unary(&x, Unary::Square).unwrap(), op::unary(&z, Unary::Square).unwrap());
    let outputs = end_checkpoint(Some(&[&a, &b])).unwrap();
    backward(&outputs[1]).unwrap();
    assert!(x.grad().is_none());
    assert_eq!(grad(&z), values(&z.tensor).iter().map(|v| 2.0 * v).collect::<Vec<_>>());
}

#[test]
fn what_cannot_work_is_refused() {
    let device = shared();
    let x = leaf(&device, &[3], DType::F32, 1);
    // What was made inside and not returned has no way back.
    let mut kept = None;
    let y = checkpoint(|| {
        let h = op::unary(&x, Unary::Sin)?;
        kept = Some(h.clone());
        op::unary(&h, Unary::Cos)
    })
    .unwrap();
    let kept = kept.unwrap();
    let error = add(&y, &kept).expect_err("no record");
    assert_eq!((error.code, error.message.starts_with("add: ")), (Code::Autograd, true), "{error}");
    assert_eq!(backward(&kept).expect_err("no record").code, Code::Autograd);
    // Its numbers are still good.
    assert!(!op::unary(&kept.detach(), Unary::Sin).unwrap().requires_grad());
    backward(&y).unwrap();

    let error = checkpoint(|| {
        let y = op::unary(&x, Unary::Sin)?;
        backward(&y)?;
        Ok(y)
    });
    assert_eq!(error.expect_err("backward inside").code, Code::Autograd);
    assert_eq!(end_checkpoint(None).expect_err("not begun").code, Code::Autograd);

    // A function that fails leaves nothing behind.
    assert!(checkpoint(|| op::reshape(&op::unary(&x, Unary::Sin)?, &[4])).is_err());
    let y = op::unary(&x, Unary::Square).unwrap();
    backward(&y).unwrap();
    // A second time would need the records a second time.
    let y = checkpoint(|| op::unary(&x, Unary::Square)).unwrap();
    backward(&y).unwrap();
    assert_eq!(backward(&y).expect_err("used").code, Code::Autograd);
}

/// Backward may begin while another checkpoint is open: its replays are not recorded there.
#[test]
fn replays_stay_out_of_open_checkpoints() {
    let device = shared();
    let (x, z) = (leaf(&device, &[3], DType::F64, 1), leaf(&device, &[3], DType::F64, 2));
    let y = checkpoint(|| op::unary(&x, Unary::Square)).unwrap();
    let w = checkpoint(|| {
        let w = op::unary(&z, Unary::Square)?;
        no_grad(|| backward(&y))?;
        Ok(w)
    })
    .unwrap();
    assert_eq!(grad(&x), values(&x.tensor).iter().map(|v| 2.0 * v).collect::<Vec<_>>());
    backward(&w).unwrap();
    assert_eq!(grad(&z), values(&z.tensor).iter().map(|v| 2.0 * v).collect::<Vec<_>>());
}

#[test]
fn memory_is_saved() {
    let peak = |inside: bool| {
        let device = cpu::device();
        let blocks: Vec<Block> = (0..6).map(|i| Block::new(&device, 32, 2, DType::F32, 100 * i)).collect();
        let offsets = indices(&device, &[0, 300, 600]);
        let mut x = leaf(&device, &[600, 32], DType::F32, 1);
        let input = x.clone();
        device.read_now(&x.tensor).unwrap();
        device.reset_peak();
        let before = device.memory().bytes;
        for block in &blocks {
            x = maybe(inside, || block.forward(&x, &offsets)).unwrap();
        }
        let loss = op::reduce(&x, &[], false, Reduction::Mean).unwrap();
        backward(&loss).unwrap();
        grad_bytes(&input);
        let peak = device.memory().peak_bytes - before;
        drop((blocks, offsets, x, loss, input));
        device.read_now(&Tensor::zeros(&device, &[1], DType::F32)).unwrap();
        assert_eq!(device.memory().bytes, 0);
        peak
    };
    let (with, without) = (peak(true), peak(false));
    assert!(2 * with < without, "{with} bytes with checkpoints, {without} without");
}
