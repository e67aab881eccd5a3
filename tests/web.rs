//! The engine in a real browser: the ops and the shipped model on WebGPU, as `wasm-pack test --headless --chrome` runs
//! them. What these tests compare with is in `tests/golden`, made by PyTorch and diffusers.

#![cfg(target_arch = "wasm32")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use denoise::backend::{Backend, Gpu};
use denoise::config::{SchedulerKind, TimestepSpacing};
use denoise::graph::Graph;
use denoise::plan::Plan;
use denoise::random::Generator;
use denoise::schedule::StepOptions;
use denoise::web::{Engine, Loading};
use denoise::{Pipeline, Precision, Prepared, Sampler, Settings, Tensor};
use js_sys::{Float32Array, Object, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::*;

use crate::golden::Golden;

/// Runs the listed functions as tests in the browser. There is no other way to write a test in this file, and an empty
/// list does not compile: a run that passes has run tests.
macro_rules! browser_tests {
    ($($name:ident),+ $(,)?) => {
        wasm_bindgen_test_configure!(run_in_browser);
        mod run {
            $(#[wasm_bindgen_test::wasm_bindgen_test]
            async fn $name() {
                super::$name().await;
            })+
        }
    };
}

#[allow(dead_code, reason = "the native tests use the rest")]
#[path = "native/golden.rs"]
mod golden;
#[allow(dead_code, reason = "the native tests use the rest")]
#[path = "native/gradient_cases.rs"]
mod gradient_cases;
#[allow(dead_code, reason = "the native tests use the rest")]
#[path = "native/ops.rs"]
mod ops;

browser_tests!(
    ops_on_the_cpu_agree_with_pytorch,
    ops_on_the_gpu_agree_with_the_cpu,
    gradients_on_the_gpu_agree_with_pytorch,
    epsilon_agrees_with_diffusers_on_both_backends,
    trajectories_end_where_those_of_diffusers_do,
    both_backends_make_the_same_pictures,
    the_loop_makes_nothing,
    noise_has_the_same_bits_as_everywhere,
    an_engine_generates,
    an_engine_keeps_its_model_when_another_cannot_be_loaded,
    weights_are_on_the_gpu_before_all_have_arrived,
    a_file_may_begin_anew_while_shaders_are_compiled,
    a_run_that_another_replaces_in_the_middle_of_a_step_does_not_disturb_it,
);

const CONFIG: &str = include_str!("../www/models/digits/unet/config.json");
const SCHEDULER: &str = include_str!("../www/models/digits/scheduler/scheduler_config.json");
const CARD: &str = include_str!("../www/models/digits/card.json");
const WEIGHTS: &[u8] = include_bytes!("../www/models/digits/unet/diffusion_pytorch_model.safetensors");

fn pipeline() -> Pipeline {
    Pipeline::from_files(CONFIG, [WEIGHTS], Some(SCHEDULER), Some(CARD)).unwrap()
}

fn golden(key: &str) -> Tensor {
    Golden::load("digits").get(key).tensor()
}

async fn ops_on_the_cpu_agree_with_pytorch() {
    ops::check_cpu();
}

async fn ops_on_the_gpu_agree_with_the_cpu() {
    let gpu = Gpu::open().await.unwrap();
    assert!(ops::check_gpu(&gpu, Precision::F32).await.len() > 15);
    match gpu.half() {
        true => assert!(ops::check_gpu(&gpu, Precision::F16).await.len() > 15),
        // SwiftShader, which stands in for a GPU where there is none, has no 16-bit numbers.
        false => {
            console_log!("SKIPPED: the ops in 16 bits, which this GPU does not have");
            let mut graph = Graph::new();
            let values = pipeline().unet_mut().build(&mut graph, 1, 32, 32, Precision::F16).unwrap();
            graph.output("epsilon", values.output);
            let refusal = Backend::Gpu(gpu).compile(Plan::new(&graph), &[], |_, _| {}).await.err().unwrap();
            assert_eq!(refusal.to_string(), "This GPU computes in 32 bits only; choose f32.");
        }
    }
}

/// The shaders of every op's gradient and of the losses, each graph as a whole.
async fn gradients_on_the_gpu_agree_with_pytorch() {
    let (count, worst) = gradient_cases::check(&Backend::Gpu(Gpu::open().await.unwrap())).await;
    console_log!("{count} gradients: at most {worst:.1e}");
    assert!(count > 100);
}

async fn backends() -> [Backend; 2] {
    [Backend::Cpu, Backend::Gpu(Gpu::open().await.unwrap())]
}

/// ‖actual − expected‖ / ‖expected‖.
fn relative_error(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let norm = |it: &mut dyn Iterator<Item = f32>| it.map(|x| x * x).sum::<f32>().sqrt();
    norm(&mut actual.iter().zip(expected).map(|(a, e)| a - e)) / norm(&mut expected.iter().copied())
}

async fn epsilon_agrees_with_diffusers_on_both_backends() {
    let mut pipeline = pipeline();
    for backend in backends().await {
        let mut graph = Graph::new();
        let values = pipeline.unet_mut().build(&mut graph, 2, 32, 32, Precision::F32).unwrap();
        graph.output("epsilon", values.output);
        let executor = backend.compile(Plan::new(&graph), &[], |_, _| {}).await.unwrap();
        executor.write("sample", &golden("sample").to_device().unwrap()).unwrap();
        for t in [0, 10, 500, 999] {
            for (labels, key) in [([3.0, 7.0], "class"), ([10.0, 10.0], "null")] {
                for (name, data) in [("timestep", [t as f32; 2]), ("class_labels", labels)] {
                    let tensor = Tensor::new(&[2], data.to_vec()).unwrap();
                    executor.write(name, &tensor.to_device().unwrap()).unwrap();
                }
                executor.run(0).await.unwrap();
                let shape = &executor.plan().output("epsilon").unwrap().shape;
                let actual = Tensor::from_device(shape, &executor.read("epsilon").await.unwrap()).unwrap();
                let error = relative_error(&actual.data, &golden(&format!("eps.t{t}.{key}")).data);
                let device = if backend.gpu().is_some() { "gpu" } else { "cpu" };
                console_log!("{device} eps.t{t}.{key}: {error:.1e}");
                assert!(error <= 1e-5, "{device} eps.t{t}.{key}: {error:.1e}");
            }
        }
    }
}

fn settings(pipeline: &Pipeline, sampler: SchedulerKind, steps: usize, class_labels: &[f32]) -> Settings {
    let mut scheduler = pipeline.scheduler().unwrap().with_kind(sampler).unwrap();
    if sampler == SchedulerKind::Ddim {
        scheduler.timestep_spacing = TimestepSpacing::Trailing;
    }
    Settings {
        scheduler: Some(scheduler),
        steps,
        count: class_labels.len(),
        seeds: vec![1234],
        class_labels: class_labels.to_vec(),
        ..Settings::default()
    }
}

async fn prepare(backend: &Backend, pipeline: &mut Pipeline, settings: &Settings) -> Rc<Prepared> {
    let layout = settings.layout(pipeline).unwrap();
    Prepared::new(backend, pipeline, layout, |_, _| {}).await.unwrap()
}

async fn trajectories_end_where_those_of_diffusers_do() {
    let mut pipeline = pipeline();
    for backend in backends().await {
        for (kind, key) in [(SchedulerKind::Ddpm, "ddpm_fixed_small"), (SchedulerKind::Ddim, "ddim_trailing")] {
            let settings = settings(&pipeline, kind, 20, &[3.0, 7.0]);
            let prepared = prepare(&backend, &mut pipeline, &settings).await;
            let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
            while sampler.next().await.unwrap().is_some() {}
            let actual = sampler.sample().await.unwrap();
            let error = relative_error(&actual.data, &golden(&format!("{key}.x0")).data);
            let device = if backend.gpu().is_some() { "gpu" } else { "cpu" };
            console_log!("{device} {key}: {error:.1e}");
            assert!(error <= 1e-3, "{device} {key}: {error:.1e}");
        }
    }
}

async fn both_backends_make_the_same_pictures() {
    let mut pipeline = pipeline();
    let mut pictures = Vec::new();
    for backend in backends().await {
        let settings = settings(&pipeline, SchedulerKind::Ddpm, 6, &[0.0, 10.0]);
        let prepared = prepare(&backend, &mut pipeline, &settings).await;
        let mut runs = Vec::new();
        for _ in 0..2 {
            let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
            let mut last = Vec::new();
            while let Some(frame) = sampler.next().await.unwrap() {
                last = frame.prev.data;
            }
            runs.push(last);
        }
        assert!(runs[0] == runs[1], "the same numbers again");
        pictures.push(runs.remove(0));
    }
    let pixels = pictures[0].iter().zip(&pictures[1]);
    let difference: f64 = pixels.map(|(a, b)| f64::from((a.clamp(-1.0, 1.0) - b.clamp(-1.0, 1.0)).abs())).sum();
    let mean = 127.5 * difference / pictures[0].len() as f64;
    console_log!("mean difference between backends: {mean:.4} of 255");
    assert!(mean <= 1.0);
}

async fn a_run_that_another_replaces_in_the_middle_of_a_step_does_not_disturb_it() {
    let backend = Backend::Gpu(Gpu::open().await.unwrap());
    let mut pipeline = pipeline();
    let settings = settings(&pipeline, SchedulerKind::Ddim, 2, &[1.0; 8]);
    let prepared = prepare(&backend, &mut pipeline, &settings).await;
    let begin = |seed| Sampler::new(&pipeline, &prepared, &Settings { seeds: vec![seed], ..settings.clone() }).unwrap();
    let mut whole = begin(1);
    let mut expected = Vec::new();
    while let Some(frame) = whole.next().await.unwrap() {
        expected = frame.prev.data;
    }

    let mut replaced = begin(2);
    let submissions = || backend.gpu().unwrap().counters().submissions;
    let before = submissions();
    let failed = Rc::new(RefCell::new(None));
    let outcome = failed.clone();
    wasm_bindgen_futures::spawn_local(async move {
        *outcome.borrow_mut() = Some(replaced.next().await.map(|_| ()));
    });
    while submissions() == before {
        tick().await;
    }
    // A step takes several submissions, of which two are under way at once: the others wait.
    if failed.borrow().is_some() {
        console_log!("SKIPPED: a run that is replaced in the middle of a step, which this GPU does at once");
        return;
    }
    let mut second = begin(1);
    let mut last = Vec::new();
    while let Some(frame) = second.next().await.unwrap() {
        last = frame.prev.data;
    }
    assert!(last == expected, "the pictures of a run that was alone");
    let outcome = failed.take().unwrap();
    assert_eq!(outcome.unwrap_err().to_string(), "This run has ended: another one began.");
}

/// Counts what the browser is asked to make, and the bytes it is given, by wrapping WebGPU's own methods.
#[wasm_bindgen(inline_js = "
    export function count_calls() {
        const counts = { buffers: 0, bind_groups: 0, pipelines: 0, submissions: 0, bytes: 0 };
        const wrap = (prototype, method, key, amount = () => 1) => {
            const original = prototype[method];
            prototype[method] = function (...args) { counts[key] += amount(...args); return original.apply(this, args); };
        };
        wrap(GPUQueue.prototype, 'writeBuffer', 'bytes', (buffer, offset, data, first, size) => size ?? data.byteLength);
        wrap(GPUDevice.prototype, 'createBuffer', 'buffers');
        wrap(GPUDevice.prototype, 'createBindGroup', 'bind_groups');
        wrap(GPUDevice.prototype, 'createComputePipeline', 'pipelines');
        wrap(GPUDevice.prototype, 'createComputePipelineAsync', 'pipelines');
        wrap(GPUQueue.prototype, 'submit', 'submissions');
        return counts;
    }
")]
extern "C" {
    fn count_calls() -> Object;
}

/// Lets the browser do something else.
#[wasm_bindgen(inline_js = "export const tick = () => new Promise((done) => setTimeout(done));")]
extern "C" {
    async fn tick();
}

async fn the_loop_makes_nothing() {
    const STEPS: usize = 8;
    let mut pipeline = pipeline();
    let backend = Backend::Gpu(Gpu::open().await.unwrap());
    // η > 0, so that noise is written at every step.
    let options = StepOptions { eta: Some(1.0), ..StepOptions::default() };
    let settings = Settings { options, ..settings(&pipeline, SchedulerKind::Ddim, STEPS, &[5.0]) };
    let prepared = prepare(&backend, &mut pipeline, &settings).await;
    let mut sampler = Sampler::new(&pipeline, &prepared, &settings).unwrap();
    let waits = backend.gpu().unwrap().counters().waits;
    let counts = count_calls();
    let mut frames = 0;
    while sampler.next().await.unwrap().is_some() {
        frames += 1;
    }
    let count = |key: &str| Reflect::get(&counts, &key.into()).unwrap().as_f64().unwrap() as usize;
    assert_eq!(frames, STEPS);
    assert_eq!((count("buffers"), count("bind_groups"), count("pipelines")), (0, 0, 0));
    // One of several steps, or several of one step, as the device is quick or slow.
    assert!(count("submissions") > 0);
    assert_eq!(backend.gpu().unwrap().counters().waits - waits, 1, "only for the last frame");
}

async fn noise_has_the_same_bits_as_everywhere() {
    let hash = |values: &[f32]| {
        let step = |hash: u64, x: &f32| (hash ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01b3);
        values.iter().fold(0xcbf2_9ce4_8422_2325, step)
    };
    let noise = |len| hash(&Generator::new(1234).randn(len));
    // The same figures as in tests/native/random.rs.
    assert_eq!((noise(1000), noise(15)), (12_042_802_307_104_709_732, 2_660_644_803_255_449_964));
}

/// A plain object of these fields.
fn object(fields: &[(&str, JsValue)]) -> JsValue {
    let object = Object::new();
    for (key, value) in fields {
        Reflect::set(&object, &(*key).into(), value).unwrap();
    }
    object.into()
}

/// A model on its way to make one image at a time.
fn loading(engine: &Engine, config: &str) -> Result<Loading, JsValue> {
    let files = object(&[("config", config.into()), ("scheduler", SCHEDULER.into()), ("card", CARD.into())]);
    Loading::new(engine, files.unchecked_into(), object(&[("count", 1.into())]))
}

/// Bytes that arrive in pieces.
fn push(loading: &Loading, bytes: &[u8]) -> Result<(), JsValue> {
    bytes.chunks(100_001).try_for_each(|piece| loading.push(piece))
}

/// Loads a model whose weights arrive in pieces.
async fn load(
    engine: &mut Engine,
    config: &str,
    weights: &[u8],
    progress: &js_sys::Function,
) -> Result<JsValue, JsValue> {
    let loading = loading(engine, config)?;
    loading.begin();
    push(&loading, weights)?;
    loading.end()?;
    engine.load(loading, progress).await
}

fn run_settings(count: u32) -> JsValue {
    let labels = js_sys::Array::new();
    for _ in 0..count {
        labels.push(&7.into());
    }
    object(&[
        ("sampler", "ddim".into()),
        ("steps", 2.into()),
        ("eta", 0.into()),
        ("seed", 9_007_199_254_740_991_f64.into()),
        ("class_labels", labels.into()),
        ("count", count.into()),
        ("timestep_spacing", "trailing".into()),
    ])
}

fn get(object: &JsValue, key: &str) -> JsValue {
    Reflect::get(object, &key.into()).unwrap()
}

/// All frames of a run that an engine starts.
async fn generate(engine: &mut Engine, count: u32) -> Vec<JsValue> {
    let mut run = engine.start(run_settings(count)).await.unwrap();
    let rows = js_sys::Array::from(&run.rows().unwrap());
    assert_eq!(rows.length(), 2);
    assert_eq!(get(&rows.get(0), "timestep"), 999);
    assert_eq!(run.initial().length(), count * 32 * 32);
    let mut frames = Vec::new();
    loop {
        let frame = run.next().await.unwrap();
        if frame.is_undefined() {
            return frames;
        }
        assert_eq!(get(&frame, "x").unchecked_ref::<Float32Array>().length(), count * 32 * 32);
        frames.push(frame);
    }
}

async fn an_engine_generates() {
    for backend in ["cpu", "gpu", "auto"] {
        let mut engine = Engine::create(backend).await.unwrap();
        let kind = if backend == "cpu" { "cpu" } else { "gpu" };
        assert_eq!(get(&engine.backend().unwrap(), "kind"), kind);
        let stages = Rc::new(RefCell::new(Vec::new()));
        let heard = stages.clone();
        let progress = Closure::<dyn FnMut(String)>::new(move |stage| heard.borrow_mut().push(stage));
        let progress = progress.as_ref().unchecked_ref();
        let model = load(&mut engine, CONFIG, WEIGHTS, progress).await.unwrap();
        assert_eq!(get(&model, "title"), "Digits");
        assert_eq!(get(&model, "null_class"), 10);
        assert_eq!(get(&model, "parameters"), 1_114_209);
        let heard = |stage: &str| stages.borrow().iter().any(|heard| heard == stage);
        assert!(heard("parse"));
        assert_eq!(heard("compile"), kind == "gpu");
        assert_eq!(generate(&mut engine, 1).await.len(), 2);
        // Another number of images is another plan of the same model.
        assert_eq!(generate(&mut engine, 2).await.len(), 2);
    }
    let error = Engine::create("tpu").await.err().unwrap();
    assert_eq!(get(&error, "message"), "The backend \"tpu\" does not exist; choose auto, gpu or cpu.");
}

async fn an_engine_keeps_its_model_when_another_cannot_be_loaded() {
    let mut engine = Engine::create("cpu").await.unwrap();
    let error = engine.start(run_settings(1)).await.err().unwrap();
    assert_eq!(get(&error, "message"), "No model is loaded yet.");
    let progress = js_sys::Function::new_no_args("");
    load(&mut engine, CONFIG, WEIGHTS, &progress).await.unwrap();
    let mut not_a_number = WEIGHTS.to_vec();
    let last = not_a_number.len() - 4;
    not_a_number[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let unsupported = CONFIG.replace("positional", "gaussian");
    let hostile = [
        (CONFIG, &WEIGHTS[..1000], "download it again"),
        (CONFIG, &not_a_number, "not a finite number"),
        (&unsupported, WEIGHTS, "time_embedding_type is \"gaussian\""),
    ];
    for (config, weights, expected) in hostile {
        let error = load(&mut engine, config, weights, &progress).await.err().unwrap();
        let message = get(&error, "message").as_string().unwrap();
        assert!(message.contains(expected), "{message}");
        assert_eq!(generate(&mut engine, 1).await.len(), 2, "the model loaded before still generates");
    }
}

/// What the frames of a run show.
async fn pictures(engine: &mut Engine) -> Vec<Vec<f32>> {
    let frames = generate(engine, 1).await;
    frames.iter().map(|frame| get(frame, "x").unchecked_into::<Float32Array>().to_vec()).collect()
}

async fn weights_are_on_the_gpu_before_all_have_arrived() {
    let progress = js_sys::Function::new_no_args("");
    let mut engine = Engine::create("gpu").await.unwrap();
    load(&mut engine, CONFIG, WEIGHTS, &progress).await.unwrap();
    let expected = pictures(&mut engine).await;

    // A file that breaks off in its middle, and then turns out to have been another one.
    let (first, rest) = WEIGHTS.split_at(WEIGHTS.len() / 2);
    let other = &zeros()[..first.len()];

    for backend in ["gpu", "cpu"] {
        let mut engine = Engine::create(backend).await.unwrap();
        let loading = loading(&engine, CONFIG).unwrap();
        loading.begin();
        push(&loading, &other[..other.len() / 2]).unwrap();
        loading.compile(&progress).await.unwrap();
        push(&loading, &other[other.len() / 2..]).unwrap();

        let counts = count_calls();
        let count = |key: &str| get(&counts, key).as_f64().unwrap() as usize;
        loading.begin();
        push(&loading, first).unwrap();
        if backend == "gpu" {
            // They have 16 bits in the file and 32 on the GPU; the tensor in which it was cut is still to come.
            assert!(count("bytes") > first.len(), "{} bytes of {} were written", count("bytes"), first.len());
        }
        let before = count("bytes");
        push(&loading, rest).unwrap();
        assert_eq!(count("bytes") > before, backend == "gpu");
        loading.end().unwrap();
        engine.load(loading, &progress).await.unwrap();
        assert_eq!((count("buffers"), count("bind_groups"), count("pipelines")), (0, 0, 0), "loading makes nothing");
        let pictures = pictures(&mut engine).await;
        if backend == "gpu" {
            assert!(pictures == expected, "the same pictures, bit for bit");
        } else {
            let differences = pictures.concat().into_iter().zip(expected.concat()).map(|(a, b)| (a - b).abs());
            assert!(differences.fold(0.0, f32::max) <= 1.0 / 127.5);
        }
    }

    // Of a file that turns out to be of another model, the rest need not arrive.
    let engine = Engine::create("cpu").await.unwrap();
    let coloured = CONFIG.replace("\"in_channels\": 1", "\"in_channels\": 3");
    let coloured = coloured.replace("\"out_channels\": 1", "\"out_channels\": 3");
    let other = self::loading(&engine, &coloured).unwrap();
    other.begin();
    let error = push(&other, &WEIGHTS[..header_length()]).unwrap_err();
    let message = get(&error, "message").as_string().unwrap();
    assert!(message.contains("has conv_in.weight with shape"), "{message}");
    // The right file may still come, even after one that was cut off.
    let other = self::loading(&engine, CONFIG).unwrap();
    for _ in 0..2 {
        other.begin();
        push(&other, first).unwrap();
        assert!(other.end().is_err());
    }
    other.begin();
    push(&other, WEIGHTS).unwrap();
    other.end().unwrap();
}

async fn a_file_may_begin_anew_while_shaders_are_compiled() {
    let progress = js_sys::Function::new_no_args("");
    let mut engine = Engine::create("gpu").await.unwrap();
    load(&mut engine, CONFIG, WEIGHTS, &progress).await.unwrap();
    let expected = pictures(&mut engine).await;

    let loading = Rc::new(loading(&engine, CONFIG).unwrap());
    loading.begin();
    push(&loading, &zeros()).unwrap();
    let counts = count_calls();
    let compiled = Rc::new(Cell::new(false));
    let (compiling, done) = (loading.clone(), compiled.clone());
    wasm_bindgen_futures::spawn_local(async move {
        compiling.compile(&progress).await.unwrap();
        drop(compiling);
        done.set(true);
    });
    // What has arrived is on the GPU, but not everything is checked that was made there.
    while get(&counts, "bytes").as_f64().unwrap() < WEIGHTS.len() as f64 {
        tick().await;
    }
    assert!(!compiled.get());
    loading.begin();
    push(&loading, WEIGHTS).unwrap();
    loading.end().unwrap();
    while !compiled.get() {
        tick().await;
    }
    let loading = Rc::into_inner(loading).unwrap();
    engine.load(loading, &js_sys::Function::new_no_args("")).await.unwrap();
    assert!(pictures(&mut engine).await == expected);
}

/// Bytes of the header of the weights.
fn header_length() -> usize {
    8 + u64::from_le_bytes(*WEIGHTS.first_chunk().unwrap()) as usize
}

/// A file like that of the weights, in which all numbers are zero.
fn zeros() -> Vec<u8> {
    let mut bytes = WEIGHTS.to_vec();
    bytes[header_length()..].fill(0);
    bytes
}
