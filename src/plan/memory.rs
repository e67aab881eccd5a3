//! How long the values of a plan are needed, and which of them share memory.

use crate::graph::{Graph, Source, ValueId, ValueMap, ValueSet};

/// Where values are computed that are assembled: of which value they are a part, and from which number on. These keep their
/// slots too, in which nobody else may leave anything between the parts.
pub(super) fn homes(graph: &Graph) -> ValueMap<(ValueId, usize)> {
    let mut homes = ValueMap::new();
    for (index, value) in graph.values.iter().enumerate() {
        if let Source::Assembled(parts) = &value.source {
            homes.insert(ValueId(index), (ValueId(index), 0));
            parts.iter().for_each(|&(part, first)| homes.insert(part, (ValueId(index), first)));
        }
    }
    homes
}

/// The states that ops of the graph replace something of.
pub(super) fn changed_states(graph: &Graph) -> ValueSet {
    let mut changed = ValueSet::new();
    for value in &graph.values {
        if let Source::Op { op, inputs } = &value.source {
            for &input in &inputs[inputs.len() - op.replaces()..] {
                match graph.values[input.0].source {
                    Source::Range { of, .. } => changed.insert(of, ()),
                    _ => changed.insert(input, ()),
                }
            }
        }
    }
    changed
}

/// The values that follow from constants and from states that do not change, and so are the same in every run.
pub(crate) fn fixed_values(graph: &Graph) -> ValueSet {
    let changed = changed_states(graph);
    let mut fixed = ValueSet::new();
    for (index, value) in graph.values.iter().enumerate() {
        let id = ValueId(index);
        let is_fixed = match &value.source {
            Source::Input => false,
            Source::Constant(_) => true,
            Source::State(_) => !changed.contains(id),
            Source::Range { of, .. } | Source::Further { of } => fixed.contains(*of),
            Source::Assembled(_) => false,
            Source::Op { op, inputs } => op.replaces() == 0 && inputs.iter().all(|&input| fixed.contains(input)),
        };
        if is_fixed {
            fixed.insert(id, ());
        }
    }
    fixed
}

/// For every value that is needed, the index of the last value computed from it. A kept value is needed to the end, and so
/// is what replaces another.
pub(super) fn last_uses(graph: &Graph, kept: &ValueSet) -> ValueMap<usize> {
    let mut last = ValueMap::new();
    for (index, value) in graph.values.iter().enumerate().rev() {
        let id = ValueId(index);
        let replaces = matches!(&value.source, Source::Op { op, .. } if op.replaces() > 0);
        if kept.contains(id) || replaces {
            last.insert(id, usize::MAX);
        } else if !last.contains(id) {
            continue;
        }
        if let Source::Assembled(parts) = &value.source {
            for &(part, _) in parts {
                if !last.contains(part) {
                    last.insert(part, index);
                }
            }
        }
        let inputs = match &value.source {
            Source::Op { inputs, .. } => &inputs[..],
            Source::Further { of } | Source::Range { of, .. } => std::slice::from_ref(of),
            Source::Input | Source::Constant(_) | Source::State(_) | Source::Assembled(_) => &[],
        };
        for &input in inputs {
            if !last.contains(input) {
                last.insert(input, index);
            }
        }
    }
    last
}

/// What a value needs of memory: so many bytes from the step that computes it to the last one that reads it, both included.
pub(super) struct Room {
    pub(super) bytes: usize,
    pub(super) from: usize,
    pub(super) until: usize,
}

/// The slot of each room, and the length of each slot in bytes: rooms that are never needed at the same time share one.
///
/// The largest come first, so that a slot never has to grow, and each takes the smallest slot that is free in its time
/// (Pisarchyk and Lee 2020, Efficient Memory Management for Deep Neural Net Inference, greedy by size).
pub(super) fn slots(rooms: &[Room]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..rooms.len()).collect();
    order.sort_by_key(|&room| std::cmp::Reverse(rooms[room].bytes));
    let mut slots = vec![0; rooms.len()];
    // The rooms of each slot, the largest first.
    let mut shared: Vec<Vec<usize>> = Vec::new();
    for room in order {
        let meets = |&other: &usize| rooms[other].from <= rooms[room].until && rooms[room].from <= rooms[other].until;
        let slot = shared.iter().rposition(|others| !others.iter().any(meets)).unwrap_or_else(|| {
            shared.push(Vec::new());
            shared.len() - 1
        });
        shared[slot].push(room);
        slots[room] = slot;
    }
    (slots, shared.iter().map(|rooms_of_slot| rooms[rooms_of_slot[0]].bytes).collect())
}
