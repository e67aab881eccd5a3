//! A run that is interrupted and resumed ends in the same bits as one that is not, whatever samples it; and what else can be
//! done with a snapshot.

use std::rc::Rc;

use denoise::backend::{Backend, Gpu};
use denoise::config::SchedulerKind;
use denoise::schedule::StepOptions;
use denoise::{Pipeline, Prepared, Sampler, Settings, Share, Snapshot, Tensor};

use crate::digits::prepare;
use crate::golden::{self, Golden};
use crate::runs;

/// Runs to the end: the images, and the frames on the way.
pub async fn finish(mut sampler: Sampler) -> (Tensor, Vec<(usize, Tensor)>) {
    let mut frames = Vec::new();
    while let Some(frame) = sampler.next().await.unwrap() {
        frames.push((frame.step, frame.prev));
    }
    (sampler.snapshot().await.unwrap().sample, frames)
}

/// A run of these settings, stopped once it has given so many frames. Where evaluations are submitted ahead it stands further.
pub async fn interrupted(pipeline: &Pipeline, prepared: &Rc<Prepared>, settings: &Settings, frames: usize) -> Snapshot {
    let mut sampler = Sampler::new(pipeline, prepared, settings).unwrap();
    for _ in 0..frames {
        sampler.next().await.unwrap();
    }
    sampler.snapshot().await.unwrap()
}

/// Interrupts a run at the start, on its way and at its end. What fails is named.
pub async fn check(
    pipeline: &Pipeline,
    prepared: &Rc<Prepared>,
    settings: &Settings,
    name: &str,
    failures: &mut Vec<String>,
) {
    let whole = Sampler::new(pipeline, prepared, settings).unwrap();
    let rows = whole.schedule().rows.len();
    let (expected, all) = finish(whole).await;
    for frames in [0, 1, rows / 2, rows - 1, rows] {
        let snapshot = interrupted(pipeline, prepared, settings, frames).await;
        assert!(snapshot.row >= frames, "{name}");
        // Another run takes the executor meanwhile, and leaves its own registers there.
        let other = Settings { seeds: vec![99], ..settings.clone() };
        interrupted(pipeline, prepared, &other, 2.min(rows)).await;
        let resumed = Sampler::resume(pipeline, prepared, settings, &snapshot).unwrap();
        let (images, rest) = finish(resumed).await;
        if images != expected || rest != all[snapshot.row..] {
            failures.push(format!("{name}, resumed after {} of {rows}", snapshot.row));
        }
    }
}

/// Every scheduler that a model with β's takes, and others that the cases of whole runs lack; with noise where they may have some.
fn of_every_kind(pipeline: &Pipeline) -> Vec<Settings> {
    let file = pipeline.scheduler_file();
    let mut kinds = file.kinds();
    kinds.extend([SchedulerKind::DdimInverse, SchedulerKind::DpmSolverMultistepInverse, SchedulerKind::IpNdm]);
    assert!(kinds.len() >= 19, "{kinds:?}");
    let settings = |&kind: &SchedulerKind| {
        let noisy = matches!(kind, SchedulerKind::Ddim | SchedulerKind::Tcd);
        let s_churn = if kind == SchedulerKind::Euler { 1.0 } else { 0.0 };
        Settings {
            scheduler: Some(file.config(Some(kind), "{}").unwrap()),
            steps: 7,
            options: StepOptions { eta: noisy.then_some(0.7), s_churn, ..StepOptions::default() },
            count: 2,
            seeds: vec![3],
            ..Settings::default()
        }
    };
    kinds.iter().map(settings).collect()
}

async fn every_kind(backend: &Backend, device: &str) {
    let mut pipeline = runs::pipeline("unet_tiny_plain");
    let mut failures = Vec::new();
    let all = of_every_kind(&pipeline);
    let prepared = prepare(backend, &mut pipeline, &all[0]).await;
    for settings in &all {
        let name = format!("{device} {:?}", settings.scheduler.as_ref().unwrap().kind);
        check(&pipeline, &prepared, settings, &name, &mut failures).await;
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Evaluations are submitted ahead of the frames, but never beyond the one that a run is to end at.
async fn ends_where_it_is_told(backend: &Backend) {
    let mut pipeline = runs::pipeline("unet_tiny_plain");
    let settings = Settings { steps: 7, count: 2, seeds: vec![3], ..Settings::default() };
    let prepared = prepare(backend, &mut pipeline, &settings).await;
    let (expected, _) = finish(Sampler::new(&pipeline, &prepared, &settings).unwrap()).await;
    for end in [0, 1, 4, 7, 9] {
        let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
        sampler.end_at(end);
        let mut frames = 0;
        while sampler.next().await.unwrap().is_some() {
            frames += 1;
        }
        let snapshot = sampler.snapshot().await.unwrap();
        assert_eq!((frames, snapshot.row), (end.min(7), end.min(7)));
        let resumed = Sampler::resume(&pipeline, &prepared, &settings, &snapshot).unwrap();
        assert!(finish(resumed).await.0 == expected, "resumed at {end}");
    }
}

#[test]
fn a_run_ends_where_it_is_told_on_the_cpu() {
    pollster::block_on(ends_where_it_is_told(&Backend::Cpu));
}

#[test]
fn a_run_ends_where_it_is_told_on_the_gpu() {
    pollster::block_on(async { ends_where_it_is_told(&Backend::Gpu(Gpu::open().await.unwrap())).await });
}

#[test]
fn every_scheduler_resumes_to_the_same_bits_on_the_cpu() {
    pollster::block_on(every_kind(&Backend::Cpu, "cpu"));
}

#[test]
fn every_scheduler_resumes_to_the_same_bits_on_the_gpu() {
    pollster::block_on(async { every_kind(&Backend::Gpu(Gpu::open().await.unwrap()), "gpu").await });
}

/// Guidance, learned variances, jumps back, Langevin steps, one generator an image, classes and conditions of every kind.
#[test]
fn every_kind_of_run_resumes_to_the_same_bits() {
    pollster::block_on(async {
        let golden = Golden::load("runs");
        let mut failures = Vec::new();
        for case in golden::list::<runs::Case>("runs") {
            let mut pipeline = runs::pipeline(&case.model);
            let settings = case.settings(&pipeline, &golden);
            let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings).await;
            // Of long runs the beginning and the end say the same.
            let settings = Settings { steps: settings.steps.min(12), ..settings };
            check(&pipeline, &prepared, &settings, &case.name, &mut failures).await;
        }
        assert!(failures.is_empty(), "{failures:#?}");
    });
}

#[test]
fn a_fork_shares_what_was_before_it_and_nothing_after() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_plain");
        let scheduler = pipeline.scheduler_file().config(Some(SchedulerKind::Ddpm), "{}").unwrap();
        let settings =
            Settings { scheduler: Some(scheduler), steps: 8, count: 2, seeds: vec![3], ..Settings::default() };
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings).await;
        let snapshot = interrupted(&pipeline, &prepared, &settings, 3).await;
        assert_eq!(snapshot.row, 3);
        let fork = |seed| {
            let seeded = Settings { seeds: vec![seed], ..settings.clone() };
            let snapshot = Snapshot { generators: Vec::new(), ..snapshot.clone() };
            finish(Sampler::resume(&pipeline, &prepared, &seeded, &snapshot).unwrap())
        };
        let (four, again, five) = (fork(4).await, fork(4).await, fork(5).await);
        let whole = finish(Sampler::new(&pipeline, &prepared, &settings).unwrap()).await;
        assert_eq!(four, again);
        assert_ne!(four.0, five.0);
        assert_ne!(four.0, whole.0);
        assert_eq!(four.1.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        let resumed = Sampler::resume(&pipeline, &prepared, &settings, &snapshot).unwrap();
        assert_eq!(*resumed.initial(), whole.1[2].1, "what it begins with is what the run had shown");
    });
}

#[test]
fn shares_of_a_batch_join_to_its_snapshot_and_part_again() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_plain");
        let scheduler = pipeline.scheduler_file().config(Some(SchedulerKind::DpmSolverSde), "{}").unwrap();
        for seeds in [vec![3], vec![3, 4, 5], vec![6, 6, 6]] {
            let scheduler = Some(scheduler.clone());
            let settings = Settings { scheduler, steps: 6, count: 3, seeds, ..Settings::default() };
            let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings).await;
            let whole = interrupted(&pipeline, &prepared, &settings, 5).await;
            let mut shares = Vec::new();
            for (first, count) in [(0, 1), (1, 2)] {
                let settings = Settings { count, share: Some(Share { total: 3, first }), ..settings.clone() };
                let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings).await;
                let share = interrupted(&pipeline, &prepared, &settings, 5).await;
                let part = whole.share(first, count).unwrap();
                assert_eq!((&part.sample, &part.kept), (&share.sample, &share.kept));
                let ends = [&part, &share].map(|from| {
                    let resumed = Sampler::resume(&pipeline, &prepared, &settings, from).unwrap();
                    pollster::block_on(finish(resumed))
                });
                assert_eq!(ends[0], ends[1]);
                shares.push(share);
            }
            let joined = Snapshot::join(&shares).unwrap();
            let ends = [&whole, &joined].map(|from| {
                let resumed = Sampler::resume(&pipeline, &prepared, &settings, from).unwrap();
                pollster::block_on(finish(resumed))
            });
            assert_eq!(ends[0], ends[1]);
        }
    });
}

#[test]
fn a_snapshot_that_does_not_fit_says_so() {
    pollster::block_on(async {
        let mut pipeline = runs::pipeline("unet_tiny_plain");
        let scheduler = pipeline.scheduler_file().config(Some(SchedulerKind::Ddim), "{}").unwrap();
        let settings = Settings { scheduler: Some(scheduler), steps: 4, count: 2, ..Settings::default() };
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings).await;
        let good = interrupted(&pipeline, &prepared, &settings, 2).await;
        let problem =
            |snapshot: Snapshot| Sampler::resume(&pipeline, &prepared, &settings, &snapshot).err().unwrap().to_string();
        assert_eq!(
            problem(Snapshot { row: 5, ..good.clone() }),
            "The snapshot is after evaluation 5 of a run that has 4."
        );
        let three = vec![good.generators[0].clone(); 3];
        assert_eq!(
            problem(Snapshot { generators: three, ..good.clone() }),
            "The snapshot has 3 random generators; these settings have 1."
        );
        let share = good.share(1, 1).unwrap();
        assert!(problem(share.clone()).starts_with("The snapshot's x: expected [2, "), "{}", problem(share));
        assert!(problem(Snapshot { generators: vec![vec![1, 2]], ..good.clone() }).contains("random generator"));
        assert_eq!(good.share(1, 2).unwrap_err().to_string(), "2 images from number 1 on are no share of 2.");
        let earlier = interrupted(&pipeline, &prepared, &settings, 1).await;
        assert!(Snapshot::join(&[good.clone(), earlier]).is_err());
        assert!(Snapshot::join(&[]).is_err());
    });
}
