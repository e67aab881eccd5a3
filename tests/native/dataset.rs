//! Datasets of every kind, as NumPy and PIL read them, and what is said of those that are none.

use std::io::Write;
use std::path::{Path, PathBuf};

use denoise::dataset::Dataset;

use crate::cli::Folder;
use crate::golden::{self, Golden};

fn file(name: &str) -> PathBuf {
    golden::path("tests/golden/dataset").join(name)
}

fn all(dataset: &Dataset) -> Vec<f64> {
    (0..dataset.count()).flat_map(|i| dataset.image(i).unwrap()).map(|&byte| f64::from(byte)).collect()
}

#[track_caller]
fn refused(path: &Path, channels: Option<usize>, expected: &[&str]) {
    let error = Dataset::read(path, channels).map(|_| ()).unwrap_err().to_string();
    for expected in expected {
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}

/// A grey or coloured PNG of this size, whose first byte is `seed`.
fn png(width: u32, height: u32, colour: png::ColorType, seed: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    let len = width as usize * height as usize * colour.samples();
    let pixels: Vec<u8> = (0..len).map(|i| seed.wrapping_add(i as u8)).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    bytes
}

fn put(folder: &Folder, name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(folder.path(name));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(dtype: u8, dims: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, dtype, dims.len() as u8];
    file.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    file.extend(bytes);
    file
}

/// An `.npy` with this header and these bytes.
fn npy(header: &str, bytes: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    file
}

fn array(dtype: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    npy(&format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n"), bytes)
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn arrays_are_read_as_numpy_reads_them() {
    let golden = Golden::load("dataset");
    for (name, channels, key) in [
        ("last.npz", None, "last.npz"),
        ("last.npz", Some(3), "last.npz"),
        ("last.npz", Some(1), "converted.npz"),
        ("first.npz", None, "first.npz"),
        ("first.npz", Some(1), "converted.npz"),
        ("grey.npz", None, "grey.npz"),
    ] {
        let dataset = Dataset::read(&file(name), channels).unwrap();
        let expected = golden.get(&format!("{key}.images"));
        assert_eq!(dataset.shape()[..], expected.shape[..], "{name}");
        assert!(all(&dataset) == expected.data, "{name} for {channels:?} channels");
        let labels = golden.find(&format!("{name}.labels"));
        let found = dataset.labels().map(|labels| labels.iter().map(|&label| f64::from(label)).collect::<Vec<_>>());
        assert_eq!(found.as_ref(), labels.map(|labels| &labels.data), "{name}");
        assert_eq!(dataset.classes(), if labels.is_some() { 3 } else { 0 });
    }
    let dataset = Dataset::read(&file("last.npz"), None).unwrap();
    assert_eq!(dataset.class_names(), ["cat", "dög", "owl"]);
    assert_eq!(dataset.labels_of(&[4, 1]).unwrap().unwrap(), [2, 0]);
    let grey = Dataset::read(&file("grey.npz"), Some(3)).unwrap();
    assert_eq!(grey.shape(), [5, 3, 6, 7]);
    let planes: Vec<&[u8]> = grey.image(2).unwrap().chunks_exact(42).collect();
    assert!(planes[0] == planes[1] && planes[1] == planes[2]);
}

#[test]
fn pictures_are_read_as_pil_reads_them() {
    let golden = Golden::load("dataset");
    for name in [
        "colour.jpg",
        "progressive.jpg",
        "grey.jpg",
        "colour.png",
        "palette.png",
        "grey.png",
        "alpha.png",
        "sixteen.png",
    ] {
        let folder = Folder::new(&format!("picture-{name}"));
        // The name says nothing, and neither does it matter how it is written.
        put(&folder, "a picture.PNG", &std::fs::read(file(name)).unwrap());
        let dataset = Dataset::read(&folder.0, None).unwrap();
        let expected = golden.get(&format!("{name}.images"));
        assert_eq!(dataset.shape()[1..], expected.shape[..], "{name}");
        let furthest = all(&dataset).iter().zip(&expected.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let allowed = if name.ends_with(".jpg") { 3.0 } else { 0.0 };
        assert!(furthest <= allowed, "{name} is {furthest} off");
        assert_eq!((dataset.labels(), dataset.classes()), (None, 0));
    }
}

#[test]
fn a_folder_a_class_is_read_in_the_order_of_names() {
    let folder = Folder::new("classes");
    let grey = |seed| png(2, 3, png::ColorType::Grayscale, seed);
    for (seed, name) in ["b/10.png", "b/2.png", "a/z/1.png", "a/b/3.jpeg", "a/x.PNG", "Z/one.png"].iter().enumerate() {
        put(&folder, name, &grey(seed as u8));
    }
    put(&folder, "a/notes.txt", b"no image");
    put(&folder, ".cache/left aside.png", b"");
    put(&folder, "b/.hidden.png", b"");
    let dataset = Dataset::read(&folder.0, None).unwrap();
    assert_eq!(dataset.class_names(), ["Z", "a", "b"]);
    assert_eq!(dataset.labels().unwrap(), [0, 1, 1, 1, 2, 2]);
    let order: Vec<u8> = (0..6).map(|i| dataset.image(i).unwrap()[0]).collect();
    assert_eq!(order, [5, 4, 3, 2, 0, 1]);
    assert_eq!(dataset.shape(), [6, 1, 3, 2]);
    assert_eq!(dataset.classes(), 3);

    // Many more than there are cores, each in its place.
    let flat = Folder::new("flat");
    for i in 0..50 {
        put(&flat, &format!("{i:02}.png"), &grey(i));
    }
    let dataset = Dataset::read(&flat.0, Some(3)).unwrap();
    assert_eq!(dataset.shape(), [50, 3, 3, 2]);
    assert!((0..50).all(|i| dataset.image(i).unwrap()[12] == i as u8));
}

#[test]
fn a_folder_that_is_no_dataset_says_why() {
    let folder = Folder::new("no dataset");
    let grey = png(4, 4, png::ColorType::Grayscale, 0);
    refused(&folder.0, None, &["no dataset", "has no images", "PNG or JPEG"]);
    refused(Path::new("/nowhere/at all"), None, &["/nowhere/at all", "no such file or folder"]);
    refused(&put(&folder, "notes.txt", b""), None, &["notes.txt", "not a dataset"]);
    put(&folder, "1.png", &grey);
    Dataset::read(&folder.0, None).unwrap();
    refused(&folder.0, Some(4), &["converted to 4 channels"]);
    put(&folder, "cat/1.png", &grey);
    refused(&folder.0, None, &["has images", "1.png", "as well as folders", "cat"]);
    std::fs::remove_file(folder.path("1.png")).unwrap();
    std::fs::create_dir(folder.path("dog")).unwrap();
    refused(&folder.0, None, &["dog", "has no images"]);
    put(&folder, "dog/2.png", &png(5, 4, png::ColorType::Grayscale, 0));
    refused(&folder.0, None, &["2.png", "5×4 pixels", "4×4", "one size"]);
    put(&folder, "dog/2.png", &png(4, 4, png::ColorType::Rgba, 0));
    refused(&folder.0, None, &["2.png", "4 channels", "the first image 1", "1 (grey) or 3 (colour)"]);
    assert_eq!(Dataset::read(&folder.0, Some(3)).unwrap().shape(), [2, 3, 4, 4]);
    put(&folder, "dog/3.webp", b"RIFF");
    refused(&folder.0, None, &["3.webp", "Convert it to PNG"]);
    std::fs::remove_file(folder.path("dog/3.webp")).unwrap();
    put(&folder, "dog/3.jpg", b"GIF89a");
    refused(&folder.0, Some(1), &["3.jpg", "neither a PNG nor a JPEG"]);

    let parts = Folder::new("parts");
    put(&parts, "train/1.png", &grey);
    put(&parts, "test/1.png", &grey);
    refused(&parts.0, None, &["test, train", "Choose one"]);
}

#[test]
fn a_damaged_picture_is_named() {
    let folder = Folder::new("damaged");
    for name in ["colour.png", "palette.png", "alpha.png", "colour.jpg", "progressive.jpg", "grey.jpg"] {
        let bytes = std::fs::read(file(name)).unwrap();
        for len in 0..bytes.len() {
            let path = put(&folder, "picture.png", &bytes[..len]);
            match Dataset::read(&folder.0, None) {
                Err(error) => assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}"),
                // Of a PNG the end may be cut off, which says nothing more.
                Ok(_) => assert!(len + 24 > bytes.len() && name.ends_with("png"), "{name} is read up to byte {len}"),
            }
        }
        for i in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[i] = !bytes[i];
            put(&folder, "picture.png", &bytes);
            let _ = Dataset::read(&folder.0, None); // read or refused
        }
    }
    // Headers that promise 16 GiB, or still 256 MiB.
    for (side, expected) in [(0xffff_u32, "65535×65535 pixels"), (0x2000, "cannot be as many pixels")] {
        let mut bytes = png(1, 1, png::ColorType::Rgba, 0);
        bytes[16..24].copy_from_slice(&[side.to_be_bytes(); 2].concat());
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        put(&folder, "picture.png", &bytes);
        refused(&folder.0, None, &["picture.png", expected]);
    }
    let mut bytes = std::fs::read(file("grey.jpg")).unwrap();
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0x20, 0, 0x20, 0]);
    put(&folder, "picture.png", &bytes);
    refused(&folder.0, None, &["picture.png", "cannot be as many pixels"]);
    // One colour is small, and may be large.
    let mut encoded = Vec::new();
    let mut encoder = png::Encoder::new(&mut encoded, 2048, 2048);
    encoder.set_compression(png::Compression::High);
    encoder.write_header().unwrap().write_image_data(&[7; 2048 * 2048]).unwrap();
    put(&folder, "picture.png", &encoded);
    assert_eq!(Dataset::read(&folder.0, None).unwrap().shape(), [1, 1, 2048, 2048]);
}

/// PNG's checksum.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn mnists_files_are_read() {
    let folder = Folder::new("idx");
    let pixels: Vec<u8> = (0..24).collect();
    let images = idx(8, &[4, 2, 3], &pixels);
    put(&folder, "train-images-idx3-ubyte.gz", &gzip(&images));
    let dataset = Dataset::read(&folder.0, None).unwrap();
    assert_eq!((dataset.shape(), dataset.labels()), ([4, 1, 2, 3], None));
    put(&folder, "train-labels-idx1-ubyte", &idx(8, &[4], &[7, 0, 2, 9]));
    put(&folder, "t10k-images-idx3-ubyte", &idx(8, &[1, 2, 3], &pixels[..6]));
    let dataset = Dataset::read(&folder.0, None).unwrap();
    assert_eq!((dataset.labels().unwrap(), dataset.classes()), (&[7, 0, 2, 9][..], 10));
    assert_eq!(all(&dataset), (0..24).map(f64::from).collect::<Vec<_>>());
    let colour = Dataset::read(Path::new(&folder.path("train-images-idx3-ubyte.gz")), Some(3)).unwrap();
    assert_eq!(colour.image(1).unwrap(), [6, 7, 8, 9, 10, 11].repeat(3));
    // Plain before compressed, and another pair by its path.
    put(&folder, "train-images-idx3-ubyte", &images);
    Dataset::read(&folder.0, None).unwrap();
    let test = Dataset::read(Path::new(&folder.path("t10k-images-idx3-ubyte")), None).unwrap();
    assert_eq!((test.count(), test.labels()), (1, None));
    put(&folder, "train-images.idx3-ubyte", &images);
    refused(&folder.0, None, &["several files of images", "Give the path of one"]);
    std::fs::remove_file(folder.path("train-images.idx3-ubyte")).unwrap();

    put(&folder, "train-labels-idx1-ubyte", &idx(8, &[3], &[7, 0, 2]));
    refused(&folder.0, None, &["train-labels-idx1-ubyte", "3 labels for 4 images"]);
    put(&folder, "train-labels-idx1-ubyte", &idx(8, &[2, 2], &[7, 0, 2, 1]));
    refused(&folder.0, None, &["train-labels-idx1-ubyte", "2 dimensions; 1"]);
    std::fs::remove_file(folder.path("train-labels-idx1-ubyte")).unwrap();
    let refuse = |bytes: &[u8], expected: &[&str]| {
        put(&folder, "train-images-idx3-ubyte", bytes);
        refused(&folder.0, None, &[&["train-images-idx3-ubyte"], expected].concat());
    };
    refuse(&images[..images.len() - 1], &["23 bytes for an array [4, 2, 3]"]);
    refuse(&[&images[..], &[0]].concat(), &["more than 24 bytes"]);
    refuse(&images[..9], &["could not be read"]);
    refuse(&[1; 40], &["two zeros"]);
    refuse(&idx(0xd, &[4, 2, 3], &pixels), &["type 0x0d", "0x08"]);
    refuse(&idx(8, &[0, 2, 3], &[]), &["[0, 2, 3]"]);
    refuse(&idx(8, &[u32::MAX; 3], &pixels), &["cannot be"]);
    refuse(&idx(8, &[u32::MAX, 1 << 15, 1 << 15], &pixels), &["24 bytes"]);
    std::fs::remove_file(folder.path("train-images-idx3-ubyte")).unwrap();
    let compressed = gzip(&images);
    for len in 0..compressed.len() {
        put(&folder, "train-images-idx3-ubyte.gz", &compressed[..len]);
        refused(&folder.0, None, &["train-images-idx3-ubyte.gz"]);
    }
}

#[test]
fn an_array_that_is_no_dataset_says_why() {
    let folder = Folder::new("npz");
    let images = || ("images", array("|u1", "(2, 5, 6)", &[9; 60]));
    let refuse = |arrays: &[(&str, Vec<u8>)], expected: &[&str]| {
        let path = put(&folder, "data.npz", &npz(arrays));
        refused(&path, None, &[&["data.npz"], expected].concat());
    };
    let path = put(
        &folder,
        "data.npz",
        &npz(&[images(), ("labels", array("<i8", "(2,)", &[1, 0, 0, 0, 0, 0, 0, 0].repeat(2)))]),
    );
    assert_eq!(Dataset::read(&path, None).unwrap().labels().unwrap(), [1, 1]);

    refuse(&[("pictures", images().1)], &["no array \"images\"", "pictures"]);
    refuse(&[("images", array("<f4", "(2, 5, 6)", &[0; 240]))], &["dtype <f4", "images.astype(numpy.uint8)"]);
    refuse(&[("images", array("<u2", "(2, 5, 6)", &[0; 120]))], &["dtype u2", "images.astype(numpy.uint8)"]);
    refuse(&[("images", array("|O", "(2, 5, 6)", &[0; 120]))], &["dtype |O"]);
    refuse(&[("images", array("|u1", "(2, 5)", &[0; 10]))], &["[2, 5]", "[N, C, H, W]"]);
    refuse(&[("images", array("|u1", "(2, 3, 4, 4)", &[0; 96]))], &["[2, 3, 4, 4]", "H and W larger"]);
    refuse(&[("images", array("|u1", "(0, 5, 6)", &[]))], &["no image"]);
    refuse(&[("images", array("|u1", "(2, 5, 6)", &[0; 59]))], &["60 bytes", "59"]);
    refuse(&[("images", array("|u1", "(2, 5, 6)", &[0; 61]))], &["60 bytes", "61"]);
    refuse(&[("images", array("|u1", "(4294967296, 4294967296, 6)", &[0; 61]))], &["too large"]);
    refuse(&[("images", array("|u1", "(1000000, 1000, 600)", &[0; 61]))], &["which cannot be"]);
    refuse(&[("images", array("|u1", "(2, -5, 6)", &[0; 60]))], &["header cannot be read"]);
    refuse(&[("images", npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 5, 6), }", &[0; 60]))], &["Fortran"]);
    refuse(&[("images", npy("{'descr': [('a', '|u1')], 'shape': (2, 5, 6), }", &[0; 60]))], &["header cannot be read"]);
    refuse(&[("images", b"no array".to_vec())], &["not one of NumPy's"]);
    refuse(&[("images", b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec())], &["a header of 4294967295 bytes"]);

    let labels = |dtype: &str, shape: &str, bytes: &[u8]| ("labels", array(dtype, shape, bytes));
    refuse(&[images(), labels("|u1", "(3,)", &[0, 1, 2])], &["3 labels for 2 images"]);
    refuse(&[images(), labels("|u1", "(2, 2)", &[0; 4])], &["[2, 2]", "[N] or [N, 1]"]);
    refuse(&[images(), labels("<f8", "(2,)", &[0; 16])], &["\"labels\"", "dtype <f8"]);
    refuse(&[images(), labels("<U1", "(2,)", &[0; 8])], &["labels are whole numbers"]);
    refuse(&[images(), labels("|i1", "(2,)", &[0, 255])], &["negative or too large"]);
    refuse(&[images(), labels("<u8", "(2,)", &[255; 16])], &["negative or too large"]);
    refuse(&[images(), labels("<u4", "(2,)", &[0, 0, 1, 0, 0, 0, 0, 0])], &["label 65536"]);
    let classes = |dtype: &str, shape: &str, bytes: &[u8]| ("classes", array(dtype, shape, bytes));
    refuse(&[images(), labels("|u1", "(2,)", &[0, 2]), classes("|S1", "(2,)", b"ab")], &["label 2", "2 classes"]);
    refuse(&[images(), classes("<U1", "(1,)", &[255; 4])], &["not Unicode"]);
    refuse(&[images(), classes("|u1", "(2,)", b"ab")], &["not a list of texts"]);

    for name in ["last.npz", "first.npz"] {
        let bytes = std::fs::read(file(name)).unwrap();
        for len in (0..bytes.len()).step_by(7) {
            refused(&put(&folder, "data.npz", &bytes[..len]), None, &["data.npz"]);
        }
        for i in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[i] ^= 0xff;
            let _ = Dataset::read(&put(&folder, "data.npz", &bytes), None); // read or refused
        }
    }
}

#[test]
fn batches_are_numbers_from_minus_one_to_one() {
    let folder = Folder::new("batch");
    let pixels: Vec<u8> = (0..12).map(|i| i * 23).collect();
    let path = put(&folder, "a-images-idx3-ubyte", &idx(8, &[2, 2, 3], &pixels));
    let dataset = Dataset::read(&path, None).unwrap();
    let number = |i: usize| f32::from(pixels[i]) / 127.5 - 1.0;
    let batch = dataset.batch(&[1, 0, 1], &[false, true, true]).unwrap();
    assert_eq!(batch.shape, [3, 1, 2, 3]);
    let expected = [6, 7, 8, 9, 10, 11, 2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9].map(number);
    assert_eq!(batch.data, expected);
    assert_eq!(dataset.batch(&[0], &[]).unwrap().data, [0, 1, 2, 3, 4, 5].map(number));
    assert_eq!(number(0), -1.0);
    let error = |result: denoise::Result<denoise::Tensor>| result.unwrap_err().to_string();
    assert!(error(dataset.batch(&[0, 2], &[])).contains("no image 2; the dataset has 2"));
    assert!(error(dataset.batch(&[0, 1], &[true])).contains("1 flips for a batch of 2"));
    assert!(dataset.image(usize::MAX).is_err());

    let padded = dataset.padded(3, 6).unwrap();
    assert_eq!(padded.shape(), [2, 1, 3, 6]);
    let expected = [[0, 138, 161, 184, 0, 0], [0, 207, 230, 253, 0, 0], [0; 6]].concat();
    assert_eq!(padded.image(1).unwrap(), expected);
    assert!(dataset.padded(2, 2).unwrap_err().to_string().contains("3×2 pixels; they cannot be padded to 2×2"));
}
