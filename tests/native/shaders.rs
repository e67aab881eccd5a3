//! Every shader keeps the convention that the backend binds by.

use std::collections::HashMap;

use denoise::Precision;
use denoise::plan::Plan;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess, TypeInner};

use crate::{golden, ops};

#[test]
fn shaders_keep_the_binding_convention() {
    // What the ops bind: for each shader and precision, a step that runs it.
    let mut bound = HashMap::new();
    let graphs = [Precision::F32, Precision::F16]
        .into_iter()
        .flat_map(|precision| ops::cases(precision).into_iter().map(|case| case.1).chain([ops::modulated(precision).1]))
        .chain(ops::updates().into_iter().map(|case| case.1));
    for step in graphs.flat_map(|graph| Plan::new(&graph).steps) {
        bound.insert((step.op.name(), step.kernel().precision), step);
    }
    assert!(bound.len() > 35);

    for ((name, precision), step) in bound {
        let (kernel, inputs) = (step.kernel(), step.inputs.len());
        let source = golden::text(&format!("shaders/{name}.wgsl"));
        let row = golden::text("shaders/row.wgsl");
        // The build takes the comments out.
        let code =
            |text: &str| text.lines().map(|line| line.split("//").next().unwrap_or("").trim().to_string()).collect();
        let (own_code, source_code): (Vec<String>, Vec<String>) = (code(kernel.shader), code(&source));
        let own = own_code == source_code || own_code == [code(&row), source_code].concat();
        assert!(own, "{name} runs the shader of its own name");
        let stored = step.op.stored();
        assert_eq!(
            source.contains("alias Stored = vec4f;"),
            !stored.is_empty(),
            "{name}: Stored, on a line of its own"
        );
        let source: &str = &kernel.source();
        let capabilities = match precision {
            Precision::F32 => Capabilities::empty(),
            Precision::F16 => Capabilities::SHADER_FLOAT16,
        };
        let module =
            naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
        Validator::new(ValidationFlags::all(), capabilities)
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
