"""What a model's classifier of noisy images is worth.

    python3 bench/classifier.py noisy HELD_OUT.npz MODEL_DIR
    python3 bench/classifier.py guided DATA.npz MODEL_DIR [--each 20] [--steps 25] [--figure FILE.svg]

`noisy`: how often it is right about images that it was not trained on, against t, as a table.

`guided`: how often samples are of the class that it guided them to, the model itself being told no class, against the scale s, with
DDIM and with DDPM. Another classifier judges that, which knows no noise and has seen nothing of the first (judge.py). As a table,
and with --figure as a picture.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file

from judge import prepared, right, trained

TIMES = [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999]
SCALES = [0, 0.5, 1, 2, 4]
SCHEDULERS = ["ddim", "ddpm"]
BATCH = 50
COLOURS = {"ddim": "#0c7c6c", "ddpm": "#b5562f"}


def denoise(arguments, *asked):
    subprocess.run([arguments.denoise, *map(str, asked), "--backend", arguments.backend], check=True, stdout=sys.stderr)


def noisy(arguments):
    images, labels = prepared(arguments.data)
    images, labels = images[:arguments.images], labels[:arguments.images]
    scheduler = DDPMScheduler.from_pretrained(arguments.model, subfolder="scheduler")
    torch.manual_seed(0)
    print("| t | right |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        given, said = Path(folder) / "in.safetensors", Path(folder) / "out.safetensors"
        for t in TIMES:
            guesses = []
            for part, of in zip(images.split(BATCH), labels.split(BATCH)):
                times = torch.full((len(part),), t)
                x_t = scheduler.add_noise(part, torch.randn_like(part), times)
                save_file({"sample": x_t.contiguous(), "timestep": times.float(), "class_labels": of.float()}, given)
                denoise(arguments, "classify", arguments.model, "--in", given, "--out", said)
                guesses.append(load_file(said)["logits"].argmax(1))
            print(f"| {t} | {(torch.cat(guesses) == labels).float().mean():.1%} |", flush=True)
    print(f"{len(images)} images")


def guided(arguments):
    torch.manual_seed(0)
    np.random.seed(0)
    torch.set_num_threads(2)
    images, labels = prepared(arguments.data)
    classes = int(labels.max()) + 1
    judge, held_out = trained(images, labels, classes, arguments.epochs)
    real = right(judge, images[held_out], labels[held_out]).float().mean().item()
    print(f"the judge on {len(held_out)} real images it did not see: {real:.1%}")
    wanted = torch.arange(classes).repeat_interleave(arguments.each)
    shares = {scheduler: [] for scheduler in SCHEDULERS}
    print("| s | " + " | ".join(name.upper() for name in SCHEDULERS) + " |\n|---|" + "---|" * len(SCHEDULERS))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x_0.safetensors"
        for scale in SCALES:
            for scheduler in SCHEDULERS:
                made = []
                for i, part in enumerate(wanted.split(BATCH)):
                    denoise(
                        arguments, "sample", arguments.model, "--classifier", arguments.classifier or arguments.model,
                        "--classifier-scale", scale, "--class", ",".join(map(str, part.tolist())), "--scheduler", scheduler,
                        "--steps", arguments.steps, "--seed", i, "--out", out,
                    )
                    made.append(load_file(out)["x_0"])
                shares[scheduler].append(right(judge, torch.cat(made).clamp(-1, 1), wanted).float().mean().item())
            print(f"| {scale} | " + " | ".join(f"{shares[name][-1]:.1%}" for name in SCHEDULERS) + " |", flush=True)
    print(f"{len(wanted)} samples each")
    if arguments.figure:
        Path(arguments.figure).write_text(figure(shares))


def figure(shares):
    """The share of samples that are right against s, as SVG that is legible on light and dark."""
    left, top, width, height = 44, 16, 400, 200

    def at(scale, share):
        return f"{left + width * scale / max(SCALES):.1f},{top + height * (1 - share):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 60} {top + height + 40}" font-family="sans-serif" font-size="12">',
        "<style>text { fill: #5b6468 } .axis { stroke: #9aa3a7; fill: none } polyline { fill: none; stroke-width: 2 }"
        + "".join(f" polyline.{name} {{ stroke: {colour} }} :is(circle, text).{name} {{ fill: {colour} }}" for name, colour in COLOURS.items())
        + "</style>",
    ]
    for share in [0, 0.25, 0.5, 0.75, 1]:
        x, y = at(0, share).split(",")
        parts.append(f'<path class="axis" d="M{x} {y}h{width}" opacity="{0.35 if share else 1}"/>')
        parts.append(f'<text x="{left - 6}" y="{float(y) + 4}" text-anchor="end">{share:.0%}</text>')
    for scale in SCALES:
        x, y = at(scale, 0).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 16}" text-anchor="middle">{scale}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle">scale s of the classifier’s gradient</text>')
    for i, (name, line) in enumerate(shares.items()):
        points = [at(scale, share) for scale, share in zip(SCALES, line)]
        parts.append(f'<polyline class="{name}" points="{" ".join(points)}"/>')
        parts += [f'<circle class="{name}" cx="{point.split(",")[0]}" cy="{point.split(",")[1]}" r="3"/>' for point in points]
        parts.append(f'<text class="{name}" x="{left + width + 8}" y="{top + 12 + 18 * i}">{name.upper()}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--denoise", default="target/release/denoise")
    parser.add_argument("--backend", default="cpu")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("noisy")
    command.add_argument("data")
    command.add_argument("model")
    command.add_argument("--images", type=int, default=1000)
    command.set_defaults(run=noisy)
    command = commands.add_parser("guided")
    command.add_argument("data")
    command.add_argument("model")
    command.add_argument("--classifier", help="a folder of its own, if it is not in the model's")
    command.add_argument("--each", type=int, default=20, help="samples of each class")
    command.add_argument("--steps", type=int, default=25)
    command.add_argument("--epochs", type=int, default=4, help="how often the judge sees each of the data's images")
    command.add_argument("--figure")
    command.set_defaults(run=guided)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
