//! Pictures in files.

use std::path::Path;

use denoise::{Shown, Tensor, rgba8};

use super::Result;
use super::files::{self, only_tensor};

/// Writes images `[N, C, H, W]` as one PNG, in a grid as square as can be.
pub fn write_grid(path: &Path, images: &Tensor, shown: Shown) -> Result<()> {
    let [count, _, height, width] = images.shape[..] else { unreachable!("images are [N, C, H, W]") };
    let columns = (1..=count).find(|side| side * side >= count).unwrap_or(1);
    let rows = count.div_ceil(columns);
    let mut grid = vec![0; rows * height * columns * width * 4];
    for (i, line) in rgba8(images, shown).chunks_exact(width * 4).enumerate() {
        let (image, y) = (i / height, i % height);
        let (row, column) = (image / columns, image % columns);
        grid[((row * height + y) * columns + column) * width * 4..][..width * 4].copy_from_slice(line);
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, (columns * width) as u32, (rows * height) as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header()?.write_image_data(&grid)?;
    files::write(path, &bytes)
}

/// The images of a file as `[N, C, H, W]`: a PNG, whose bytes `value` turns into numbers, or the tensor `name` of a
/// safetensors file, whose numbers are at most 1. One image counts for all N.
pub fn read(path: &Path, name: &str, shape: [usize; 4], value: impl Fn(u8) -> f32) -> Result<Tensor> {
    let [_, c, h, w] = shape;
    spread(path, load(path, name, [c, h, w], value)?, shape)
}

/// The images of a file over [−1, 1] as `[N, C, H, W]`, as many as it has.
pub fn read_images(path: &Path, [c, h, w]: [usize; 3]) -> Result<Tensor> {
    let images = load(path, "image", [c, h, w], signed)?;
    let n = images.shape.first().copied().unwrap_or(0);
    spread(path, images, [n, c, h, w])
}

/// A byte of a picture over [−1, 1].
pub fn signed(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

/// What a file has, of whatever shape.
fn load(path: &Path, name: &str, image: [usize; 3], value: impl Fn(u8) -> f32) -> Result<Tensor> {
    let loaded = match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => only_tensor(path, name)?,
        // Of a mask all channels are alike.
        _ if name == "mask" => read_png(path, [1, image[1], image[2]], value)?,
        _ => read_png(path, image, value)?,
    };
    let least = if name == "mask" { 0.0 } else { -1.0 };
    match loaded.data.iter().find(|&&x| !(least..=1.0).contains(&x)) {
        Some(x) => Err(format!("{}: {name} has {x}, which is not between {least} and 1.", path.display()).into()),
        None => Ok(loaded),
    }
}

/// Images of this shape, of one or as many, in grey or in colours.
fn spread(path: &Path, one: Tensor, shape: [usize; 4]) -> Result<Tensor> {
    let [n, c, h, w] = shape;
    let fits = matches!(*one.shape, [images, channels, height, width]
        if (images == n || images == 1) && (channels == c || channels == 1) && (height, width) == (h, w));
    if !fits {
        let found = &one.shape;
        return Err(format!("{} has the shape {found:?}; {shape:?} is needed.", path.display()).into());
    }
    let (images, channels) = (one.shape[0], one.shape[1]);
    let element = |i: usize| {
        let (image, channel, pixel) = (i / (c * h * w), i / (h * w) % c, i % (h * w));
        one.data[((image % images) * channels + channel % channels) * h * w + pixel]
    };
    Ok(Tensor::new(&shape, (0..n * c * h * w).map(element).collect())?)
}

/// A model's condition as `[N, K, H, W]`: a PNG of K colours over [−1, 1], or the tensor `condition` of a safetensors file,
/// whose numbers may be any. One counts for all N.
pub fn read_condition(path: &Path, shape: [usize; 4]) -> Result<Tensor> {
    let [_, channels, height, width] = shape;
    let tensor = match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => only_tensor(path, "condition")?,
        _ if channels == 1 || channels == 3 => read_png(path, [channels, height, width], signed)?,
        _ => {
            let (path, given) = (path.display(), "safetensors with condition [B or 1, K, H, W]");
            return Err(format!(
                "{path}: this model's condition has {channels} channels, which no picture has; give {given}."
            )
            .into());
        }
    };
    let fits = matches!(*tensor.shape, [images, ref image @ ..] if (images == 1 || images == shape[0]) && *image == shape[1..]);
    if fits {
        return Ok(tensor);
    }
    Err(format!("{} has the shape {:?}; {shape:?} is needed, or one for all.", path.display(), tensor.shape).into())
}

/// A PNG as `[1, C, H, W]`, in grey where the model is.
fn read_png(path: &Path, [channels, height, width]: [usize; 3], value: impl Fn(u8) -> f32) -> Result<Tensor> {
    let invalid = |error: png::DecodingError| format!("{} is not a PNG: {error}.", path.display());
    let bytes = files::read(path)?;
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(invalid)?;
    let (found_width, found_height) = reader.info().size();
    if (found_height as usize, found_width as usize) != (height, width) {
        let path = path.display();
        return Err(
            format!("{path} has {found_width}×{found_height} pixels; the images here have {width}×{height}.").into()
        );
    }
    let size = reader.output_buffer_size().ok_or_else(|| format!("{} is too large.", path.display()))?;
    let mut pixels = vec![0; size];
    let info = reader.next_frame(&mut pixels).map_err(invalid)?;
    let samples = info.color_type.samples();
    let element = |i: usize| {
        let (channel, pixel) = (i / (width * height), i % (width * height));
        let colours = if samples < 3 { 1 } else { 3 };
        let at = |channel: usize| pixels[pixel * samples + channel];
        match (channels, colours) {
            (1, 3) => value(((u32::from(at(0)) * 299 + u32::from(at(1)) * 587 + u32::from(at(2)) * 114) / 1000) as u8),
            _ => value(at(channel % colours)),
        }
    };
    Ok(Tensor::new(&[1, channels, height, width], (0..channels * width * height).map(element).collect())?)
}
