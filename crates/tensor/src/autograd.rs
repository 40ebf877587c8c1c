//! Reverse-mode differentiation over replayable records.
//!
//! An operation is a value (its attributes) that can run forward any number of times and backward once per run. Applying one to
//! variables that need gradients leaves a node that holds the operation, its inputs and what it saved. Nodes are numbered as they
//! are made; backward takes them by falling number, so gradients are summed in one fixed order.

pub mod checkpoint;
mod grads;
mod groups;

pub use checkpoint::{begin_checkpoint, end_checkpoint};
pub use grads::{Grads, Sink};

use crate::{
    dtype::DType,
    error::{Code, Error, Result},
    op,
    tensor::Tensor,
};
use grads::Grad;
use groups::Groups;
use std::{
    cell::RefCell,
    collections::{BinaryHeap, HashMap},
    fmt::{self, Debug},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A differentiable operation: attributes only, no tensors.
pub trait Op: Debug + Send + Sync {
    fn name(&self) -> &'static str;
    /// Checks shapes, enqueues the kernels, returns the outputs, and keeps in `saved` what backward will need.
    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>>;
    /// Enqueues the gradients of the inputs, given what forward kept.
    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()>;
}

/// What a forward pass keeps for its backward pass.
#[derive(Default)]
pub struct Saved {
    needs: Vec<bool>,
    pub tensors: Vec<Tensor>,
}

impl Saved {
    /// Whether input `i` wants a gradient.
    pub fn needs(&self, i: usize) -> bool {
        self.needs.get(i).copied().unwrap_or(false)
    }

    /// Whether any input does.
    pub fn any(&self) -> bool {
        self.needs.contains(&true)
    }

    /// Keeps a tensor; forward passes without gradients keep nothing.
    pub fn push(&mut self, tensor: &Tensor) {
        if self.any() {
            self.tensors.push(tensor.clone());
        }
    }
}

/// A tensor and where its value came from.
#[derive(Clone)]
pub struct Var {
    pub tensor: Tensor,
    origin: Origin,
}

#[derive(Clone)]
pub(crate) enum Origin {
    Constant,
    Leaf(Arc<Leaf>),
    Node(Arc<Node>, usize),
    /// Made inside a checkpointed function, by its `record`-th operation.
    Recorded {
        frame: u64,
        record: usize,
        output: usize,
    },
}

/// A variable whose gradient is kept: a parameter.
pub struct Leaf {
    grad: Mutex<Option<Tensor>>,
}

pub(crate) struct Node {
    number: u64,
    op: Arc<dyn Op>,
    inputs: Vec<(Origin, Meta)>,
    saved: Mutex<Option<Vec<Tensor>>>,
    outputs: Vec<Meta>,
}

/// Shape and type of a gradient.
#[derive(Clone)]
pub(crate) struct Meta {
    pub like: Vec<usize>,
    pub dtype: DType,
}

impl From<&Tensor> for Meta {
    fn from(t: &Tensor) -> Meta {
        Meta { like: t.shape.clone(), dtype: t.dtype }
    }
}

impl Drop for Node {
    /// A chain of a million nodes must not be freed by a million nested calls.
    fn drop(&mut self) {
        let mut orphans = std::mem::take(&mut self.inputs);
        while let Some((origin, _)) = orphans.pop() {
            if let Origin::Node(node, _) = origin
                && let Some(mut node) = Arc::into_inner(node)
            {
                orphans.append(&mut node.inputs);
            }
        }
    }
}

impl Var {
    pub fn constant(tensor: Tensor) -> Var {
        Var { tensor, origin: Origin::Constant }
    }

    /// A variable that keeps its gradient: in `grad`, added to what is there, or in a tensor of its own.
    pub fn leaf(tensor: Tensor, grad: Option<Tensor>) -> Result<Var> {
        if !tensor.dtype.is_float() {
            return Err(Error::dtype("requiresGrad", format!("a {} tensor cannot have a gradient", tensor.dtype)));
        }
        check_grad("requiresGrad", &tensor, grad.as_ref())?;
        Ok(Var { tensor, origin: Origin::Leaf(Arc::new(Leaf { grad: Mutex::new(grad) })) })
    }

    pub fn requires_grad(&self) -> bool {
        !matches!(self.origin, Origin::Constant)
    }

    pub fn is_leaf(&self) -> bool {
        matches!(self.origin, Origin::Leaf(_))
    }

    pub fn detach(&self) -> Var {
        Var::constant(self.tensor.clone())
    }

    /// The gradient a leaf has collected.
    pub fn grad(&self) -> Option<Tensor> {
        match &self.origin {
            Origin::Leaf(leaf) => leaf.grad.lock().unwrap().clone(),
            _ => None,
        }
    }

    /// Replaces (or forgets) a leaf's gradient.
    pub fn set_grad(&self, grad: Option<Tensor>) -> Result<()> {
        match &self.origin {
            Origin::Leaf(leaf) => {
                check_grad("setGrad", &self.tensor, grad.as_ref())?;
                *leaf.grad.lock().unwrap() = grad;
                Ok(())
            }
            _ => Err(Error::new(Code::Autograd, "only a tensor made with requiresGrad keeps a gradient")),
        }
    }
}

impl Debug for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tensor.fmt(f)
    }
}

/// A gradient is like its tensor.
fn check_grad(op: &str, tensor: &Tensor, grad: Option<&Tensor>) -> Result<()> {
    let Some(g) = grad else { return Ok(()) };
    op::same_device(op, [tensor, g])?;
    match g.shape == tensor.shape && g.dtype == tensor.dtype {
        true => Ok(()),
        false => Err(Error::shape(op, format!("the gradient is {g:?} but the tensor {tensor:?}"))),
    }
}

thread_local! {
    static NO_GRAD: RefCell<usize> = const { RefCell::new(0) };
}
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Until the matching [`end_no_grad`], operations leave no nodes.
pub fn begin_no_grad() {
    NO_GRAD.with_borrow_mut(|n| *n += 1);
}

pub fn end_no_grad() {
    NO_GRAD.with_borrow_mut(|n| *n = n.saturating_sub(1));
}

pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    /// Ends it even when `f` panics.
    struct Region;
    impl Drop for Region {
        fn drop(&mut self) {
            end_no_grad();
        }
    }
    begin_no_grad();
    let _region = Region;
    f()
}

/// Runs an operation and, where an input needs a gradient, remembers how.
pub fn apply(op: impl Op + 'static, inputs: &[&Var]) -> Result<Vec<Var>> {
    apply_arc(Arc::new(op), inputs)
}

/// [`apply`] for operations of one output.
pub fn apply1(op: impl Op + 'static, inputs: &[&Var]) -> Result<Var> {
    Ok(apply(op, inputs)?.swap_remove(0))
}

pub(crate) fn apply_arc(op: Arc<dyn Op>, inputs: &[&Var]) -> Result<Vec<Var>> {
    op::same_device(op.name(), inputs.iter().map(|v| &v.tensor))?;
    let tracked = NO_GRAD.with_borrow(|n| *n == 0);
    let needs: Vec<bool> = inputs.iter().map(|v| tracked && v.requires_grad()).collect();
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.tensor.clone()).collect();
    if !needs.contains(&true) {
        let outputs = op.forward(&tensors, &mut Saved::default())?;
        return Ok(outputs.into_iter().map(Var::constant).collect());
    }
    checkpoint::check(op.name(), inputs)?;
    if checkpoint::active() {
        let outputs = op.forward(&tensors, &mut Saved::default())?;
        return Ok(checkpoint::record(op, inputs, outputs));
    }
    let mut saved = Saved { needs, tensors: vec![] };
    let outputs = op.forward(&tensors, &mut saved)?;
    Ok(attach(op, inputs, outputs, saved.tensors))
}

/// Gives the outputs of an operation a node to remember it by. Integer outputs are constants.
pub(crate) fn attach(op: Arc<dyn Op>, inputs: &[&Var], outputs: Vec<Tensor>, saved: Vec<Tensor>) -> Vec<Var> {
    let node = Arc::new(Node {
        number: NUMBER.fetch_add(1, Relaxed),
        op,
        inputs: inputs.iter().map(|v| (v.origin.clone(), Meta::from(&v.tensor))).collect(),
        saved: Mutex::new(Some(saved)),
        outputs: outputs.iter().map(Meta::from).collect(),
    });
    outputs
        .into_iter()
        .enumerate()
        .map(|(i, tensor)| match tensor.dtype.is_float() {
            true => Var { tensor, origin: Origin::Node(node.clone(), i) },
            false => Var::constant(tensor),
        })
        .collect()
}

/// Enqueues the gradients of every leaf that `roots` depend on, adding to what they hold. The gradient of each root is given (ones
/// for a scalar loss). What forward passes saved is freed on the way, so a graph can be walked once.
pub fn backward(roots: &[(Var, Tensor)]) -> Result<()> {
    backward_in_groups(roots, &[], &mut |_| {})
}

/// [`backward`], which calls `report` with a group's number, once each, when all that this pass adds to the gradients of the group's
/// variables has been enqueued.
pub fn backward_in_groups(roots: &[(Var, Tensor)], groups: &[&[Var]], report: &mut dyn FnMut(usize)) -> Result<()> {
    for (root, gradient) in roots {
        op::same_device("backward", [&root.tensor, gradient])?;
        if gradient.shape != root.tensor.shape || gradient.dtype != root.tensor.dtype {
            let message = format!("the gradient given is {gradient:?} but the tensor is {:?}", root.tensor);
            return Err(Error::shape("backward", message));
        }
        if !root.requires_grad() {
            return Err(Error::new(
                Code::Autograd,
                "backward: this tensor does not depend on anything that needs a gradient",
            )
            .hint("was it made inside noGrad, or from tensors without requiresGrad?"));
        }
        if matches!(root.origin, Origin::Recorded { .. }) {
            return Err(Error::new(
                Code::Autograd,
                "backward: this tensor was made inside a checkpoint, which keeps no record of it",
            )
            .hint("call backward outside of checkpoint, on what the checkpoint returned"));
        }
    }
    let vars: Vec<Var> = roots.iter().map(|(root, _)| root.clone()).collect();
    let mut groups = (!groups.is_empty()).then(|| Groups::new(&vars, groups, report));
    walk(roots.iter().map(|(root, gradient)| (root.clone(), Grad::shared(gradient.clone()))).collect(), groups.as_mut())
}

/// [`backward`], its arguments checked.
fn walk(roots: Vec<(Var, Grad)>, mut groups: Option<&mut Groups>) -> Result<()> {
    let mut pending: HashMap<u64, (Arc<Node>, Vec<Option<Grad>>)> = HashMap::new();
    let mut order: BinaryHeap<u64> = BinaryHeap::new();
    for (root, gradient) in roots {
        let like = Meta::from(&root.tensor);
        grads::deliver(&root.origin, &like, gradient, &mut pending, &mut order)?;
    }
    if let Some(groups) = &mut groups {
        groups.begin();
    }
    while let Some(number) = order.pop() {
        let (node, outputs) = pending.remove(&number).expect("every queued number is pending");
        let saved = node.saved.lock().unwrap().take().ok_or_else(|| {
            Error::new(Code::Autograd, format!("backward: the record of {} has been used already", node.op.name()))
                .hint("run the forward pass again before a second backward pass")
        })?;
        let mut grads = Grads::new(&node, outputs, &mut pending, &mut order);
        node.op.backward(&saved, &mut grads)?;
        if let Some(groups) = &mut groups {
            groups.visited(&node);
        }
    }
    if let Some(groups) = groups {
        groups.end();
    }
    Ok(())
}
