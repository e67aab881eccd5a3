//! MNIST's IDX files (LeCun, "THE IDX FILE FORMAT"): two zeros, the type, the number of dimensions, each of these in four
//! bytes, the largest first, then the numbers.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{Dataset, planes, zeros};
use crate::{Error, Result};

/// Whether a file called so, in lower case, has images in this format: `train-images-idx3-ubyte`, `train-images.idx3-ubyte`.
pub(super) fn is_name(name: &str) -> bool {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.contains("images") && name.ends_with("idx3-ubyte")
}

/// The file with the images in a folder, if there is one.
///
/// # Errors
/// When there are several and it is not clear which is meant.
pub(super) fn find(folder: &Path) -> Result<Option<PathBuf>> {
    let failed = |error: std::io::Error| Error::file(folder, format!("could not be read: {error}."));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if is_name(&name.to_lowercase()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    // A file that lies there compressed too is taken as it is.
    names.dedup_by(|next, name| next.strip_suffix(".gz") == Some(&name[..]));
    if names.len() > 1 {
        names.retain(|name| name.to_lowercase().contains("train"));
    }
    match &names[..] {
        [] => Ok(None),
        [name] => Ok(Some(folder.join(name))),
        _ => Err(Error::file(
            folder,
            format!("has several files of images: {}. Give the path of one.", names.join(", ")),
        )),
    }
}

/// Reads images, and the labels beside them if there are any.
pub(super) fn read(path: &Path, channels: Option<usize>) -> Result<Dataset> {
    let (dims, bytes) = read_array(path, 3)?;
    let (shape, images) = match channels {
        Some(3) => {
            let shape = [dims[0], 3, dims[1], dims[2]];
            let mut images = zeros(shape)?;
            let len = dims[1] * dims[2];
            for (image, grey) in images.chunks_exact_mut(3 * len).zip(bytes.chunks_exact(len)) {
                planes(image, [1, 3], |pixel, _| grey[pixel]);
            }
            (shape, images)
        }
        _ => ([dims[0], 1, dims[1], dims[2]], bytes),
    };
    let labels = match labels_beside(path) {
        Some(path) => Some(read_labels(&path, dims[0])?),
        None => None,
    };
    Dataset::from_file(path, shape, images, labels, Vec::new())
}

/// The file with the labels: called as that with the images, compressed or not.
fn labels_beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.replace("images", "labels").replace("idx3", "idx1");
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let names = [name.clone(), plain.into(), format!("{plain}.gz")];
    names.into_iter().map(|name| path.with_file_name(name)).find(|labels| labels != path && labels.is_file())
}

fn read_labels(path: &Path, count: usize) -> Result<Vec<u32>> {
    let (dims, bytes) = read_array(path, 1)?;
    if dims[0] != count {
        return Err(Error::file(path, format!("has {} labels for {count} images; each needs one.", dims[0])));
    }
    Ok(bytes.into_iter().map(u32::from).collect())
}

/// An array of bytes with so many dimensions, none of which is 0.
fn read_array(path: &Path, rank: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    let failed =
        |error: std::io::Error| Error::file(path, format!("could not be read: {error}. It may be cut off or damaged."));
    let file = BufReader::new(File::open(path).map_err(failed)?);
    let is_compressed = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
    let mut reader: Box<dyn Read> = if is_compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut header = vec![0; 4 + 4 * rank];
    reader.read_exact(&mut header).map_err(failed)?;
    let [zero, zero_too, dtype, found] = [header[0], header[1], header[2], header[3]];
    if (zero, zero_too) != (0, 0) {
        return Err(Error::file(path, "is not an IDX file: it does not begin with two zeros."));
    }
    if dtype != UNSIGNED_BYTE {
        return Err(Error::file(path, format!("has numbers of type {dtype:#04x}; unsigned bytes (0x08) are read.")));
    }
    if usize::from(found) != rank {
        return Err(Error::file(path, format!("has {found} dimensions; {rank} are expected.")));
    }
    let dims: Vec<usize> = header[4..].as_chunks().0.iter().map(|&dim| u32::from_be_bytes(dim) as usize).collect();
    let len = dims.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim)).filter(|&len| len > 0);
    let len = len.ok_or_else(|| Error::file(path, format!("says that its shape is {dims:?}, which cannot be.")))?;
    // What a header says may be anything; memory is taken as bytes come.
    let mut bytes = Vec::new();
    reader.take(len as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() != len {
        let found = if bytes.len() > len { format!("more than {len}") } else { bytes.len().to_string() };
        return Err(Error::file(
            path,
            format!("has {found} bytes for an array {dims:?}. It may be cut off or damaged."),
        ));
    }
    Ok((dims, bytes))
}

/// The type of bytes from 0 to 255.
const UNSIGNED_BYTE: u8 = 0x08;
