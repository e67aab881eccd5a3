//! Gradients, as more of the same graph.

use crate::graph::{Graph, Source, ValueId, ValueMap, ValueSet};
use crate::op::{Add, Backward, differentiable};
use crate::{Error, Result, Shape};

/// Appends to `graph` what computes the gradients of `loss`, `[1]`, by the values `by`: parameters, inputs, constants, or what is
/// computed (`torch.autograd.grad(loss, by)`). They are returned in the same order, each of the shape of its value; by a value
/// that the loss does not depend on the gradient is a constant of zeros.
///
/// # Errors
/// When the loss is not one number, or an op between it and `by` has no gradient.
pub fn gradient(graph: &mut Graph, loss: ValueId, by: &[ValueId]) -> Result<Vec<ValueId>> {
    let shape = graph.shape(loss).clone();
    if shape.dims() != [1] {
        return Err(Error::shape(&format!("{} (the loss)", graph.values[loss.0].name), "[1]", shape));
    }
    // The padding is zero, as everywhere.
    let one = graph.constant("loss.gradient", (shape, vec![1.0, 0.0, 0.0, 0.0]));
    vector_jacobian_product(graph, loss, one, by)
}

/// As [`gradient`], of a loss whose gradient by `output` is `gradient`, of its shape
/// (`torch.autograd.grad(output, by, gradient)`).
///
/// This is reverse-mode differentiation: values are visited from the output back to where they come from, each op appends the
/// gradients of its inputs ([`crate::op::Differentiable`]), and where a value was read several times its gradients are added up.
/// Only what lies between `by` and `output` is visited. What is appended is a part of the graph like any other: it is planned,
/// and runs on every device.
///
/// # Errors
/// When `gradient` has another shape than `output`, or an op between it and `by` has no gradient.
pub fn vector_jacobian_product(
    graph: &mut Graph,
    output: ValueId,
    gradient: ValueId,
    by: &[ValueId],
) -> Result<Vec<ValueId>> {
    if graph.shape(output) != graph.shape(gradient) {
        let name = &graph.values[output.0].name;
        return Err(Error::shape(&format!("the gradient of {name}"), graph.shape(output), graph.shape(gradient)));
    }
    let depends = dependents(graph, by);
    let mut gradients: ValueMap<ValueId> = ValueMap::new();
    if depends.contains(output) {
        gradients.insert(output, gradient);
    }
    for id in (0..=output.0).rev().map(ValueId) {
        let Some(&gradient) = gradients.get(id) else { continue };
        let value = graph.values[id.0].clone();
        let (op, inputs) = match value.source {
            Source::Op { op, inputs } => (op, inputs),
            Source::Input | Source::Constant(_) | Source::State(_) => continue,
            source if by.contains(&id) && !follows(&source, &depends) => continue,
            _ => {
                let name = &value.name;
                return Err(Error::Settings(format!("{name} is a part of what is computed, which has no gradient.")));
            }
        };
        let wanted: Vec<bool> = inputs.iter().map(|&input| depends.contains(input)).collect();
        if !wanted.contains(&true) {
            continue;
        }
        let backward = Backward { name: &value.name, inputs: &inputs, output: id, gradient, wanted: &wanted };
        let Some(differentiable) = differentiable(op.as_ref()) else {
            return Err(Error::Settings(format!("{}: {} has no gradient.", value.name, op.name())));
        };
        let parts = differentiable.gradient(graph, &backward)?;
        for ((&input, part), wanted) in inputs.iter().zip(parts).zip(wanted) {
            let (Some(part), true) = (part, wanted) else { continue };
            let (expected, found) = (graph.shape(input), graph.shape(part));
            assert_eq!(expected, found, "{}: the gradient of {} has the shape of its input", value.name, op.name());
            let sum = match gradients.get(input) {
                Some(&earlier) => {
                    let name = format!("{}.gradient.sum", graph.values[input.0].name);
                    graph.op(&name, Add::PLAIN, &[earlier, part])?
                }
                None => part,
            };
            gradients.insert(input, sum);
        }
    }
    let of = |&id: &ValueId| gradients.get(id).copied().unwrap_or_else(|| zeros(graph, id));
    Ok(by.iter().map(of).collect())
}

/// The values `by`, and all that are computed from them.
fn dependents(graph: &Graph, by: &[ValueId]) -> ValueSet {
    let mut depends = ValueSet::new();
    by.iter().for_each(|&id| depends.insert(id, ()));
    for (index, value) in graph.values.iter().enumerate() {
        if follows(&value.source, &depends) {
            depends.insert(ValueId(index), ());
        }
    }
    depends
}

/// Whether a value follows from some that depend on what a graph is differentiated by.
fn follows(source: &Source, depends: &ValueSet) -> bool {
    match source {
        Source::Op { inputs, .. } => inputs.iter().any(|&input| depends.contains(input)),
        Source::Further { of } | Source::Range { of, .. } => depends.contains(*of),
        Source::Assembled(parts) => parts.iter().any(|&(part, _)| depends.contains(part)),
        Source::Input | Source::Constant(_) | Source::State(_) => false,
    }
}

/// A constant of zeros, of the shape of a value.
fn zeros(graph: &mut Graph, id: ValueId) -> ValueId {
    let name = format!("{}.gradient", graph.values[id.0].name);
    let shape: Shape = graph.shape(id).clone();
    let numbers = vec![0.0; shape.len()];
    graph.constant(&name, (shape, numbers))
}
