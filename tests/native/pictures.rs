//! The bytes of images against PyTorch's.

use denoise::{Shown, rgba8};

use crate::golden::Golden;

#[test]
fn bytes_are_those_of_pytorch() {
    let golden = Golden::load("pictures");
    for case in ["rgba8_grey_9x5", "rgba8_rgb_5x7", "rgba8_rgb_one_pixel"] {
        let images = golden.get(&format!("{case}.input")).tensor();
        let bytes = rgba8(&images, Shown { scale: 1.0, offset: 0.0 });
        let expected = &golden.get(&format!("{case}.output")).data;
        assert_eq!(bytes.iter().map(|&byte| f64::from(byte)).collect::<Vec<_>>(), *expected, "{case}");
        // The same picture, kept over [0, 1] at half the size.
        let images = denoise::Tensor { data: images.data.iter().map(|x| x / 4.0 + 0.25).collect(), ..images };
        let again = rgba8(&images, Shown { scale: 4.0, offset: -1.0 });
        let off = bytes.iter().zip(&again).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(1), "{case}: {off:?}");
    }
}
