//! `denoise check`: whether this machine's GPU computes what the CPU does.

use denoise::Settings;
use denoise::check::{self, Layer, Report};
use denoise::passes::Fusion;

use super::files::{ModelArguments, ModelFolder};
use super::{Result, gpu, precision, print, progress_bar, size};

/// Every layer is computed on both from the same inputs. The exit code is 1 if one is further off than it may be.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Size of the images, as 64 or 64x48 (height x width) [default: the model's own]
    #[arg(long, value_parser = size)]
    size: Option<(usize, usize)>,
    /// Compute with 16-bit weights and activations
    #[arg(long)]
    f16: bool,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let pipeline = ModelFolder::open(&arguments.model)?.pipeline()?;
    // Which scheduler samples makes no difference to the network.
    let scheduler = Some(pipeline.any_scheduler());
    let layout =
        Settings { scheduler, size: arguments.size, precision: precision(arguments.f16), ..Settings::default() }
            .layout(&pipeline)?;
    let gpu = gpu().await?;
    let plan = pipeline.plan(&layout, Some(Fusion::new(Some(gpu.tuning()))))?;
    let inputs = check::inputs(&pipeline, &plan)?;
    let bar = progress_bar(plan.steps.len(), "layers")?;
    let report = check::check(&gpu, &plan, &inputs, |done, _| bar.set_position(done as u64)).await?;
    bar.finish_and_clear();
    print(&table(&report, gpu.name()))?;
    match report.ok {
        true => Ok(()),
        false => Err("The GPU does not compute what the CPU does. Use --backend cpu, and report the above.".into()),
    }
}

fn table(report: &Report, device: &str) -> String {
    let longest = report.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0);
    let line = |layer: &Layer| {
        let mark = if layer.error <= report.tolerance { "" } else { "  too much" };
        format!("{:longest$}  {:20} {:.1e}{mark}\n", layer.name, layer.op, layer.error)
    };
    let worst = &report.layers[report.worst];
    let lines: String = report.layers.iter().map(line).collect();
    format!(
        "{lines}\n{device}\nworst layer: {} ({}), off by {:.1e}\noutputs: off by {:.1e}; tolerance {:.0e}\n",
        worst.name, worst.op, worst.error, report.output_error, report.tolerance
    )
}
