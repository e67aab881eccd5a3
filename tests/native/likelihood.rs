//! The probability-flow ODE against SciPy's solver and autograd (`tests/golden/likelihood.py`), and its trace against the whole
//! Jacobian.

use denoise::config::{SchedulerConfig, SchedulerKind};
use denoise::likelihood::{Likelihood, Method, Solver};
use denoise::random::Generator;
use denoise::{Backend, Pipeline, Tensor, Weights, to_safetensors};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::{Folder, fail, succeed};
use crate::digits::backends;
use crate::golden::{self, Golden};
use crate::runs;

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    config: Map<String, Value>,
}

fn scheduler(pipeline: &Pipeline, changes: &str) -> SchedulerConfig {
    pipeline.scheduler_file().config(Some(SchedulerKind::Ddpm), changes).unwrap()
}

#[test]
fn likelihoods_agree_with_scipy() {
    let golden = Golden::load("likelihood");
    let cases: Vec<Case> = golden::list("likelihood");
    pollster::block_on(async {
        for (backend, device) in backends().await.iter().zip(["CPU", "GPU"]) {
            for case in &cases {
                // The whole way of the larger network takes long on a GPU of software.
                if device == "GPU" && case.model == "digits" {
                    continue;
                }
                let find = |what: &str| golden.find(&format!("{}.{what}", case.name)).map(|array| array.tensor());
                let pipeline = runs::pipeline(&case.model);
                let config = scheduler(&pipeline, &Value::Object(case.config.clone()).to_string());
                let (images, probe) = (find("sample").unwrap(), find("probe").unwrap());
                let labels = find("class_labels").map_or(Vec::new(), |labels| labels.data);
                let size = (images.shape[2], images.shape[3]);
                let likelihood = Likelihood::new(backend, &pipeline, &config, 2, size).await.unwrap();
                let expected = &golden.get(&format!("{}.bits_per_dim", case.name)).data;
                let solve = async |method, steps| {
                    let (probe, mut evaluations) = ([probe.clone()], 0);
                    let solver = Solver { method, steps };
                    let found = likelihood.encode(&images, &probe, &labels, solver, || evaluations += 1).await.unwrap();
                    assert_eq!(evaluations, steps * method.evaluations());
                    let off = |(found, expected): (&f64, &f64)| (found - expected).abs();
                    let worst = found.bits_per_dim.iter().zip(expected).map(off).fold(0.0, f64::max);
                    let x_t = golden::relative_error(&found.x_t.data, &golden.get(&format!("{}.x_T", case.name)).data);
                    println!("{device} {} {method:?} {steps}: {worst:.1e} bits/dim, x_T {x_t:.1e}", case.name);
                    assert!(found.bits_per_dim.iter().all(|bits| bits.is_finite()));
                    (worst, x_t)
                };
                let (bits, x_t) = solve(Method::Rk4, 50).await;
                assert!(bits <= 0.02 && x_t <= 0.05, "{device} {}: {bits:.1e}, {x_t:.1e}", case.name);
                // Of second order, it needs more steps for as much, most where x_0 is predicted.
                if device == "CPU" {
                    let (bits, _) = solve(Method::Heun, if case.model == "digits" { 100 } else { 320 }).await;
                    assert!(bits <= 0.02, "{}: {bits:.1e}", case.name);
                }
            }
        }
    });
}

/// With the unit vectors as probes the estimates add up to the trace, which differences of ε̂ have too; and those with random signs
/// are it on average.
#[test]
fn the_trace_is_that_of_the_jacobian() {
    for (model, changes, label) in [
        ("unet_learned", r#"{"variance_type": "learned_range"}"#, None),
        ("unet_number", r#"{"prediction_type": "v_prediction"}"#, Some(1.5)),
    ] {
        let pipeline = runs::pipeline(model);
        let (channels, size) = (pipeline.channels(), (4, 4));
        let len = channels * 16;
        let labels: Vec<f32> = label.into_iter().collect();
        let x: Vec<f64> = Generator::new(5).randn(len).iter().map(|&x| f64::from(x)).collect();
        pollster::block_on(async {
            let config = scheduler(&pipeline, changes);
            let likelihood = Likelihood::new(&Backend::Cpu, &pipeline, &config, 1, size).await.unwrap();
            for sigma in [0.1, 2.0] {
                let at = async |x: &[f64], probe: &[f32]| {
                    likelihood.epsilon_and_trace(x, sigma, &[probe], &labels).await.unwrap()
                };
                let (mut exact, mut differences) = (0.0, 0.0);
                let mut unit = vec![0.0; len];
                for i in 0..len {
                    unit[i] = 1.0;
                    exact += at(&x, &unit).await.1[0];
                    let h = 1e-2;
                    let moved =
                        |by: f64| x.iter().enumerate().map(|(k, x)| x + if k == i { by } else { 0.0 }).collect();
                    let (above, below): (Vec<f64>, Vec<f64>) = (moved(h), moved(-h));
                    differences += (at(&above, &unit).await.0[i] - at(&below, &unit).await.0[i]) / (2.0 * h);
                    unit[i] = 0.0;
                }
                assert!((exact - differences).abs() <= 2e-3 * exact.abs(), "{model}: {exact} and {differences}");
                let mut generator = Generator::new(8);
                let mut estimates = Vec::new();
                for _ in 0..200 {
                    let signs: Vec<f32> =
                        generator.rand_below(0.5, len).iter().map(|&below| if below { 1.0 } else { -1.0 }).collect();
                    estimates.push(at(&x, &signs).await.1[0]);
                }
                let mean = denoise::bound::Mean::of(&estimates);
                let error = mean.standard_error.unwrap();
                println!("{model} at {sigma}: {exact:.4}, {differences:.4}, {:.4} ± {error:.4}", mean.mean);
                assert!((mean.mean - exact).abs() < 4.0 * error && error > 0.0 && error < exact.abs(), "{model}");
            }
        });
    }
}

/// What a network says whose last convolution has a bias alone depends on nothing, and its ODE has a solution in closed form: with ε
/// it is x̄_0 + ε (σ_T − σ_0) without a trace, with x_0 it is x_0 + (x̄_0 − x_0) σ_T / σ_0, and the trace adds up to ln(σ_T / σ_0) a
/// number.
#[test]
fn a_network_that_always_says_the_same_is_solved_in_closed_form() {
    const SAID: [f32; 3] = [0.3, -0.2, 0.1];
    let folder = runs::folder("unet_number");
    let weights =
        Weights::from_bytes(&golden::bytes(&format!("{folder}/diffusion_pytorch_model.safetensors"))).unwrap();
    let mut tensors: Vec<(String, Tensor)> = weights.into_iter().collect();
    for (path, tensor) in &mut tensors {
        match path.as_str() {
            "conv_out.weight" => tensor.data.fill(0.0),
            "conv_out.bias" => tensor.data.copy_from_slice(&SAID),
            _ => {}
        }
    }
    let file = to_safetensors(tensors.iter().map(|(path, tensor)| (path.as_str(), tensor)), None).unwrap();
    let config = golden::text(&format!("{folder}/config.json"));
    let pipeline = Pipeline::from_files(&config, [&file[..]], None, None).unwrap();

    let mut generator = Generator::new(3);
    let image =
        Tensor::new(&[1, 3, 8, 8], generator.randn(192).iter().map(|x| (0.3 * x).clamp(-1.0, 1.0)).collect()).unwrap();
    let probe = Tensor::new(&[1, 3, 8, 8], vec![1.0; 192]).unwrap();
    for (prediction, betas) in [("epsilon", [1e-4, 0.02]), ("sample", [0.2, 0.4])] {
        let changes = serde_json::json!({
            "prediction_type": prediction, "num_train_timesteps": 40, "beta_start": betas[0], "beta_end": betas[1],
        });
        let config = scheduler(&pipeline, &changes.to_string());
        pollster::block_on(async {
            let likelihood = Likelihood::new(&Backend::Cpu, &pipeline, &config, 1, (8, 8)).await.unwrap();
            let [first, last] = likelihood.span();
            let solver = Solver { method: Method::Rk4, steps: 100 };
            let found = likelihood.encode(&image, std::slice::from_ref(&probe), &[0.5], solver, || ()).await.unwrap();

            let end = image.data.iter().enumerate().map(|(i, &x)| {
                let (x, said) = (f64::from(x), f64::from(SAID[i / 64]));
                if prediction == "epsilon" { x + said * (last - first) } else { said + (x - said) * last / first }
            });
            let trace = if prediction == "epsilon" { 0.0 } else { (last / first).ln() };
            let variance = 1.0 + last * last;
            let squares = end.clone().map(|x| x * x).sum::<f64>() / 192.0;
            let nats = 0.5 * ((std::f64::consts::TAU * variance).ln() + squares / variance) - trace;
            let expected = nats / std::f64::consts::LN_2 + 127.5_f64.log2();
            let x_t: Vec<f64> = end.map(|x| x / variance.sqrt()).collect();
            let (off, noise) =
                ((found.bits_per_dim[0] - expected).abs(), golden::relative_error(&found.x_t.data, &x_t));
            println!("{prediction}: {expected:.4} bits/dim, off by {off:.1e}; x_T {noise:.1e}");
            assert!(off <= 1e-3 && noise <= 1e-4, "{prediction}: {off:.1e}, {noise:.1e}");
        });
    }
}

#[test]
fn a_likelihood_that_cannot_be_computed_says_why() {
    pollster::block_on(async {
        let refused = async |model: &str, changes: &str| {
            let pipeline = runs::pipeline(model);
            let config = scheduler(&pipeline, changes);
            let made = Likelihood::new(&Backend::Cpu, &pipeline, &config, 1, (8, 8)).await;
            made.err().unwrap().to_string()
        };
        let zero = r#"{"rescale_betas_zero_snr": true, "prediction_type": "v_prediction"}"#;
        let refusal = refused("unet_number", zero).await;
        assert!(refusal.contains("nothing is left of the image"), "{refusal}");
        assert!(refused("unet_condition", "{}").await.contains("takes a condition beside x_t"));

        let pipeline = runs::pipeline("unet_number");
        let config = scheduler(&pipeline, "{}");
        let likelihood = Likelihood::new(&Backend::Cpu, &pipeline, &config, 1, (8, 8)).await.unwrap();
        let image = |x: f32| Tensor::new(&[1, 3, 8, 8], vec![x; 192]).unwrap();
        let problem = async |x: f32, probes: &[Tensor], labels: &[f32], steps: usize| {
            let solver = Solver { method: Method::Heun, steps };
            likelihood.encode(&image(x), probes, labels, solver, || ()).await.err().unwrap().to_string()
        };
        assert!(problem(1.1, &[image(1.0)], &[0.5], 2).await.contains("The images have 1.1"));
        assert!(problem(0.1, &[], &[0.5], 2).await.contains("a probe at least"));
        assert!(problem(0.1, &[image(1.0)], &[0.5], 0).await.contains("needs a step"));
        assert!(problem(0.1, &[image(1.0)], &[], 2).await.contains("for the classes of 1 images"));
    });
}

#[test]
fn the_command_says_how_likely_images_are() {
    let folder = Folder::new("likelihood");
    let (images, out) = (folder.path("images.safetensors"), folder.path("x_T.safetensors"));
    let golden = Golden::load("bound");
    let sample = golden.get("number.sample").tensor();
    let view = safetensors::tensor::TensorView::new(
        safetensors::Dtype::F32,
        sample.shape.clone(),
        bytemuck::cast_slice(&sample.data),
    );
    std::fs::write(&images, safetensors::serialize([("sample", view.unwrap())], None).unwrap()).unwrap();
    // A network with random weights differs from timestep to timestep; with few of them the ODE is as smooth as a trained one's.
    let config = ["--scheduler-config", r#"{"num_train_timesteps": 40}"#];
    let command = ["likelihood", "tests/golden/unet_number", &images, "--backend", "cpu", "--class", "0.5"];
    let command = [&command[..], &config].concat();
    let report = |more: &[&str]| -> Value {
        serde_json::from_str(&succeed(&[&command[..], &["--json"], more].concat())).unwrap()
    };
    let fine = report(&["--steps", "40", "--out", &out]);
    assert_eq!((&fine["images"], &fine["evaluations"]), (&Value::from(2), &Value::from(160)));
    let number = |report: &Value, what: &str| report[what].as_f64().unwrap();
    let error = number(&fine, "solver_error");
    assert!(number(&fine["bits_per_dim"], "standard_error") > 0.0);
    let coarse = number(&report(&["--steps", "10", "--method", "heun", "--batch", "1"]), "solver_error");
    assert!(error < 0.02 && error < coarse, "{error} and {coarse}");
    let written = std::fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&written).unwrap();
    assert_eq!(file.tensor("x_T").unwrap().shape(), sample.shape);
    assert_eq!(file.tensor("bits_per_dim").unwrap().shape(), [2]);
    let table = succeed(&[&command[..], &["--steps", "4", "--probes", "2"]].concat());
    assert!(table.contains("2 images, 16 evaluations each") && table.contains("solver's error"), "{table}");
    fail(&[&command[..], &["--steps", "5"]].concat(), &["steps must be an even number"]);
    fail(&[&command[..], &["--probes", "0"]].concat(), &["probes 1 or more"]);
    fail(&[&command[..], &["--out", "nowhere/x_T.safetensors"]].concat(), &["there is no folder nowhere"]);
}
