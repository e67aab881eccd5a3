//! The table against diffusers' schedulers, in f64.

use denoise::config::SchedulerConfig;
use denoise::schedule::{Schedule, StepOptions};
use serde::Deserialize;

use crate::golden::{self, Golden};

#[derive(Deserialize)]
struct Case {
    name: String,
    scheduler: String,
    config: serde_json::Map<String, serde_json::Value>,
    steps: usize,
    eta: f64,
}

fn eta(eta: f64) -> StepOptions {
    StepOptions { eta: Some(eta), ..StepOptions::default() }
}

fn assert_near(what: &str, actual: f64, expected: f64) {
    assert!((actual - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {actual} instead of {expected}");
}

#[test]
fn tables_agree_with_diffusers() {
    let golden = Golden::load("schedules");
    for case in golden::list::<Case>("schedules") {
        let mut json = case.config;
        json.insert("_class_name".into(), case.scheduler.into());
        let config = SchedulerConfig::from_json(&serde_json::Value::Object(json).to_string()).unwrap();
        let schedule = Schedule::new(&config, case.steps, &eta(case.eta)).unwrap();

        let get = |what: &str| &golden.get(&format!("{}.{what}", case.name)).data;
        for (what, actual) in [("betas", &schedule.betas), ("alphas_cumprod", &schedule.alphas_cumprod)] {
            assert_eq!(actual.len(), get(what).len());
            for (t, (&actual, &expected)) in actual.iter().zip(get(what)).enumerate() {
                let what = format!("{}: {what}[{t}]", case.name);
                assert!((actual - expected).abs() <= 1e-12 * expected, "{what} is {actual} instead of {expected}");
            }
        }
        let timesteps: Vec<f64> = schedule.rows.iter().map(|row| row.timestep).collect();
        assert_eq!(&timesteps, get("timesteps"), "{}", case.name);

        let (sample, model, noise) = (get("sample"), get("model"), get("noise"));
        for (i, &index) in get("rows").iter().enumerate() {
            let row = &schedule.rows[index as usize];
            assert_eq!(f64::from(u8::from(row.draws_noise)), get("draws_noise")[i], "{} row {index}", case.name);
            for e in 0..sample.len() {
                let mut x0 = row.x0_from_x * sample[e] + row.x0_from_model * model[e];
                if let Some(clip) = row.clip {
                    x0 = x0.clamp(-clip, clip);
                }
                let prev =
                    row.prev.x * sample[e] + row.prev.model * model[e] + row.prev.x0 * x0 + row.prev.noise * noise[e];
                let at = i * sample.len() + e;
                assert_near(&format!("{} row {index}: x0", case.name), x0, get("pred_x0")[at]);
                assert_near(&format!("{} row {index}: prev", case.name), prev, get("prev")[at]);
            }
        }
    }
}

/// The formula of Ho et al. 2020, Algorithm 2, is the table's row where nothing is clipped.
#[test]
fn ddpm_is_algorithm_2() {
    let config = SchedulerConfig::from_json(r#"{"clip_sample": false}"#).unwrap();
    let schedule = Schedule::new(&config, 1000, &StepOptions::default()).unwrap();
    for row in &schedule.rows {
        let beta = schedule.betas[row.timestep as usize];
        let (alpha, alpha_cumprod) = (1.0 - beta, schedule.alphas_cumprod[row.timestep as usize]);
        let (x, epsilon, z) = (0.7, -1.1, 0.4);
        let x0 = row.x0_from_x * x + row.x0_from_model * epsilon;
        let prev = row.prev.x * x + row.prev.x0 * x0 + row.prev.noise * z;
        let expected = (x - beta / (1.0 - alpha_cumprod).sqrt() * epsilon) / alpha.sqrt() + row.prev.noise * z;
        assert_near(&format!("t = {}", row.timestep), prev, expected);
    }
}

#[test]
fn every_number_of_steps_is_possible() {
    for spacing in ["leading", "trailing", "linspace"] {
        for kind in ["DDPMScheduler", "DDIMScheduler"] {
            let json = format!(r#"{{"_class_name": "{kind}", "timestep_spacing": "{spacing}"}}"#);
            let config = SchedulerConfig::from_json(&json).unwrap();
            for steps in 1..=1000 {
                let schedule = Schedule::new(&config, steps, &StepOptions::default()).unwrap();
                assert_eq!(schedule.rows.len(), steps);
                assert!(schedule.rows.windows(2).all(|pair| pair[0].timestep > pair[1].timestep), "{spacing} {steps}");
            }
        }
    }
}

#[test]
fn impossible_settings_say_what_is_possible() {
    let config = SchedulerConfig::default();
    let repaint = SchedulerConfig::from_json(r#"{"_class_name": "RePaintScheduler", "num_train_timesteps": 100000}"#);
    let jumps = StepOptions { jump_length: 1, jump_n_sample: 1000, ..StepOptions::default() };
    let message = Schedule::new(&repaint.unwrap(), 100_000, &jumps).unwrap_err().to_string();
    assert!(message.contains("evaluate the model more than 262144 times"), "{message}");
    let message = |steps, value| Schedule::new(&config, steps, &eta(value)).unwrap_err().to_string();
    assert_eq!(message(0, 0.0), "Steps is 0; this model takes between 1 and 1000.");
    assert_eq!(message(1001, 0.0), "Steps is 1001; this model takes between 1 and 1000.");
    assert_eq!(message(10, 1.5), "η is 1.5; it must be between 0 and 1.");
    assert_eq!(message(10, f64::NAN), "η is NaN; it must be between 0 and 1.");
    assert_eq!(message(10, 0.5), "η is 0.5, but only DDIM, TCD and RePaint have an η; choose DDIM or set it to 0.");
    let config = SchedulerConfig::from_json(r#"{"steps_offset": 1}"#).unwrap();
    let message = Schedule::new(&config, 1000, &StepOptions::default()).unwrap_err().to_string();
    assert!(message.contains("begin at timestep 1000, beyond the last one, 999"), "{message}");
}
