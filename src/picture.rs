//! Images as bytes to be shown.

use crate::Tensor;

/// How the numbers of x become those of pictures, over [−1, 1]: `scale · x + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// What x is multiplied by,
    pub scale: f64,
    /// and what is added then.
    pub offset: f64,
}

/// Images `[N, C, H, W]` as RGBA8, image after image, `height · width · 4` bytes each.
///
/// A byte is `round(clamp(x / 2 + 1/2, 0, 1) · 255)`, ties to even, as diffusers' `VaeImageProcessor.numpy_to_pil`.
/// Three channels or more give red, green and blue; fewer give grey.
///
/// # Panics
/// When the tensor has no four dimensions.
pub fn rgba8(images: &Tensor, Shown { scale, offset }: Shown) -> Vec<u8> {
    let [_, channels, height, width] = images.shape[..] else { panic!("images are [N, C, H, W]") };
    let (scale, offset) = (scale as f32, offset as f32);
    let byte = |x: f32| (((scale * x + offset) * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    let size = height * width;
    let colours = if channels < 3 { [0; 3] } else { [0, size, 2 * size] };
    let image = |image: &[f32]| -> Vec<u8> {
        (0..size)
            .flat_map(|i| {
                let [r, g, b] = colours.map(|from| byte(image[from + i]));
                [r, g, b, 255]
            })
            .collect()
    };
    images.data.chunks_exact((channels * size).max(1)).flat_map(image).collect()
}
