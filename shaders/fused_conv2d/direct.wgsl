
// Without barriers: neighbouring invocations own neighbouring output channels, so that they read the weights side by side
// and all of them the same pixels. An invocation owns 4 · GROUPS pixels of a row by CHANNELS channels, LANES apart. For
// devices whose shared memory is slow, or that compute in software.
//
// After a nearest-neighbour upsampling, output pixels of one parity in each direction see only 2×2 pixels of the small
// image, with sums of the taps as weights: four convolutions, one a workgroup in z, each of which writes every second pixel.

const PIXELS = 4u * $groups;
const CHANNELS: u32 = $channels;
const LANES: u32 = $lanes;
const STRIPS = 64u / LANES;

@compute @workgroup_size(LANES, STRIPS)
fn main(@builtin(workgroup_id) own: vec3u, @builtin(local_invocation_id) thread: vec3u) {
    let group = own + vec3u(params.first, 0u, 0u);
    // Numbers from here on, not vec4s: a row of the weight has `width` of them.
    let width = 4u * params.out_channels;
    let strip = group.x * STRIPS + thread.y;
    let channel = group.y * (LANES * CHANNELS) + thread.x;
    if strip >= params.len {
        return;
    }
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
    var s$g_$j = vec4f(bias[channel + LANES * $j]);
//#end
//#end
    for (var ky = 0u; ky < params.kernel; ky++) {
        let in_y = top + i32(ky);
        // Outside the image any pixel will do: what is read there is dropped.
        let row_inside = in_y >= 0 && in_y < i32(params.in_height);
        let line = (image * params.in_height + u32(max(in_y, 0))) * params.in_width;
        for (var kx = 0u; kx < params.kernel; kx++) {
            let in_x = left + i32(kx);
//#each g groups
//#each k 0 1 2 3
            let x$g_$k = in_x + i32((4u * $g + $k) * params.stride);
            let inside$g_$k = row_inside && x$g_$k >= 0 && x$g_$k < i32(params.in_width);
            let p$g_$k = select(0u, (line + u32(x$g_$k)) * params.x_channels, inside$g_$k);
//#end
//#end
            var w = first + (ky * params.kernel + kx) * 4u * params.x_channels * width;
            for (var ci = 0u; ci < params.x_channels; ci++) {
//#each g groups
//#each k 0 1 2 3
                let v$g_$k = select(vec4f(), vec4f(x[p$g_$k + ci]), inside$g_$k);
//#end
//#end
//#each c x y z w
                {
//#each g groups
                    let q$g = vec4f(v$g_0.$c, v$g_1.$c, v$g_2.$c, v$g_3.$c);
//#end
//#each j channels
                    let w$j = f32(weight[w + LANES * $j]);
//#each g groups
                    s$g_$j += q$g * w$j;
//#end
//#end
                    w += width;
                }
//#end
            }
        }
    }

//#if upsample
    let count = min(PIXELS, params.in_width - column);
    let start = (image * params.out_height + 2u * y + phase.y) * params.out_width + 2u * column + phase.x;
    let apart = 2u;
    let part = strip * 4u + group.z;
//#else
    let count = min(PIXELS, params.out_width - column);
    let start = (image * params.out_height + y) * params.out_width + column;
    let apart = 1u;
    let part = strip;
//#end
    // What is beyond the last pixel is computed and not stored: a branch for each number would take long to compile.
//#each j channels
    let c$j = channel + LANES * $j;
//#if row
    let time$j = f32(row[image * width + c$j]);
//#else
    let time$j = 0.0;
//#end
//#end
//#each g groups
//#each k,l 0,x 1,y 2,z 3,w
    let at$g_$k = (start + min(4u * $g + $k, count - 1u) * apart) * width;
//#each j channels
//#if residual
    let r$g_$k_$j = (s$g_$j.$l + time$j + f32(residual[at$g_$k + c$j])) * params.scale;
//#else
    let r$g_$k_$j = (s$g_$j.$l + time$j) * params.scale;
//#end
//#end
    if 4u * $g + $k < count {
//#each j channels
        out[at$g_$k + c$j] = Scalar(r$g_$k_$j);
//#end
    }
//#end
//#end
//#if moments
    let share = 1.0 / f32(count);
//#each j channels
    {
        var mean = 0.0;
        var m2 = 0.0;
//#each g groups
//#each k 0 1 2 3
        mean += select(0.0, r$g_$k_$j, 4u * $g + $k < count);
//#end
//#end
        mean *= share;
//#each g groups
//#each k 0 1 2 3
        m2 += select(0.0, (r$g_$k_$j - mean) * (r$g_$k_$j - mean), 4u * $g + $k < count);
//#end
//#end
        moments[part * 2u * width + c$j] = mean;
        moments[(part * 2u + 1u) * width + c$j] = m2;
    }
//#end
//#end
}
