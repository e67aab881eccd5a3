//! Every shader keeps the convention that the backend binds by.

use std::collections::HashMap;

use denoise::plan::Plan;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess, TypeInner};

use crate::{golden, ops};

#[test]
fn shaders_keep_the_binding_convention() {
    // What the ops bind: for each shader, the number of inputs and the bytes of its parameters.
    let mut bound = HashMap::new();
    let graphs = ops::cases()
        .into_iter()
        .map(|case| case.1)
        .chain(ops::updates().into_iter().map(|case| case.1))
        .chain([ops::modulated().1]);
    for step in graphs.flat_map(|graph| Plan::new(&graph).steps) {
        let kernel = step.kernel();
        bound.insert(step.op.name(), (kernel.shader, step.inputs.len(), kernel.params.len()));
    }
    assert!(bound.len() > 20);

    for (name, (source, inputs, params)) in bound {
        let own = golden::text(&format!("shaders/{name}.wgsl"));
        let row = golden::text("shaders/row.wgsl");
        assert!(source == own || source == row + &own, "{name} runs the shader of its own name");
        let module =
            naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
        Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
        let entries: Vec<_> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(entries, ["main"], "{name}");
        if source.contains("@compute @workgroup_size(64)") {
            // `Kernel::flat` wraps what does not fit one dimension into y.
            assert!(source.contains("id.x + id.y * 2097152u;"), "{name}: the index of a flat dispatch");
        }
        let threads: u32 = module.entry_points[0].workgroup_size.iter().product();
        assert!(threads <= 256, "{name}: {threads} invocations a workgroup");

        let mut bindings: Vec<_> = module.global_variables.iter().filter(|(_, v)| v.binding.is_some()).collect();
        bindings.sort_by_key(|(_, variable)| variable.binding.map(|binding| binding.binding));
        assert_eq!(bindings.len(), inputs + 2, "{name}: parameters, {inputs} inputs, an output");
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
                assert_eq!(span as usize, params, "{name}: bytes of Params in WGSL and in Rust");
                assert!(span.is_multiple_of(16), "{name}: a uniform struct is whole 16-byte rows");
            }
        }
    }
}

/// WGSL has no include, so what several shaders share stands in each of them: it must be the same.
#[test]
fn shared_parts_of_shaders_are_equal() {
    let part = |shader: &str, from: &str, to: &str| {
        let source = golden::text(&format!("shaders/{shader}.wgsl"));
        let start = source.find(from).unwrap_or_else(|| panic!("{shader} has no {from}"));
        source[start..][..source[start..].find(to).unwrap()].to_string()
    };
    let activate = |shader| part(shader, "// The error function", "@compute");
    assert_eq!(activate("activation"), activate("scale_shift"));
}
