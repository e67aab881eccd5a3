//! What ops can do along with their own.

use std::rc::Rc;

use super::Fuser;
use crate::Result;
use crate::graph::{Op, Source, ValueId};
use crate::op::{Add, Guide, PredictX0, Remember, Update};

impl Fuser<'_> {
    /// Finds what ops can do along with their own: those of the update guidance and the registers; a sum
    /// of gradients one of its parts.
    pub(super) fn find_absorbed(&mut self) {
        for index in 0..self.graph.values.len() {
            let id = ValueId(index);
            let Source::Op { inputs, .. } = &self.graph.values[index].source else { continue };
            if self.op::<PredictX0>(id).is_some() {
                let model = inputs[1];
                // Whatever else reads it comes after.
                if self.op::<Guide>(model).is_some() && self.uses[model.0][0] == id {
                    self.absorb(id, model);
                }
            } else if self.op::<Add>(id).is_some_and(|add| add.scale == 1.0) && !self.is_in_chain(id) {
                let alone = |part: &ValueId| self.adding(*part).is_some() && self.only_use(*part).is_some();
                if let Some(part) = inputs.iter().copied().find(alone) {
                    self.absorb(id, part);
                }
            } else if self.op::<Remember>(id).is_some() {
                let reads = |&user: &ValueId| self.op::<Update>(user).is_some();
                let &[x, model, x0, kept, row] = &inputs[..] else { unreachable!("remember has five inputs") };
                let update = self.uses[kept.0].iter().copied().find(reads);
                let same = |update: &ValueId| {
                    let &[a, b, c, _, d, e] = self.inputs(*update) else { return false };
                    [a, b, c, d, e] == [x, model, x0, kept, row]
                };
                let free = |update: &ValueId| self.uses[index].is_empty() && !self.absorbed.contains(*update);
                if let Some(update) = update.filter(same).filter(free) {
                    self.absorb(update, id);
                }
            }
        }
    }

    /// The op of a value as one that adds another to it, if there is such an op.
    fn adding(&self, id: ValueId) -> Option<Rc<dyn Op>> {
        match &self.graph.values[id.0].source {
            Source::Op { op, .. } => op.adding(),
            _ => None,
        }
    }

    /// Whether a value is computed along with a convolution.
    fn is_in_chain(&self, id: ValueId) -> bool {
        self.chains.contains(id) || self.inner.contains(id)
    }

    /// Leaves a value to the op that computes another.
    fn absorb(&mut self, into: ValueId, id: ValueId) {
        self.inner.insert(id, ());
        self.absorbed.insert(into, id);
    }

    /// An op that does along with its own what another did: one of the update what it leaves beside its own value; a sum of
    /// gradients one of its parts.
    pub(super) fn absorbing(&mut self, id: ValueId, absorbed: ValueId) -> Result<ValueId> {
        let name = &self.graph.values[id.0].name;
        if let Some(adding) = self.adding(absorbed) {
            let rest = self.inputs(id).iter().copied().find(|&part| part != absorbed).expect("it is read but once");
            let inputs: Vec<ValueId> = self.inputs(absorbed).iter().chain([&rest]).map(|id| self.ids[*id]).collect();
            return self.fused.shared_op(name, adding, &inputs);
        }
        let mut inputs: Vec<ValueId> = self.inputs(id).to_vec();
        let op: Rc<dyn Op> = if self.op::<PredictX0>(id).is_some() {
            inputs[1] = self.inputs(absorbed)[0];
            Rc::new(PredictX0 { guided: true })
        } else {
            Rc::new(Update { keeps: true })
        };
        let inputs: Vec<ValueId> = inputs.into_iter().map(|input| self.ids[input]).collect();
        let new = self.fused.shared_op(name, op, &inputs)?;
        self.ids.insert(absorbed, self.second_output(new).expect("it has one"));
        Ok(new)
    }
}
