//! Gradients under way: where those of an operation's outputs are found, and those of its inputs put.

use super::{Meta, Node, Origin};
use crate::{backend::CopyBlock, error::Result, tensor::Tensor};
use std::{
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

pub(crate) type Pending = HashMap<u64, (Arc<Node>, Vec<Option<Grad>>)>;

/// A gradient, and whether nobody else holds the same bytes (only then may it be added to in place).
#[derive(Clone)]
pub(crate) struct Grad {
    tensor: Tensor,
    exclusive: bool,
}

impl Grad {
    pub fn shared(tensor: Tensor) -> Grad {
        Grad { tensor, exclusive: false }
    }

    fn own(tensor: Tensor) -> Grad {
        Grad { tensor, exclusive: true }
    }
}

/// Where a kernel is to put a gradient: written, or added to what is there.
pub struct Sink {
    pub tensor: Tensor,
    pub accumulate: bool,
}

impl From<Sink> for (Tensor, bool) {
    fn from(sink: Sink) -> Self {
        (sink.tensor, sink.accumulate)
    }
}

/// One operation's view of the backward pass.
pub struct Grads<'a> {
    node: &'a Node,
    outputs: Vec<Option<Grad>>,
    pending: &'a mut Pending,
    order: &'a mut BinaryHeap<u64>,
}

impl<'a> Grads<'a> {
    pub(super) fn new(
        node: &'a Node,
        outputs: Vec<Option<Grad>>,
        pending: &'a mut Pending,
        order: &'a mut BinaryHeap<u64>,
    ) -> Self {
        Grads { node, outputs, pending, order }
    }

    /// Whether input `i` wants a gradient.
    pub fn needs(&self, i: usize) -> bool {
        !matches!(self.node.inputs[i].0, Origin::Constant)
    }

    /// How many inputs there are.
    pub fn inputs(&self) -> usize {
        self.node.inputs.len()
    }

    /// Shape of input `i`.
    pub fn shape(&self, i: usize) -> &[usize] {
        &self.node.inputs[i].1.like
    }

    /// The gradient of output `o`; `None` where nothing depends on it.
    pub fn output(&self, o: usize) -> Option<Tensor> {
        self.outputs[o].as_ref().map(|g| g.tensor.clone())
    }

    /// The gradient of the only output.
    pub fn dy(&self) -> Tensor {
        self.outputs[0].as_ref().expect("a node is visited only when a gradient has reached it").tensor.clone()
    }

    /// A tensor like input `i`, for a gradient to be made in.
    pub fn like(&self, i: usize) -> Tensor {
        let meta = &self.node.inputs[i].1;
        let device = self.outputs.iter().flatten().next().expect("a gradient has arrived").tensor.device();
        Tensor::empty(device, &meta.like, meta.dtype)
    }

    /// Takes the gradient of output `o`, with the right to add to it in place where there is one.
    pub(super) fn take(&mut self, o: usize) -> Option<Grad> {
        self.outputs[o].take()
    }

    /// What has reached input `i` so far, to be added to in place; `None` where nothing has, or where it is a leaf or a constant.
    pub(super) fn begun(&mut self, i: usize) -> Option<Tensor> {
        let Origin::Node(node, output) = &self.node.inputs[i].0 else { return None };
        let grad = self.pending.get_mut(&node.number)?.1[*output].as_mut()?;
        if !grad.exclusive {
            *grad = Grad::own(copy(&grad.tensor));
        }
        Some(grad.tensor.clone())
    }

    /// Where the kernel that makes input `i`'s gradient should put it; `None` if nobody wants it.
    pub fn sink(&mut self, i: usize) -> Result<Option<Sink>> {
        if !self.needs(i) {
            return Ok(None);
        }
        if let Some(tensor) = self.begun(i) {
            return Ok(Some(Sink { tensor, accumulate: true }));
        }
        let fresh = self.like(i);
        match slot(&self.node.inputs[i].0, self.pending, self.order) {
            Slot::Leaf(leaf) => {
                let mut grad = leaf.grad.lock().unwrap();
                if let Some(tensor) = &*grad {
                    return Ok(Some(Sink { tensor: tensor.clone(), accumulate: true }));
                }
                *grad = Some(fresh.clone());
            }
            Slot::Node(entry) => *entry = Some(Grad::own(fresh.clone())),
        }
        Ok(Some(Sink { tensor: fresh, accumulate: false }))
    }

    /// Input `i`'s gradient is `tensor`, just made and held by nobody else.
    pub fn give(&mut self, i: usize, tensor: Tensor) -> Result<()> {
        let (origin, meta) = &self.node.inputs[i];
        deliver(origin, meta, Grad::own(tensor), self.pending, self.order)
    }

    /// Input `i`'s gradient is that of output `o`, unchanged but for its shape. Give it on last: it may then be added to in place.
    pub fn pass(&mut self, i: usize, o: usize) -> Result<()> {
        if !self.needs(i) {
            return Ok(());
        }
        if let Some(grad) = self.outputs[o].take() {
            let (origin, meta) = &self.node.inputs[i];
            let grad = Grad { tensor: grad.tensor.reshape(&meta.like)?, exclusive: grad.exclusive };
            deliver(origin, meta, grad, self.pending, self.order)?;
        }
        Ok(())
    }

    /// As [`Grads::pass`], when several inputs get the same gradient.
    pub fn pass_shared(&mut self, i: usize, o: usize) -> Result<()> {
        if !self.needs(i) {
            return Ok(());
        }
        if let Some(grad) = &mut self.outputs[o] {
            grad.exclusive = false;
            let (origin, meta) = &self.node.inputs[i];
            let grad = Grad::shared(grad.tensor.reshape(&meta.like)?);
            deliver(origin, meta, grad, self.pending, self.order)?;
        }
        Ok(())
    }
}

enum Slot<'a> {
    Leaf(Arc<super::Leaf>),
    Node(&'a mut Option<Grad>),
}

fn slot<'a>(origin: &Origin, pending: &'a mut Pending, order: &mut BinaryHeap<u64>) -> Slot<'a> {
    match origin {
        Origin::Leaf(leaf) => Slot::Leaf(leaf.clone()),
        Origin::Node(node, output) => {
            let entry = pending.entry(node.number).or_insert_with(|| {
                order.push(node.number);
                (node.clone(), vec![None; node.outputs.len()])
            });
            Slot::Node(&mut entry.1[*output])
        }
        Origin::Constant | Origin::Recorded { .. } => unreachable!("neither takes a gradient"),
    }
}

/// Adds a gradient to those that have reached a variable.
pub(crate) fn deliver(
    origin: &Origin,
    meta: &Meta,
    grad: Grad,
    pending: &mut Pending,
    order: &mut BinaryHeap<u64>,
) -> Result<()> {
    if matches!(origin, Origin::Constant) {
        return Ok(());
    }
    assert!(
        grad.tensor.shape == meta.like && grad.tensor.dtype == meta.dtype,
        "a gradient is {:?}, but its tensor {:?} {}",
        grad.tensor,
        meta.like,
        meta.dtype
    );
    match slot(origin, pending, order) {
        Slot::Leaf(leaf) => {
            let mut held = leaf.grad.lock().unwrap();
            match &*held {
                Some(sum) => add_into(&grad.tensor, sum),
                None if grad.exclusive => *held = Some(grad.tensor),
                None => *held = Some(copy(&grad.tensor)),
            }
        }
        Slot::Node(entry) => match entry {
            None => *entry = Some(grad),
            Some(held) if held.exclusive => add_into(&grad.tensor, &held.tensor),
            Some(held) if grad.exclusive => {
                add_into(&held.tensor, &grad.tensor);
                *held = grad;
            }
            Some(held) => {
                let sum = copy(&held.tensor);
                add_into(&grad.tensor, &sum);
                *held = Grad::own(sum);
            }
        },
    }
    Ok(())
}

fn copy(x: &Tensor) -> Tensor {
    let (from, y) = (x.clone(), x.empty_like());
    let to = y.clone();
    x.device().submit("copy", move |b| b.cast(&from, &to));
    y
}

/// `sum += x`.
fn add_into(x: &Tensor, sum: &Tensor) {
    // In rows, so that a backend can share them out.
    const ROW: usize = 4096;
    let whole = x.len() / ROW * ROW;
    for (start, rows, columns) in [(0, whole / ROW, ROW), (whole, 1, x.len() - whole)] {
        if rows * columns > 0 {
            let (src, dst) = (x.clone(), sum.clone());
            let (src_start, src_stride, dst_start, dst_stride) = (start, columns, start, columns);
            let d =
                CopyBlock { src, src_start, src_stride, dst, dst_start, dst_stride, rows, columns, accumulate: true };
            sum.device().submit("add", move |b| b.copy_block(&d));
        }
    }
}
