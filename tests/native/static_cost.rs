//! What every variant of every shader costs on a GPU, as far as its compiler knows: registers, shared memory,
//! instructions. Mesa's RADV compiles them for two families of AMD GPUs without one being there.
//!
//! No variant may spill registers or need more of a GPU than leaves room for others. And none may become worse than it
//! was: what each costs is committed in `bench/static_cost/`, and after a change that is meant to change it, written
//! anew by
//!
//! ```sh
//! UPDATE_STATIC_COST=1 cargo test --test native static_cost
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::process::Command;

use denoise::config::{Card, SchedulerFile, UNetConfig};
use denoise::graph::Graph;
use denoise::op::Kernel;
use denoise::passes::{Fusion, fuse};
use denoise::plan::Plan;
use denoise::unet::UNet2DModel;
use denoise::{Layout, Pipeline, Precision, StepKind};
use naga::ShaderStage;
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};

use crate::published::{CELEBA_256, CIFAR10};
use crate::radv::{self, Radv};
use crate::shaders::code;
use crate::{golden, gradients, gradients_norm, ops};

/// RDNA2, and RDNA3.
#[test]
fn navi21() {
    check("NAVI21", "navi21");
}

#[test]
fn gfx1100() {
    check("GFX1100", "gfx1100");
}

/// A figure of a variant.
struct Figure {
    name: &'static str,
    /// RADV's name for it.
    statistic: &'static str,
    /// More than this is never allowed.
    limit: Option<u64>,
    /// Whether more of it is better.
    wanted: bool,
}

impl Figure {
    const fn of(name: &'static str, statistic: &'static str) -> Self {
        Figure { name, statistic, limit: None, wanted: false }
    }

    const fn limited(name: &'static str, statistic: &'static str, limit: u64) -> Self {
        Figure { limit: Some(limit), ..Figure::of(name, statistic) }
    }

    /// Whether a figure is clearly worse than another: by more than a twentieth.
    fn is_worse(&self, now: u64, before: u64) -> bool {
        let (more, less) = if self.wanted { (before, now) } else { (now, before) };
        20 * more > 21 * less
    }
}

const FIGURES: [Figure; 11] = [
    // 128, half of what an invocation can have; RDNA3, which gives them out by the dozen, calls that 132.
    Figure::limited("vgprs", "VGPRs", 132),
    Figure::of("sgprs", "SGPRs"),
    Figure::limited("spilled_vgprs", "Spilled VGPRs", 0),
    Figure::limited("spilled_sgprs", "Spilled SGPRs", 0),
    Figure::limited("scratch", "Scratch size", 0),
    // What WebGPU promises every workgroup.
    Figure::limited("lds", "LDS size", 16 << 10),
    Figure { wanted: true, ..Figure::of("subgroups", "Subgroups per SIMD") },
    Figure::of("instructions", "Instructions"),
    Figure::of("bytes", "Code size"),
    Figure::of("latency", "Latency"),
    Figure::of("inverse_throughput", "Inverse Throughput"),
];

/// A variant's cost, in the order of [`FIGURES`].
type Cost = [u64; FIGURES.len()];

/// Checks what every variant costs on GPUs of this family. `test` is this test's own name.
fn check(family: &str, test: &str) {
    /// Says to a process that it has been started for the family.
    const STARTED_FOR: &str = "STATIC_COST_OF";

    if std::env::var(STARTED_FOR).is_ok_and(|started| started == family) {
        return compare(family, &format!("bench/static_cost/{test}.tsv"));
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("static_cost::{test}"), "--nocapture"]).env(STARTED_FOR, family);
    let output = radv::compile_for(&mut command, family).output().unwrap();
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{family}: see above");
}

/// Measures every variant and compares it with the committed table.
fn compare(family: &str, path: &str) {
    let radv = Radv::open();
    let costs: BTreeMap<String, Cost> =
        variants().iter().map(|(name, kernel)| (name.clone(), cost(&radv, name, kernel))).collect();
    assert!(costs.len() > 100, "{} variants", costs.len());
    let table = to_table(family, &radv.driver, &costs);
    print!("{table}");
    if std::env::var_os("UPDATE_STATIC_COST").is_some() {
        std::fs::write(golden::path(path), &table).unwrap();
    }

    let committed = golden::text(path);
    let before = from_table(&committed);
    let mut problems = Vec::new();
    for (name, cost) in &costs {
        let Some(before) = before.get(name) else {
            problems.push(format!("{name} is new"));
            continue;
        };
        for (figure, (&now, &before)) in FIGURES.iter().zip(cost.iter().zip(before)) {
            if figure.is_worse(now, before) {
                problems.push(format!("{name}: {} was {before} and is {now}", figure.name));
            }
        }
    }
    problems.extend(before.keys().filter(|name| !costs.contains_key(*name)).map(|name| format!("{name} is gone")));
    let compiler = committed.lines().next().unwrap_or_default();
    assert!(
        problems.is_empty(),
        "{path} ({compiler}) is not what {} finds:\n{}\nIf it should be: UPDATE_STATIC_COST=1 cargo test --test native \
         static_cost",
        radv.driver,
        problems.join("\n")
    );
    let over = costs.iter().flat_map(|(name, cost)| {
        let over = move |(figure, &now): (&Figure, &u64)| {
            let limit = figure.limit.filter(|&limit| now > limit)?;
            Some(format!("{name}: {} is {now}, over {limit}", figure.name))
        };
        FIGURES.iter().zip(cost).filter_map(over)
    });
    let over: Vec<String> = over.collect();
    assert!(over.is_empty(), "{}", over.join("\n"));
}

fn to_table(family: &str, driver: &str, costs: &BTreeMap<String, Cost>) -> String {
    let mut table = format!("# {family}, {driver}\nvariant");
    FIGURES.iter().for_each(|figure| write!(table, "\t{}", figure.name).unwrap());
    for (name, cost) in costs {
        write!(table, "\n{name}").unwrap();
        cost.iter().for_each(|figure| write!(table, "\t{figure}").unwrap());
    }
    table + "\n"
}

fn from_table(table: &str) -> BTreeMap<String, Cost> {
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().expect("a line of names").split('\t').skip(1).collect();
    assert_eq!(names, FIGURES.map(|figure| figure.name));
    lines
        .map(|line| {
            let (name, cost) = line.split_once('\t').expect("a variant and its cost");
            let cost: Vec<u64> = cost.split('\t').map(|figure| figure.parse().unwrap()).collect();
            (name.to_string(), cost.try_into().expect("as many figures as names"))
        })
        .collect()
}

/// Every variant that plans run, by name: the shader, of what precision, and what it is compiled with.
fn variants() -> BTreeMap<String, Kernel> {
    let files = shaders("shaders");
    // The row's declaration is before other shaders, and what fused convolutions share before each of them.
    let file = |kernel: &Kernel| {
        let shader = code(kernel.shader);
        let own = files.iter().filter(|(_, text)| shader.ends_with(&code(text)));
        own.max_by_key(|(_, text)| text.len()).expect("a kernel runs a shader of shaders/").0.clone()
    };
    let mut variants = BTreeMap::new();
    let steps = plans().into_iter().flat_map(|plan| plan.steps).chain(gradients_norm::steps());
    for kernel in steps.map(|step| step.kernel()) {
        let precision = match kernel.precision {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        };
        let mut name = format!("{} {precision}", file(&kernel));
        for (define, value) in kernel.defines.iter().filter(|&&(_, value)| value != 0) {
            write!(name, " {define}={value}").unwrap();
        }
        variants.insert(name, kernel);
    }
    variants
}

/// The shaders in a folder and below it, by their names without the extension.
fn shaders(folder: &str) -> HashMap<String, String> {
    let mut files = HashMap::new();
    for entry in std::fs::read_dir(golden::path(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = format!("{folder}/{name}");
        match name.strip_suffix(".wgsl") {
            Some(stem) => {
                let stem = format!("{folder}/{stem}");
                files.insert(stem.trim_start_matches("shaders/").to_string(), golden::text(&path));
            }
            None => files.extend(shaders(&path)),
        }
    }
    files
}

/// The plans of models of every size, of a network for every field of the configuration, and of every op and its gradient by
/// themselves.
fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    let both = [Precision::F32, Precision::F16];
    for precision in both {
        let cases = ops::cases(precision).into_iter().map(|(_, graph, _)| graph);
        let attention = ops::large_heads(precision).into_iter().map(|(_, graph, _)| graph);
        let all = cases.chain([ops::modulated(precision).1]).chain(attention);
        plans.extend(all.map(|graph| Plan::new(&graph)));
    }
    plans.extend(ops::updates().into_iter().map(|(_, graph, _)| Plan::new(&graph)));
    let gradients = gradients::graphs().into_iter().chain(gradients_norm::graphs());
    plans.extend(gradients.map(|(_, graph, _)| Plan::new(&graph)));

    // Each with one image and with as many as fit.
    let models = [
        (golden::text("www/models/digits/unet/config.json"), 16),
        (golden::text("www/models/sprites/unet/config.json"), 16),
        (CIFAR10.to_string(), 16),
        (CELEBA_256.to_string(), 4),
    ];
    for (config, many) in models {
        let pipeline = Pipeline::without_weights(
            UNetConfig::from_json(&config).unwrap(),
            SchedulerFile::default(),
            Card::default(),
        )
        .unwrap();
        let (height, width) = pipeline.unet().config().sample_size().unwrap();
        for precision in both {
            for (count, guided) in [(1, false), (1, true), (many, false), (many, true)] {
                for fusion in [Fusion::STAGED, Fusion::DIRECT, Fusion::QUADS] {
                    let (rescaled, thresholded, step, inpainted) = (false, false, StepKind::Plain, false);
                    let layout = Layout {
                        count,
                        height,
                        width,
                        guided,
                        rescaled,
                        thresholded,
                        step,
                        inpainted,
                        classifier: None,
                        classified: false,
                        precision,
                    };
                    plans.push(pipeline.plan(&layout, Some(fusion)).unwrap());
                }
            }
        }
    }

    for case in golden::list::<serde_json::Value>("matrix/unets") {
        let config = UNetConfig::from_json(&case["config"].to_string()).unwrap();
        let [height, width] = serde_json::from_value(case["size"].clone()).unwrap();
        let unet = UNet2DModel::without_weights(config).unwrap();
        for precision in both {
            let mut graph = Graph::new();
            let output = unet.build(&mut graph, 1, height, width, precision).unwrap().output;
            graph.output("output", output);
            for fusion in [Fusion::STAGED, Fusion::DIRECT, Fusion::QUADS] {
                plans.push(Plan::new(&fuse(&graph, fusion).unwrap()));
            }
        }
    }
    plans
}

/// What RADV makes of a variant that naga has translated as wgpu lets it: of this driver, wgpu's Vulkan backend leaves
/// the bounds of buffers to the hardware and the zeros of shared memory to the compiler, but has indices into arrays of
/// known length checked, loops bounded and divisors too.
fn cost(radv: &Radv, name: &str, kernel: &Kernel) -> Cost {
    let source: &str = &kernel.source();
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::Native,
        force_loop_bounding: true,
        emit_int_div_checks: true,
        ..Default::default()
    };
    let entry = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into() };
    let spirv =
        spv::write_vec(&module, &info, &options, Some(&entry)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let bindings = module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some()).count();
    let statistics = radv.compile(&spirv, bindings as u32 - 1);
    FIGURES.map(|Figure { statistic, .. }| {
        *statistics.get(statistic).unwrap_or_else(|| panic!("RADV says nothing of {statistic}, but of {statistics:?}"))
    })
}
