
// The 3×3 kernel with stride 1, staged: a workgroup owns a tile of 64 / LANES × 8 pixels and 8 · LANES output channels.
// For four input channels at a time it keeps the tile's pixels with one more on every side, normalised and activated
// once, and the taps' weights in shared memory. An invocation owns eight pixels of a row by eight channels.
//
// After a nearest-neighbour upsampling, output pixels of one parity in each direction see only 2×2 pixels of the small
// image, with sums of the taps as weights: four convolutions of SIDE 2, one a workgroup in z.

const LANES: u32 = $lanes;          // pairs of vec4s of output channels
const ROWS = 64u / LANES;           // pixels of a tile from top to bottom
const COLUMNS = 2u * LANES;         // vec4s of output channels
const SIDE: u32 = $side;            // of the kernel
const WIDTH = 7u + SIDE;            // of the staged pixels
const PIXELS = (ROWS + SIDE - 1u) * WIDTH;
const WEIGHTS = SIDE * SIDE * 4u * COLUMNS;

var<workgroup> pixels: array<Stored, PIXELS>;
var<workgroup> taps: array<Stored, WEIGHTS>; // [tap, 4, COLUMNS]
//#if moments
var<workgroup> parts: array<vec4f, 256>;     // [mean or M2, ROWS, COLUMNS]
//#end

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let image = group.x / params.tiles;
    let tile = group.x % params.tiles;
    let top = tile / params.tiles_x * ROWS;
    let left = tile % params.tiles_x * 8u;
    let first = group.y * COLUMNS;
    let lane = thread % LANES * 2u;
    let line = thread / LANES;
    let channel = first + lane;
    let depth = params.x_channels + params.y_channels;
    // Which of the four convolutions after an upsampling, otherwise 0.
    let phase = vec2u(group.z & 1u, group.z >> 1u);
    let origin = vec2i(i32(left), i32(top)) + vec2i(phase) - 1;
    let base = group.z * SIDE * SIDE * depth * 4u;

//#each i 0 1 2 3 4 5 6 7
    var a$i = vec4f();
    var b$i = vec4f();
//#end

//#if concat
    for (var source = 0u; source < 2u; source++) {
//#else
    let source = 0u; {
//#end
        let channels = channels_of(source);
        for (var ci = 0u; ci < channels; ci++) {
            workgroupBarrier();
            for (var i = thread; i < PIXELS; i += 64u) {
                let at = origin + vec2i(i32(i % WIDTH), i32(i / WIDTH));
                var value = vec4f();
                if all(at >= vec2i()) && at.x < i32(params.in_width) && at.y < i32(params.in_height) {
                    let pixel = (image * params.in_height + u32(at.y)) * params.in_width + u32(at.x);
                    value = load(source, pixel * channels + ci, image, ci);
                }
                pixels[i] = Stored(value);
            }
            for (var i = thread; i < WEIGHTS; i += 64u) {
                let tap = i / (4u * COLUMNS);
                let in = (base + (tap * depth + source * params.x_channels + ci) * 4u + i / COLUMNS % 4u);
                taps[i] = weight[in * params.out_channels + min(first + i % COLUMNS, params.out_channels - 1u)];
            }
            workgroupBarrier();
            for (var ky = 0u; ky < SIDE; ky++) {
                let start = (line + ky) * WIDTH;
//#each i 0 1 2 3 4 5 6 7
                var p$i = vec4f(pixels[start + $i]);
//#end
                var w = ky * SIDE * 4u * COLUMNS + lane;
//#each c x y z w
                {
                    let wa = vec4f(taps[w]);
                    let wb = vec4f(taps[w + 1u]);
                    w += COLUMNS;
//#each i 0 1 2 3 4 5 6 7
                    a$i += p$i.$c * wa;
                    b$i += p$i.$c * wb;
//#end
                }
//#end
                // The taps to the right of the first see the pixels one further on.
//#each kx further
//#each i,n 0,1 1,2 2,3 3,4 4,5 5,6 6,7
                p$i = p$n;
//#end
                p7 = vec4f(pixels[start + 8u + $kx]);
//#each c x y z w
                {
                    let wa = vec4f(taps[w]);
                    let wb = vec4f(taps[w + 1u]);
                    w += COLUMNS;
//#each i 0 1 2 3 4 5 6 7
                    a$i += p$i.$c * wa;
                    b$i += p$i.$c * wb;
//#end
                }
//#end
//#end
            }
        }
    }
//#if shortcut
    // The 1×1 convolution beside it is more depth: only the tile's own pixels, and one tap.
    var before = SIDE * SIDE * depth * 4u;
    for (var source = FIRST_SHORTCUT; source < 4u; source++) {
        let channels = channels_of(source);
        for (var ci = 0u; ci < channels; ci++) {
            workgroupBarrier();
            {
                let at = vec2u(left + thread % 8u, top + thread / 8u);
//#each h 0 1 2 3
                if 8u * $h < ROWS && at.x < params.out_width && at.y + 8u * $h < params.out_height {
                    let pixel = (image * params.out_height + at.y + 8u * $h) * params.out_width + at.x;
                    pixels[64u * $h + thread] = Stored(fetch(source, pixel * channels + ci));
                }
//#end
            }
            if thread < 4u * COLUMNS {
                let in = before + ci * 4u + thread / COLUMNS;
                taps[thread] = weight[in * params.out_channels + min(first + thread % COLUMNS, params.out_channels - 1u)];
            }
            workgroupBarrier();
//#each i 0 1 2 3 4 5 6 7
            let p$i = vec4f(pixels[line * 8u + $i]);
//#end
//#each c,k x,0 y,1 z,2 w,3
            {
                let wa = vec4f(taps[$k * COLUMNS + lane]);
                let wb = vec4f(taps[$k * COLUMNS + lane + 1u]);
//#each i 0 1 2 3 4 5 6 7
                a$i += p$i.$c * wa;
                b$i += p$i.$c * wb;
//#end
            }
//#end
        }
        before += channels * 4u;
    }
//#end

    let y = top + line;
    let bias_a = bias[min(channel, params.out_channels - 1u)];
    let bias_b = bias[min(channel + 1u, params.out_channels - 1u)];
//#if upsample
    let height = params.in_height;
    let width = params.in_width;
    let start = (image * params.out_height + 2u * y + phase.y) * params.out_width + 2u * left + phase.x;
    let apart = 2u;
//#else
    let height = params.out_height;
    let width = params.out_width;
    let start = (image * params.out_height + y) * params.out_width + left;
    let apart = 1u;
//#end
    let count = select(0u, min(8u, width - left), y < height && channel < params.out_channels);
    let both = channel + 1u < params.out_channels;
//#if moments
    var mean_a = vec4f();
    var mean_b = vec4f();
//#end
//#each i 0 1 2 3 4 5 6 7
    if $i < count {
        a$i = finish(a$i + bias_a, start + $i * apart, image, channel);
        if both {
            b$i = finish(b$i + bias_b, start + $i * apart, image, channel + 1u);
        }
//#if moments
        mean_a += a$i;
        mean_b += b$i;
//#end
    }
//#end
//#if moments
    mean_a /= f32(max(count, 1u));
    mean_b /= f32(max(count, 1u));
    var m2_a = vec4f();
    var m2_b = vec4f();
//#each i 0 1 2 3 4 5 6 7
    if $i < count {
        m2_a += (a$i - mean_a) * (a$i - mean_a);
        m2_b += (b$i - mean_b) * (b$i - mean_b);
    }
//#end
    let part = line * COLUMNS + lane;
    parts[part] = mean_a;
    parts[part + 1u] = mean_b;
    parts[128u + part] = m2_a;
    parts[128u + part + 1u] = m2_b;
    workgroupBarrier();
    // All rows that are inside have the same number of pixels, so their moments merge without weights.
    if thread < COLUMNS && first + thread < params.out_channels {
        let rows = min(ROWS, height - top);
        var mean = vec4f();
        for (var r = 0u; r < rows; r++) {
            mean += parts[r * COLUMNS + thread];
        }
        mean /= f32(rows);
        var m2 = vec4f();
        for (var r = 0u; r < rows; r++) {
            let deviation = parts[r * COLUMNS + thread] - mean;
            m2 += parts[128u + r * COLUMNS + thread] + f32(min(8u, width - left)) * deviation * deviation;
        }
//#if upsample
        let at = (group.x * 4u + group.z) * 2u * params.out_channels + first + thread;
//#else
        let at = group.x * 2u * params.out_channels + first + thread;
//#end
        moments[at] = mean;
        moments[at + params.out_channels] = m2;
    }
//#end
}
