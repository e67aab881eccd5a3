"""Times training by PyTorch, eager, and by `denoise train`, and takes their memory: by turns, each run a process of its own.

    python3 bench/training.py [target/release/denoise] [--models digits cifar10] [--threads 1] [--steps 10] [--rounds 3]

Both learn ε of random images in f32, with AdamW, clipped gradients and a moving average of the weights. Images a second are
those after the first two steps, which make and tune what the rest uses: of the rounds the median, and the lowest and the
highest behind it. Memory is the most that a process ever held, which leaves out a GPU's own. Without a command PyTorch alone
is timed. A process is kept to as many processors as there are threads.
"""

# Linux counts as a process's memory what its parent held when it began it. So this one must stay small: what is large is
# imported where it is used, by processes of their own.
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
WARM_UP = 2
IMAGES = 256
SEED = 0
LEARNING_RATE = 1e-4


def prepare(name, folder):
    """Writes the config of a model, that of its scheduler, and images of its size. Called in a process of its own."""
    import numpy
    from diffusers import DDPMScheduler, UNet2DModel

    if name == "digits":
        config = dict(UNet2DModel.load_config(HERE.parent / "www/models/digits", subfolder="unet"))
    else:
        sys.path.insert(0, str(HERE.parent / "tests/golden"))
        from full_size import CONFIGS

        config = dict(UNet2DModel(**CONFIGS[name]).config) | {"_class_name": "UNet2DModel"}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    DDPMScheduler().save_config(folder)
    side, channels, classes = config["sample_size"], config["in_channels"], config.get("num_class_embeds")
    generator = numpy.random.default_rng(SEED)
    arrays = {"images": generator.integers(0, 256, (IMAGES, side, side, channels), dtype=numpy.uint8)}
    if classes:
        # The last class is no image's: it stands for none.
        arrays["labels"] = (numpy.arange(IMAGES) % (classes - 1)).astype(numpy.uint8)
    numpy.savez(folder / "images.npz", **arrays)


def pytorch(folder, steps, batch, threads):
    """Prints the images a second. Called in a process of its own."""
    import curve
    import torch
    from diffusers import DDPMScheduler

    torch.set_num_threads(threads)
    scheduler = DDPMScheduler.from_config(json.loads((folder / "scheduler_config.json").read_text()))
    config = json.loads((folder / "config.json").read_text())
    losses = curve.train(config, scheduler, folder / "images.npz", batch, LEARNING_RATE, SEED)
    for _ in range(WARM_UP):
        next(losses)
    begin = time.perf_counter()
    for _ in range(steps - WARM_UP):
        next(losses)
    print(batch * (steps - WARM_UP) / (time.perf_counter() - begin))


# The two functions that know `denoise train`: how it is called, and what it says of its speed.


def denoise_command(binary, folder, out, arguments):
    command = [binary, "train", folder / "images.npz", "--out", out, "--config", folder / "config.json"]
    command += ["--scheduler-config", folder / "scheduler_config.json", "--steps", arguments.steps, "--batch", arguments.batch]
    command += ["--lr", LEARNING_RATE, "--seed", SEED]
    return command + (["--backend", arguments.backend] if arguments.backend else [])


def denoise_rate(out, batch):
    """Of the curve of the loss, which has a row every ten steps."""
    with open(out / "loss.csv", newline="") as file:
        rows = [(int(row["step"]), float(row["seconds"])) for row in csv.DictReader(file)]
    warm = [row for row in rows if row[0] >= WARM_UP]
    if len(warm) < 2:
        sys.exit(f"{out / 'loss.csv'} has too few rows to tell the speed after the first {WARM_UP} steps; take more --steps")
    (first, begin), (last, end) = warm[0], warm[-1]
    return batch * (last - first) / (end - begin)


def measured(command, threads):
    """Runs a command; gives what it printed and the most memory it held, in MiB."""
    environment = os.environ | {name: str(threads) for name in ("RAYON_NUM_THREADS", "LP_NUM_THREADS", "OMP_NUM_THREADS")}
    processors = sorted(os.sched_getaffinity(0))[:threads]
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(
            [str(part) for part in command], stdout=output, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, processors)
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{' '.join(map(str, command))} ended with {child.returncode}")
        output.seek(0)
        return output.read(), usage.ru_maxrss / 1024


def own(*parts):
    """A command that runs a part of this file."""
    return [sys.executable, __file__, *parts]


def row(name, who, runs):
    rates, memory = [rate for rate, _ in runs], max(held for _, held in runs)
    return f"| {name} | {who} | {statistics.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f}) | {memory:.0f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("denoise", nargs="?", help="the command")
    parser.add_argument("--models", nargs="+", default=["digits", "cifar10"], choices=["digits", "cifar10"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", choices=["gpu", "cpu"], help="of Denoise")
    # For the processes that this one begins.
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        what, folder = arguments.part[0], Path(arguments.part[1])
        if what == "pytorch":
            pytorch(folder, arguments.steps, arguments.batch, arguments.threads)
        else:
            prepare(what, folder)
        return
    if arguments.steps < WARM_UP + 2:
        parser.error(f"--steps must be at least {WARM_UP + 2}")
    if arguments.threads > len(os.sched_getaffinity(0)):
        parser.error(f"there are only {len(os.sched_getaffinity(0))} processors")
    print(f"Batches of {arguments.batch}, {arguments.steps} steps, {arguments.threads} threads.\n")
    print("| model | by | images/s | peak memory, MiB |\n|---|---|---|---|", flush=True)
    for name in arguments.models:
        runs = {"PyTorch": [], "Denoise": []}
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            measured(own("--part", name, folder), arguments.threads)
            settings = [f"--{key}={getattr(arguments, key)}" for key in ("steps", "batch", "threads")]
            for turn in range(arguments.rounds):
                printed, held = measured(own("--part", "pytorch", folder, *settings), arguments.threads)
                runs["PyTorch"].append((float(printed.split()[-1]), held))
                if arguments.denoise:
                    out = folder / f"out-{turn}"
                    _, held = measured(denoise_command(arguments.denoise, folder, out, arguments), arguments.threads)
                    runs["Denoise"].append((denoise_rate(out, arguments.batch), held))
        for who, of_one in runs.items():
            if of_one:
                print(row(name, who, of_one), flush=True)


if __name__ == "__main__":
    main()
