
// As a matrix product, for kernels of any size and stride and for small maps: a workgroup owns a tile of 8 · PIXELS output
// pixels, counted over all images, by 8 · COLUMNS vec4s of output channels, and walks the depth (taps and input
// channels) in blocks of four vec4s that it keeps in shared memory. An invocation owns PIXELS pixels by COLUMNS vec4s.
// With few pixels the depth is split too: a workgroup in z adds up its share of it and leaves the rest to `merge_splits`.

const PIXELS: u32 = $pixels;   // of an invocation
const COLUMNS: u32 = $columns; // vec4s of an invocation
const TILE = 8u * PIXELS;
const WIDTH = 8u * COLUMNS;
const DEPTH = 4u;              // vec4s of a block
const STRIDE = DEPTH + 1u;     // of a staged pixel: one more keeps the banks apart

var<workgroup> inputs: array<Stored, TILE * STRIDE>;
var<workgroup> weights: array<Stored, 4u * DEPTH * WIDTH>; // [4 · DEPTH, WIDTH]
//#if moments
var<workgroup> parts: array<vec4f, 16u * WIDTH>; // [mean or M2, 8, WIDTH]
//#end

// An output pixel's image, and the input pixel under the kernel's first tap.
struct Pixel {
    image: u32,
    y: i32,
    x: i32,
    at: u32, // over all images
}

fn locate(at: u32) -> Pixel {
    // Beyond the last pixel any will do: what comes of it is dropped.
    let pixel = min(at, params.len - 1u);
    let line = pixel / params.out_width;
    let y = line % params.out_height * params.stride;
    let x = pixel % params.out_width * params.stride;
    return Pixel(line / params.out_height, i32(y) - i32(params.pad), i32(x) - i32(params.pad), pixel);
}

// A vec4 of the depth of an output pixel under the tap at `offset`.
fn input(pixel: Pixel, source: u32, offset: vec2i, channels: u32, channel: u32) -> Stored {
    if source >= FIRST_SHORTCUT {
        return Stored(fetch(source, pixel.at * channels + channel));
    }
    let at = vec2i(pixel.x, pixel.y) + offset;
    if any(at < vec2i()) || at.x >= i32(params.in_width) || at.y >= i32(params.in_height) {
        return Stored();
    }
    let place = (pixel.image * params.in_height + u32(at.y)) * params.in_width + u32(at.x);
    return Stored(load(source, place * channels + channel, pixel.image, channel));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let start = group.x * TILE;
    let first = group.y * WIDTH;
    let line = thread / 8u;
    let lane = thread % 8u;
    // What this invocation stages: a vec4 of the depth of every sixteenth pixel.
    let part = thread % DEPTH;
//#each i staged
    let pixel$i = locate(start + thread / DEPTH + 16u * $i);
//#end

//#each i pixels
//#each j columns
    var s$i_$j = vec4f();
//#end
//#end

    var before = 0u; // rows of the weight that belong to earlier tensors
    var step = 0u;   // blocks so far
    for (var source = 0u; source < 4u; source++) {
        let channels = channels_of(source);
        if channels == 0u {
            continue;
        }
        var side = params.kernel;
        var depth = params.x_channels + params.y_channels;
        if source >= FIRST_SHORTCUT {
            side = 1u;
            depth = channels;
        }
        for (var ky = 0u; ky < side; ky++) {
            for (var kx = 0u; kx < side; kx++) {
                let offset = vec2i(i32(kx), i32(ky));
                let row = before + (ky * side + kx) * depth * 4u;
                for (var ci = 0u; ci < channels; ci += DEPTH) {
//#if split
                    let mine = step / params.share == group.z;
                    step++;
                    if !mine {
                        continue;
                    }
//#end
                    workgroupBarrier();
//#each i staged
                    if ci + part < channels {
                        inputs[(thread / DEPTH + 16u * $i) * STRIDE + part] = input(pixel$i, source, offset, channels, ci + part);
                    } else {
                        inputs[(thread / DEPTH + 16u * $i) * STRIDE + part] = Stored();
                    }
//#end
                    for (var i = thread; i < 4u * DEPTH * WIDTH; i += 64u) {
                        // Beyond the last channel the inputs are zero, so any weight will do.
                        let in = row + min(ci * 4u + i / WIDTH, channels * 4u - 1u);
                        weights[i] = weight[in * params.out_channels + min(first + i % WIDTH, params.out_channels - 1u)];
                    }
                    workgroupBarrier();
                    for (var k = 0u; k < DEPTH; k++) {
//#each i pixels
                        let x$i = vec4f(inputs[(line * PIXELS + $i) * STRIDE + k]);
//#end
//#each c,k x,0 y,1 z,2 w,3
//#each j columns
                        {
                            let w = vec4f(weights[(k * 4u + $k) * WIDTH + lane * COLUMNS + $j]);
//#each i pixels
                            s$i_$j += x$i.$c * w;
//#end
                        }
//#end
//#end
                    }
                }
            }
        }
        before += channels * 4u;
        if source < FIRST_SHORTCUT {
            // Each tap has the channels of x, then those of y; what follows comes after all taps.
            let all = params.kernel * params.kernel * depth * 4u;
            before = select(before, all, before == depth * 4u);
        }
    }

//#each j columns
    {
        let column = lane * COLUMNS + $j;
        let channel = first + column;
        let inside = channel < params.out_channels;
//#if split
        let partial = group.z * params.len;
//#each i pixels
        if inside && start + line * PIXELS + $i < params.len {
            out[(partial + start + line * PIXELS + $i) * params.out_channels + channel] = s$i_$j;
        }
//#end
//#else
        let own_bias = bias[min(channel, params.out_channels - 1u)];
        let images = params.out_height * params.out_width;
//#if moments
        var mean = vec4f();
//#end
//#each i pixels
        if inside && start + line * PIXELS + $i < params.len {
            let pixel = start + line * PIXELS + $i;
            s$i_$j = finish(s$i_$j + own_bias, pixel, pixel / images, channel);
        }
//#if moments
        mean += s$i_$j;
//#end
//#end
//#if moments
        // Only where tiles are full and in one image.
        mean /= f32(PIXELS);
        var m2 = vec4f();
//#each i pixels
        m2 += (s$i_$j - mean) * (s$i_$j - mean);
//#end
        parts[line * WIDTH + column] = mean;
        parts[(8u + line) * WIDTH + column] = m2;
//#end
//#end
    }
//#end
//#if moments
    workgroupBarrier();
    if thread < WIDTH && first + thread < params.out_channels {
        var mean = vec4f();
        for (var r = 0u; r < 8u; r++) {
            mean += parts[r * WIDTH + thread];
        }
        mean /= 8.0;
        var m2 = vec4f();
        for (var r = 0u; r < 8u; r++) {
            let deviation = parts[r * WIDTH + thread] - mean;
            m2 += parts[(8u + r) * WIDTH + thread] + f32(PIXELS) * deviation * deviation;
        }
        let at = group.x * 2u * params.out_channels + first + thread;
        moments[at] = mean;
        moments[at + params.out_channels] = m2;
    }
//#end
}
