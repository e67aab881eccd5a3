//! `denoise eps`: the network once, for whoever wants its numbers.

use std::path::PathBuf;

use denoise::Tensor;
use denoise::graph::Graph;
use denoise::plan::Plan;

use super::files::{ModelArguments, ModelFolder, read_tensors, write_tensors};
use super::{Device, Result, open, precision};

/// The input has sample [B, C, H, W], timestep [B] or [1], and class_labels [B] if the model has classes; the output
/// has model_output [B, C', H, W].
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A safetensors file with sample, timestep and class_labels
    #[arg(long = "in", value_name = "IO.safetensors")]
    input: PathBuf,
    /// Where model_output is written
    #[arg(long, value_name = "OUT.safetensors")]
    out: PathBuf,
    /// Where to run [default: the GPU if there is one]
    #[arg(long)]
    backend: Option<Device>,
    /// Compute with 16-bit weights and activations
    #[arg(long)]
    f16: bool,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let mut given = read_tensors(&arguments.input)?;
    let input = arguments.input.display();
    let mut take = |name: &str| given.remove(name);
    let sample = take("sample").ok_or_else(|| format!("{input} has no sample."))?;
    let timestep = take("timestep").ok_or_else(|| format!("{input} has no timestep."))?;
    let labels = take("class_labels");
    let [count, _, height, width] = *sample.shape.as_slice() else {
        return Err(format!("{input}: sample has the shape {:?}; it must be [B, C, H, W].", sample.shape).into());
    };

    let unet = ModelFolder::open(&arguments.model)?.unet()?;
    super::files::check_place(&arguments.out)?;
    let timestep = each(timestep, count, "timestep")?;
    unet.check_timesteps(&timestep.data)?;
    let backend = open(arguments.backend).await?;
    let mut graph = Graph::new();
    let values = unet.build(&mut graph, count, height, width, precision(arguments.f16))?;
    graph.output("model_output", values.output);
    let executor = backend.compile(Plan::new(&graph), &[], |_, _| {}).await?;

    let mut inputs = vec![("sample", sample), ("timestep", timestep)];
    match (values.class_labels, labels) {
        (Some(id), Some(labels)) => {
            let labels = if graph.shape(id).dims() == [count] { each(labels, count, "class_labels")? } else { labels };
            unet.check_labels(&labels.data, count)?;
            inputs.push(("class_labels", labels));
        }
        (None, None) => {}
        (Some(_), None) => return Err(format!("The model has classes, but {input} has no class_labels.").into()),
        (None, Some(_)) => return Err(format!("The model has no classes, but {input} has class_labels.").into()),
    }
    for (name, tensor) in inputs {
        let expected = &executor.plan().input(name)?.shape;
        if tensor.device_shape()? != *expected {
            let found = tensor.device_shape()?;
            return Err(format!("{input}: {name} is {found} channels last; the model takes {expected}.").into());
        }
        executor.write(name, &tensor.to_device()?)?;
    }
    executor.run(0).await?;
    let shape = &executor.plan().output("model_output")?.shape;
    let output = Tensor::from_device(shape, &executor.read("model_output").await?)?;
    write_tensors(&arguments.out, &[("model_output", &output)])
}

/// One value for each image: those that are there, or the only one again and again.
pub(super) fn each(tensor: Tensor, count: usize, name: &str) -> Result<Tensor> {
    let data = match *tensor.data.as_slice() {
        [value] => vec![value; count],
        _ if tensor.data.len() == count => tensor.data,
        _ => return Err(format!("{name} has {} values for {count} images.", tensor.data.len()).into()),
    };
    Ok(Tensor::new(&[count], data)?)
}
