"""Trains by PyTorch as `denoise train` does from the same seed, and compares the curves of the losses.

    python3 bench/curve.py train digits.npz --config www/models/digits/unet/config.json --out pytorch.csv [--steps 300]
    python3 bench/curve.py compare pytorch.csv DENOISE_OUT/loss.csv [--window 25] [--tolerance 1e-3]

`train` writes a loss a step. All of its random numbers are one generator's, in this order: the network's weights; at each
epoch's beginning `randperm(n)`, cut into batches, of which a smaller last one is left out; for each batch `randn` the noise,
then `randint` the time steps.

`compare` prints for windows of steps the mean of both losses and of their absolute difference. Where the second file has a
row for several steps, the mean of these steps is compared with it. With a tolerance the exit code is 1 if the differences
are larger, on average over all steps.

How close two curves can be: of the digits model from seed 0, with batches of 16, PyTorch's own in float64 differs from that
in float32 by 1e-7 in the first 25 steps and by 1.2e-6 in steps 126 to 150.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "golden"))
LEARNING_RATE = 1e-3


def read(path, config):
    """The images of an .npz as a network takes them, [N, C, H, W] over [−1, 1] with black around them, and their labels."""
    import numpy
    import torch
    import torch.nn.functional as F

    with numpy.load(path) as arrays:
        images = torch.from_numpy(arrays["images"])
        labels = torch.from_numpy(arrays["labels"].astype(numpy.int64)) if "labels" in arrays else None
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    size = config["sample_size"]
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    down, right = height - images.shape[2], width - images.shape[3]
    if images.shape[1] != config["in_channels"] or down < 0 or right < 0:
        sys.exit(f"{path} has images of {list(images.shape[1:])}; the network takes [{config['in_channels']}, {height}, {width}]")
    images = F.pad(images, (right // 2, right - right // 2, down // 2, down - down // 2))
    if not config.get("num_class_embeds"):
        labels = None
    elif labels is None:
        sys.exit(f"{path} has no labels, and the network has classes")
    return images / 127.5 - 1, labels


def batches(images, labels, scheduler, size):
    """What a network is given, a batch after another without end."""
    import torch

    while True:
        for chosen in torch.randperm(len(images)).split(size):
            if len(chosen) == size:
                given = {"sample": images[chosen]}
                given["noise"] = torch.randn(given["sample"].shape)
                given["timestep"] = torch.randint(0, scheduler.config.num_train_timesteps, (size,))
                yield given | ({} if labels is None else {"class_labels": labels[chosen]})


def train(config, scheduler, data, batch, learning_rate, seed):
    """The loss of each step, without end. The network is new, and has its weights from the seed too."""
    import torch
    from diffusers import UNet2DModel
    from loss import losses
    from training import Training

    images, labels = read(data, config)
    if batch > len(images):
        sys.exit(f"{data} has {len(images)} images, not enough for a batch of {batch}")
    torch.manual_seed(seed)
    unet = UNet2DModel.from_config(config).train()
    training = Training(unet, learning_rate)
    for given in batches(images, labels, scheduler, batch):
        loss = losses(unet, scheduler, **given).mean()
        training.learn(loss)
        yield loss.item()


def curve(path):
    """[(step, loss)] of a CSV file, whatever else is in it."""
    with open(path, newline="") as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    if not rows:
        sys.exit(f"{path} has no rows")
    return rows


def compare(mine, other, window):
    """Prints a table, and gives the mean difference of all rows."""
    mine, pairs, before = dict(mine), [], 0
    for step, loss in other:
        steps = [mine[i] for i in range(before + 1, step + 1) if i in mine]
        if len(steps) == step - before:
            pairs.append((step, sum(steps) / len(steps), loss))
        before = step
    if not pairs:
        sys.exit("the curves have no steps in common")
    print("| steps | loss | other | mean difference |\n|---|---|---|---|")
    mean = lambda numbers: sum(numbers) / len(numbers)
    for first in range(1, pairs[-1][0] + 1, window):
        of_window = [pair for pair in pairs if first <= pair[0] < first + window]
        if of_window:
            columns = mean([a for _, a, _ in of_window]), mean([b for _, _, b in of_window])
            difference = mean([abs(a - b) for _, a, b in of_window])
            print(f"| {first} to {first + window - 1} | {columns[0]:.5f} | {columns[1]:.5f} | {difference:.1e} |")
    everywhere = mean([abs(a - b) for _, a, b in pairs])
    print(f"\nThe mean absolute difference of {len(pairs)} rows is {everywhere:.2e}.")
    return everywhere


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("data", type=Path, help="an .npz with images and labels")
    training.add_argument("--config", type=Path, required=True, help="config.json of the network")
    training.add_argument("--scheduler-config", type=Path, help="without it, the linear schedule of DDPM")
    training.add_argument("--prediction", choices=["epsilon", "v_prediction", "sample"], help="instead of the scheduler's")
    training.add_argument("--out", type=Path, required=True, help="the CSV file")
    training.add_argument("--steps", type=int, default=300)
    training.add_argument("--batch", type=int, default=16)
    training.add_argument("--lr", type=float, default=LEARNING_RATE)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--threads", type=int, default=1)
    comparing = commands.add_parser("compare")
    comparing.add_argument("curve", type=Path, help="what `train` wrote: a row a step")
    comparing.add_argument("other", type=Path, help="the other's")
    comparing.add_argument("--window", type=int, default=25)
    comparing.add_argument("--tolerance", type=float)
    arguments = parser.parse_args()
    if arguments.command == "compare":
        difference = compare(curve(arguments.curve), curve(arguments.other), arguments.window)
        sys.exit(0 if arguments.tolerance is None or difference <= arguments.tolerance else 1)

    import torch
    from diffusers import DDPMScheduler

    torch.set_num_threads(arguments.threads)
    changes = {"prediction_type": arguments.prediction} if arguments.prediction else {}
    given = json.loads(arguments.scheduler_config.read_text()) if arguments.scheduler_config else {}
    scheduler = DDPMScheduler.from_config(given, **changes)
    config = json.loads(arguments.config.read_text())
    losses = train(config, scheduler, arguments.data, arguments.batch, arguments.lr, arguments.seed)
    with open(arguments.out, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "loss"])
        for step in range(1, arguments.steps + 1):
            rows.writerow([step, repr(next(losses))])
            file.flush()


if __name__ == "__main__":
    main()
