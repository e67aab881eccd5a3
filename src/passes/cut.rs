//! What is the same for every x, taken out of a graph.

use crate::graph::{Graph, Source, ValueId, ValueMap, ValueSet, check_size};
use crate::state::State;
use crate::{Result, Shape};

/// Where ranges of these lengths begin in one input, and its length.
pub(crate) fn ranges(lengths: impl Iterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut end = 0;
    let mut place = |length: usize| {
        let begin = end;
        end = (end + length).next_multiple_of(State::ALIGNMENT);
        begin
    };
    let offsets = lengths.map(&mut place).collect();
    (offsets, end)
}

/// The same graph in which what follows from nothing but the inputs of these names, constants and parameters, is no longer
/// computed, but ranges of an input `name`: what is the same for every x need not be computed with it. They are
/// [`conditions`], each where [`ranges`] says.
///
/// # Errors
/// When the input would be larger than [`crate::graph::LARGEST`].
pub(crate) fn cut(graph: &Graph, given: &[&str], name: &str) -> Result<Graph> {
    let follows = follows(graph, given);
    let conditions = conditions(graph, given);
    let Some(&first) = conditions.first() else { return Ok(graph.clone()) };
    let (offsets, end) = ranges(conditions.iter().map(|&id| graph.shape(id).len()));
    let mut cut = Graph::new();
    let shape = Shape::new(&[end]);
    check_size(name, &shape)?;
    let input = cut.push(name, shape, graph.values[first.0].precision, Source::Input);
    let mut ids = ValueMap::new();
    for (index, value) in graph.values.iter().enumerate() {
        let id = ValueId(index);
        let part = conditions.iter().position(|&condition| condition == id);
        let source = match (part, &value.source) {
            (Some(part), _) => Source::Range { of: input, first: offsets[part] },
            (None, Source::Op { .. }) if follows.contains(id) => continue,
            (None, Source::Input) if follows.contains(id) && !is_read(graph, id, &follows) => continue,
            (None, Source::Op { op, inputs }) => {
                Source::Op { op: op.clone(), inputs: inputs.iter().map(|&id| ids[id]).collect() }
            }
            (None, Source::Range { of, first }) => Source::Range { of: ids[*of], first: *first },
            (None, Source::Further { of }) => Source::Further { of: ids[*of] },
            (None, Source::Assembled(parts)) => {
                Source::Assembled(parts.iter().map(|&(part, first)| (ids[part], first)).collect())
            }
            (None, other) => other.clone(),
        };
        ids.insert(id, cut.push(&value.name, value.shape.clone(), value.precision, source));
    }
    cut.outputs = graph.outputs.iter().map(|(name, id)| (name.clone(), ids[*id])).collect();
    cut.feedback = graph.feedback.iter().map(|&(from, to)| (ids[from], ids[to])).collect();
    Ok(cut)
}

/// The values that follow from nothing but the inputs of these names, constants and parameters, and that others read.
pub(crate) fn conditions(graph: &Graph, given: &[&str]) -> Vec<ValueId> {
    let follows = follows(graph, given);
    let computed = |&id: &ValueId| matches!(graph.values[id.0].source, Source::Op { .. });
    let ids = (0..graph.values.len()).map(ValueId).filter(|&id| follows.contains(id)).filter(computed);
    ids.filter(|&id| is_read(graph, id, &follows)).collect()
}

/// The constants that nothing but conditions is computed with.
pub(crate) fn read_by_conditions(graph: &Graph, given: &[&str]) -> ValueSet {
    let follows = follows(graph, given);
    let mut read = ValueSet::new();
    for (index, value) in graph.values.iter().enumerate() {
        let id = ValueId(index);
        if matches!(value.source, Source::Constant(_)) && !is_read(graph, id, &follows) {
            read.insert(id, ());
        }
    }
    read
}

/// Whether a value outside `follows` is computed from this one.
fn is_read(graph: &Graph, id: ValueId, follows: &ValueSet) -> bool {
    graph.values.iter().enumerate().any(|(index, value)| match &value.source {
        Source::Op { inputs, .. } => !follows.contains(ValueId(index)) && inputs.contains(&id),
        _ => false,
    })
}

/// The inputs of these names, and what follows from them, constants and parameters alone.
fn follows(graph: &Graph, given: &[&str]) -> ValueSet {
    let mut follows = ValueSet::new();
    let constant = |id: &ValueId| match graph.values[id.0].source {
        Source::Range { of, .. } => matches!(graph.values[of.0].source, Source::State(_)),
        Source::Constant(_) | Source::State(_) => true,
        _ => false,
    };
    for (index, value) in graph.values.iter().enumerate() {
        let holds = match &value.source {
            Source::Input => given.contains(&value.name.as_str()),
            Source::Op { inputs, .. } => {
                inputs.iter().all(|id| follows.contains(*id) || constant(id)) && !inputs.iter().all(constant)
            }
            _ => false,
        };
        if holds {
            follows.insert(ValueId(index), ());
        }
    }
    follows
}
