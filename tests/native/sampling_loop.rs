//! What happens inside the loop of a run, counted; and what a run does when it is stopped or replaced.

use denoise::backend::{Backend, Gpu};
use denoise::{Sampler, Settings};

use crate::digits::{pipeline, prepare};

fn settings(steps: usize) -> Settings {
    Settings { steps, seeds: vec![1], class_labels: vec![4.0], ..Settings::default() }
}

#[test]
fn the_loop_makes_nothing_and_never_waits_for_a_frame_before_the_next_step() {
    const STEPS: usize = 12;
    pollster::block_on(async {
        let mut pipeline = pipeline();
        let backend = Backend::Gpu(Gpu::open().await.unwrap());
        let gpu = backend.gpu().unwrap();
        let prepared = prepare(&backend, &mut pipeline, &settings(4)).await;
        let mut sampler = Sampler::new(&pipeline, &prepared, &settings(STEPS)).unwrap();
        let before = gpu.counters();
        let mut frames = 0;
        while sampler.next().await.unwrap().is_some() {
            frames += 1;
        }
        let after = gpu.counters();
        assert_eq!(frames, STEPS);
        assert_eq!(after.buffers - before.buffers, 0, "buffers");
        assert_eq!(after.bind_groups - before.bind_groups, 0, "bind groups");
        assert_eq!(after.pipelines - before.pipelines, 0, "pipelines");
        // One of several steps, or several of one step, as the device is quick or slow.
        let submissions = after.submissions - before.submissions;
        println!(
            "{submissions} submissions, {:?} of encoding a step",
            (after.encoding - before.encoding) / STEPS as u32
        );
        assert!(submissions > 0);
        assert_eq!(after.waits - before.waits, 1, "only the last frame is waited for with nothing behind it");
        let dispatches = (after.dispatches - before.dispatches) / STEPS;
        let plan = prepared.executor().plan();
        println!("{dispatches} dispatches a step, {} slots", plan.slots.len());
        // More where a device is so slow that they are cut.
        assert!(dispatches >= plan.steps.len() && plan.steps.len() <= 90, "{dispatches} of {}", plan.steps.len());
    });
}

#[test]
fn a_stopped_run_leaves_the_executor_ready() {
    pollster::block_on(async {
        let mut pipeline = pipeline();
        for backend in crate::digits::backends().await {
            let prepared = prepare(&backend, &mut pipeline, &settings(4)).await;
            let mut whole = Sampler::new(&pipeline, &prepared, &settings(4)).unwrap();
            let mut expected = Vec::new();
            while let Some(frame) = whole.next().await.unwrap() {
                expected = frame.prev.data;
            }
            // Stopped with steps still under way.
            let mut stopped = Sampler::new(&pipeline, &prepared, &settings(10)).unwrap();
            stopped.next().await.unwrap();
            drop(stopped);
            // Replaced without being stopped: it must not disturb its successor.
            let mut replaced = Sampler::new(&pipeline, &prepared, &settings(10)).unwrap();
            replaced.next().await.unwrap();
            let mut again = Sampler::new(&pipeline, &prepared, &settings(4)).unwrap();
            again.next().await.unwrap();
            let error = replaced.next().await.unwrap_err().to_string();
            assert_eq!(error, "This run has ended: another one began.");
            let mut last = Vec::new();
            while let Some(frame) = again.next().await.unwrap() {
                last = frame.prev.data;
            }
            assert!(last == expected, "the same pictures after all that");
        }
    });
}

#[test]
fn impossible_settings_say_what_is_possible() {
    pollster::block_on(async {
        let mut pipeline = pipeline();
        let prepared = prepare(&Backend::Cpu, &mut pipeline, &settings(4)).await;
        let message = |labels: Vec<f32>| {
            let settings = Settings { class_labels: labels, ..settings(4) };
            Sampler::new(&pipeline, &prepared, &settings).err().unwrap().to_string()
        };
        assert_eq!(message(vec![11.0]), "Class 11 does not exist; this model has 0 to 10.");
        assert_eq!(message(vec![]), "There are 0 class labels for 1 images.");
    });
}
