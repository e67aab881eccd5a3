// Gives a guided output part of the spread of the output for the class. An invocation owns one vec4.

//#include row
//#include flat

struct Params {
    len: u32, // vec4s of the output
    image: u32, // vec4s of an image
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> guided: array<vec4f>;
@group(0) @binding(2) var<storage, read> guided_norm: array<vec4f>; // [N], x counts
@group(0) @binding(3) var<storage, read> model_norm: array<vec4f>; // [class and null, N], x counts
@group(0) @binding(4) var<storage, read> row: Coefficients;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;

fn element(i: u32) {
    let n = i / params.image;
    let spread = guided_norm[n].x;
    // Where there is no spread there is none to give back.
    let ratio = select(1.0, model_norm[n].x / spread, spread > 0.0);
    out[i] = guided[i] * (row.guidance_rescale * ratio + 1.0 - row.guidance_rescale);
}
