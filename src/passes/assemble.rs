//! Many values in one.

use crate::Result;
use crate::graph::{Graph, ValueId};
use crate::op::Affine;

/// Appends computed values as one, `[len]`, each from a number on, with zeros between them: the gradients by all ranges of a
/// state.
///
/// # Errors
/// When it would be larger than a value may be.
pub(crate) fn assemble(graph: &mut Graph, name: &str, len: usize, parts: &[(ValueId, usize)]) -> Result<ValueId> {
    let mut placed: Vec<(ValueId, usize)> = Vec::with_capacity(parts.len());
    for (i, &(part, first)) in parts.iter().enumerate() {
        let twice = parts.iter().enumerate().any(|(j, &(other, _))| j != i && other == part);
        // What is read elsewhere, or no op computes, cannot be computed here: a copy can.
        let part = match graph.is_placeable(part) && !twice {
            true => part,
            false => graph.op(&format!("{name}.{i}"), Affine { scale: 1.0, offset: 0.0 }, &[part])?,
        };
        placed.push((part, first));
    }
    graph.place(name, len, placed)
}
