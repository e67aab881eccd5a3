//! Whole runs of every scheduler against diffusers, with a stand-in for the network, in f64: what the table says is what
//! is computed, row by row.

use denoise::config::SchedulerConfig;
use denoise::noise::Generator;
use denoise::schedule::{Combination, REGISTERS, Row, Schedule};
use serde::Deserialize;

use crate::golden::{self, Golden};

#[derive(Deserialize)]
struct Case {
    name: String,
    scheduler: String,
    config: serde_json::Map<String, serde_json::Value>,
    /// Every training timestep if it is missing.
    steps: Option<usize>,
    #[serde(default)]
    step: serde_json::Map<String, serde_json::Value>,
    model: Option<String>,
}

/// What a row computes, for every element: x_prev, and what is kept.
struct Interpreter<'a> {
    noise: &'a [f64],
    draws: usize,
    kept: Vec<Vec<f64>>,
}

impl Interpreter<'_> {
    fn new(noise: &[f64], len: usize) -> Interpreter<'_> {
        Interpreter { noise, draws: 0, kept: vec![vec![0.0; len]; REGISTERS] }
    }

    /// `network` is a function of the scaled x and t.
    fn run(&mut self, row: &Row, x: &[f64], network: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let model: Vec<f64> = x.iter().map(|x| network(x * row.input_scale, row.timestep)).collect();
        let clip = row.clip.unwrap_or(f64::INFINITY);
        let predict = |(x, model): (&f64, &f64)| (row.x0_from_x * x + row.x0_from_model * model).clamp(-clip, clip);
        let x0: Vec<f64> = x.iter().zip(&model).map(predict).collect();
        let noise = match row.draws_noise {
            true => self.noise[self.draws * x.len()..][..x.len()].to_vec(),
            false => vec![0.0; x.len()],
        };
        self.draws += usize::from(row.draws_noise);
        let combine = |c: &Combination| -> Vec<f64> {
            (0..x.len())
                .map(|i| {
                    let kept: f64 = (0..REGISTERS).map(|r| c.kept[r] * self.kept[r][i]).sum();
                    c.x * x[i] + c.model * model[i] + c.x0 * x0[i] + c.noise * noise[i] + kept
                })
                .collect()
        };
        let prev = combine(&row.prev);
        if let Some((register, combination)) = &row.keep {
            self.kept[*register] = combine(combination);
        }
        prev
    }
}

/// The schedule of a case, or why there is none.
fn schedule(case: &Case) -> Result<Schedule, String> {
    if !case.step.keys().all(|key| key == "eta") || case.model.is_some() {
        return Err("an argument of `step`".into());
    }
    let mut json = case.config.clone();
    json.insert("_class_name".into(), case.scheduler.clone().into());
    let config = SchedulerConfig::from_json(&serde_json::Value::Object(json).to_string()).map_err(|e| e.to_string())?;
    let eta = case.step.get("eta").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    Schedule::new(&config, case.steps.unwrap_or(config.num_train_timesteps), eta).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct Sum {
    #[serde(flatten)]
    case: Case,
    sum: Option<f64>,
    mean: f64,
    within: f64,
    /// Whether x itself is replaced by what the network is given, as some of diffusers' tests do.
    scaled: bool,
}

/// The sums that diffusers' own scheduler tests state, of |x_0| for a network x · t / (t + 1).
#[test]
fn sums_of_the_tests_of_diffusers_are_met() {
    const LEN: usize = 4 * 3 * 8 * 8;
    // arange(768).reshape(3, 8, 8, 4) / 768, permuted to (4, 3, 8, 8).
    let sample: Vec<f64> = (0..LEN).map(|i| ((i % (LEN / 4)) * 4 + i / (LEN / 4)) as f64 / LEN as f64).collect();
    let mut generator = Generator::new(0);
    let noise: Vec<f64> = (0..1000).flat_map(|_| generator.randn(LEN)).map(f64::from).collect();
    let mut met = 0;
    for Sum { case, sum, mean, within, scaled } in golden::list::<Sum>("matrix/sums") {
        let Ok(schedule) = schedule(&case) else { continue };
        let mut interpreter = Interpreter::new(&noise, LEN);
        let begin = if scaled { schedule.init_noise_sigma } else { 1.0 };
        let mut x: Vec<f64> = sample.iter().map(|x| x * begin).collect();
        for row in &schedule.rows {
            let mut row = row.clone();
            if scaled {
                x.iter_mut().for_each(|x| *x *= row.input_scale);
                row.input_scale = 1.0;
            }
            x = interpreter.run(&row, &x, |x, t| x * t / (t + 1.0));
        }
        let total: f64 = x.iter().map(|x| x.abs()).sum();
        // The stated sums are those of f32 runs, rounded to four places.
        let near = |a: f64, b: f64| (a - b).abs() <= within.max(1e-4 * b.abs());
        assert!(near(total / LEN as f64, mean), "{}: mean {} instead of {mean}", case.name, total / LEN as f64);
        assert!(sum.is_none_or(|sum| near(total, sum)), "{}: sum {total} instead of {sum:?}", case.name);
        met += 1;
    }
    println!("{met} sums");
    assert!(met >= 24, "{met}");
}

#[test]
fn runs_agree_with_diffusers() {
    let golden = Golden::load("matrix/schedulers");
    let shared = |what: &str| &golden.get(&format!("shared.{what}")).data;
    let mut compared = std::collections::BTreeMap::new();
    let mut failures = Vec::new();
    let mut unsupported = Vec::new();
    for case in golden::list::<Case>("matrix/schedulers") {
        let schedule = match schedule(&case) {
            Ok(schedule) => schedule,
            Err(why) => {
                // Every one of them says which word of the configuration it cannot do.
                assert!(why.contains("upported") || why.contains("argument of"), "{}: {why}", case.name);
                unsupported.push(case.name);
                continue;
            }
        };
        let get = |what: &str| &golden.get(&format!("{}.{what}", case.name)).data;
        let rows = &schedule.rows;
        let mut check = |what: &str, near: bool| {
            if !near {
                failures.push(format!("{}: {what}", case.name));
            }
            near
        };
        let near = |a: f64, b: f64, scale: f64| (a - b).abs() <= 1e-9 * scale.max(1.0);
        if !check(
            &format!("{} rows instead of {}", rows.len(), get("timesteps").len()),
            rows.len() == get("timesteps").len(),
        ) {
            continue;
        }
        let sigma = schedule.init_noise_sigma;
        check("init_noise_sigma", near(sigma, get("init_noise_sigma")[0], sigma));
        let mut x: Vec<f64> = shared("x_T").iter().map(|x| x * sigma).collect();
        let mut interpreter = Interpreter::new(shared("noise"), x.len());
        for (i, row) in rows.iter().enumerate() {
            let t = get("timesteps")[i];
            let fine = check(&format!("timestep {i}: {} instead of {t}", row.timestep), near(row.timestep, t, 1e3))
                && check(&format!("input scale {i}"), near(row.input_scale, get("input_scale")[i], 1.0))
                && check(&format!("draws {i}"), f64::from(u8::from(row.draws_noise)) == get("draws")[i]);
            x = interpreter.run(row, &x, |x, t| 0.6 * (x + t / 1000.0).sin() + 0.1 * x);
            let expected = &get("x")[i * x.len()..][..x.len()];
            let scale = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            let error = x.iter().zip(expected).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
            if !(fine && check(&format!("x after row {i} is off by {:.1e}", error / scale), error <= 1e-7 * scale)) {
                break;
            }
        }
        *compared.entry(case.scheduler).or_insert(0) += 1;
    }
    println!("{compared:?}; not supported: {unsupported:?}");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(compared.values().sum::<usize>() >= 80 && compared.len() >= 11);
}
