//! When gradients are final: backward reports groups of variables to which nothing more is added, so that somebody can send them
//! away while it goes on.

use super::{Leaf, Node, Origin, Var};
use std::{collections::HashMap, collections::HashSet, sync::Arc};

/// Counts what is still to be added to the variables of each group.
pub(super) struct Groups<'a> {
    /// By variable: its group, and how many inputs of operations that backward has yet to visit it is.
    uses: HashMap<*const Leaf, (usize, usize)>,
    /// Variables of each group that are not final; none once it is reported.
    open: Vec<Option<usize>>,
    report: &'a mut dyn FnMut(usize),
}

impl<'a> Groups<'a> {
    pub fn new(roots: &[Var], groups: &[&[Var]], report: &'a mut dyn FnMut(usize)) -> Self {
        let mut uses = HashMap::new();
        for (group, vars) in groups.iter().enumerate() {
            for var in *vars {
                if let Origin::Leaf(leaf) = &var.origin {
                    uses.insert(Arc::as_ptr(leaf), (group, 0));
                }
            }
        }
        let mut count = |origin: &Origin| {
            if let Origin::Leaf(leaf) = origin
                && let Some((_, n)) = uses.get_mut(&Arc::as_ptr(leaf))
            {
                *n += 1;
            }
        };
        let mut seen = HashSet::new();
        let mut stack: Vec<Arc<Node>> = vec![];
        let mut push = |origin: &Origin, stack: &mut Vec<Arc<Node>>| {
            if let Origin::Node(node, _) = origin
                && seen.insert(node.number)
            {
                stack.push(node.clone());
            }
        };
        roots.iter().for_each(|root| push(&root.origin, &mut stack));
        while let Some(node) = stack.pop() {
            for (origin, _) in &node.inputs {
                count(origin);
                push(origin, &mut stack);
            }
        }
        let mut open = vec![Some(0); groups.len()];
        for (group, n) in uses.values() {
            *open[*group].get_or_insert(0) += usize::from(*n > 0);
        }
        Groups { uses, open, report }
    }

    /// Reports the groups that the graph does not reach: they are final already.
    pub fn begin(&mut self) {
        self.report_if(|open| open == 0);
    }

    /// Backward has visited a node.
    pub fn visited(&mut self, node: &Node) {
        for (origin, _) in &node.inputs {
            let Origin::Leaf(leaf) = origin else { continue };
            let Some((group, n)) = self.uses.get_mut(&Arc::as_ptr(leaf)) else { continue };
            *n -= 1;
            if *n > 0 {
                continue;
            }
            let Some(open) = &mut self.open[*group] else { continue };
            *open -= 1;
            if *open == 0 {
                self.open[*group] = None;
                (self.report)(*group);
            }
        }
    }

    /// Backward is over: what it never came to is final too.
    pub fn end(&mut self) {
        self.report_if(|_| true);
    }

    fn report_if(&mut self, due: impl Fn(usize) -> bool) {
        for group in 0..self.open.len() {
            if self.open[group].is_some_and(&due) {
                self.open[group] = None;
                (self.report)(group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        DType, Tensor, Var,
        autograd::{backward_in_groups, begin_checkpoint, end_checkpoint},
        backend::{Binary, cpu},
        op,
    };
    use std::sync::{Arc, Mutex};

    fn leaf(device: &Arc<crate::Device>, value: f64) -> Var {
        Var::leaf(Tensor::full(device, &[1], DType::F64, value), None).unwrap()
    }

    fn mul(a: &Var, b: &Var) -> Var {
        op::binary(a, b, Binary::Mul).unwrap()
    }

    fn value(var: &Var) -> f64 {
        let grad = var.grad().expect("a gradient");
        f64::from_le_bytes(grad.device().read_now(&grad).unwrap().try_into().unwrap())
    }

    #[test]
    fn groups_are_reported_once_when_their_gradients_are_final() {
        let device = cpu::device();
        let [a, b, c, unused] = [2.0, 3.0, 5.0, 7.0].map(|v| leaf(&device, v));
        // a is used first and last: it is final last. c is used by the last operation only.
        let y = mul(&mul(&mul(&a, &b), &a), &c);
        let vars = [vec![a.clone(), b.clone()], vec![c.clone()], vec![unused], vec![]];
        let groups: Vec<&[Var]> = vars.iter().map(Vec::as_slice).collect();
        let seen = Mutex::new(vec![]);
        let one = Tensor::full(&device, &[1], DType::F64, 1.0);
        backward_in_groups(&[(y, one)], &groups, &mut |group| {
            // What has been enqueued by now is the whole gradient.
            let grads: Vec<f64> = groups[group].iter().filter(|v| v.grad().is_some()).map(value).collect();
            seen.lock().unwrap().push((group, grads));
        })
        .unwrap();
        let expected = [(2, vec![]), (3, vec![]), (1, vec![12.0]), (0, vec![60.0, 20.0])];
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn a_checkpoint_is_one_operation() {
        let device = cpu::device();
        let [a, b] = [2.0, 3.0].map(|v| leaf(&device, v));
        begin_checkpoint();
        let inside = mul(&mul(&a, &b), &a);
        let outside = end_checkpoint(Some(&[&inside])).unwrap().swap_remove(0);
        let y = mul(&outside, &b);
        let mut seen = vec![];
        let one = Tensor::full(&device, &[1], DType::F64, 1.0);
        let vars = [a, b];
        let groups: Vec<&[Var]> = vars.chunks(1).collect();
        backward_in_groups(&[(y, one)], &groups, &mut |group| seen.push(group)).unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
        assert_eq!(vars.each_ref().map(value), [36.0, 24.0]);
    }
}
