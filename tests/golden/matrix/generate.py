"""Makes every golden file of this folder from PyTorch and diffusers; see README.md.

    python3 tests/golden/matrix/generate.py            write the files
    python3 tests/golden/matrix/generate.py --check    make them anew elsewhere and compare
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import diffusers
import torch
from safetensors.torch import load_file, save_file

import initial
import schedulers
import unets

HERE = Path(__file__).resolve().parent


def cases(name):
    made = json.loads((HERE / f"{name}.json").read_text())
    names = [case["name"] for case in made]
    assert len(set(names)) == len(names), f"{name}.json has a name twice"
    return made


def generate(folder):
    """Writes every golden file below `folder`."""

    def write(name, tensors):
        # One entry only: the order of several would differ from run to run.
        made_with = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
        contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
        save_file(contiguous, folder / f"{name}.safetensors", metadata={"made_with": made_with})
        print(f"{name}: {len(tensors)} tensors")

    write("unets", unets.goldens(cases("unets"), folder))
    write("initial", initial.goldens(cases("unets")))
    write("schedulers", schedulers.goldens(cases("schedulers")))
    write("sums", schedulers.sum_goldens(cases("sums")))
    write("grids", schedulers.grids())


def error(made, kept):
    """The largest difference, relative to the golden's largest magnitude; infinite if they do not fit."""
    if made.shape != kept.shape or made.dtype != kept.dtype:
        return float("inf")
    difference = (made.double() - kept.double()).abs().max().item()
    if made.dtype in (torch.int64, torch.uint8):
        return 0.0 if difference == 0 else float("inf")
    return difference / max(kept.double().abs().max().item(), 1e-30)


def check(made_folder, tolerance):
    """Compares every file made anew with the one kept; returns the number of failures."""
    failures = 0
    made_files = {path.relative_to(made_folder) for path in made_folder.rglob("*.safetensors*")}
    kept_files = {path.relative_to(HERE) for path in HERE.rglob("*.safetensors*")}
    for name in sorted(made_files ^ kept_files):
        failures += 1
        print(f"FAIL {name}: {'nothing makes this file' if name in kept_files else 'missing'}")
    for name in sorted(made_files & kept_files):
        if name.suffix == ".json":
            bad, worst = [] if json.loads((made_folder / name).read_text()) == json.loads((HERE / name).read_text()) else ["differs"], 0.0
        else:
            made, kept = load_file(made_folder / name), load_file(HERE / name)
            bad = sorted(made.keys() ^ kept.keys())
            errors = {key: error(made[key], kept[key]) for key in made.keys() & kept.keys()}
            bad += [f"{key} ({value:.1e})" for key, value in sorted(errors.items()) if not value <= tolerance]
            worst = max(errors.values(), default=0.0)
        failures += bool(bad)
        print(f"{'FAIL' if bad else 'ok  '} {name}: largest difference {worst:.1e}")
        for line in bad[:10]:
            print(f"       {line}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; compare with the files kept here")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="relative difference --check accepts")
    arguments = parser.parse_args()
    if importlib.util.find_spec("scipy") is None:
        sys.exit("LMS and beta sigmas need scipy: pip install scipy==1.17.1")
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    if not arguments.check:
        generate(HERE)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        sys.exit(1 if check(Path(folder), arguments.tolerance) else 0)


if __name__ == "__main__":
    main()
