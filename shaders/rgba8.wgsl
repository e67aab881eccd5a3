// Images over [−1, 1] as RGBA8, and others at a scale of theirs. An invocation owns one pixel, which is one u32 of the output.

struct Params {
    len: u32,      // pixels of all images
    channels: u32, // vec4s of a run of channels
    grey: u32,     // 1: the first channel is shown as grey
    stride: u32,   // pixels, padded to a multiple of four
}

@group(0) @binding(N) var<uniform> params: Params;
@group(0) @binding(N) var<storage, read> x: array<vec4f>;     // [pixels, channels]
//#if pair
@group(0) @binding(N) var<storage, read> other: array<vec4f>; // [pixels, channels]
//#end
//#if scaled
@group(0) @binding(N) var<storage, read> row: Coefficients;   // what the others are scaled by
//#end
@group(0) @binding(N) var<storage, read_write> out: array<u32>; // [stride]
//#if pair
@group(0) @binding(N) var<storage, read_write> beside: array<u32>; // of the others
//#end

fn rgba8(pixel: vec4f) -> u32 {
    let rgb = select(pixel.rgb, pixel.rrr, params.grey == 1u);
    let bytes = vec3u(round(clamp(rgb * 0.5 + 0.5, vec3f(0.0), vec3f(1.0)) * 255.0));
    return bytes.r | (bytes.g << 8u) | (bytes.b << 16u) | (255u << 24u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x + id.y * 2097152u;
    if i >= params.stride {
        return;
    }
    if i >= params.len {
        out[i] = 0u;
//#if pair
        beside[i] = 0u;
//#end
        return;
    }
    out[i] = rgba8(x[i * params.channels]);
//#if pair
    var pixel = other[i * params.channels];
//#if scaled
    pixel *= row.show_scale;
//#end
    beside[i] = rgba8(pixel);
//#end
}
