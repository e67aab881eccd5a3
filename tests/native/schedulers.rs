//! Whole runs of every scheduler against diffusers, with a stand-in for the network, in f64: what the table says is what
//! is computed, row by row.

use denoise::config::SchedulerConfig;
use denoise::random::Generator;
use denoise::schedule::{Combination, LearnedSigma, REGISTERS, Row, Schedule, StepOptions};
use serde::Deserialize;

use crate::golden::{self, Golden};

#[derive(Deserialize)]
struct Case {
    name: String,
    scheduler: String,
    #[serde(default)]
    config: serde_json::Map<String, serde_json::Value>,
    /// The configuration of another scheduler, that this one is to take over.
    from: Option<serde_json::Value>,
    /// Every training timestep if it is missing.
    steps: Option<usize>,
    #[serde(default)]
    step: Step,
    /// Which stand-in for the network.
    model: Option<String>,
    jumps: Option<Jumps>,
    /// RePaint's.
    eta: Option<f64>,
    /// How often the whole run is made, with what the scheduler kept.
    rounds: Option<usize>,
    /// How many steps are left out at the beginning.
    #[serde(default)]
    begin: usize,
}

/// Arguments of diffusers' `step`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    eta: Option<f64>,
    use_clipped_model_output: Option<bool>,
    s_churn: Option<f64>,
    s_tmin: Option<f64>,
    s_tmax: Option<f64>,
    s_noise: Option<f64>,
    order: Option<usize>,
}

#[derive(Deserialize)]
struct Jumps {
    jump_length: usize,
    jump_n_sample: usize,
}

/// What a row computes, for images of `image` elements each: x_prev, and what is kept.
struct Interpreter<'a> {
    noise: &'a [f64],
    draws: usize,
    kept: Vec<Vec<f64>>,
    image: usize,
    /// The image that RePaint keeps where the mask is 1.
    known: Option<(&'a [f64], &'a [f64])>,
}

/// Output of a stand-in for the network, and what it says of the noise.
type Network<'a> = &'a dyn Fn(f64, f64) -> (f64, f64);

impl<'a> Interpreter<'a> {
    fn new(noise: &'a [f64], len: usize, image: usize) -> Self {
        Interpreter { noise, draws: 0, kept: vec![vec![0.0; len]; REGISTERS], image, known: None }
    }

    fn draw(&mut self, len: usize) -> &'a [f64] {
        self.draws += 1;
        &self.noise[(self.draws - 1) * len % self.noise.len()..][..len]
    }

    /// x after the jump back of a row, if it has one.
    fn undo(&mut self, row: &Row, x: &[f64]) -> Option<Vec<f64>> {
        let repaint = row.repaint.as_ref().filter(|repaint| !repaint.undo_draws.is_empty())?;
        let mut undone: Vec<f64> = x.iter().map(|x| x * repaint.undo_scale).collect();
        for weight in &repaint.undo_draws {
            let noise = self.draw(x.len());
            undone.iter_mut().zip(noise).for_each(|(x, z)| *x += weight * z);
        }
        Some(undone)
    }

    /// `network` is a function of the scaled x and t.
    fn run(&mut self, row: &Row, x: &[f64], network: Network) -> Vec<f64> {
        let (model, variance): (Vec<f64>, Vec<f64>) =
            x.iter().map(|x| network(x * row.input_scale, row.timestep)).unzip();
        let mut x0: Vec<f64> =
            x.iter().zip(&model).map(|(x, model)| row.x0_from_x * x + row.x0_from_model * model).collect();
        if let Some(clip) = row.clip {
            x0.iter_mut().for_each(|x0| *x0 = x0.clamp(-clip, clip));
        }
        if let Some(threshold) = row.threshold {
            for image in x0.chunks_exact_mut(self.image) {
                let mut sizes: Vec<f64> = image.iter().map(|x0| x0.abs()).collect();
                sizes.sort_by(f64::total_cmp);
                let place = threshold.ratio * (sizes.len() - 1) as f64;
                let (low, high) = (sizes[place.floor() as usize], sizes[place.ceil() as usize]);
                let s = (low + (high - low) * place.fract()).max(1.0).min(threshold.max);
                image.iter_mut().for_each(|x0| *x0 = x0.clamp(-s, s) / s);
            }
        }
        let drawn = if row.draws_noise { self.draw(x.len()).to_vec() } else { vec![0.0; x.len()] };
        let sigma = |v: f64| match row.learned_sigma {
            None => 1.0,
            Some(LearnedSigma::Variance) => v.sqrt(),
            Some(LearnedSigma::Range { min_log, max_log }) => {
                let part = (v + 1.0) / 2.0;
                (0.5 * (part * max_log + (1.0 - part) * min_log)).exp()
            }
        };
        let noise: Vec<f64> = drawn.iter().zip(&variance).map(|(z, &v)| z * sigma(v)).collect();
        let combine = |c: &Combination| -> Vec<f64> {
            (0..x.len())
                .map(|i| {
                    let kept: f64 = (0..REGISTERS).map(|r| c.kept[r] * self.kept[r][i]).sum();
                    c.x * x[i] + c.model * model[i] + c.x0 * x0[i] + c.noise * noise[i] + kept
                })
                .collect()
        };
        let mut prev = combine(&row.prev);
        if let Some(snr) = row.langevin {
            let norm = |values: &[f64]| -> f64 {
                let images = values.chunks_exact(self.image);
                let count = images.len() as f64;
                images.map(|image| image.iter().map(|x| x * x).sum::<f64>().sqrt()).sum::<f64>() / count
            };
            let step = 2.0 * (snr * norm(&noise) / norm(&model)).powi(2);
            for (i, prev) in prev.iter_mut().enumerate() {
                *prev += step * model[i] + (2.0 * step).sqrt() * noise[i];
            }
        }
        if let (Some(_), Some((original, mask))) = (&row.repaint, self.known) {
            for (i, prev) in prev.iter_mut().enumerate() {
                let known = row.known_from_original * original[i] + row.known_from_noise * noise[i];
                *prev = mask[i] * known + (1.0 - mask[i]) * *prev;
            }
        }
        for (register, kept) in row.keep.iter().map(|(register, kept)| (*register, combine(kept))).collect::<Vec<_>>() {
            self.kept[register] = kept;
        }
        prev
    }
}

/// The schedule of a case, or why there is none.
fn schedule(case: &Case) -> Result<Schedule, String> {
    let mut json = case.config.clone();
    json.insert("_class_name".into(), case.scheduler.clone().into());
    let own = serde_json::Value::Object(json).to_string();
    let config = match &case.from {
        None => SchedulerConfig::from_json(&own),
        Some(other) => SchedulerConfig::from_json(&other.to_string()).and_then(|other| other.with(None, &own)),
    };
    let config = config.map_err(|error| error.to_string())?;
    let (step, default) = (&case.step, StepOptions::default());
    let options = StepOptions {
        eta: step.eta.or(case.eta),
        use_clipped_model_output: step.use_clipped_model_output.unwrap_or(false),
        s_churn: step.s_churn.unwrap_or(default.s_churn),
        s_tmin: step.s_tmin.unwrap_or(default.s_tmin),
        s_tmax: step.s_tmax.unwrap_or(default.s_tmax),
        s_noise: step.s_noise.unwrap_or(default.s_noise),
        order: step.order.unwrap_or(default.order),
        jump_length: case.jumps.as_ref().map_or(default.jump_length, |jumps| jumps.jump_length),
        jump_n_sample: case.jumps.as_ref().map_or(default.jump_n_sample, |jumps| jumps.jump_n_sample),
        begin: case.begin,
    };
    Schedule::new(&config, case.steps.unwrap_or(config.num_train_timesteps), &options)
        .map_err(|error| error.to_string())
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
        if case.rounds.is_some() {
            continue; // a second run there goes on with what the first one kept, which no pipeline does
        }
        let schedule = schedule(&case).unwrap_or_else(|why| panic!("{}: {why}", case.name));
        let mut interpreter = Interpreter::new(&noise, LEN, LEN / 4);
        let begin = if scaled { schedule.init_noise_sigma } else { 1.0 };
        let mut x: Vec<f64> = sample.iter().map(|x| x * begin).collect();
        for row in &schedule.rows {
            let mut row = row.clone();
            if scaled {
                x.iter_mut().for_each(|x| *x *= row.input_scale);
                row.input_scale = 1.0;
            }
            x = interpreter.run(&row, &x, &|x, t| (x * t / (t + 1.0), 0.0));
        }
        let total: f64 = x.iter().map(|x| x.abs()).sum();
        // The stated sums are those of f32 runs, rounded to four places.
        let near = |a: f64, b: f64| (a - b).abs() <= within.max(1.5e-4 * b.abs());
        assert!(near(total / LEN as f64, mean), "{}: mean {} instead of {mean}", case.name, total / LEN as f64);
        assert!(sum.is_none_or(|sum| near(total, sum)), "{}: sum {total} instead of {sum:?}", case.name);
        met += 1;
    }
    println!("{met} sums");
    assert_eq!(met, 40);
}

/// The kind of call in the goldens that is a jump back.
const UNDO: f64 = 1.0;

/// The stand-ins for a network of `tests/golden/matrix/schedulers.py`.
fn network(name: &str, x: f64, t: f64) -> (f64, f64) {
    if name == "score" {
        return ((0.3 * (x / (1.0 + t)).sin() - x / (1.0 + t)) / (1.0 + t), 0.0);
    }
    let wave = (2.0 * x + t / 1000.0).cos();
    let variance = if name == "learned_range" { wave } else { 0.01 + 0.009 * wave };
    (0.6 * (x + t / 1000.0).sin() + 0.1 * x, variance)
}

#[test]
fn runs_agree_with_diffusers() {
    let golden = Golden::load("matrix/schedulers");
    let shared = |what: &str| &golden.get(&format!("shared.{what}")).data;
    let mut compared = std::collections::BTreeMap::new();
    let mut failures = Vec::new();
    for case in golden::list::<Case>("matrix/schedulers") {
        let schedule = schedule(&case).unwrap_or_else(|why| panic!("{}: {why}", case.name));
        let get = |what: &str| &golden.get(&format!("{}.{what}", case.name)).data;
        let score = case.scheduler == "ScoreSdeVeScheduler";
        let model = case.model.as_deref().unwrap_or(if score { "score" } else { "mean" });
        let rows = &schedule.rows;
        let mut check = |what: &str, near: bool| {
            if !near {
                failures.push(format!("{}: {what}", case.name));
            }
            near
        };
        let near = |a: f64, b: f64, scale: f64| (a - b).abs() <= 1e-9 * scale.max(1.0);
        let sigma = schedule.init_noise_sigma;
        check("init_noise_sigma", near(sigma, get("init_noise_sigma")[0], sigma));
        let mut x: Vec<f64> = shared("x_T").iter().map(|x| x * sigma).collect();
        let mut interpreter = Interpreter::new(shared("noise"), x.len(), x.len() / 2);
        interpreter.known = Some((shared("original"), shared("mask")));
        // diffusers' calls: one a row, and one for a jump back.
        let mut call = 0;
        let calls = get("timesteps").len();
        let expected = |call: usize, len: usize| {
            let last = if score && call + 1 == calls { Some(get("x_0")) } else { None };
            last.map_or(&get("x")[call * len..][..len], |x_0| x_0)
        };
        let off = |x: &[f64], expected: &[f64]| {
            let scale = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            x.iter().zip(expected).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs())) / scale
        };
        for (i, row) in rows.iter().enumerate() {
            if let Some(undone) = interpreter.undo(row, &x) {
                x = undone;
                // A jump is several calls; the last of them leads to the same place.
                call += get("kind")[call..].iter().take_while(|&&kind| kind == UNDO).count() - 1;
                let error = off(&x, expected(call, x.len()));
                check(&format!("x after the jump before row {i} is off by {error:.1e}"), error <= 1e-7);
                call += 1;
            }
            if !check(&format!("more than {calls} calls"), call < calls) {
                break;
            }
            let t = get("timesteps")[call];
            let fine = check(&format!("timestep {i}: {} instead of {t}", row.timestep), near(row.timestep, t, 1e3))
                && check(&format!("input scale {i}"), near(row.input_scale, get("input_scale")[call], 1.0))
                && check(&format!("draws {i}"), f64::from(u8::from(row.draws_noise)) == get("draws")[call]);
            x = interpreter.run(row, &x, &|x, t| network(model, x, t));
            let error = off(&x, expected(call, x.len()));
            if !(fine && check(&format!("x after row {i} is off by {error:.1e}"), error <= 1e-7)) {
                break;
            }
            call += 1;
        }
        check(&format!("{call} calls instead of {calls}"), call == calls);
        *compared.entry(case.scheduler).or_insert(0) += 1;
    }
    println!("{compared:?}");
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!((compared.values().sum::<usize>(), compared.len()), (277, 28));
}

/// Runs through few and through all timesteps of short and long schedules, taken over from a DDPM's file: where diffusers
/// ends at numbers, so does the table, and where it does not, why is said.
#[test]
fn grids_of_every_length_agree_with_diffusers() {
    let (golden, runs) = (Golden::load("matrix/grids"), Golden::load("matrix/schedulers"));
    let shared = |what: &str| &runs.get(&format!("shared.{what}")).data;
    let (mut compared, mut refused, mut failures) = (0, 0, Vec::new());
    for scheduler in golden.keys() {
        let mut expected = golden.get(scheduler).data.chunks_exact(4);
        for total in [10, 100, 1000] {
            for spacing in ["leading", "trailing", "linspace"] {
                for steps in [3, 9, 10, 99, 100].into_iter().filter(|&steps| steps <= total) {
                    let what = format!("{scheduler} {spacing} {steps} of {total}");
                    let expected = expected.next().unwrap();
                    let file = serde_json::json!({
                        "num_train_timesteps": total, "beta_schedule": "squaredcos_cap_v2", "timestep_spacing": spacing
                    });
                    let named = serde_json::json!({ "_class_name": scheduler }).to_string();
                    let config = SchedulerConfig::from_json(&file.to_string()).unwrap().with(None, &named);
                    let schedule = config.and_then(|config| Schedule::new(&config, steps, &StepOptions::default()));
                    match schedule {
                        Ok(schedule) => {
                            let mut x: Vec<f64> = shared("x_T").iter().map(|x| x * schedule.init_noise_sigma).collect();
                            let mut interpreter = Interpreter::new(shared("noise"), x.len(), x.len() / 2);
                            for row in &schedule.rows {
                                x = interpreter.run(row, &x, &|x, t| network("mean", x, t));
                            }
                            let scale = x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                            let off = x.iter().zip(expected).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
                            if off > 1e-6 * scale || off.is_nan() {
                                failures.push(format!("{what}: off by {off:.1e} of {scale:.1e}"));
                            }
                            compared += 1;
                        }
                        Err(error) if expected == [0.0; 4] => {
                            let why = ["more than once", "original_inference_steps", "PNDM takes at least 4"];
                            let error = error.to_string();
                            if !why.iter().any(|why| error.contains(why)) {
                                failures.push(format!("{what}: {error}"));
                            }
                            refused += 1;
                        }
                        Err(error) => failures.push(format!("{what}: {error}")),
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!((compared, refused), (561, 63));
}
