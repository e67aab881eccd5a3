// The entry point of shaders of which an invocation owns one item, most often a vec4: `element` makes the i-th. Their Params say
// how many there are, `len`. The dispatch is `Kernel::flat` in src/graph/op.rs.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i < params.len {
        element(i);
    }
}
