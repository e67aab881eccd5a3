//! Weights that arrive after their network was laid out and compiled, tensor by tensor, in any order, and once more.

use std::rc::Rc;

use denoise::config::UNetConfig;
use denoise::graph::Graph;
use denoise::noise::Generator;
use denoise::plan::Plan;
use denoise::unet::UNet2DModel;
use denoise::{Backend, Error, Pipeline, Precision, Prepared, Sampler, Settings, Tensor, Weights};

use crate::digits::{backends, pipeline, prepare};
use crate::golden;

const MODEL: &str = "www/models/digits";

fn settings() -> Settings {
    Settings { steps: 3, seeds: vec![1], class_labels: vec![4.0], ..Settings::default() }
}

/// The model without its weights, and its tensors in an order that has nothing to do with that of the layers.
fn parts() -> (Pipeline, Vec<(String, Tensor)>) {
    let text = |file: &str| golden::text(&format!("{MODEL}/{file}"));
    let scheduler = text("scheduler/scheduler_config.json");
    let pipeline = Pipeline::from_json(&text("unet/config.json"), Some(&scheduler), Some(&text("card.json"))).unwrap();
    let file = golden::bytes(&format!("{MODEL}/unet/diffusion_pytorch_model.safetensors"));
    let tensors: Vec<_> = Weights::from_bytes(&file).unwrap().into_iter().collect();
    let keys = Generator::new(7).randn(tensors.len());
    let mut tensors: Vec<_> = keys.into_iter().zip(tensors).collect();
    tensors.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    (pipeline, tensors.into_iter().map(|(_, tensor)| tensor).collect())
}

/// One tensor, with other numbers if that is asked for.
fn one((path, tensor): &(String, Tensor), wrong: bool) -> Weights {
    let mut tensor = tensor.clone();
    if wrong {
        tensor.data.fill(0.5);
    }
    [(path.clone(), tensor)].into_iter().collect()
}

async fn pictures(pipeline: &Pipeline, prepared: &Rc<Prepared>) -> Vec<Vec<u8>> {
    let mut sampler = Sampler::new(pipeline, prepared, &settings()).unwrap();
    let mut pictures = Vec::new();
    while let Some(frame) = sampler.next().await.unwrap() {
        pictures.extend([frame.prev, frame.x0]);
    }
    pictures
}

async fn check_backend(backend: &Backend) {
    let expected = {
        let mut pipeline = pipeline();
        let prepared = prepare(backend, &mut pipeline, &settings()).await;
        pictures(&pipeline, &prepared).await
    };
    let (mut pipeline, tensors) = parts();
    let prepared = prepare(backend, &mut pipeline, &settings()).await;
    let buffers = || backend.gpu().map(|gpu| (gpu.counters().buffers, gpu.counters().pipelines));
    let before = buffers();

    // Some of them come, of another file as it turns out; then all, the last one late.
    for tensor in &tensors[..tensors.len() / 3] {
        pipeline.unet_mut().receive(one(tensor, true)).unwrap();
        prepared.upload().unwrap();
    }
    pipeline.unet_mut().forget(tensors[..tensors.len() / 3].iter().map(|(path, _)| path));
    prepared.outdate();
    let (last, others) = tensors.split_last().unwrap();
    for tensor in others {
        pipeline.unet_mut().receive(one(tensor, false)).unwrap();
        prepared.upload().unwrap();
    }
    let error = pipeline.unet_mut().finish().unwrap_err().to_string();
    assert!(error.contains(&format!("has no tensor {}", last.0)), "{error}");
    assert_eq!(before, buffers(), "what was made before the weights came is all there is");
    let mut early = Sampler::new(&pipeline, &prepared, &settings()).unwrap();
    let error = early.next().await.unwrap_err().to_string();
    assert!(error.contains("has not arrived as far as"), "{error}");
    pipeline.unet_mut().receive(one(last, false)).unwrap();
    prepared.upload().unwrap();
    pipeline.unet_mut().finish().unwrap();
    assert!(pictures(&pipeline, &prepared).await == expected, "the same bytes as of a model that was read at once");
}

#[test]
fn weights_may_arrive_after_all_is_compiled() {
    pollster::block_on(async {
        for backend in backends().await {
            check_backend(&backend).await;
        }
    });
}

#[test]
fn a_tensor_arrives_once() {
    let (mut pipeline, tensors) = parts();
    let unet = pipeline.unet_mut();
    unet.receive(one(&tensors[0], false)).unwrap();
    let error = unet.receive(one(&tensors[0], false)).unwrap_err().to_string();
    assert!(error.contains(&format!("has {} in two of its shards", tensors[0].0)), "{error}");
    unet.forget([&tensors[0].0]);
    unet.receive(one(&tensors[0], false)).unwrap();
}

/// Of a tensor that stands in a checkpoint by an old path and by today's, that of today counts, whichever comes first.
#[test]
fn paths_of_today_count() {
    const OLD: &str = "mid_block.attentions.0.query.weight";
    const TODAY: &str = "mid_block.attentions.0.to_q.weight";
    let (config, file) = ("tests/golden/unet_tiny_class/config.json", "diffusion_pytorch_model.safetensors");
    let config = UNetConfig::from_json(&golden::text(config)).unwrap();
    let all: Vec<_> = Weights::from_bytes(&golden::bytes(&format!("tests/golden/unet_tiny_class/{file}")))
        .unwrap()
        .into_iter()
        .collect();
    let (today, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(path, _)| path == TODAY);
    let tensor = &today[0].1;
    let old = |value: f32| -> Weights {
        let data = vec![value; tensor.data.len()];
        [(OLD.to_string(), Tensor { shape: tensor.shape.clone(), data })].into_iter().collect()
    };
    let mut both = UNet2DModel::without_weights(config.clone()).unwrap();
    both.receive(others.iter().cloned().collect()).unwrap();
    both.receive(old(9.0)).unwrap();
    both.receive(today.iter().cloned().collect()).unwrap();
    both.finish().unwrap();

    let mut only_old = UNet2DModel::without_weights(config.clone()).unwrap();
    only_old.receive(old(9.0)).unwrap();
    only_old.receive(others.iter().cloned().collect()).unwrap();
    only_old.finish().unwrap();

    let only_today = UNet2DModel::new(config, [today, others].map(|part| part.into_iter().collect())).unwrap();
    let [both, only_old, only_today] = [both, only_old, only_today].map(numbers);
    assert!(both == only_today && both != only_old);
}

/// The numbers of all constants of a network.
fn numbers(mut unet: UNet2DModel) -> Vec<Rc<[f32]>> {
    let mut graph = Graph::new();
    let output = unet.build(&mut graph, 1, 8, 8, Precision::F32).unwrap().output;
    graph.output("epsilon", output);
    Plan::new(&graph).constants.iter().map(|constant| constant.numbers.get().unwrap()).collect()
}

#[test]
fn what_does_not_fit_is_said_when_it_arrives() {
    let (mut pipeline, tensors) = parts();
    let (path, tensor) = &tensors[3];
    let longer = Tensor { shape: [&tensor.shape[..], &[1]].concat(), data: tensor.data.clone() };
    let error = pipeline.unet_mut().receive([(path.clone(), longer)].into_iter().collect()).unwrap_err();
    assert!(
        matches!(&error, Error::Weights(message) if message.contains(&format!("has {path} with shape"))),
        "{error}"
    );
}
