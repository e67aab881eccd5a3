"""Compares every gradient of `denoise loss` with PyTorch's, for whole models.

    python3 bench/gradients.py DENOISE_BINARY www/models/digits www/models/sprites [--seeded cifar10] [--backend cpu]

Prints a table; the exit code is 1 if an error is over 1e-3. An error is ‖Denoise's − PyTorch's‖ / ‖PyTorch's‖ of a parameter's
gradient, the worst of a model's; where the gradient is zero, as that by the bias of an attention's keys, it is
‖Denoise's‖ / ‖the whole gradient‖. PyTorch computes in float64; beside it stands the error of its own float32.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "golden"))
from loss import as_f64, gradients, in_f64  # noqa: E402

SEED = 0
TOLERANCE = 1e-3


def draw(unet, scheduler, batch):
    """Images, noise, time steps over the whole schedule, and classes if there are some."""
    generator = torch.Generator().manual_seed(SEED)
    size = unet.config.sample_size
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    shape = (batch, unet.config.in_channels, height, width)
    inputs = {
        "sample": torch.randn(shape, generator=generator).clamp(-1, 1),
        "noise": torch.randn(shape, generator=generator),
        "timestep": torch.randint(0, scheduler.config.num_train_timesteps, (batch,), generator=generator),
    }
    if unet.config.num_class_embeds:
        inputs["class_labels"] = torch.randint(0, unet.config.num_class_embeds, (batch,), generator=generator)
    return inputs


def of_denoise(binary, model, inputs, backend):
    """Losses and gradients as the command gives them."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "in.safetensors", Path(folder) / "out.safetensors"
        save_file(inputs, given)
        command = [binary, "loss", model, "--in", given, "--out", made]
        if subprocess.run(command + (["--backend", backend] if backend else [])).returncode:
            sys.exit(f"denoise loss failed on {model}")
        found = load_file(made)
    return found.pop("loss"), found


def error(found, exact):
    """The worst error of a model's gradients, and whose it is."""
    if found.keys() != exact.keys():
        missing, more = sorted(exact.keys() - found.keys()), sorted(found.keys() - exact.keys())
        sys.exit(f"the gradients are of other parameters: {len(missing)} are missing {missing[:3]}, {len(more)} too many {more[:3]}")
    whole = torch.stack([gradient.norm() for gradient in exact.values()]).norm()
    errors = {}
    for path, gradient in exact.items():
        if found[path].shape != gradient.shape:
            sys.exit(f"the gradient by {path} is of shape {list(found[path].shape)}, not {list(gradient.shape)}")
        norm = gradient.norm()
        errors[path] = ((found[path].double() - gradient).norm() / (norm if norm > 0 else whole)).item()
    # A number that is none is the worst of all.
    worst = max(errors, key=lambda path: errors[path] if errors[path] == errors[path] else float("inf"))
    return errors[worst], worst


def compare(binary, model, batch, backend):
    """A row of the table, and whether the errors are within the tolerance."""
    unet = diffusers.UNet2DModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32).eval()
    load_scheduler = lambda: diffusers.DDPMScheduler.from_pretrained(model, subfolder="scheduler")
    inputs = draw(unet, load_scheduler(), batch)
    loss, found = of_denoise(binary, model, inputs, backend)
    _, in_f32 = gradients(unet, load_scheduler(), inputs)
    exact_inputs = {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in inputs.items()}
    exact_loss, exact = gradients(as_f64(unet), in_f64(load_scheduler()), exact_inputs)
    of_loss = ((loss.double() - exact_loss).abs() / exact_loss).max().item()
    (worst, path), (own, _) = error(found, exact), error(in_f32, exact)
    row = f"| {Path(model).name} | {len(exact)} | {of_loss:.1e} | {worst:.1e} | {path} | {own:.1e} |"
    return row, of_loss <= TOLERANCE and worst <= TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("denoise", help="the command")
    parser.add_argument("models", nargs="*", help="folders of models")
    parser.add_argument("--seeded", action="append", default=[], help="a model of bench/seeded.py")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--backend", choices=["gpu", "cpu"])
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    arguments = parser.parse_args()
    if not arguments.models and not arguments.seeded:
        parser.error("there is nothing to compare: name the folder of a model, or --seeded cifar10")
    torch.set_num_threads(arguments.threads)
    diffusers.logging.set_verbosity_error()
    print("| model | gradients | error of the loss | worst error of a gradient | by | PyTorch's own in f32 |")
    print("|---|---|---|---|---|---|", flush=True)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.seeded:
            subprocess.run([sys.executable, HERE / "seeded.py", name, Path(folder) / name], check=True)
            arguments.models.append(str(Path(folder) / name))
        for model in arguments.models:
            row, within = compare(arguments.denoise, model, arguments.batch, arguments.backend)
            good &= within
            print(row, flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
