//! Activation checkpointing: a function's intermediates are dropped after its forward pass and made again, from its records, when
//! backward reaches it (Chen et al., arXiv 1604.06174).

use super::{Grads, NO_GRAD, Op, Origin, Saved, Var, apply_arc, attach, walk};
use crate::{
    error::{Code, Error, Result},
    tensor::Tensor,
};
use std::{cell::RefCell, collections::HashMap, sync::Arc};

/// One operation inside a checkpointed function.
#[derive(Clone, Debug)]
struct Record {
    op: Arc<dyn Op>,
    inputs: Vec<Source>,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// From outside the function: the i-th of its captured variables.
    Captured(usize),
    /// The output of an earlier record.
    Made { record: usize, output: usize },
}

#[derive(Default)]
struct Frame {
    id: u64,
    records: Vec<Record>,
    captured: Vec<Var>,
    /// Where in `captured` a variable is, by what it comes from.
    positions: HashMap<Key, usize>,
}

/// What tells variables apart: the address of a leaf, that of a node and an output of it, or a record of an outer frame.
type Key = (usize, u64, usize, usize);

fn key(origin: &Origin) -> Option<Key> {
    match origin {
        Origin::Constant => None,
        Origin::Leaf(leaf) => Some((Arc::as_ptr(leaf).addr(), 0, 0, 0)),
        Origin::Node(node, output) => Some((Arc::as_ptr(node).addr(), 0, 0, *output)),
        Origin::Recorded { frame, record, output } => Some((0, *frame, *record, *output)),
    }
}

thread_local! {
    static FRAMES: RefCell<(u64, Vec<Frame>)> = const { RefCell::new((0, vec![])) };
}

pub(super) fn active() -> bool {
    FRAMES.with_borrow(|(_, frames)| !frames.is_empty())
}

/// Until the matching [`end_checkpoint`], operations are recorded instead of saving what backward needs.
pub fn begin_checkpoint() {
    FRAMES.with_borrow_mut(|(next, frames)| {
        *next += 1;
        frames.push(Frame { id: *next, ..Frame::default() });
    });
}

pub(super) fn record(op: Arc<dyn Op>, inputs: &[&Var], outputs: Vec<Tensor>) -> Vec<Var> {
    FRAMES.with_borrow_mut(|(_, frames)| {
        let frame = frames.last_mut().expect("recording needs a frame");
        let inputs = inputs.iter().map(|v| source(frame, v)).collect();
        let record = frame.records.len();
        frame.records.push(Record { op, inputs });
        let id = frame.id;
        let made = |(output, tensor): (usize, Tensor)| match tensor.dtype.is_float() {
            true => Var { tensor, origin: Origin::Recorded { frame: id, record, output } },
            false => Var::constant(tensor),
        };
        outputs.into_iter().enumerate().map(made).collect()
    })
}

fn source(frame: &mut Frame, v: &Var) -> Source {
    match v.origin {
        Origin::Recorded { frame: id, record, output } if id == frame.id => Source::Made { record, output },
        _ => Source::Captured(capture(frame, v)),
    }
}

/// A variable that is used several times is captured once, so that its gradients meet in the order they do without a checkpoint.
fn capture(frame: &mut Frame, v: &Var) -> usize {
    let next = frame.captured.len();
    let position = match key(&v.origin) {
        Some(key) => *frame.positions.entry(key).or_insert(next),
        None => next,
    };
    if position == next {
        frame.captured.push(v.clone());
    }
    position
}

/// Refuses what was made inside a checkpoint that has ended without returning it: there is no way back from it to its inputs.
pub(super) fn check(op: &str, inputs: &[&Var]) -> Result<()> {
    let ended = |v: &&&Var| match v.origin {
        Origin::Recorded { frame, .. } => FRAMES.with_borrow(|(_, frames)| frames.iter().all(|f| f.id != frame)),
        _ => false,
    };
    match inputs.iter().find(ended) {
        None => Ok(()),
        Some(v) => {
            let message = format!("{op}: {:?} was made inside a checkpoint and not returned from it", v.tensor);
            Err(Error::new(Code::Autograd, message).hint("return it from the checkpointed function"))
        }
    }
}

/// Ends the innermost checkpointed function. `outputs` is what it returns: each comes back as a variable whose backward pass runs the
/// function again. With `None` (the function failed) the records are dropped.
pub fn end_checkpoint(outputs: Option<&[&Var]>) -> Result<Vec<Var>> {
    let frame = FRAMES
        .with_borrow_mut(|(_, frames)| frames.pop())
        .ok_or_else(|| Error::new(Code::Autograd, "checkpoint: ended without having begun"))?;
    let Some(outputs) = outputs else { return Ok(vec![]) };
    let mut made = vec![];
    let mut positions = vec![];
    for v in outputs {
        if let Origin::Recorded { frame: id, record, output } = v.origin
            && id == frame.id
        {
            positions.push(Some(made.len()));
            made.push((v.tensor.clone(), record, output));
        } else {
            positions.push(None);
        }
    }
    if made.is_empty() {
        return Ok(outputs.iter().map(|v| (*v).clone()).collect());
    }
    let replay = Replay {
        records: frame.records,
        captured: frame.captured.iter().map(|v| v.clone_for_replay()).collect(),
        outputs: made.iter().map(|(_, record, output)| (*record, *output)).collect(),
    };
    let captured: Vec<&Var> = frame.captured.iter().collect();
    let tensors: Vec<Tensor> = made.into_iter().map(|(t, ..)| t).collect();
    let op: Arc<dyn Op> = Arc::new(replay);
    let vars = match active() && NO_GRAD.with_borrow(|n| *n == 0) {
        true => record(op, &captured, tensors),
        false => attach(op, &captured, tensors, frame.captured.iter().map(|v| v.tensor.clone()).collect()),
    };
    Ok(outputs.iter().zip(positions).map(|(v, p)| p.map_or_else(|| (*v).clone(), |p| vars[p].clone())).collect())
}

impl Var {
    /// A leaf is captured as itself, so that its gradient goes straight to it; anything else only by whether it needs a gradient.
    fn clone_for_replay(&self) -> Capture {
        match &self.origin {
            Origin::Leaf(_) => Capture::Leaf(self.origin.clone()),
            Origin::Constant => Capture::Constant,
            _ => Capture::Inner,
        }
    }
}

enum Capture {
    Constant,
    Leaf(Origin),
    Inner,
}

/// A whole checkpointed function as one operation.
struct Replay {
    records: Vec<Record>,
    captured: Vec<Capture>,
    /// (record, output) of each of its outputs.
    outputs: Vec<(usize, usize)>,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "checkpoint of {} operations", self.records.len())
    }
}

impl Replay {
    /// Runs the records on `inputs`; returns every output of every record.
    fn run(&self, inputs: &[Var]) -> Result<HashMap<(usize, usize), Var>> {
        let mut made: HashMap<(usize, usize), Var> = HashMap::new();
        for (i, record) in self.records.iter().enumerate() {
            let args: Vec<&Var> = record
                .inputs
                .iter()
                .map(|s| match s {
                    Source::Captured(c) => &inputs[*c],
                    Source::Made { record, output } => &made[&(*record, *output)],
                })
                .collect();
            let outputs = apply_arc(record.op.clone(), &args)?;
            made.extend(outputs.into_iter().enumerate().map(|(o, v)| ((i, o), v)));
        }
        Ok(made)
    }
}

impl Op for Replay {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    /// Only when an outer checkpoint replays this one.
    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        inputs.iter().for_each(|t| saved.push(t));
        let vars: Vec<Var> = inputs.iter().cloned().map(Var::constant).collect();
        let made = self.run(&vars)?;
        Ok(self.outputs.iter().map(|key| made[key].tensor.clone()).collect())
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        // The replay happens on the stack of whoever called backward: not inside any frame or noGrad of theirs.
        let frames = FRAMES.with_borrow_mut(|(_, frames)| std::mem::take(frames));
        let depth = NO_GRAD.with_borrow_mut(std::mem::take);
        let result = self.replay_backward(saved, grads);
        FRAMES.with_borrow_mut(|(_, f)| *f = frames);
        NO_GRAD.with_borrow_mut(|n| *n = depth);
        result
    }
}

impl Replay {
    fn replay_backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let mut inputs = vec![];
        // Whose gradients are added to what has come from outside already, as they would be without a checkpoint.
        let mut begun = vec![];
        for (i, (tensor, capture)) in saved.iter().zip(&self.captured).enumerate() {
            let sum = if matches!(capture, Capture::Inner) { grads.begun(i) } else { None };
            begun.push(sum.is_some());
            inputs.push(match capture {
                Capture::Constant => Var::constant(tensor.clone()),
                Capture::Leaf(origin) => Var { tensor: tensor.clone(), origin: origin.clone() },
                Capture::Inner => Var::leaf(tensor.clone(), sum)?,
            });
        }
        let mut made = self.run(&inputs)?;
        let mut roots = vec![];
        for (o, key) in self.outputs.iter().enumerate() {
            if let Some(gradient) = grads.take(o) {
                roots.push((made[key].clone(), gradient));
            }
        }
        // Only the graph may hold the intermediates now, so that they go as backward passes them.
        made.clear();
        walk(roots, None)?;
        for (i, (input, capture)) in inputs.iter().zip(&self.captured).enumerate() {
            if matches!(capture, Capture::Inner)
                && !begun[i]
                && let Some(gradient) = input.grad()
            {
                grads.give(i, gradient)?;
            }
        }
        Ok(())
    }
}
