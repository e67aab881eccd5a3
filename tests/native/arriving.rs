//! Weights that arrive after their network was laid out and compiled, tensor by tensor, in any order, and once more.

use std::collections::BTreeMap;
use std::rc::Rc;

use denoise::config::UNetConfig;
use denoise::graph::Graph;
use denoise::plan::Plan;
use denoise::random::Generator;
use denoise::unet::{UNet2DModel, WeightsFile};
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

async fn pictures(pipeline: &Pipeline, prepared: &Rc<Prepared>) -> Vec<Vec<f32>> {
    let mut sampler = Sampler::new(pipeline, prepared, &settings()).unwrap();
    let mut pictures = Vec::new();
    while let Some(frame) = sampler.next().await.unwrap() {
        pictures.extend([frame.prev.data, frame.x0.data]);
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
    let other = &tensors[..tensors.len() / 3];
    for (path, tensor) in other {
        let numbers = vec![0.5; tensor.data.len()];
        pipeline.unet_mut().receive(path, Tensor::new(&tensor.shape, numbers).unwrap()).unwrap();
        prepared.upload().unwrap();
    }
    pipeline.unet_mut().forget(&other.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>());
    let (last, others) = tensors.split_last().unwrap();
    for (path, tensor) in others {
        pipeline.unet_mut().receive(path, tensor.clone()).unwrap();
        prepared.upload().unwrap();
    }
    let error = pipeline.unet_mut().finish().unwrap_err().to_string();
    assert!(error.contains(&format!("has no tensor {}", last.0)), "{error}");
    assert_eq!(before, buffers(), "what was made before the weights came is all there is");
    let mut early = Sampler::new(&pipeline, &prepared, &settings()).unwrap();
    let error = early.next().await.unwrap_err().to_string();
    assert!(error.contains("has not arrived as far as"), "{error}");
    pipeline.unet_mut().receive(&last.0, last.1.clone()).unwrap();
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
    let (path, tensor) = &tensors[0];
    unet.receive(path, tensor.clone()).unwrap();
    let error = unet.receive(path, tensor.clone()).unwrap_err().to_string();
    assert!(error.contains(&format!("has {path} in two of its shards")), "{error}");
    unet.forget(std::slice::from_ref(path));
    unet.receive(path, tensor.clone()).unwrap();
}

/// Of a tensor that stands in a checkpoint by an old path and by today's, that of today counts, whichever comes first; and
/// by an old path alone it is taken, also if others had been missing when that was asked first.
#[test]
fn paths_of_today_count() {
    const FOLDER: &str = "tests/golden/unet_tiny_class";
    const OLD: &str = "mid_block.attentions.0.query.weight";
    const TODAY: &str = "mid_block.attentions.0.to_q.weight";
    let config = UNetConfig::from_json(&golden::text(&format!("{FOLDER}/config.json"))).unwrap();
    let file = golden::bytes(&format!("{FOLDER}/diffusion_pytorch_model.safetensors"));
    let all: Vec<_> = Weights::from_bytes(&file).unwrap().into_iter().collect();
    let (today, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(path, _)| path == TODAY);
    let old = vec![(OLD.to_string(), Tensor::new(&today[0].1.shape, vec![9.0; today[0].1.data.len()]).unwrap())];
    let network = |parts: &[&[(String, Tensor)]]| {
        let mut unet = UNet2DModel::without_weights(config.clone()).unwrap();
        let all = parts.concat();
        for (i, (path, tensor)) in all.iter().enumerate() {
            // Before the last there may be all that is needed.
            assert!(i + 1 == all.len() || unet.finish().unwrap_err().to_string().contains("has no tensor"));
            unet.receive(path, tensor.clone()).unwrap();
        }
        unet.finish().unwrap();
        numbers(unet)
    };
    let expected = network(&[&today, &others]);
    assert!(network(&[&old, &others, &today]) == expected);
    assert!(network(&[&today, &old, &others]) == expected);
    assert!(network(&[&old, &others]) != expected);
}

/// The numbers of all parameters of a network.
fn numbers(unet: UNet2DModel) -> Vec<Vec<f32>> {
    let mut graph = Graph::new();
    let output = unet.build(&mut graph, 1, 8, 8, Precision::F32).unwrap().output;
    graph.output("epsilon", output);
    Plan::new(&graph).states.iter().map(|used| used.state.on_host().unwrap().to_vec()).collect()
}

#[test]
fn what_does_not_fit_is_said_before_it_arrives() {
    let (mut pipeline, tensors) = parts();
    let unet = pipeline.unet_mut();
    // A header by itself, with these tensors beside the network's.
    let mut offer = |others: &[(&str, &[usize])]| {
        let shapes = tensors.iter().map(|(path, tensor)| (path.as_str(), &tensor.shape[..]));
        let shapes: BTreeMap<&str, &[usize]> = shapes.chain(others.iter().copied()).collect();
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        for (path, shape) in shapes {
            let begin = end;
            end += 4 * shape.iter().product::<usize>();
            let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]});
            header.insert(path.into(), entry);
        }
        let header = serde_json::Value::Object(header).to_string();
        WeightsFile::default().push(unet, &[&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat())
    };
    assert!(!offer(&[]).unwrap());
    let (path, tensor) = &tensors[3];
    let longer = [&tensor.shape[..], &[1]].concat();
    let error = offer(&[(path, &longer)]).unwrap_err();
    assert!(
        matches!(&error, Error::Weights(message) if message.contains(&format!("has {path} with shape"))),
        "{error}"
    );
    let others = ["down_blocks.a", "conv_in.b", "mid_block.c", "up_blocks.d"].map(|path| (path, &[2_usize][..]));
    let error = offer(&others).unwrap_err().to_string();
    assert!(
        error.contains("no place for: conv_in.b (F32), down_blocks.a (F32), mid_block.c (F32) and 1 more"),
        "{error}"
    );
    // Whoever does not ask is told when it comes.
    assert!(unet.receive("a", tensor.clone()).is_err());
    assert!(unet.receive(path, Tensor { shape: longer, data: tensor.data.clone() }).is_err());
}
