//! Runs that keep a part of a picture, find its noise, or lie between two noises or two classes: against loops around
//! diffusers' schedulers, and by what must hold exactly.

use std::rc::Rc;

use denoise::backend::{Backend, Gpu};
use denoise::config::SchedulerKind;
use denoise::random::Generator;
use denoise::schedule::StepOptions;
use denoise::tuning::Tuning;
use denoise::{ClassMix, Inpainting, Pipeline, Prepared, Sampler, Settings, Share, Slerp, Snapshot, Start, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::digits::prepare;
use crate::golden::{self, Golden, relative_error, widen};
use crate::runs;
use crate::snapshots::{check as check_resumes, finish, interrupted};

/// ‖x_0 − the reference's x_0‖ / ‖the reference's x_0‖.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    scheduler: String,
    #[serde(default)]
    config: Map<String, Value>,
    steps: usize,
    seeds: Vec<u64>,
    #[serde(default)]
    step: Map<String, Value>,
    guidance: Option<f64>,
    null_class: Option<usize>,
    #[serde(default)]
    begin: usize,
    #[serde(default)]
    image: bool,
    slerp: Option<Slerp>,
    class_mix: Option<ClassMix>,
}

impl Case {
    fn settings(&self, pipeline: &Pipeline, golden: &Golden) -> Settings {
        let tensor = |what: &str| golden.find(&format!("{}.{what}", self.name)).map(|array| array.tensor());
        let mut changes = self.config.clone();
        changes.insert("_class_name".into(), self.scheduler.as_str().into());
        let class_labels = tensor("classes").unwrap().data;
        let inpaint = tensor("mask").map(|mask| Inpainting { original: tensor("original").unwrap(), mask });
        let starts = self.image || self.begin > 0;
        Settings {
            scheduler: Some(pipeline.scheduler().unwrap().with(None, &Value::Object(changes).to_string()).unwrap()),
            steps: self.steps,
            options: StepOptions {
                eta: self.step.get("eta").and_then(Value::as_f64),
                begin: self.begin,
                ..StepOptions::default()
            },
            count: class_labels.len(),
            seeds: self.seeds.clone(),
            class_labels,
            guidance: self.guidance.unwrap_or(1.0),
            null_class: self.null_class,
            start: starts.then(|| Start { sample: tensor("original").unwrap(), alpha_cumprod: 1.0 }),
            inpaint,
            slerp: self.slerp.clone(),
            class_mix: self.class_mix.clone(),
            ..Settings::default()
        }
    }
}

async fn compare(backend: &Backend, device: &str) {
    let golden = Golden::load("edits");
    let mut failures = Vec::new();
    for case in golden::list::<Case>("edits") {
        let mut pipeline = runs::pipeline(&case.model);
        let settings = case.settings(&pipeline, &golden);
        let prepared = prepare(backend, &mut pipeline, &settings).await;
        let x_0 = end(&pipeline, &prepared, &settings).await;
        let expected = golden.get(&format!("{}.x_0", case.name));
        assert_eq!(x_0.shape, expected.shape, "{}", case.name);
        let error = relative_error(&x_0.data, &expected.data);
        println!("{device} {}: {error:.1e}", case.name);
        if error.is_nan() || error > TOLERANCE {
            failures.push(format!("{}: {error:.1e}", case.name));
        }
    }
    assert!(failures.is_empty(), "{device}: {failures:#?}");
}

#[test]
fn edits_on_the_cpu_end_where_loops_around_diffusers_do() {
    pollster::block_on(compare(&Backend::Cpu, "cpu"));
}

#[test]
fn edits_on_the_gpu_end_where_loops_around_diffusers_do() {
    pollster::block_on(async {
        let gpu = Gpu::open().await.unwrap();
        gpu.set_tuning(Tuning::QUADS).unwrap();
        compare(&Backend::Gpu(gpu), "gpu").await;
    });
}

async fn end(pipeline: &Pipeline, prepared: &Rc<Prepared>, settings: &Settings) -> Tensor {
    finish(Sampler::new(pipeline, prepared, settings).unwrap()).await.0
}

/// Every scheduler that makes pictures with a model, with noise where it may have some.
fn of_every_kind(pipeline: &Pipeline, steps: usize) -> Vec<Settings> {
    let file = pipeline.scheduler_file();
    let settings = |kind: SchedulerKind| {
        let noisy = matches!(kind, SchedulerKind::Ddim | SchedulerKind::Tcd);
        let s_churn = if kind == SchedulerKind::Euler { 1.0 } else { 0.0 };
        Settings {
            scheduler: Some(file.config(Some(kind), "{}").unwrap()),
            steps,
            options: StepOptions { eta: noisy.then_some(0.7), s_churn, ..StepOptions::default() },
            count: 2,
            seeds: vec![3],
            ..Settings::default()
        }
    };
    file.kinds().into_iter().map(settings).collect()
}

/// The shape of the images of a run.
fn shape(pipeline: &Pipeline, settings: &Settings) -> [usize; 4] {
    let layout = settings.layout(pipeline).unwrap();
    [layout.count, pipeline.channels(), layout.height, layout.width]
}

/// A picture, and a mask that keeps its left half.
fn half_known([n, c, h, w]: [usize; 4]) -> Inpainting {
    let original = (0..n * c * h * w).map(|i| (i % 7) as f32 / 3.0 - 1.0).collect();
    let mask = (0..h * w).map(|i| f32::from(u8::from(i % w < w / 2))).collect();
    Inpainting {
        original: Tensor::new(&[n, c, h, w], original).unwrap(),
        mask: Tensor::new(&[1, 1, h, w], mask).unwrap(),
    }
}

/// After every step, in whatever scale the sampler has x, the known part is the picture with as much noise as ᾱ of the next
/// row says, and after the last step it is the picture itself.
async fn is_known(backend: &Backend, device: &str, pipeline: &mut Pipeline, all: Vec<Settings>) {
    let shape = shape(pipeline, &all[0]);
    let width = shape[3];
    let len: usize = shape.iter().product();
    let inpaint = half_known(shape);
    let noise = Generator::new(3).randn(len);
    for settings in all {
        let settings = Settings { inpaint: Some(inpaint.clone()), ..settings };
        let kind = settings.scheduler.as_ref().unwrap().kind;
        let score = kind == SchedulerKind::ScoreSdeVe;
        // A score's images are over [0, 1].
        let picture = |i: usize| if score { inpaint.original.data[i] * 0.5 + 0.5 } else { inpaint.original.data[i] };
        let known: Vec<usize> = (0..len).filter(|i| i % width < width / 2).collect();
        let prepared = prepare(backend, pipeline, &settings).await;
        let mut sampler = Sampler::new(pipeline, &prepared, &settings).unwrap();
        let rows = sampler.schedule().rows.clone();
        for i in 0..=rows.len() {
            let x = match i {
                0 => sampler.snapshot().await.unwrap().sample,
                _ => sampler.next().await.unwrap().unwrap().prev,
            };
            let what = format!("{device} {kind:?} before row {i} of {}", rows.len());
            let Some(row) = rows.get(i) else {
                assert!(known.iter().all(|&i| x.data[i] == picture(i)), "{what}");
                break;
            };
            let deviation =
                if row.alpha_cumprod == 0.0 { 1.0 } else { row.signal * (1.0 / row.alpha_cumprod - 1.0).sqrt() };
            let residual: Vec<f64> = known
                .iter()
                .map(|&i| (f64::from(x.data[i]) - row.signal * f64::from(picture(i))) / deviation)
                .collect();
            let count = residual.len() as f64;
            let mean = residual.iter().sum::<f64>() / count;
            let variance = residual.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / count;
            // Four standard errors of as many normals.
            assert!(mean.abs() < 4.0 / count.sqrt(), "{what}: mean {mean:.3}");
            assert!((variance - 1.0).abs() < 4.0 * (2.0 / count).sqrt(), "{what}: variance {variance:.3}");
            let drawn: Vec<f32> = known.iter().map(|&i| noise[i]).collect();
            let residual: Vec<f32> = residual.iter().map(|&r| r as f32).collect();
            // Where there is hardly any noise, little of it is left of 32 bits.
            let error = relative_error(&residual, &widen(&drawn));
            assert!(error < 1e-5 * (1.0 + row.signal / deviation), "{what}: the noise of the beginning, {error:.1e}");
        }
    }
}

/// All families of samplers.
async fn is_known_with_all(backend: &Backend, device: &str) {
    let mut plain = runs::pipeline("unet_tiny_plain");
    let all = of_every_kind(&plain, 7);
    assert!(all.len() >= 16, "{}", all.len());
    is_known(backend, device, &mut plain, all).await;
    for class in [
        "ScoreSdeVeScheduler",
        "IPNDMScheduler",
        "CMStochasticIterativeScheduler",
        "FlowMatchHeunDiscreteScheduler",
        "EDMEulerScheduler",
    ] {
        let mut number = runs::pipeline("unet_number");
        let kind = SchedulerKind::try_from(class.to_string()).unwrap();
        let scheduler = number.scheduler_file().config(Some(kind), "{}").unwrap();
        let settings = Settings {
            scheduler: Some(scheduler),
            steps: 5,
            count: 2,
            seeds: vec![3],
            class_labels: vec![0.5, 1.5],
            ..Settings::default()
        };
        is_known(backend, device, &mut number, vec![settings]).await;
    }
}

#[test]
fn what_is_known_is_as_noisy_as_each_step_expects_on_the_cpu() {
    pollster::block_on(is_known_with_all(&Backend::Cpu, "cpu"));
}

#[test]
fn what_is_known_is_as_noisy_as_each_step_expects_on_the_gpu() {
    pollster::block_on(async { is_known_with_all(&Backend::Gpu(Gpu::open().await.unwrap()), "gpu").await });
}

/// Where nothing is known, inpainting changes no bit, since it takes nothing from the generators.
#[test]
fn a_mask_of_zeros_changes_nothing() {
    pollster::block_on(async {
        for backend in crate::digits::backends().await {
            let mut pipeline = runs::pipeline("unet_tiny_plain");
            for plain in of_every_kind(&pipeline, 5) {
                let shape = shape(&pipeline, &plain);
                let mut nothing = half_known(shape);
                nothing.mask.data.fill(0.0);
                let prepared = prepare(&backend, &mut pipeline, &plain).await;
                let expected = finish(Sampler::new(&pipeline, &prepared, &plain).unwrap()).await;
                let masked = Settings { inpaint: Some(nothing), ..plain.clone() };
                let prepared = prepare(&backend, &mut pipeline, &masked).await;
                let found = finish(Sampler::new(&pipeline, &prepared, &masked).unwrap()).await;
                assert!(found == expected, "{:?}", plain.scheduler.unwrap().kind);
            }
        }
    });
}

/// What is made anew goes with what is kept: the network sees it, so it is not what it would have been.
#[test]
fn what_is_made_anew_depends_on_what_is_kept() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_plain");
        let plain = of_every_kind(&pipeline, 5).swap_remove(0);
        let shape = shape(&pipeline, &plain);
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &plain).await;
        let alone = end(&pipeline, &prepared, &plain).await;
        let kept = Settings { inpaint: Some(half_known(shape)), ..plain };
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &kept).await;
        let beside = end(&pipeline, &prepared, &kept).await;
        let changed = (0..alone.data.len()).filter(|i| i % shape[3] >= shape[3] / 2);
        assert!(changed.clone().filter(|&i| alone.data[i] != beside.data[i]).count() * 2 > changed.count());
    });
}

/// The settings of these images of a run.
fn share_of(settings: &Settings, first: usize, count: usize) -> Settings {
    let total = settings.count;
    let images = |tensor: &Tensor| {
        let image = tensor.data.len() / tensor.shape[0];
        if tensor.shape[0] == 1 {
            return tensor.clone();
        }
        let mut shape = tensor.shape.clone();
        shape[0] = count;
        Tensor::new(&shape, tensor.data[first * image..][..count * image].to_vec()).unwrap()
    };
    let own = |all: &[f64]| all[first..][..count].to_vec();
    Settings {
        count,
        share: Some(Share { total, first }),
        class_labels: settings.class_labels.iter().copied().skip(first).take(count).collect(),
        inpaint: settings
            .inpaint
            .as_ref()
            .map(|known| Inpainting { original: images(&known.original), mask: images(&known.mask) }),
        slerp: settings.slerp.as_ref().map(|slerp| Slerp { weights: own(&slerp.weights), ..slerp.clone() }),
        class_mix: settings
            .class_mix
            .as_ref()
            .map(|mix| ClassMix { labels: mix.labels[first..][..count].to_vec(), weights: own(&mix.weights) }),
        ..settings.clone()
    }
}

/// A run with all of it at once, and with each alone.
fn edited(pipeline: &Pipeline, kind: SchedulerKind) -> Vec<(&'static str, Settings)> {
    let scheduler = pipeline.scheduler_file().config(Some(kind), "{}").unwrap();
    let plain = Settings {
        scheduler: Some(scheduler),
        steps: 5,
        count: 3,
        seeds: vec![3],
        class_labels: vec![1.0, 2.0, 1.0],
        ..Settings::default()
    };
    let inpaint = Some(half_known(shape(pipeline, &plain)));
    let slerp = Some(Slerp { seed: 8, weights: vec![0.0, 0.4, 1.0] });
    let class_mix = Some(ClassMix { labels: vec![0.0, 1.0, 2.0], weights: vec![0.0, 0.3, 0.8] });
    vec![
        ("inpainting", Settings { inpaint: inpaint.clone(), ..plain.clone() }),
        ("inpainting, a seed an image", Settings { inpaint: inpaint.clone(), seeds: vec![5, 6, 7], ..plain.clone() }),
        ("slerp", Settings { slerp: slerp.clone(), ..plain.clone() }),
        ("class_mix", Settings { class_mix: class_mix.clone(), ..plain.clone() }),
        ("all", Settings { inpaint, slerp, class_mix, ..plain }),
    ]
}

const KINDS: [SchedulerKind; 3] =
    [SchedulerKind::Ddpm, SchedulerKind::DpmSolverMultistep, SchedulerKind::EulerAncestral];

async fn resumes(backend: &Backend, device: &str) {
    let mut pipeline = runs::pipeline("unet_tiny_class");
    let mut failures = Vec::new();
    for kind in KINDS {
        for (what, settings) in edited(&pipeline, kind) {
            let prepared = prepare(backend, &mut pipeline, &settings).await;
            check_resumes(&pipeline, &prepared, &settings, &format!("{device} {kind:?} {what}"), &mut failures).await;
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn an_edit_resumes_to_the_same_bits_on_the_cpu() {
    pollster::block_on(resumes(&Backend::Cpu, "cpu"));
}

#[test]
fn an_edit_resumes_to_the_same_bits_on_the_gpu() {
    pollster::block_on(async { resumes(&Backend::Gpu(Gpu::open().await.unwrap()), "gpu").await });
}

#[test]
fn shares_of_an_edit_are_what_they_are_in_the_whole() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_class");
        for kind in KINDS {
            for (what, settings) in edited(&pipeline, kind) {
                let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings).await;
                let expected = end(&pipeline, &prepared, &settings).await;
                let whole = interrupted(&pipeline, &prepared, &settings, 3).await;
                let (mut images, mut states) = (Vec::new(), Vec::new());
                for (first, count) in [(0, 2), (2, 1)] {
                    let share = share_of(&settings, first, count);
                    let prepared = prepare(&Backend::Cpu, &mut pipeline, &share).await;
                    images.extend(end(&pipeline, &prepared, &share).await.data);
                    states.push(interrupted(&pipeline, &prepared, &share, 3).await);
                    let part = whole.share(first, count).unwrap();
                    let resumed = Sampler::resume(&pipeline, &prepared, &share, &part).unwrap();
                    let image = expected.data.len() / 3;
                    assert!(finish(resumed).await.0.data == expected.data[first * image..][..count * image], "{what}");
                }
                assert!(images == expected.data, "{kind:?}, {what}");
                let joined = Snapshot::join(&states).unwrap();
                let resumed = Sampler::resume(&pipeline, &prepared, &settings, &joined).unwrap();
                assert!(finish(resumed).await.0 == expected, "{kind:?}, {what}, joined");
            }
        }
    });
}

/// What an inversion finds leads back, the nearer the more steps there are.
#[test]
fn the_noise_of_a_picture_makes_it_again() {
    pollster::block_on(async {
        let mut pipeline = crate::digits::pipeline();
        let settings = |pipeline: &Pipeline, kind: SchedulerKind, steps: usize| Settings {
            scheduler: Some(pipeline.scheduler_file().config(Some(kind), r#"{"clip_sample": false}"#).unwrap()),
            steps,
            count: 2,
            seeds: vec![3],
            class_labels: vec![4.0, 7.0],
            ..Settings::default()
        };
        let first = settings(&pipeline, SchedulerKind::Ddim, 25);
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &first).await;
        let picture = end(&pipeline, &prepared, &first).await;
        let mut errors = Vec::new();
        for steps in [10, 40, 160] {
            let start = Some(Start { sample: picture.clone(), alpha_cumprod: 1.0 });
            let inverse = Settings { start, ..settings(&pipeline, SchedulerKind::DdimInverse, steps) };
            let mut sampler = Sampler::new(&pipeline, &prepared, &inverse).unwrap();
            let rows = &sampler.schedule().rows;
            assert_eq!((rows[0].alpha_cumprod, rows[0].signal), (1.0, 1.0), "it begins with the picture");
            assert!(
                rows.windows(2).all(|pair| pair[0].alpha_cumprod > pair[1].alpha_cumprod),
                "and goes up from there"
            );
            assert!(rows.iter().all(|row| (row.signal - row.alpha_cumprod.sqrt()).abs() < 1e-12 && !row.draws_noise));
            assert!(sampler.snapshot().await.unwrap().sample == picture, "nothing is added to it");
            let noise = finish(sampler).await.0;
            let count = noise.data.len() as f64;
            let variance = noise.data.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / count;
            assert!((0.5..1.5).contains(&variance), "{steps} steps: x_T has a variance of {variance:.2}");
            let again = Settings { noise: Some(noise), ..settings(&pipeline, SchedulerKind::Ddim, steps) };
            errors.push(relative_error(&end(&pipeline, &prepared, &again).await.data, &widen(&picture.data)));
        }
        println!("{errors:.3?}");
        assert!(errors[1] < 0.7 * errors[0] && errors[2] < 0.85 * errors[1] && errors[2] < 0.15, "{errors:?}");
    });
}

/// Also where ᾱ before the first timestep is not 1: what diffusers gives to an inversion it takes as it is.
#[test]
fn an_inversion_takes_a_picture_as_it_is() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_plain");
        for (kind, changes) in [
            (SchedulerKind::DdimInverse, r#"{"set_alpha_to_one": false}"#),
            (SchedulerKind::DpmSolverMultistepInverse, "{}"),
        ] {
            let scheduler = pipeline.scheduler_file().config(Some(kind), changes).unwrap();
            let settings = Settings { scheduler: Some(scheduler), steps: 5, ..Settings::default() };
            let picture = half_known(shape(&pipeline, &settings)).original;
            let start = Some(Start { sample: picture.clone(), alpha_cumprod: 1.0 });
            let settings = Settings { start, ..settings };
            let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings).await;
            let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
            assert!(sampler.schedule().rows[0].alpha_cumprod < 1.0, "{kind:?}");
            assert!(sampler.snapshot().await.unwrap().sample == picture, "{kind:?}");
        }
    });
}

#[test]
fn the_ends_between_two_noises_are_those_noises() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_plain");
        let scheduler = pipeline.scheduler_file().config(Some(SchedulerKind::Ddpm), "{}").unwrap();
        let of = |seed: u64| Settings {
            scheduler: Some(scheduler.clone()),
            steps: 4,
            seeds: vec![seed],
            ..Settings::default()
        };
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &of(3)).await;
        let first = end(&pipeline, &prepared, &of(3)).await;
        let noise = |seed: u64| Generator::new(seed).randn(first.data.len());
        let weights = vec![0.0, 0.25, 0.5, 1.0];
        let strip = Settings { count: 4, slerp: Some(Slerp { seed: 8, weights }), ..of(3) };
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &strip).await;
        let mut sampler = Sampler::new(&pipeline, &prepared, &strip).unwrap();
        let x = sampler.snapshot().await.unwrap().sample.data;
        let images: Vec<&[f32]> = x.chunks_exact(first.data.len()).collect();
        let (from, to) = (noise(3), noise(8));
        assert!(images[0] == from && images[3] == to);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let angle = |a: &[f32], b: &[f32]| (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).acos();
        // Both ends have about the same length, so angles along the circle are as the weights.
        let whole = angle(&from, &to);
        for (image, weight) in [(images[1], 0.25), (images[2], 0.5)] {
            let share = angle(&from, image) / whole;
            assert!((share - weight).abs() < 0.05, "{share:.3} of the way instead of {weight}");
            let strength = (dot(image, image) / dot(&from, &from)).sqrt();
            assert!((0.8..1.25).contains(&strength), "{strength:.3} as strong");
        }
        // The rest of the noise is that of a batch of one, too.
        let made = finish(sampler).await.0;
        let error = relative_error(&made.data[..first.data.len()], &widen(&first.data));
        assert!(error < 1e-6, "{error:.1e}");
        let same = Settings { count: 2, slerp: Some(Slerp { seed: 3, weights: vec![0.3, 0.9] }), ..of(3) };
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &same).await;
        let x = Sampler::new(&pipeline, &prepared, &same).unwrap().snapshot().await.unwrap().sample.data;
        let error = relative_error(&x, &widen(&[&from[..], &from[..]].concat()));
        assert!(error < 1e-6, "between a noise and itself is itself: {error:.1e}");
    });
}

#[test]
fn the_ends_between_two_classes_are_those_classes() {
    pollster::block_on(async {
        for (model, guidance) in [("unet_tiny_class", 1.0), ("sprites", 2.5)] {
            let mut pipeline = runs::pipeline(model);
            let of = |labels: [f32; 3]| Settings {
                steps: 3,
                count: 3,
                class_labels: labels.to_vec(),
                guidance,
                seeds: vec![4, 4, 4],
                ..Settings::default()
            };
            let prepared = prepare(&Backend::Cpu, &mut pipeline, &of([0.0; 3])).await;
            let pure = end(&pipeline, &prepared, &of([2.0, 1.0, 1.0])).await;
            let mix = |weights: [f64; 3]| Some(ClassMix { labels: vec![0.0, 1.0, 0.0], weights: weights.to_vec() });
            let found = end(&pipeline, &prepared, &Settings { class_mix: mix([0.0; 3]), ..of([2.0, 1.0, 1.0]) }).await;
            assert!(found == pure, "{model}: with a weight of 0 no bit changes");
            let found =
                end(&pipeline, &prepared, &Settings { class_mix: mix([0.0, 1.0, 0.0]), ..of([2.0, 2.0, 1.0]) }).await;
            assert!(found == pure, "{model}: with a weight of 1 it is the other class");
            let half = end(&pipeline, &prepared, &Settings { class_mix: mix([0.5; 3]), ..of([2.0, 1.0, 1.0]) }).await;
            let image = pure.data.len() / 3;
            let differs = |i: usize| half.data[i * image..][..image] != pure.data[i * image..][..image];
            assert!(differs(0) && !differs(1) && differs(2), "{model}: of a class and itself nothing comes of mixing");
        }
    });
}

#[test]
fn edits_that_cannot_be_made_say_why() {
    let pipeline = runs::pipeline("unet_tiny_class");
    let plain = Settings { steps: 4, count: 2, class_labels: vec![1.0, 2.0], ..Settings::default() };
    let problem = |settings: Settings| settings.check(&pipeline).err().unwrap().to_string();
    let [_, c, h, w] = shape(&pipeline, &plain);
    let known = half_known([2, c, h, w]);
    let inpaint = |change: &dyn Fn(&mut Inpainting)| {
        let mut known = known.clone();
        change(&mut known);
        problem(Settings { inpaint: Some(known), ..plain.clone() })
    };
    let small = Tensor::new(&[1, 1, 2, 2], vec![0.0; 4]).unwrap();
    let refused = inpaint(&|known| known.mask = small.clone());
    assert_eq!(refused, format!("The mask: expected [1 or 2, 1 or {c}, {h}, {w}], found [1, 1, 2, 2]"));
    let refused = inpaint(&|known| known.original = small.clone());
    assert_eq!(refused, format!("The image: expected [1 or 2, {c}, {h}, {w}], found [1, 1, 2, 2]"));
    let refused = inpaint(&|known| known.mask.data[3] = 1.5);
    assert_eq!(refused, "The mask has 1.5; it is 1 where the image is kept and 0 where it is not.");
    let refused = inpaint(&|known| known.original.data[3] = f32::NAN);
    assert_eq!(refused, "The image has NaN, which is not a finite number.");
    let inverse = pipeline.scheduler_file().config(Some(SchedulerKind::DdimInverse), "{}").unwrap();
    let refused = problem(Settings { scheduler: Some(inverse), inpaint: Some(known.clone()), ..plain.clone() });
    assert_eq!(refused, "DDIMInverseScheduler leads from an image to its noise: nothing of it is made anew.");
    let jumps = StepOptions { jump_length: 3, ..StepOptions::default() };
    let refused = problem(Settings { options: jumps, inpaint: Some(known), ..plain.clone() });
    assert!(refused.starts_with("jump_length and jump_n_sample are RePaint's"), "{refused}");

    let slerp = |weights: Vec<f64>| Some(Slerp { seed: 1, weights });
    let refused = problem(Settings { slerp: slerp(vec![0.5]), ..plain.clone() });
    assert_eq!(refused, "slerp has 1 weights for 2 images.");
    let refused = problem(Settings { slerp: slerp(vec![0.5, 1.5]), ..plain.clone() });
    assert_eq!(refused, "slerp has the weight 1.5; it must be between 0 and 1.");
    let refused = problem(Settings { slerp: slerp(vec![0.5, f64::NAN]), ..plain.clone() });
    assert_eq!(refused, "slerp has the weight NaN; it must be between 0 and 1.");
    let refused = problem(Settings { slerp: slerp(vec![0.5, 1.0]), seeds: vec![1, 2], ..plain.clone() });
    assert_eq!(refused, "slerp leads from the noise of one seed to that of another, but the run has 2.");
    let noise = Some(Tensor::new(&[2, c, h, w], vec![0.0; 2 * c * h * w]).unwrap());
    let refused = problem(Settings { slerp: slerp(vec![0.5, 1.0]), noise, ..plain.clone() });
    assert_eq!(refused, "slerp and noise both say what x_T is; give one of them.");

    let mix = |labels: Vec<f32>, weights: Vec<f64>| Some(ClassMix { labels, weights });
    let refused = problem(Settings { class_mix: mix(vec![1.0], vec![0.5, 0.5]), ..plain.clone() });
    assert_eq!(refused, "There are 1 class labels for 2 images.");
    let refused = problem(Settings { class_mix: mix(vec![1.0, 99.0], vec![0.5, 0.5]), ..plain.clone() });
    assert!(refused.starts_with("Class 99 does not exist"), "{refused}");
    let refused = problem(Settings { class_mix: mix(vec![1.0, 1.0], vec![0.5, -0.5]), ..plain });
    assert_eq!(refused, "class_mix has the weight -0.5; it must be between 0 and 1.");
    let number = runs::pipeline("unet_number");
    let numbers = Settings { class_labels: vec![0.5], class_mix: mix(vec![1.0], vec![0.5]), ..Settings::default() };
    let refused = numbers.check(&number).err().unwrap().to_string();
    assert_eq!(refused, "Only learned classes can be mixed, and this model has none.");
}
