//! Runs that begin in the middle: with a picture (SDEdit), or with x_t of another run, whatever samples it.

use std::rc::Rc;

use denoise::backend::Backend;
use denoise::config::SchedulerKind;
use denoise::random::Generator;
use denoise::schedule::{Schedule, StepOptions};
use denoise::{Pipeline, Prepared, Sampler, Settings, Start, Tensor};

use crate::digits::prepare;
use crate::runs;

fn settings(pipeline: &Pipeline, kind: SchedulerKind, steps: usize) -> Settings {
    let scheduler = pipeline.scheduler_file().config(Some(kind), r#"{"clip_sample": false}"#).unwrap();
    Settings { scheduler: Some(scheduler), steps, count: 2, seeds: vec![3], ..Settings::default() }
}

async fn finish(pipeline: &Pipeline, prepared: &Rc<Prepared>, settings: &Settings) -> Tensor {
    let mut sampler = Sampler::new(pipeline, prepared, settings).unwrap();
    while sampler.next().await.unwrap().is_some() {}
    sampler.sample().await.unwrap()
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    crate::golden::relative_error(&a.data, &b.data.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
}

/// Where a run without noise stands half way is where the same run begins that leaves the first half out, whatever scale it
/// keeps x in.
#[test]
fn the_second_half_of_a_run_leads_to_its_end() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_plain");
        for kind in [SchedulerKind::Ddim, SchedulerKind::Euler, SchedulerKind::Heun, SchedulerKind::Kdpm2] {
            let whole = settings(&pipeline, kind, 8);
            let prepared = prepare(&Backend::Cpu, &mut pipeline, &whole).await;
            let end = finish(&pipeline, &prepared, &whole).await;
            let mut sampler = Sampler::new(&pipeline, &prepared, &whole).unwrap();
            let rows = sampler.schedule().rows.clone();
            let half = if rows.len() == 8 { 4 } else { 8 };
            let mut x = sampler.initial().clone();
            for _ in 0..half {
                x = sampler.next().await.unwrap().unwrap().prev;
            }
            let at = &rows[half];
            let to_variance_1 = (at.alpha_cumprod.sqrt() / at.signal) as f32;
            let sample = Tensor { data: x.data.iter().map(|x| x * to_variance_1).collect(), ..x };
            let start = Some(Start { sample, alpha_cumprod: at.alpha_cumprod });
            let scheduler = whole.scheduler.as_ref().unwrap();
            let begin = Schedule::begin_at(scheduler, 8, &whole.options, at.alpha_cumprod).unwrap();
            assert_eq!(begin, 4, "{kind:?}");
            let options = StepOptions { begin, ..whole.options };
            let rest = Settings { start, options, ..whole.clone() };
            let error = distance(&finish(&pipeline, &prepared, &rest).await, &end);
            println!("{kind:?}: {error:.1e}");
            assert!(error < 1e-5, "{kind:?}: {error:.1e}");
        }
    });
}

/// x_t of one sampler is taken over by every other, with other steps: it is made as noisy as the first of them expects.
#[test]
fn every_sampler_takes_over_from_another() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_plain");
        let ddim = settings(&pipeline, SchedulerKind::Ddim, 8);
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &ddim).await;
        let mut sampler = Sampler::new(&pipeline, &prepared, &ddim).unwrap();
        let mut sample = sampler.initial().clone();
        for _ in 0..3 {
            sample = sampler.next().await.unwrap().unwrap().prev;
        }
        let alpha_cumprod = sampler.schedule().rows[3].alpha_cumprod;
        for kind in pipeline.scheduler_file().kinds() {
            for steps in [6, 8, 20] {
                let other = settings(&pipeline, kind, steps);
                let scheduler = other.scheduler.as_ref().unwrap();
                let begin = Schedule::begin_at(scheduler, steps, &other.options, alpha_cumprod).unwrap();
                let options = StepOptions { begin, ..other.options };
                let rows = Schedule::new(scheduler, steps, &options).unwrap().rows;
                assert!(rows[0].alpha_cumprod <= alpha_cumprod * (1.0 + 1e-9), "{kind:?}");
                if begin + 1 < steps {
                    let later = StepOptions { begin: begin + 1, ..options };
                    let later = Schedule::new(scheduler, steps, &later).unwrap().rows[0].alpha_cumprod;
                    assert!(later > alpha_cumprod, "{kind:?}, {steps} steps: it could begin later than {begin}");
                }
                let start = Some(Start { sample: sample.clone(), alpha_cumprod });
                let end = finish(&pipeline, &prepared, &Settings { start, options, ..other }).await;
                assert!(end.data.iter().all(|x| x.is_finite()), "{kind:?}");
            }
        }
    });
}

/// A picture is noised as the forward process does it, in every scale, with the noise that a whole run begins with.
#[test]
fn a_picture_is_noised_to_the_first_step() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_plain");
        let whole = settings(&pipeline, SchedulerKind::Ddim, 10);
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &whole).await;
        let shape = Sampler::new(&pipeline, &prepared, &whole).unwrap().snapshot().await.unwrap().sample.shape;
        let len: usize = shape.iter().product();
        let picture = Tensor { shape, data: (0..len).map(|i| (i % 7) as f32 / 3.0 - 1.0).collect() };
        let noise = Generator::new(3).randn(len);
        for kind in [SchedulerKind::Ddpm, SchedulerKind::Euler, SchedulerKind::DpmSolverMultistep] {
            let options = StepOptions { begin: 6, ..StepOptions::default() };
            let start = Some(Start { sample: picture.clone(), alpha_cumprod: 1.0 });
            let edit = Settings { start, options, ..settings(&pipeline, kind, 10) };
            let mut sampler = Sampler::new(&pipeline, &prepared, &edit).unwrap();
            let row = sampler.schedule().rows[0].clone();
            let noise_share = row.signal * (1.0 / row.alpha_cumprod - 1.0).sqrt();
            let expected: Vec<f64> = picture
                .data
                .iter()
                .zip(&noise)
                .map(|(&x, &z)| row.signal * f64::from(x) + noise_share * f64::from(z))
                .collect();
            let x = sampler.snapshot().await.unwrap().sample;
            let error = crate::golden::relative_error(&x.data, &expected);
            assert!(error < 1e-6, "{kind:?}: {error:.1e}");
        }
    });
}

#[test]
fn what_cannot_begin_so_says_why() {
    pollster::block_on(async {
        let pipeline = runs::pipeline("unet_tiny_plain");
        let ddim = settings(&pipeline, SchedulerKind::Ddim, 10);
        let (layout, channels) = (ddim.layout(&pipeline).unwrap(), pipeline.channels());
        let shape = [2, channels, layout.height, layout.width];
        let sample = Tensor::new(&shape, vec![0.0; shape.iter().product()]).unwrap();
        let start = |alpha_cumprod| Some(Start { sample: sample.clone(), alpha_cumprod });
        let begin = |begin| StepOptions { begin, ..StepOptions::default() };
        let problem = |settings: Settings| settings.check(&pipeline).err().unwrap().to_string();
        let refused = problem(Settings { start: start(0.5), options: begin(9), ..ddim.clone() });
        assert!(refused.starts_with("What the run begins with has more noise (ᾱ 0.5000)"), "{refused}");
        let refused = problem(Settings { start: start(1.5), ..ddim.clone() });
        assert_eq!(refused, "ᾱ of what the run begins with is 1.5; it lies between 0 and 1.");
        let refused = problem(Settings { options: begin(10), ..ddim.clone() });
        assert_eq!(refused, "Of 10 steps 10 are to be left out at the beginning; leave one at least.");
        let inverse = settings(&pipeline, SchedulerKind::DdimInverse, 10);
        let refused = problem(Settings { options: begin(2), ..inverse });
        assert_eq!(refused, "DDIMInverseScheduler cannot begin in the middle; choose another sampler.");
        let small = Tensor::new(&[1, channels, 2, 2], vec![0.0; 4 * channels]).unwrap();
        let start = Some(Start { sample: small, alpha_cumprod: 1.0 });
        assert!(problem(Settings { start, ..ddim }).starts_with("What the run begins with: expected [2, "));
    });
}
