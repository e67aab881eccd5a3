

//#include fused_conv2d

// As a matrix product, for kernels of any size and stride and for small maps: a workgroup owns a tile of 8 · PIXELS output
// pixels, counted over all images, by 8 · COLUMNS vec4s of output channels, and walks the depth (taps and input
// channels) in blocks of four vec4s that it keeps in shared memory. An invocation owns PIXELS pixels by COLUMNS vec4s. Of
// maps too small to keep a GPU busy, several workgroups, in z, own the same tile and a part of the depth each.

const PIXELS: u32 = $pixels;   // of an invocation
const COLUMNS: u32 = $columns; // vec4s of an invocation
const TILE = 8u * PIXELS;
const WIDTH = 8u * COLUMNS;
const DEPTH = 4u;              // vec4s of a block
const STRIDE = DEPTH + 1u;     // of a staged pixel: one more keeps the banks apart

// An index that is a constant needs no check, and those that are not are checked once for many reads.
var<workgroup> inputs: array<array<array<Input, STRIDE>, PIXELS>, 8>;
var<workgroup> weights: array<array<array<array<Stored, COLUMNS>, 8>, 4>, DEPTH>;
//#if moments
var<workgroup> parts: array<array<vec4f, 8>, 8>; // [line, lane]
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
fn input(pixel: Pixel, source: u32, offset: vec2i, channels: u32, channel: u32) -> Input {
    if source >= FIRST_SHORTCUT {
        return Input(fetch(source, pixel.at * channels + channel));
    }
    let at = vec2i(pixel.x, pixel.y) + offset;
    if any(at < vec2i()) || at.x >= i32(params.in_width) || at.y >= i32(params.in_height) {
        return Input();
    }
    let place = (pixel.image * params.in_height + u32(at.y)) * params.in_width + u32(at.x);
    return Input(load(source, place * channels + channel, pixel.image, channel));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) own: vec3u, @builtin(local_invocation_index) thread: u32) {
    let group = own + vec3u(params.first, 0u, 0u);
    let start = group.x * TILE;
    let first = group.y * WIDTH;
    let line = thread / 8u;
    let lane = thread % 8u;
    // What this invocation stages: a vec4 of the depth of every sixteenth pixel, and of every so many rows of the weight
    // one vec4.
    let part = thread % DEPTH;
    let column = thread % WIDTH;
    let own_weight = min(first + column, params.out_channels - 1u);
//#each i staged
    let pixel$i = locate(start + thread / DEPTH + 16u * $i);
//#end

//#each i pixels
//#each j columns
    var s$i_$j = vec4f();
//#end
//#end

    var before = 0u; // rows of the weight that belong to earlier tensors
//#if split
    let begin = group.z * params.split;
    var done = 0u;   // blocks of earlier tensors and taps
//#end
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
//#if split
                // Of these blocks, those of this split.
                let blocks = (channels + DEPTH - 1u) / DEPTH;
                let begin_ci = (clamp(begin, done, done + blocks) - done) * DEPTH;
                let end_ci = min((clamp(begin + params.split, done, done + blocks) - done) * DEPTH, channels);
                done += blocks;
                for (var ci = begin_ci; ci < end_ci; ci += DEPTH) {
//#else
                for (var ci = 0u; ci < channels; ci += DEPTH) {
//#end
                    // All loads are under way before the first is waited for.
//#each i staged
                    let row$i = thread / WIDTH + $i * (64u / WIDTH);
                    // Beyond the last channel the inputs are zero, so any weight will do.
                    let in$i = row + min(ci * 4u + row$i, channels * 4u - 1u);
                    let weight$i = weight[in$i * params.out_channels + own_weight];
//#end
//#each i staged
                    var value$i = Input();
                    if ci + part < channels {
                        value$i = input(pixel$i, source, offset, channels, ci + part);
                    }
//#end
                    workgroupBarrier();
//#each i staged
                    inputs[thread / (DEPTH * PIXELS) + $i * (16u / PIXELS)][thread / DEPTH % PIXELS][part] = value$i;
                    weights[row$i / 4u][row$i % 4u][column / COLUMNS][column % COLUMNS] = weight$i;
//#end
                    workgroupBarrier();
                    for (var k = 0u; k < DEPTH; k++) {
//#each i pixels
                        let x$i = vec4f(inputs[line][$i][k]);
//#end
//#each c,k x,0 y,1 z,2 w,3
//#each j columns
                        {
                            let w = vec4f(weights[k][$k][lane][$j]);
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
        let own = min(channel, params.out_channels - 1u);
        let images = params.out_height * params.out_width;
//#each i pixels
        let pixel$i = min(start + line * PIXELS + $i, params.len - 1u);
//#if split
        let sum$i = s$i_$j + select(vec4f(), bias[own], group.z == 0u);
        if inside && start + line * PIXELS + $i < params.len {
            out[(group.z * params.len + pixel$i) * params.out_channels + channel] = sum$i;
        }
//#else
        let end$i = finish(s$i_$j + bias[own], pixel$i, pixel$i / images, own);
        if inside && start + line * PIXELS + $i < params.len {
            out[pixel$i * params.out_channels + channel] = Output(end$i);
        }
//#end
//#end
//#if moments
        // Moments are of tiles that lie in one image, or of images of which several make a tile: of `span` lines of
        // invocations. The mean first, then what deviates from it.
        let span = min(8u, images / PIXELS);
        let line0 = line - line % span;
        var sum = vec4f();
//#each i pixels
        sum += end$i;
//#end
        workgroupBarrier();
        parts[line][lane] = sum;
        workgroupBarrier();
        var mean = vec4f();
        for (var r = 0u; r < span; r++) {
            mean += parts[line0 + r][lane];
        }
        mean /= f32(span * PIXELS);
        var m2 = vec4f();
//#each i pixels
        m2 += (end$i - mean) * (end$i - mean);
//#end
        workgroupBarrier();
        parts[line][lane] = m2;
        workgroupBarrier();
        if line == line0 && inside && start + line * PIXELS < params.len {
            m2 = vec4f();
            for (var r = 0u; r < span; r++) {
                m2 += parts[line0 + r][lane];
            }
            let at = (start + line * PIXELS) / (span * PIXELS) * 2u * params.out_channels + channel;
            moments[at] = mean;
            moments[at + params.out_channels] = m2;
        }
//#end
    }
//#end
}
