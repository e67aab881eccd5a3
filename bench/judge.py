"""How often a class-conditional model makes what it is asked for, judged by a classifier that never saw its work.

    python3 bench/judge.py DATA.npz MODEL_DIR [--denoise target/release/denoise] [--each 8] [--steps 25] [--scheduler ddim] ...
    python3 bench/judge.py DATA.npz samples.json    what a network made while it learned in the page (bench/teach.mjs)

The classifier is a small convolutional network, trained on nine tenths of the data; what it is worth is measured on the rest.
Arguments after those named here go to `denoise sample`.
"""

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


def network(channels, classes):
    def block(before, after):
        return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        *block(channels, 32), *block(32, 64), *block(64, 128),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(128 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, classes),
    )


def shifted(images):
    """The images moved by up to two pixels each way, with what is left of the border repeated."""
    dx, dy = np.random.randint(0, 5, 2)
    return F.pad(images, (2, 2, 2, 2), mode="replicate")[..., dy:dy + images.shape[2], dx:dx + images.shape[3]]


def prepared(path):
    """Images [N, C, 32, 32] over [−1, 1] and labels [N]."""
    data = np.load(path)
    images = torch.from_numpy(data["images"]).float() / 127.5 - 1
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    border = (32 - images.shape[-1]) // 2
    return F.pad(images, (border,) * 4, value=-1.0), torch.from_numpy(data["labels"]).long()


def trained(images, labels, classes, epochs):
    order = torch.randperm(len(images))
    held_out, kept = order[:len(images) // 10], order[len(images) // 10:]
    judge = network(images.shape[1], classes)
    steps = epochs * -(-len(kept) // 128)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for _ in range(epochs):
        for batch in kept[torch.randperm(len(kept))].split(128):
            optimiser.zero_grad()
            F.cross_entropy(judge.train()(shifted(images[batch])), labels[batch], label_smoothing=0.05).backward()
            optimiser.step()
            schedule.step()
    judge.eval()
    return judge, held_out


@torch.no_grad()
def right(judge, images, labels):
    guesses = torch.cat([judge(part).argmax(1) for part in images.split(512)])
    return guesses == labels


def taught(judge, path):
    """How often the samples of each moment were of their class."""
    print("| seconds | step | right |\n|---|---|---|")
    for frame in json.loads(Path(path).read_text()):
        count, channels, height, width = frame["shape"]
        levels = np.frombuffer(base64.b64decode(frame["levels"]), np.uint8).reshape(frame["shape"])
        images = torch.from_numpy(levels.astype(np.float32)) / 127.5 - 1
        images = F.pad(images, ((32 - width) // 2,) * 2 + ((32 - height) // 2,) * 2, value=-1.0)
        share = right(judge, images, torch.tensor(frame["labels"])).float().mean()
        print(f"| {frame['seconds']:.0f} | {frame['step']} | {share:.0%} of {count} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("model", help="a folder, or samples.json")
    parser.add_argument("--denoise", default="target/release/denoise")
    parser.add_argument("--each", type=int, default=8, help="images of each class")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    arguments, sampling = parser.parse_known_args()

    torch.manual_seed(0)
    np.random.seed(0)
    torch.set_num_threads(arguments.threads)
    images, labels = prepared(arguments.data)
    classes = int(labels.max()) + 1
    judge, held_out = trained(images, labels, classes, arguments.epochs)
    real = right(judge, images[held_out], labels[held_out]).float().mean().item()
    print(f"the judge on {len(held_out)} real images it did not see: {real:.1%}")

    if arguments.model.endswith(".json"):
        return taught(judge, arguments.model)

    wanted = torch.arange(classes).repeat_interleave(arguments.each)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for i, part in enumerate(wanted.split(64)):
            out = Path(folder) / "x_0.safetensors"
            asked = ["--class", ",".join(map(str, part.tolist())), "--seed", str(i), "--out", str(out)]
            subprocess.run([arguments.denoise, "sample", arguments.model, *asked, *sampling], check=True, stdout=sys.stderr)
            made.append(load_file(out)["x_0"])
    is_right = right(judge, torch.cat(made).clamp(-1, 1), wanted)
    print(f"of {len(wanted)} samples of {arguments.model}: {is_right.float().mean().item():.1%}")
    by_class = is_right.view(classes, -1).float().mean(1)
    print("by class: " + " ".join(f"{i}:{share:.0%}" for i, share in enumerate(by_class.tolist())))


if __name__ == "__main__":
    main()
