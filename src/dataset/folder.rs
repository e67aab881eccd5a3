//! A folder of images, or of a folder a class (torchvision `datasets/folder.py`, `ImageFolder`).

use std::path::{Path, PathBuf};

use super::picture::{self, Picture};
use super::{Dataset, planes, zeros};
use crate::{Error, Result};

/// How names of images end that are read.
const READ: [&str; 3] = ["png", "jpg", "jpeg"];
/// And those of images that are not, which nobody wants to be left out unnoticed.
const NOT_READ: [&str; 9] = ["webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "avif", "heic"];
/// How deep folders may be in one another: links can lead in circles.
const DEEPEST: usize = 16;

/// Reads the images of a folder.
pub(super) fn read(path: &Path, channels: Option<usize>) -> Result<Dataset> {
    let (images, folders) = list(path)?;
    let (paths, labels, names) = match (images.is_empty(), folders.is_empty()) {
        (false, true) => (images, None, Vec::new()),
        (true, false) => {
            let classes = classes(path, &folders)?;
            (classes.0, Some(classes.1), classes.2)
        }
        (true, true) => {
            return Err(Error::file(
                path,
                "has no images; a folder of PNG or JPEG images is expected, or one with a folder a class in it. Of an .npz \
                 give the path.",
            ));
        }
        (false, false) => {
            let (image, folder) = (images[0].display(), folders[0].display());
            return Err(Error::file(
                path,
                format!(
                    "has images ({image}) as well as folders ({folder}). Either all images are in folders, one a class, or \
                     there are no folders."
                ),
            ));
        }
    };
    let first = picture::read(&paths[0])?;
    let to = channels.unwrap_or(first.channels);
    let shape = [paths.len(), to, first.size[0], first.size[1]];
    let mut images = zeros(shape)?;
    decode(&paths, &mut images, &first, channels)?;
    Dataset::from_file(path, shape, images, labels, names)
}

/// The images of all classes with their labels, and the classes' names.
fn classes(path: &Path, folders: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<u32>, Vec<String>)> {
    let names: Vec<String> = folders.iter().map(|folder| name_of(folder)).collect();
    const PARTS: [&str; 5] = ["train", "test", "val", "valid", "validation"];
    if names.iter().all(|name| PARTS.contains(&&name.to_lowercase()[..])) {
        let found = names.join(", ");
        return Err(Error::file(
            path,
            format!("has the folders {found}, which are parts of a dataset and no classes. Choose one."),
        ));
    }
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    for (label, folder) in folders.iter().enumerate() {
        let before = paths.len();
        gather(folder, &mut paths, DEEPEST)?;
        if paths.len() == before {
            return Err(Error::file(
                folder,
                "is the folder of a class, but has no images. Put some in, or take it out.",
            ));
        }
        labels.resize(paths.len(), label as u32);
    }
    Ok((paths, labels, names))
}

/// All images in a folder and the folders in it, in the order of `sorted(os.walk(folder))`, which goes by whole paths.
fn gather(folder: &Path, paths: &mut Vec<PathBuf>, depth: usize) -> Result<()> {
    let mut found = Vec::new();
    walk(folder, &mut found, depth)?;
    found.sort_unstable_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
    paths.extend(found.into_iter().flat_map(|(_, images)| images));
    Ok(())
}

/// Each folder in a folder, itself among them, with its images.
fn walk(folder: &Path, found: &mut Vec<(PathBuf, Vec<PathBuf>)>, depth: usize) -> Result<()> {
    if depth == 0 {
        return Err(Error::file(folder, format!("is {DEEPEST} folders deep; links may lead in a circle.")));
    }
    let (images, folders) = list(folder)?;
    found.push((folder.into(), images));
    folders.iter().try_for_each(|folder| walk(folder, found, depth - 1))
}

/// The images and the folders in a folder, each in the order of their names.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let failed = |error: std::io::Error| Error::file(folder, format!("could not be read: {error}."));
    let (mut images, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if name_of(&path).starts_with('.') {
            continue;
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        if path.is_dir() {
            folders.push(path);
        } else if READ.contains(&&ending[..]) {
            images.push(path);
        } else if NOT_READ.contains(&&ending[..]) {
            return Err(Error::file(
                &path,
                format!("is an image of a kind that is not read (.{ending}). Convert it to PNG."),
            ));
        }
    }
    images.sort_unstable();
    folders.sort_unstable();
    Ok((images, folders))
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Decodes the images into their places, on all cores. Of several errors that of the first image counts.
fn decode(paths: &[PathBuf], images: &mut [u8], first: &Picture, channels: Option<usize>) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let share = paths.len().div_ceil(cores).max(1);
    let len = images.len() / paths.len();
    let decode = |paths: &[PathBuf], images: &mut [u8]| -> Result<()> {
        for (path, image) in paths.iter().zip(images.chunks_exact_mut(len)) {
            let picture = picture::read(path)?;
            check_alike(path, &picture, first, channels)?;
            let from = picture.channels;
            planes(image, [from, channels.unwrap_or(from)], |pixel, channel| picture.pixels[pixel * from + channel]);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let shares = paths.chunks(share).zip(images.chunks_mut(share * len));
        let threads: Vec<_> = shares.map(|(paths, images)| scope.spawn(move || decode(paths, images))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Checks that an image goes with the first.
fn check_alike(path: &Path, picture: &Picture, first: &Picture, channels: Option<usize>) -> Result<()> {
    let ([height, width], [first_height, first_width]) = (picture.size, first.size);
    if picture.size != first.size {
        return Err(Error::file(
            path,
            format!(
                "has {width}×{height} pixels, but the first image {first_width}×{first_height}. All images of a dataset have \
                 one size: scale or crop them first."
            ),
        ));
    }
    if channels.is_none() && picture.channels != first.channels {
        let (found, expected) = (picture.channels, first.channels);
        return Err(Error::file(
            path,
            format!(
                "has {found} channels, but the first image {expected}. Say how many all are to have: 1 (grey) or 3 (colour)."
            ),
        ));
    }
    Ok(())
}
