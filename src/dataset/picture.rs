//! A PNG or JPEG file as bytes.

use std::io::Cursor;
use std::path::Path;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::{Error, Result};

/// An image as it is in its file.
pub(super) struct Picture {
    /// Height and width.
    pub size: [usize; 2],
    /// 1 (grey), 2 (grey and transparency), 3 (colour) or 4 (colour and transparency).
    pub channels: usize,
    /// `[H, W, C]`.
    pub pixels: Vec<u8>,
}

/// The longest side that is read: more than any network of pixels is trained on, and at most 256 MiB.
const LONGEST: usize = 8192;
/// How much a byte of a file can at most become: bytes of a PNG (deflate's limit), or pixels of a JPEG, of which there are at
/// most 64 to a bit. A header that promises more is not believed, and no memory is taken for it.
const MOST_A_BYTE: usize = 1032;

/// Reads an image. It is a PNG or a JPEG by what it begins with, whatever its name says.
///
/// # Errors
/// When it is neither, damaged, or larger than any that is trained on.
pub(super) fn read(path: &Path) -> Result<Picture> {
    let bytes = std::fs::read(path).map_err(|error| Error::file(path, format!("could not be read: {error}.")))?;
    if bytes.starts_with(&[0xff, 0xd8]) {
        return read_jpeg(path, &bytes);
    }
    if bytes.starts_with(b"\x89PNG") {
        return read_png(path, &bytes);
    }
    Err(Error::file(
        path,
        "is neither a PNG nor a JPEG. It may be damaged, or of another kind: convert it to PNG, or take it out.",
    ))
}

/// A picture without an end, or with nonsense in it.
fn damaged(path: &Path, kind: &str, error: impl std::fmt::Display) -> Error {
    Error::file(path, format!("is not a {kind} that can be read: {error}. Save it anew, or take it out."))
}

/// What begins the data of a JPEG, and what ends it.
const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

fn check_size(path: &Path, [height, width]: [usize; 2]) -> Result<()> {
    match (1..=LONGEST).contains(&height) && (1..=LONGEST).contains(&width) {
        true => Ok(()),
        false => {
            Err(Error::file(path, format!("has {width}×{height} pixels; each side must be between 1 and {LONGEST}.")))
        }
    }
}

/// Checks that a file can have what its header promises.
fn check_promise(path: &Path, promised: usize, bytes: &[u8]) -> Result<()> {
    match promised / MOST_A_BYTE <= bytes.len() {
        true => Ok(()),
        false => {
            let len = bytes.len();
            Err(damaged(path, "picture", format!("its {len} bytes cannot be as many pixels as its header says")))
        }
    }
}

/// Sixteen bits become eight, fewer than eight and palettes are spread out, as `png` does it.
fn read_png(path: &Path, bytes: &[u8]) -> Result<Picture> {
    let invalid = |error: png::DecodingError| damaged(path, "PNG", error);
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(invalid)?;
    let (width, height) = reader.info().size();
    let size = [height as usize, width as usize];
    check_size(path, size)?;
    check_promise(path, reader.info().raw_bytes(), bytes)?;
    let len = reader.output_buffer_size().ok_or_else(|| damaged(path, "PNG", "it is too large"))?;
    let mut pixels = vec![0; len];
    let info = reader.next_frame(&mut pixels).map_err(invalid)?;
    let channels = info.color_type.samples();
    if pixels.len() != size[0] * size[1] * channels {
        return Err(damaged(path, "PNG", format!("it has {} bytes for {width}×{height} pixels", pixels.len())));
    }
    Ok(Picture { size, channels, pixels })
}

/// Grey stays grey; everything else becomes colour. Nothing is turned, whatever a camera has noted.
fn read_jpeg(path: &Path, bytes: &[u8]) -> Result<Picture> {
    let invalid = |error: &dyn std::fmt::Display| damaged(path, "JPEG", error);
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(LONGEST).set_max_height(LONGEST);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| invalid(&error))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| invalid(&"it has no size"))?;
    check_size(path, [height, width])?;
    check_promise(path, height * width, bytes)?;
    let (channels, space) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (1, ColorSpace::Luma),
        _ => (3, ColorSpace::RGB),
    };
    // The decoder makes up what is missing at the end. Within the data of a scan neither marker can stand.
    let last = |marker: u8| bytes.array_windows().rposition(|&pair| pair == [0xff, marker]);
    if last(START_OF_SCAN) >= last(END_OF_IMAGE) {
        return Err(invalid(&"it is cut off"));
    }
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let pixels = decoder.decode().map_err(|error| invalid(&error))?;
    if pixels.len() != height * width * channels {
        return Err(invalid(&format!("it has {} bytes for {width}×{height} pixels", pixels.len())));
    }
    Ok(Picture { size: [height, width], channels, pixels })
}
