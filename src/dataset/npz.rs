//! NumPy's `.npz`: a zip of arrays, each with a header that says what it is (NumPy `lib/format.py`).

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use super::{Dataset, planes, zeros};
use crate::{Error, Result};

/// What the arrays may be called: as this project's own, as Keras's, or as `np.savez` calls those without a name.
const IMAGES: [&str; 3] = ["images", "x_train", "arr_0"];
const LABELS: [&str; 3] = ["labels", "y_train", "arr_1"];
const NAMES: [&str; 2] = ["classes", "class_names"];

/// Reads images, and if they are there labels and the classes' names.
pub(super) fn read(path: &Path, channels: Option<usize>) -> Result<Dataset> {
    let mut file = Npz::open(path)?;
    let images = file.array(&IMAGES)?;
    let images = images.ok_or_else(|| {
        let found = file.names().join(", ");
        Error::file(path, format!("has no array \"images\" (nor \"x_train\" or \"arr_0\"), but: {found}."))
    })?;
    let labels = file.array(&LABELS)?.map(|labels| labels.labels(path)).transpose()?;
    let names = file.array(&NAMES)?.map(|names| names.texts(path)).transpose()?;
    let (shape, images) = images.images(path, channels)?;
    Dataset::from_file(path, shape, images, labels, names.unwrap_or_default())
}

/// An array.
struct Array {
    name: String,
    header: Header,
    /// Its numbers, the last dimension running fastest.
    bytes: Vec<u8>,
}

/// What the header of an array says.
struct Header {
    /// The order of its bytes (`<`, `>` or `|`), their kind (as `u`) and how long an element is.
    dtype: (char, char, usize),
    shape: Vec<usize>,
}

/// The longest header that is read; NumPy's are a hundred bytes long, or so.
const LONGEST_HEADER: usize = 1 << 16;
/// How many times smaller deflate can make bytes, at most.
const DEFLATE: u64 = 1032;

struct Npz<'a> {
    path: &'a Path,
    zip: ZipArchive<BufReader<File>>,
}

impl<'a> Npz<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::file(path, format!("could not be read: {error}.")))?;
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| {
            Error::file(
                path,
                format!("is not an .npz: {error}. It may be cut off or damaged, or not have been written by np.savez."),
            )
        })?;
        Ok(Npz { path, zip })
    }

    /// The names of the arrays.
    fn names(&self) -> Vec<&str> {
        self.zip.file_names().map(|name| name.strip_suffix(".npy").unwrap_or(name)).collect()
    }

    /// The array of the first of these names that is there.
    fn array(&mut self, names: &[&str]) -> Result<Option<Array>> {
        let Some(name) = names.iter().find(|name| self.names().contains(name)) else { return Ok(None) };
        let path = self.path;
        let wrong = |problem: String| Error::file(path, format!("has an array \"{name}\" {problem}"));
        let damaged =
            |error: &dyn std::fmt::Display| wrong(format!("that cannot be read: {error}. It may be damaged."));
        let mut file = self.zip.by_name(&format!("{name}.npy")).map_err(|error| damaged(&error))?;
        let header = read_header(&mut file).map_err(wrong)?;
        let len = header.shape.iter().try_fold(header.dtype.2, |len, &dim| len.checked_mul(dim));
        let len = len.ok_or_else(|| wrong(format!("whose shape {:?} is too large.", header.shape)))?;
        // What headers say may be anything; more than the compressed bytes can become is not believed.
        if len as u64 > file.compressed_size().saturating_mul(DEFLATE) {
            let (found, shape) = (file.compressed_size(), &header.shape);
            return Err(wrong(format!("of shape {shape:?} in {found} bytes, which cannot be. It may be damaged.")));
        }
        let mut bytes = Vec::new();
        file.by_ref().take(len as u64).read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
        // The checksum is looked at where the file ends.
        let more = file.read(&mut [0]).map_err(|error| damaged(&error))?;
        if bytes.len() != len || more > 0 {
            let (found, shape) = (bytes.len() + more, &header.shape);
            return Err(wrong(format!(
                "of shape {shape:?}, which is {len} bytes, but it has {found} or more. It may be damaged."
            )));
        }
        Ok(Some(Array { name: (*name).into(), header, bytes }))
    }
}

/// Reads what stands before the numbers: a magic word, the version, how long a Python dictionary is, and it.
fn read_header(file: &mut impl Read) -> std::result::Result<Header, String> {
    let mut read = |len: usize| {
        let mut bytes = vec![0; len];
        let read =
            file.read_exact(&mut bytes).map_err(|error| format!("that cannot be read: {error}. It may be damaged."));
        read.map(|()| bytes)
    };
    let magic = read(8)?;
    let len = match (&magic[..6], magic[6]) {
        (b"\x93NUMPY", 1) => read(2)?,
        (b"\x93NUMPY", 2 | 3) => read(4)?,
        _ => return Err("that is not one of NumPy's. Save it with np.savez.".into()),
    };
    let len = len.iter().rev().fold(0, |len, &byte| len << 8 | usize::from(byte));
    if len > LONGEST_HEADER {
        return Err(format!("with a header of {len} bytes; at most {LONGEST_HEADER} are read. It may be damaged."));
    }
    let text = String::from_utf8_lossy(&read(len)?).into_owned();
    let invalid = || format!("whose header cannot be read: {}", text.trim());
    let value = |key: &str| Some(text.split_once(&format!("'{key}':"))?.1.trim_start());
    let quoted = value("descr").and_then(|value| value.strip_prefix('\'')?.split_once('\'')).ok_or_else(invalid)?.0;
    let dtype = parse_dtype(quoted).ok_or_else(|| {
        format!(
            "of dtype {quoted}; whole numbers and texts are read. Save images as uint8: images.astype(numpy.uint8)."
        )
    })?;
    if value("fortran_order").is_none_or(|value| !value.starts_with("False")) {
        return Err("in Fortran's order. Save numpy.ascontiguousarray of it.".into());
    }
    let dims = value("shape").and_then(|value| value.strip_prefix('(')?.split_once(')')).ok_or_else(invalid)?.0;
    let dims = dims.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let shape = dims.map(|dim| dim.parse().ok()).collect::<Option<Vec<usize>>>().ok_or_else(invalid)?;
    Ok(Header { dtype, shape })
}

/// The order of the bytes, the kind and the length in bytes of an element: of `<i8` eight, of `<U9` nine times four.
fn parse_dtype(dtype: &str) -> Option<(char, char, usize)> {
    let mut letters = dtype.chars();
    let (order, kind) = (letters.next()?, letters.next()?);
    let len: usize = letters.as_str().parse().ok()?;
    match kind {
        'u' | 'i' if matches!(len, 1 | 2 | 4 | 8) => Some((order, kind, len)),
        'S' => Some((order, kind, len)),
        'U' => Some((order, kind, len.checked_mul(4)?)),
        _ => None,
    }
}

impl Array {
    fn wrong(&self, path: &Path, problem: String) -> Error {
        Error::file(path, format!("has an array \"{}\" {problem}", self.name))
    }

    /// Images `[N, C, H, W]`.
    fn images(self, path: &Path, channels: Option<usize>) -> Result<([usize; 4], Vec<u8>)> {
        let (_, kind, len) = self.header.dtype;
        if (kind, len) != ('u', 1) {
            let found = format!("{kind}{len}");
            return Err(self.wrong(path, format!("of dtype {found}; images are uint8: images.astype(numpy.uint8).")));
        }
        let is_channels = |dim: usize| (1..=4).contains(&dim);
        // Where the channels are; images of so few pixels a side that both could be are none that anybody trains on.
        let (count, size, from, last) = match *self.header.shape {
            [n, h, w] => (n, [h, w], 1, true),
            [n, h, w, c] if is_channels(c) && !is_channels(h) => (n, [h, w], c, true),
            [n, c, h, w] if is_channels(c) && !is_channels(w) => (n, [h, w], c, false),
            ref shape => {
                let problem = format!(
                    "of shape {shape:?}; [N, H, W], [N, H, W, C] or [N, C, H, W] are read, with C from 1 to 4 and H and W \
                     larger."
                );
                return Err(self.wrong(path, problem));
            }
        };
        let to = channels.unwrap_or(from);
        let shape = [count, to, size[0], size[1]];
        if shape.contains(&0) {
            return Err(self.wrong(path, format!("of shape {:?}, in which there is no image.", self.header.shape)));
        }
        if from == to && (!last || from == 1) {
            return Ok((shape, self.bytes));
        }
        let mut images = zeros(shape)?;
        let pixels = size[0] * size[1];
        for (image, bytes) in images.chunks_exact_mut(pixels * to).zip(self.bytes.chunks_exact(pixels * from)) {
            match last {
                true => planes(image, [from, to], |pixel, channel| bytes[pixel * from + channel]),
                false => planes(image, [from, to], |pixel, channel| bytes[channel * pixels + pixel]),
            }
        }
        Ok((shape, images))
    }

    /// Labels, `[N]` or `[N, 1]`.
    fn labels(self, path: &Path) -> Result<Vec<u32>> {
        let (order, kind, len) = self.header.dtype;
        if !matches!(kind, 'u' | 'i') {
            return Err(
                self.wrong(path, "of texts; labels are whole numbers, and their names are in \"classes\".".into())
            );
        }
        if !matches!(*self.header.shape, [_] | [_, 1]) {
            return Err(self.wrong(path, format!("of shape {:?}; labels are [N] or [N, 1].", self.header.shape)));
        }
        let label = |bytes: &[u8]| {
            let place = |i: usize| if order == '>' { bytes[i] } else { bytes[len - 1 - i] };
            let number = (0..len).fold(0_u64, |number, i| number << 8 | u64::from(place(i)));
            // A negative one has its highest bit set, and is too large.
            let is_negative = kind == 'i' && number >> (8 * len - 1) == 1;
            u32::try_from(number).ok().filter(|_| !is_negative)
        };
        let labels = self.bytes.chunks_exact(len).map(label).collect::<Option<Vec<u32>>>();
        labels.ok_or_else(|| self.wrong(path, "with a label that is negative or too large; labels begin at 0.".into()))
    }

    /// Texts, `[K]`.
    fn texts(self, path: &Path) -> Result<Vec<String>> {
        let (order, kind, len) = self.header.dtype;
        if !matches!(kind, 'U' | 'S') || self.header.shape.len() != 1 || len == 0 {
            let problem = format!("of shape {:?} that is not a list of texts.", self.header.shape);
            return Err(self.wrong(path, problem));
        }
        let letter = |&bytes: &[u8; 4]| match order {
            '>' => u32::from_be_bytes(bytes),
            _ => u32::from_le_bytes(bytes),
        };
        let text = |bytes: &[u8]| match kind {
            'U' => bytes.as_chunks().0.iter().map(letter).map(char::from_u32).collect::<Option<String>>(),
            _ => String::from_utf8(bytes.to_vec()).ok(),
        };
        // What a text is shorter than the longest is zeros.
        let texts = self.bytes.chunks_exact(len).map(|bytes| Some(text(bytes)?.trim_end_matches('\0').to_string()));
        let texts = texts.collect::<Option<Vec<String>>>();
        texts.ok_or_else(|| self.wrong(path, "with a text that is not Unicode.".into()))
    }
}
