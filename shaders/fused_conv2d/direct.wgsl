
// Without barriers: an invocation owns a strip of eight pixels of one output row and eight output channels, sixteen vec4
// accumulators. Each tap loads eight input vec4s and eight weight vec4s for 256 multiply-adds. For devices whose shared
// memory is slow, or that compute in software.

// Where the pixel at column x of the row that starts at `row` lies, and whether it is inside the image. Outside, any
// valid place will do: what is read there is dropped.
struct Source {
    at: u32,
    inside: bool,
}

fn place(row: u32, row_inside: bool, x: i32, width: u32, channels: u32) -> Source {
    let inside = row_inside && x >= 0 && x < i32(width);
    return Source(select(0u, (row + u32(x)) * channels, inside), inside);
}

fn pixel(source: u32, place: Source, channel: u32) -> vec4f {
    return select(vec4f(), fetch(source, place.at + channel), place.inside);
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let channel = id.y * 2u; // the first of two vec4s
    if id.x >= params.len || channel >= params.out_channels {
        return;
    }
    let column = id.x % params.tiles_x * 8u;
    let line = id.x / params.tiles_x; // over all images
    let image = line / params.out_height;
    let out_y = line % params.out_height;

    // With an odd number of vec4s the last invocation's second one is computed but not stored.
    let second = min(channel + 1u, params.out_channels - 1u);
    let bias_a = bias[channel];
    let bias_b = bias[second];
//#each i 0 1 2 3 4 5 6 7
    var a$i = bias_a;
    var b$i = bias_b;
//#end

    // The weights of a tensor's channels begin where those of the tensor before it end.
    var first = 0u;
    for (var source = 0u; source < 4u; source++) {
        let channels = channels_of(source);
        if channels == 0u {
            continue;
        }
        var taps = params.kernel;
        var step = i32(params.stride);
        var pad = i32(params.pad);
        var depth = params.x_channels + params.y_channels;
        var height = params.in_height;
        var width = params.in_width;
        if source >= FIRST_SHORTCUT {
            taps = 1u;
            step = 1;
            pad = 0;
            depth = channels;
            height = params.out_height;
            width = params.out_width;
        }
        let left = i32(column) * step - pad;
        for (var ky = 0u; ky < taps; ky++) {
            let in_y = i32(out_y) * step - pad + i32(ky);
            let row_inside = in_y >= 0 && in_y < i32(height);
            let row = (image * height + u32(max(in_y, 0))) * width;
            for (var kx = 0u; kx < taps; kx++) {
                let in_x = left + i32(kx);
//#each i 0 1 2 3 4 5 6 7
                let p$i = place(row, row_inside, in_x + $i * step, width, channels);
//#end
                var w = first + (ky * taps + kx) * depth * 4u * params.out_channels;
                for (var ci = 0u; ci < channels; ci++) {
//#each i 0 1 2 3 4 5 6 7
                    let x$i = pixel(source, p$i, ci);
//#end
//#each c x y z w
                    let wa_$c = vec4f(weight[w + channel]);
                    let wb_$c = vec4f(weight[w + second]);
                    w += params.out_channels;
//#each i 0 1 2 3 4 5 6 7
                    a$i += x$i.$c * wa_$c;
                    b$i += x$i.$c * wb_$c;
//#end
//#end
                }
            }
        }
        first += channels * 4u * params.out_channels;
        if source < FIRST_SHORTCUT {
            // Each tap has the channels of x, then those of y; what follows comes after all taps.
            let all = params.kernel * params.kernel * depth * 4u * params.out_channels;
            first = select(first, all, first == depth * 4u * params.out_channels);
        }
    }

    let start = line * params.out_width + column;
    let count = min(8u, params.out_width - column);
    let both = channel + 1u < params.out_channels;
//#if moments
    var mean_a = vec4f();
    var mean_b = vec4f();
//#end
//#each i 0 1 2 3 4 5 6 7
    if $i < count {
        a$i = finish(a$i, start + $i, image, channel);
        if both {
            b$i = finish(b$i, start + $i, image, channel + 1u);
        }
//#if moments
        mean_a += a$i;
        mean_b += b$i;
//#end
    }
//#end
//#if moments
    mean_a /= f32(count);
    mean_b /= f32(count);
    var m2_a = vec4f();
    var m2_b = vec4f();
//#each i 0 1 2 3 4 5 6 7
    if $i < count {
        m2_a += (a$i - mean_a) * (a$i - mean_a);
        m2_b += (b$i - mean_b) * (b$i - mean_b);
    }
//#end
    let at = id.x * 2u * params.out_channels + channel;
    moments[at] = mean_a;
    moments[at + params.out_channels] = m2_a;
    if both {
        moments[at + 1u] = mean_b;
        moments[at + 1u + params.out_channels] = m2_b;
    }
//#end
}
