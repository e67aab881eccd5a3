"""U-Nets of diffusers as ONNX files, for the runtimes that Denoise is compared with.

    python3 bench/export_onnx.py MODEL_FOLDER FOLDER [--count 16]    a pipeline's folder
    python3 bench/export_onnx.py convolution FOLDER                  one 3×3 convolution, 128→128 at 64²

FOLDER gets model.onnx, and what both engines are given and have to make of it: sample.f32 and output.f32 (NCHW, raw) and
inputs.json; of the convolution also weight.f32 (OIHW) and bias.f32. ONNX Runtime must give what PyTorch gives before anything is written.
With a count FOLDER gets model-COUNT.onnx, which takes so often the same image.
"""

import argparse
import json
import warnings
from pathlib import Path

import diffusers
import numpy
import onnx
import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode

# The first time step of a run with trailing spacing. The noise is that of a run with this seed.
TIMESTEP = 999.0
SEED = 0
OPSET = 18
# ‖ONNX Runtime − PyTorch‖ / ‖PyTorch‖
TOLERANCE = 1e-5
CHANNELS, SIDE = 128, 64


class Epsilon(torch.nn.Module):
    """The network as a function of tensors to a tensor."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, class_labels=None):
        return self.unet(sample, timestep, class_labels, return_dict=False)[0]


def network(folder):
    unet = diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet").eval()
    height, width = unet.sample_size if isinstance(unet.sample_size, (list, tuple)) else (unet.sample_size,) * 2
    generator = torch.Generator().manual_seed(SEED)
    inputs = {
        "sample": torch.randn(1, unet.config.in_channels, height, width, generator=generator),
        "timestep": torch.tensor([TIMESTEP]),
    }
    if unet.config.num_class_embeds:
        inputs["class_labels"] = torch.tensor([0])
    return Epsilon(unet), inputs


def convolution():
    torch.manual_seed(SEED)
    return torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).eval(), {"sample": torch.randn(1, CHANNELS, SIDE, SIDE)}


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1)
    arguments = parser.parse_args()
    module, inputs = convolution() if arguments.model == "convolution" else network(arguments.model)
    for name in inputs:
        if name != "timestep" and arguments.count > 1:
            inputs[name] = torch.cat([inputs[name]] * arguments.count)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / ("model.onnx" if arguments.count == 1 else f"model-{arguments.count}.onnx")
    export(module, inputs, path)
    if arguments.count == 1:
        describe(module, inputs, arguments.folder)


def export(module, inputs, path):
    with warnings.catch_warnings():
        # It warns that there is a newer exporter, which needs more packages and writes the same network.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=["output"],
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(path)


def describe(module, inputs, folder):
    path = folder / "model.onnx"
    with FlopCounterMode(display=False) as counter:
        expected = module(*inputs.values()).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    error = numpy.linalg.norm(output - expected) / numpy.linalg.norm(expected)
    if not error <= TOLERANCE:
        path.unlink()
        raise SystemExit(f"ONNX Runtime differs from PyTorch by {error:.1e}, more than {TOLERANCE:.0e}.")

    arrays = {"sample": inputs["sample"].numpy(), "output": expected}
    if isinstance(module, torch.nn.Conv2d):
        arrays |= {name: parameter.numpy() for name, parameter in module.named_parameters()}
    for name, array in arrays.items():
        (folder / f"{name}.f32").write_bytes(array.astype("<f4").tobytes())
    described = {
        "shape": list(inputs["sample"].shape),
        "seed": SEED,
        "timestep": TIMESTEP if "timestep" in inputs else None,
        "class_label": 0 if "class_labels" in inputs else None,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "macs": counter.get_total_flops() // 2,
        "error": float(error),
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__, "onnxruntime": onnxruntime.__version__},
    }
    (folder / "inputs.json").write_text(json.dumps(described, indent=2) + "\n")
    print(f"{path}: ONNX Runtime differs from PyTorch by {error:.1e}")


if __name__ == "__main__":
    main()
