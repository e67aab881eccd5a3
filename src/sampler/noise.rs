//! The noise of a run.

use serde::Deserialize;

use super::{Settings, Share};
use crate::random::Generator;
use crate::{Error, Result, Shape, Tensor};

/// x_T of a strip of images between two noises: of image i the one a share `weights[i]` of the way from the noise that the
/// run's seed draws for a batch of one image to the one that `seed` draws, along the great circle through both:
/// z = sin((1 − w) θ) / sin θ · z₀ + sin(w θ) / sin θ · z₁, with θ the angle between them (Shoemake 1985, section 3.3; Song
/// et al. 2020, DDIM, equation 67). A straight line would pass through noise that is weaker than the model expects.
///
/// Noise that is drawn later is the same for all images.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify))]
pub struct Slerp {
    /// The seed of the noise at the far end.
    pub seed: u64,
    /// How far each image is on its way there, from 0 to 1.
    pub weights: Vec<f64>,
}

impl Slerp {
    /// Checks that a run of these settings can be between two noises.
    pub(super) fn check(&self, settings: &Settings) -> Result<()> {
        check_weights("slerp", &self.weights, settings.count)?;
        let problem = match settings.seeds.len() {
            _ if settings.noise.is_some() => "slerp and noise both say what x_T is; give one of them.".into(),
            1 => return Ok(()),
            seeds => format!("slerp leads from the noise of one seed to that of another, but the run has {seeds}."),
        };
        Err(Error::Settings(problem))
    }

    /// Moves the noise of each image its share of the way.
    fn interpolate(&self, from: &mut [f32], shape: &Shape) -> Result<()> {
        let [_, h, w, c] = shape.nhwc("slerp")?;
        let to = Tensor::new(&[1, c, h, w], Generator::new(self.seed).randn(c * h * w))?.to_device()?;
        for (from, &weight) in from.chunks_exact_mut(to.len()).zip(&self.weights) {
            slerp(from, &to, weight);
        }
        Ok(())
    }
}

/// A weight for each image, from 0 to 1.
pub(super) fn check_weights(what: &str, weights: &[f64], count: usize) -> Result<()> {
    let problem = match weights.iter().find(|weight| !(0.0..=1.0).contains(*weight)) {
        _ if weights.len() != count => format!("{what} has {} weights for {count} images.", weights.len()),
        Some(weight) => format!("{what} has the weight {weight}; it must be between 0 and 1."),
        None => return Ok(()),
    };
    Err(Error::Settings(problem))
}

/// Moves `from` a share of the way to `to`. At 0 and 1 it is the very end.
fn slerp(from: &mut [f32], to: &[f32], weight: f64) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosine = dot(from, to) / (dot(from, from) * dot(to, to)).sqrt();
    let angle = libm::acos(cosine.clamp(-1.0, 1.0));
    let sine = libm::sin(angle);
    let (near, far) = match sine > 1e-6 {
        true => (libm::sin((1.0 - weight) * angle) / sine, libm::sin(weight * angle) / sine),
        // Noises of one direction, as those of equal seeds: there the arc is a line.
        false => (1.0 - weight, weight),
    };
    for (from, &to) in from.iter_mut().zip(to) {
        *from = (near * f64::from(*from) + far * f64::from(to)) as f32;
    }
}

/// Where the noise of a run comes from: one generator for its whole batch, or one for each image.
pub(super) struct Noise {
    generators: Vec<Generator>,
    /// Which of the images that they draw for are those of the run.
    share: Share,
}

impl Noise {
    pub(super) fn new(settings: &Settings) -> Self {
        let all = Share { total: settings.count, first: 0 };
        let share = settings.share.unwrap_or(all);
        let generators = |seeds: &[u64]| seeds.iter().map(|&seed| Generator::new(seed)).collect();
        match settings.seeds.as_slice() {
            // Each image has the noise of a batch of one.
            &[one] if settings.slerp.is_some() => {
                Noise { generators: generators(&vec![one; settings.count]), share: all }
            }
            one @ [_] => Noise { generators: generators(one), share },
            // Each image has its own, so those of the others need not be drawn.
            each => Noise { generators: generators(&each[share.first..][..settings.count]), share: all },
        }
    }

    /// Goes on from where other generators stood, if there are any; a single one stands for all.
    pub(super) fn resume(&mut self, states: &[Vec<u8>]) -> Result<()> {
        let (found, expected) = (states.len(), self.generators.len());
        if found > 1 && found != expected {
            return Err(Error::State(format!(
                "The snapshot has {found} random generators; these settings have {expected}."
            )));
        }
        for (generator, state) in self.generators.iter_mut().zip(states.iter().cycle()) {
            *generator = Generator::from_state(state)?;
        }
        Ok(())
    }

    /// Where the generators stand.
    pub(super) fn states(&self) -> Vec<Vec<u8>> {
        self.generators.iter().map(Generator::state).collect()
    }

    /// What a run begins with, or what the picture that it begins with is noised with, in device layout: given, or drawn.
    pub(super) fn first(&mut self, settings: &Settings, shape: &Shape) -> Result<Vec<f32>> {
        if let Some(noise) = &settings.noise {
            return noise.to_device();
        }
        let mut drawn = self.draw(shape)?;
        if let Some(slerp) = &settings.slerp {
            slerp.interpolate(&mut drawn, shape)?;
        }
        Ok(drawn)
    }

    /// `torch.randn` of the images, `[N, H, W, C]`, in device layout.
    pub(super) fn draw(&mut self, shape: &Shape) -> Result<Vec<f32>> {
        let [n, h, w, c] = shape.nhwc("noise")?;
        let image = c * h * w;
        let each = self.share.total * image / self.generators.len();
        let all = self.generators.iter_mut().flat_map(|generator| generator.randn(each));
        let drawn = all.skip(self.share.first * image).take(n * image).collect();
        Tensor::new(&[n, c, h, w], drawn)?.to_device()
    }
}
