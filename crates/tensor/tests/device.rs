//! The queue: faults, order and memory.

mod common;

use avjepa_tensor::{
    Code, DType, Error, Tensor, Var,
    backend::{Unary, cpu},
    op,
};
use common::{indices, tensor, values};
use std::sync::mpsc;

#[test]
fn a_fault_reaches_the_next_read_and_only_that() {
    let device = cpu::device();
    let x = Var::constant(tensor(&device, &[2, 1], DType::F64, &[1.0, 2.0]));
    let before = op::unary(&x, Unary::Neg).unwrap();
    let bad = op::index_select(&x, &indices(&device, &[0, 2])).unwrap();
    let after = op::unary(&x, Unary::Square).unwrap();
    let error = device.read_now(&after.tensor).expect_err("row 2 of 2");
    assert_eq!(error.code, Code::Argument);
    assert!(error.message.starts_with("indexSelect: "), "{error}");
    // What ran before is there, what was skipped is not, and is not made up either.
    assert_eq!(values(&before.tensor), [-1.0, -2.0]);
    assert!(device.read_now(&bad.tensor).is_err());
    assert!(device.read_now(&after.tensor).is_err());
    // What follows works.
    assert_eq!(values(&op::unary(&x, Unary::Square).unwrap().tensor), [1.0, 4.0]);
}

#[test]
fn a_fault_reaches_the_next_sync() {
    let device = cpu::device();
    let sync = || {
        let (send, receive) = mpsc::channel();
        device.sync(move |result| send.send(result).unwrap());
        receive.recv().unwrap()
    };
    assert!(sync().is_ok());
    device.submit("first", |_| Err(Error::new(Code::Device, "lost")));
    device.submit("second", |_| Err(Error::new(Code::Device, "never said")));
    assert_eq!(sync().expect_err("it failed").message, "first: lost");
    assert!(sync().is_ok());
}

#[test]
fn a_panic_is_an_error() {
    let device = cpu::device();
    device.submit("kernel", |_| std::panic::resume_unwind(Box::new("out of bounds")));
    let x = Tensor::zeros(&device, &[1], DType::F32);
    let error = device.read_now(&x).expect_err("it failed");
    assert_eq!((error.code, error.message.as_str()), (Code::Panic, "kernel: internal error: out of bounds"));
    assert_eq!(values(&Tensor::zeros(&device, &[1], DType::F32)), [0.0]);
}

#[test]
fn too_much_memory_is_an_error() {
    let device = cpu::device();
    let x = Tensor::zeros(&device, &[1 << 58], DType::F64);
    let small = Tensor::zeros(&device, &[1], DType::F64);
    assert_eq!(device.read_now(&small).expect_err("an exabyte").code, Code::Memory);
    drop(x);
    assert_eq!(values(&Tensor::zeros(&device, &[1], DType::F64)), [0.0]);
}

#[test]
fn memory_is_counted_as_the_queue_runs() {
    let device = cpu::device();
    let settle = || {
        let (send, receive) = mpsc::channel();
        device.sync(move |_| send.send(()).unwrap());
        receive.recv().unwrap();
        device.memory()
    };
    let x = Tensor::zeros(&device, &[1000], DType::F32);
    let memory = settle();
    assert_eq!((memory.bytes, memory.buffers), (4000, 1));
    // A chain of a hundred holds two links at a time.
    let mut y = Var::constant(x.clone());
    for _ in 0..100 {
        y = op::unary(&y, Unary::Neg).unwrap();
    }
    let memory = settle();
    assert_eq!((memory.bytes, memory.buffers), (8000, 2));
    assert!(memory.peak_bytes >= 12_000);
    // A view holds its buffer; a tensor that was never written holds none.
    let view = x.view(10, &[5]).unwrap();
    let never = Tensor::empty(&device, &[1 << 40], DType::F64);
    drop((x, y));
    assert_eq!(settle().bytes, 4000);
    drop((view, never));
    assert_eq!((settle().bytes, settle().buffers), (0, 0));
    device.reset_peak();
    assert_eq!(device.memory().peak_bytes, 0);
}

#[test]
fn devices_end_with_their_last_tensor() {
    let device = cpu::device();
    let x = Tensor::full(&device, &[3], DType::F32, 2.0);
    let weak = std::sync::Arc::downgrade(&device);
    drop(device);
    assert_eq!(values(&x), [2.0, 2.0, 2.0]);
    drop(x);
    // The queue's thread may still hold it while it finishes.
    for _ in 0..1000 {
        if weak.strong_count() == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("the device is still there");
}
