// Of shaders that need not know more than how many vec4s there are: `Kernel::elementwise` in src/graph/op.rs.

//#include flat

struct Params {
    len: u32, // vec4s
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(N) var<uniform> params: Params;
