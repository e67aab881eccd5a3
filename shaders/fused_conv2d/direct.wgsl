

//#include fused_conv2d

// Without barriers: four neighbouring invocations, a quad, own 4 · CHANNELS neighbouring output channels, so that they read
// the weights side by side and all of them the same pixels. An invocation owns 4 · GROUPS pixels of a row by CHANNELS
// channels, four apart; where the taps of a row see neighbouring pixels, it reads each pixel once for all of them. For
// devices whose shared memory is slow, or that compute in software.
//
// With `quads`, each of the four reads every fourth channel of the pixels, and tells the others.
//
// After a nearest-neighbour upsampling, output pixels of one parity in each direction see only 2×2 pixels of the small
// image, with sums of the taps as weights: four convolutions, one a workgroup in z, each of which writes every second pixel.

const PIXELS = 4u * $groups;
const CHANNELS: u32 = $channels;
const TAPS: u32 = $taps; // of a row, that see the same pixels
const SHARED: u32 = $shared; // channels of a pixel that a quad reads at a time

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) own: vec3u, @builtin(local_invocation_index) thread: u32) {
    let group = own + vec3u(params.first, 0u, 0u);
    // Numbers from here on, not vec4s: a row of the weight has `width` of them.
    let width = 4u * params.out_channels;
    let depth = 4u * params.x_channels;
    let lane = thread % 4u;
    let quad = thread / 4u;
    let channel = (group.y * params.blocks + quad % params.blocks) * (4u * CHANNELS) + lane;
    // Quads beyond the last strip do what that does, and store nothing: all of a subgroup have to stay.
    let wanted = group.x * (16u / params.blocks) + quad / params.blocks;
    let strip = min(wanted, params.len - 1u);
    let tile = strip % params.tiles;
    let image = strip / params.tiles;
    let y = tile / params.tiles_x;
    let column = tile % params.tiles_x * PIXELS;
//#if upsample
    let phase = vec2u(group.z & 1u, group.z >> 1u);
    let top = i32(y) - 1 + i32(phase.y);
    let left = i32(column) - 1 + i32(phase.x);
    let first = channel + group.z * 16u * params.x_channels * width;
//#else
    let top = i32(y * params.stride) - i32(params.pad);
    let left = i32(column * params.stride) - i32(params.pad);
    let first = channel;
//#end
    // Of each channel, a vec4 of four neighbouring pixels.
//#each g groups
//#each j channels
    var s$g_$j = vec4f(bias[channel + 4u * $j]);
//#end
//#end
    let across = depth * width;
//#if quads
    let mine = lane;
//#else
    let mine = 0u;
//#end
    for (var ky = 0u; ky < params.kernel; ky++) {
        let in_y = top + i32(ky);
        // Outside the image any pixel will do: what is read there is dropped. `&` and not `&&`, which would branch.
        let row_inside = (in_y >= 0) & (in_y < i32(params.in_height));
        let line = (image * params.in_height + u32(max(in_y, 0))) * params.in_width;
        for (var kx = 0u; kx < params.kernel; kx += TAPS) {
            let in_x = left + i32(kx);
//#each g groups
//#each k 0 1 2 3
            let x$g_$k = in_x + i32((4u * $g + $k) * params.stride);
            let inside$g_$k = row_inside & (x$g_$k >= 0) & (x$g_$k < i32(params.in_width));
            let p$g_$k = select(0u, (line + u32(x$g_$k)) * depth, inside$g_$k) + mine;
//#end
//#end
//#each k further
            let x$k = in_x + i32(PIXELS + $k);
            let inside$k = row_inside & (x$k >= 0) & (x$k < i32(params.in_width));
            let p$k = select(0u, (line + u32(x$k)) * depth, inside$k) + mine;
//#end
            var w = first + (ky * params.kernel + kx) * across;
            for (var ci = 0u; ci < depth; ci += SHARED) {
//#each g groups
//#each k 0 1 2 3
                let v$g_$k = select(0.0, f32(x[p$g_$k + ci]), inside$g_$k);
//#end
                let v$g = vec4f(v$g_0, v$g_1, v$g_2, v$g_3);
//#end
//#each k further
                let e$k = select(0.0, f32(x[p$k + ci]), inside$k);
//#end
//#each c shared
                {
                    // The pixels under the first tap, and those that come after them.
//#if quads
//#each g groups
                    let q$g_0 = quadBroadcast(v$g, u32($c));
//#end
//#each k further
                    let q$groups_$k = vec4f(quadBroadcast(e$k, u32($c)));
//#end
//#else
//#each g groups
                    let q$g_0 = v$g;
//#end
//#each k further
                    let q$groups_$k = vec4f(e$k);
//#end
//#end
                    // For each further tap, these moved on by a pixel.
//#each k,n further
//#each g,h groups
                    let q$g_$n = vec4f(q$g_$k.yzw, q$h_$k.x);
//#end
//#end
//#each k taps
//#each j channels
                    let w$k_$j = f32(weight[w + $k * across + 4u * $j]);
//#each g groups
                    s$g_$j = fma(q$g_$k, vec4f(w$k_$j), s$g_$j);
//#end
//#end
//#end
                    w += width;
                }
//#end
            }
        }
    }

//#if upsample
    let pixels = min(PIXELS, params.in_width - column);
    let start = (image * params.out_height + 2u * y + phase.y) * params.out_width + 2u * column + phase.x;
    let apart = 2u;
    let part = strip * 4u + group.z;
//#else
    let pixels = min(PIXELS, params.out_width - column);
    let start = (image * params.out_height + y) * params.out_width + column;
    let apart = 1u;
    let part = strip;
//#end
    let count = select(0u, pixels, wanted == strip);
    // What is beyond the last pixel is computed and not stored: a branch for each number would take long to compile.
//#each j channels
    let c$j = channel + 4u * $j;
//#if row
    let time$j = f32(row[image * width + c$j]);
//#else
    let time$j = 0.0;
//#end
//#end
//#each g groups
//#each k,l 0,x 1,y 2,z 3,w
    let at$g_$k = (start + min(4u * $g + $k, pixels - 1u) * apart) * width;
//#each j channels
//#if residual
    let r$g_$k_$j = (s$g_$j.$l + time$j + f32(residual[at$g_$k + c$j])) * params.scale;
//#else
    let r$g_$k_$j = (s$g_$j.$l + time$j) * params.scale;
//#end
//#end
    if 4u * $g + $k < count {
//#each j channels
        out[at$g_$k + c$j] = Output(r$g_$k_$j);
//#end
    }
//#end
//#end
//#if moments
    let share = 1.0 / f32(pixels);
//#each j channels
    {
        var mean = 0.0;
        var m2 = 0.0;
//#each g groups
//#each k 0 1 2 3
        mean += select(0.0, r$g_$k_$j, 4u * $g + $k < pixels);
//#end
//#end
        mean *= share;
//#each g groups
//#each k 0 1 2 3
        m2 += select(0.0, (r$g_$k_$j - mean) * (r$g_$k_$j - mean), 4u * $g + $k < pixels);
//#end
//#end
        if count > 0u {
            moments[part * 2u * width + c$j] = mean;
            moments[(part * 2u + 1u) * width + c$j] = m2;
        }
    }
//#end
//#end
}
