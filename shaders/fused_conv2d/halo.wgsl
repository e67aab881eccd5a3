

//#include fused_conv2d

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
const HEIGHT = ROWS + SIDE - 1u;

// An index that is a constant needs no check, and those that are not are checked once for many reads.
var<workgroup> pixels: array<array<Input, WIDTH>, HEIGHT>;
var<workgroup> taps: array<array<array<array<Stored, 2>, LANES>, 4u * SIDE>, SIDE>; // [row, tap and input channel, …]
//#if moments
var<workgroup> parts: array<array<vec4f, LANES>, ROWS>;
//#end

// The i-th of the tile's pixels and those around it, of which `origin` is the first.
fn surrounding(i: u32, origin: vec2i, image: u32, source: u32, channels: u32, channel: u32) -> Input {
    let at = origin + vec2i(i32(i % WIDTH), i32(i / WIDTH));
    if any(at < vec2i()) || at.x >= i32(params.in_width) || at.y >= i32(params.in_height) {
        return Input();
    }
    let pixel = (image * params.in_height + u32(at.y)) * params.in_width + u32(at.x);
    return Input(load(source, pixel * channels + channel, image, channel));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) own: vec3u, @builtin(local_invocation_index) thread: u32) {
    let group = own + vec3u(params.first, 0u, 0u);
    let image = group.x / params.tiles;
    let tile = group.x % params.tiles;
    let top = tile / params.tiles_x * ROWS;
    let left = tile % params.tiles_x * 8u;
    let first = group.y * COLUMNS;
    let pair = thread % LANES;
    let line = thread / LANES;
    let channel = first + 2u * pair;
    let depth = params.x_channels + params.y_channels;
    // Which of the four convolutions after an upsampling, otherwise 0.
    let phase = vec2u(group.z & 1u, group.z >> 1u);
    let origin = vec2i(i32(left), i32(top)) + vec2i(phase) - 1;
    let base = group.z * SIDE * SIDE * depth * 4u;

//#each i 0 1 2 3 4 5 6 7
    var a$i = vec4f();
    var b$i = vec4f();
//#end

    // What this invocation stages besides pixels: of every so many taps, a vec4 of one input channel's weights.
    let part = thread / COLUMNS % 4u;
    let column = thread % COLUMNS;
    let own_weight = part * params.out_channels + min(first + column, params.out_channels - 1u);

//#if concat
    for (var source = 0u; source < 2u; source++) {
//#else
    let source = 0u; {
//#end
        let channels = channels_of(source);
        for (var ci = 0u; ci < channels; ci++) {
            // All loads are under way before the first is waited for.
            let before = base + (source * params.x_channels + ci) * 4u;
//#each i loads
            let tap$i = thread / (4u * COLUMNS) + $i * (16u / COLUMNS);
            let weight$i = weight[(before + min(tap$i, SIDE * SIDE - 1u) * depth * 4u) * params.out_channels + own_weight];
//#end
//#each i 0 1
            let pixel$i = surrounding(thread + 64u * $i, origin, image, source, channels, ci);
//#end
            workgroupBarrier();
            pixels[thread / WIDTH][thread % WIDTH] = pixel0;
            if thread + 64u < HEIGHT * WIDTH {
                pixels[(thread + 64u) / WIDTH][(thread + 64u) % WIDTH] = pixel1;
            }
//#if more
            for (var i = thread + 128u; i < HEIGHT * WIDTH; i += 64u) {
                pixels[i / WIDTH][i % WIDTH] = surrounding(i, origin, image, source, channels, ci);
            }
//#end
//#each i loads
            if tap$i < SIDE * SIDE {
                taps[tap$i / SIDE][tap$i % SIDE * 4u + part][column / 2u][column % 2u] = weight$i;
            }
//#end
            workgroupBarrier();
            for (var ky = 0u; ky < SIDE; ky++) {
//#each i 0 1 2 3 4 5 6 7
                var p$i = vec4f(pixels[line + ky][$i]);
//#end
//#each c,k x,0 y,1 z,2 w,3
                {
                    let wa = vec4f(taps[ky][$k][pair][0]);
                    let wb = vec4f(taps[ky][$k][pair][1]);
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
                p7 = vec4f(pixels[line + ky][8 + $kx]);
//#each c,k x,0 y,1 z,2 w,3
                {
                    let wa = vec4f(taps[ky][4 * $kx + 4 + $k][pair][0]);
                    let wb = vec4f(taps[ky][4 * $kx + 4 + $k][pair][1]);
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
            let own = weight[(before + ci * 4u) * params.out_channels + own_weight];
//#each i own
            let y$i = top + thread / 8u + 8u * $i;
            let x$i = left + thread % 8u;
            var value$i = vec4f();
            if x$i < params.out_width && y$i < params.out_height {
                value$i = fetch(source, ((image * params.out_height + y$i) * params.out_width + x$i) * channels + ci);
            }
//#end
            workgroupBarrier();
//#each i own
            pixels[thread / 8u + 8u * $i][thread % 8u] = Input(value$i);
//#end
            if thread < 4u * COLUMNS {
                taps[0][part][column / 2u][column % 2u] = own;
            }
            workgroupBarrier();
//#each i 0 1 2 3 4 5 6 7
            let p$i = vec4f(pixels[line][$i]);
//#end
//#each c,k x,0 y,1 z,2 w,3
            {
                let wa = vec4f(taps[0][$k][pair][0]);
                let wb = vec4f(taps[0][$k][pair][1]);
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
    let channel_a = min(channel, params.out_channels - 1u);
    let channel_b = min(channel + 1u, params.out_channels - 1u);
    let bias_a = bias[channel_a];
    let bias_b = bias[channel_b];
//#each i 0 1 2 3 4 5 6 7
    let pixel$i = start + min($i, max(count, 1u) - 1u) * apart;
    let end_a$i = finish(a$i + bias_a, pixel$i, image, channel_a);
    let end_b$i = finish(b$i + bias_b, pixel$i, image, channel_b);
    if $i < count {
        out[pixel$i * params.out_channels + channel_a] = Output(end_a$i);
        if both {
            out[pixel$i * params.out_channels + channel_b] = Output(end_b$i);
        }
    }
//#end
//#if moments
    // The tile's mean first, then what deviates from it, one vec4 of channels at a time. Rows outside have nothing.
    let all = f32(min(ROWS, height - top) * min(8u, width - left));
//#if upsample
    let at = (group.x * 4u + group.z) * 2u * params.out_channels + channel;
//#else
    let at = group.x * 2u * params.out_channels + channel;
//#end
//#each c,o a,0 b,1
    var sum_$c = vec4f();
//#each i 0 1 2 3 4 5 6 7
    sum_$c += select(vec4f(), end_$c$i, $i < count);
//#end
    workgroupBarrier();
    parts[line][pair] = sum_$c;
    workgroupBarrier();
    var mean_$c = vec4f();
    for (var r = 0u; r < ROWS; r++) {
        mean_$c += parts[r][pair];
    }
    mean_$c /= all;
    var m2_$c = vec4f();
//#each i 0 1 2 3 4 5 6 7
    m2_$c += select(vec4f(), (end_$c$i - mean_$c) * (end_$c$i - mean_$c), $i < count);
//#end
    workgroupBarrier();
    parts[line][pair] = m2_$c;
    workgroupBarrier();
    if line == 0u && channel + $o < params.out_channels {
        m2_$c = vec4f();
        for (var r = 0u; r < ROWS; r++) {
            m2_$c += parts[r][pair];
        }
        moments[at + $o] = mean_$c;
        moments[at + $o + params.out_channels] = m2_$c;
    }
//#end
//#end
}
