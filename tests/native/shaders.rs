//! Every shader keeps the convention that the backend binds by.

use std::collections::HashMap;

use denoise::Precision;
use denoise::plan::Plan;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess, TypeInner};

use crate::{golden, gradients, gradients_norm, ops};

/// A shader as the build leaves it, without comments, but for what it includes.
pub fn code(text: &str) -> String {
    let own = text.lines().filter(|line| !line.starts_with("//#include "));
    let lines = own.map(|line| match line.trim().split_once("//") {
        Some((_, directive)) if directive.starts_with('#') => line.trim(),
        Some((code, _)) => code.trim_end(),
        None => line.trim(),
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_string()
}

#[test]
fn shaders_keep_the_binding_convention() {
    // What the ops bind: for every variant of a shader, a step that runs it.
    let mut bound = HashMap::new();
    let graphs = [Precision::F32, Precision::F16].into_iter().flat_map(ops::graphs).chain(gradients::graphs());
    let steps = graphs.flat_map(|(_, graph, _)| Plan::new(&graph).all_steps().cloned().collect::<Vec<_>>());
    for step in steps.chain(gradients_norm::steps()) {
        let kernel = step.kernel();
        bound.insert((step.op.name(), kernel.source().into_owned(), kernel.precision), step);
    }
    println!("{} variants", bound.len());
    assert!(bound.len() > 100);

    for ((name, source, precision), step) in bound {
        let (kernel, inputs) = (step.kernel(), step.inputs.len());
        let own = golden::text(&format!("shaders/{name}.wgsl"));
        // Other shaders come before it, and of one with several kernels its kernel after it.
        assert!(code(kernel.shader).contains(&code(&own)), "{name} runs the shader of its own name");
        let stored = step.op.stored();
        assert_eq!(own.contains("alias Stored = vec4f;"), !stored.is_empty(), "{name}: Stored, on a line of its own");
        let source = source.as_str();
        let capabilities = match precision {
            Precision::F32 => Capabilities::SUBGROUP,
            Precision::F16 => Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP,
        };
        let module =
            naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
        Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
        let entries: Vec<_> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(entries, ["main"], "{name}");
        if source.contains("@compute @workgroup_size(64)\nfn main(@builtin(global_invocation_id)") {
            // `Kernel::flat` wraps what does not fit one dimension into y.
            assert!(source.contains("id.x + id.y * 2097152u;"), "{name}: the index of a flat dispatch");
        }
        let threads: u32 = module.entry_points[0].workgroup_size.iter().product();
        assert!(threads <= 256, "{name}: {threads} invocations a workgroup");

        let mut bindings: Vec<_> = module.global_variables.iter().filter(|(_, v)| v.binding.is_some()).collect();
        bindings.sort_by_key(|(_, variable)| variable.binding.map(|binding| binding.binding));
        let written = step.outputs.len();
        assert_eq!(bindings.len(), 1 + inputs + written, "{name}: parameters, {inputs} inputs, what it writes");
        for (i, (_, variable)) in bindings.iter().enumerate() {
            let binding = variable.binding.unwrap();
            assert_eq!((binding.group, binding.binding), (0, i as u32), "{name}");
            let readable = StorageAccess::LOAD;
            let expected = match i {
                0 => AddressSpace::Uniform,
                _ if i <= inputs => AddressSpace::Storage { access: readable },
                _ => AddressSpace::Storage { access: readable | StorageAccess::STORE },
            };
            assert_eq!(variable.space, expected, "{name}: binding {i}");
            if i == 0 {
                let TypeInner::Struct { span, .. } = module.types[variable.ty].inner else {
                    panic!("{name}: the parameters are a struct");
                };
                assert_eq!(span as usize, kernel.params.len(), "{name}: bytes of Params in WGSL and in Rust");
                assert!(span.is_multiple_of(16), "{name}: a uniform struct is whole 16-byte rows");
            } else {
                let width = if precision == Precision::F16 && stored.contains(&i) { 2 } else { 4 };
                assert_eq!(scalar_width(&module, variable.ty), width, "{name}: bytes of a number of binding {i}");
            }
        }
    }
}

/// How many bytes a number takes in an array, or in the first member of a struct.
fn scalar_width(module: &naga::Module, ty: naga::Handle<naga::Type>) -> u8 {
    match &module.types[ty].inner {
        TypeInner::Array { base, .. } => scalar_width(module, *base),
        TypeInner::Struct { members, .. } => scalar_width(module, members[0].ty),
        TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } => scalar.width,
        other => panic!("{other:?} in a binding"),
    }
}
