//! The images that a network learns from, read from a folder, an `.npz` or MNIST's IDX files.
//!
//! They are kept as bytes, as they are in their files, and become numbers a batch at a time.

#[cfg(not(target_arch = "wasm32"))]
mod folder;
#[cfg(not(target_arch = "wasm32"))]
mod idx;
#[cfg(not(target_arch = "wasm32"))]
mod npz;
#[cfg(not(target_arch = "wasm32"))]
mod picture;

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use crate::{Error, Result, Tensor};

/// Images of one size, and of what classes they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// `[N, C, H, W]`, all of them at least 1.
    shape: [usize; 4],
    /// The images, plane by plane.
    images: Vec<u8>,
    /// The class of each image.
    labels: Option<Vec<u32>>,
    /// The classes' names, where they have any.
    names: Vec<String>,
}

impl Dataset {
    /// Reads the images at `path`:
    ///
    /// - a folder with PNG and JPEG images, in the order of their names; or with a folder of them for each class, the
    ///   classes in the order of their names, as torchvision's `ImageFolder` has it. What is in folders inside of a class's
    ///   belongs to it too, names that begin with a dot are passed over, and so are files that are no images;
    /// - an `.npz` with `images` (or `x_train`, or `arr_0`), u8 of `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]`, and if
    ///   there are classes `labels` (or `y_train`, or `arr_1`), whole numbers of `[N]` or `[N, 1]`, and `classes`, their
    ///   names;
    /// - MNIST's IDX files, as they are or compressed (`.gz`): the images' file, or a folder with it, of which
    ///   `train-images-…` is taken if there are several. The labels are in the file beside it that is called so.
    ///
    /// With `channels`, 1 or 3, images become grey (as PIL's `convert("L")` makes them) or coloured, and transparency is left
    /// out; without, they keep the channels that they have, of which all must have the same.
    ///
    /// # Errors
    /// When there are no images, or one cannot be read, is of another size or has other channels than the rest; when a class
    /// has no images; when there are more or fewer labels than images, or one is of no class.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(path: &Path, channels: Option<usize>) -> Result<Self> {
        if channels.is_some_and(|channels| channels != 1 && channels != 3) {
            let found = channels.unwrap_or(0);
            return Err(Error::Settings(format!(
                "Images were to be converted to {found} channels; they can be to 1 (grey) or 3 (colour)."
            )));
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("").to_lowercase();
        if path.is_dir() {
            match idx::find(path)? {
                Some(images) => idx::read(&images, channels),
                None => folder::read(path, channels),
            }
        } else if !path.exists() {
            Err(Error::file(path, "there is no such file or folder."))
        } else if name.ends_with(".npz") {
            npz::read(path, channels)
        } else if idx::is_name(&name) {
            idx::read(path, channels)
        } else {
            Err(Error::file(
                path,
                "is not a dataset that can be read: a folder of PNG or JPEG images (with a folder a class in it), an .npz, or \
                 MNIST's …-images-idx3-ubyte (also with .gz).",
            ))
        }
    }

    /// Images `[N, C, H, W]`, the classes that they are of, and what these are called. Names may be missing (none), or too many.
    ///
    /// # Errors
    /// When the numbers do not fill the shape, there are more or fewer labels than images, or one has no name.
    pub fn new(shape: [usize; 4], images: Vec<u8>, labels: Option<Vec<u32>>, names: Vec<String>) -> Result<Self> {
        match problem(shape, &images, labels.as_deref(), &names) {
            Some(problem) => Err(Error::Settings(format!("The dataset {problem}"))),
            None => Ok(Dataset { shape, images, labels, names }),
        }
    }

    /// The same of images that come from `path`.
    #[cfg(not(target_arch = "wasm32"))]
    fn from_file(
        path: &Path,
        shape: [usize; 4],
        images: Vec<u8>,
        labels: Option<Vec<u32>>,
        names: Vec<String>,
    ) -> Result<Self> {
        match problem(shape, &images, labels.as_deref(), &names) {
            Some(problem) => Err(Error::file(path, problem)),
            None => Ok(Dataset { shape, images, labels, names }),
        }
    }

    /// How many images there are; at least one.
    pub fn count(&self) -> usize {
        self.shape[0]
    }

    /// `[N, C, H, W]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The class of each image, if it is known.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// The names of the classes, or nothing where they have none.
    pub fn class_names(&self) -> &[String] {
        &self.names
    }

    /// How many classes there are: as many as names, or one more than the largest label; 0 without labels.
    pub fn classes(&self) -> usize {
        let labelled = self.labels.iter().flatten().max().map_or(0, |&label| label as usize + 1);
        if self.labels.is_some() { labelled.max(self.names.len()) } else { 0 }
    }

    /// The bytes of an image, `[C, H, W]`, or an error if there is none of this number.
    pub fn image(&self, index: usize) -> Result<&[u8]> {
        let len = self.shape[1..].iter().product::<usize>();
        let image = index.checked_mul(len).and_then(|at| self.images.get(at..)?.get(..len));
        image.ok_or_else(|| self.missing(index))
    }

    fn missing(&self, index: usize) -> Error {
        Error::Settings(format!("There is no image {index}; the dataset has {}, the first is 0.", self.count()))
    }

    /// The images of these numbers as a network takes them, `[B, C, H, W]` over [−1, 1]: x/127.5 − 1, mirrored left to right
    /// where `flipped` says so. An empty `flipped` mirrors none.
    ///
    /// # Errors
    /// When there is no such image, or `flipped` is of another length.
    pub fn batch(&self, indices: &[usize], flipped: &[bool]) -> Result<Tensor> {
        if !flipped.is_empty() && flipped.len() != indices.len() {
            let (found, expected) = (flipped.len(), indices.len());
            return Err(Error::Settings(format!("There are {found} flips for a batch of {expected} images.")));
        }
        let [_, channels, height, width] = self.shape;
        let number = |&byte: &u8| f32::from(byte) / 127.5 - 1.0;
        let mut numbers = Vec::with_capacity(indices.len() * channels * height * width);
        for (i, &index) in indices.iter().enumerate() {
            for row in self.image(index)?.chunks_exact(width) {
                match flipped.get(i) {
                    Some(true) => numbers.extend(row.iter().rev().map(number)),
                    _ => numbers.extend(row.iter().map(number)),
                }
            }
        }
        Tensor::new(&[indices.len(), channels, height, width], numbers)
    }

    /// The classes of the images of these numbers, if they are known.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn labels_of(&self, indices: &[usize]) -> Result<Option<Vec<u32>>> {
        let Some(labels) = &self.labels else { return Ok(None) };
        let label = |&index: &usize| labels.get(index).copied().ok_or_else(|| self.missing(index));
        indices.iter().map(label).collect::<Result<_>>().map(Some)
    }

    /// The same images in the middle of larger ones, with zeros around them; where that cannot be even, one pixel more is at
    /// the right and the bottom.
    ///
    /// # Errors
    /// When they are larger already, or there is not enough memory.
    pub fn padded(&self, height: usize, width: usize) -> Result<Self> {
        let [count, channels, old_height, old_width] = self.shape;
        if height < old_height || width < old_width {
            return Err(Error::Settings(format!(
                "The images have {old_width}×{old_height} pixels; they cannot be padded to {width}×{height}."
            )));
        }
        let (top, left) = ((height - old_height) / 2, (width - old_width) / 2);
        let mut images = zeros([count, channels, height, width])?;
        for (i, row) in self.images.chunks_exact(old_width).enumerate() {
            let (plane, y) = (i / old_height, i % old_height);
            images[(plane * height + top + y) * width + left..][..old_width].copy_from_slice(row);
        }
        Ok(Dataset { shape: [count, channels, height, width], images, ..self.clone_without_images() })
    }

    /// The same images for a network that takes `channels` and this size: with a black border ([`Dataset::padded`]) where they
    /// are smaller.
    ///
    /// # Errors
    /// When they have other channels or are larger.
    pub fn fitted(self, channels: usize, height: usize, width: usize) -> Result<Self> {
        let [_, c, h, w] = self.shape;
        if c != channels {
            return Err(Error::Settings(format!(
                "The images have {c} channels, but the network takes {channels}. Choose other images, or another network."
            )));
        }
        match (h, w) {
            _ if (h, w) == (height, width) => Ok(self),
            _ if h <= height && w <= width => self.padded(height, width),
            _ => Err(Error::Settings(format!(
                "The images are {h}×{w}, larger than the {height}×{width} that the network takes. Make them smaller, or \
                 choose another network."
            ))),
        }
    }

    fn clone_without_images(&self) -> Self {
        let (labels, names) = (self.labels.clone(), self.names.clone());
        Dataset { shape: self.shape, images: Vec::new(), labels, names }
    }
}

/// More classes than this have no embedding: `num_class_embeds` goes up to it.
const MOST_CLASSES: usize = 1 << 16;

/// What is wrong with these as a dataset, if something is.
fn problem(shape: [usize; 4], images: &[u8], labels: Option<&[u32]>, names: &[String]) -> Option<String> {
    let count = shape[0];
    if shape.contains(&0) || shape.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim)) != Some(images.len()) {
        return Some(format!("has {} bytes for images {shape:?}.", images.len()));
    }
    let labels = labels?;
    if labels.len() != count {
        return Some(format!("has {} labels for {count} images; each needs one.", labels.len()));
    }
    let classes = if names.is_empty() { MOST_CLASSES } else { names.len() };
    let (i, label) = labels.iter().enumerate().find(|&(_, &label)| label as usize >= classes)?;
    Some(format!("gives image {i} the label {label}; there are {classes} classes."))
}

/// Zeros for images of this shape.
///
/// # Errors
/// When there is not enough memory for them.
fn zeros(shape: [usize; 4]) -> Result<Vec<u8>> {
    let len = shape.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim));
    let mut images = Vec::new();
    match len.filter(|&len| images.try_reserve_exact(len).is_ok()) {
        Some(len) => images.resize(len, 0),
        None => {
            return Err(Error::Settings(format!("There is not enough memory for images {shape:?}, a byte a number.")));
        }
    }
    Ok(images)
}

/// Writes an image of `from` channels as the planes of `to` channels, 1, 3 or as many as before. `at` gives a channel of a
/// pixel. Two and four channels are grey and colour with transparency, which is left out.
#[cfg(not(target_arch = "wasm32"))]
fn planes(out: &mut [u8], [from, to]: [usize; 2], at: impl Fn(usize, usize) -> u8) {
    let pixels = out.len() / to;
    for (i, value) in out.iter_mut().enumerate() {
        let (channel, pixel) = (i / pixels, i % pixels);
        *value = match (from, to) {
            (1 | 2, 3) => at(pixel, 0),
            (3 | 4, 1) => luma([at(pixel, 0), at(pixel, 1), at(pixel, 2)]),
            _ => at(pixel, channel),
        };
    }
}

/// How bright a colour is, as PIL's `convert("L")` has it: ITU-R 601-2 in sixteen bits, rounded.
#[cfg(not(target_arch = "wasm32"))]
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + (1 << 15)) >> 16) as u8
}
