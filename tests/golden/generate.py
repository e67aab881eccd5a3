"""Makes every golden file of this folder from PyTorch and diffusers; see README.md.

    python3 tests/golden/generate.py            write the files
    python3 tests/golden/generate.py --check    make them anew elsewhere and compare
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import diffusers
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import bound
import classifier
import dataset
import digits
import draws
import dropout
import edits
import gradients_norm
import likelihood
import loss
import ops
import pictures
import runs
import schedules
import training
import training_hybrid
import unets

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


def cases(name):
    return json.loads((HERE / f"{name}.json").read_text())


def generate(folder, digits_path):
    """Writes every golden file below `folder`."""

    def write(name, tensors):
        # One entry only: the order of several would differ from run to run.
        made_with = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
        contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
        save_file(contiguous, folder / f"{name}.safetensors", metadata={"made_with": made_with})
        print(f"{name}: {len(tensors)} tensors")

    write("ops", ops.goldens(cases("cases")))
    write("pictures", pictures.goldens())
    write("draws", draws.goldens())
    write("dataset", dataset.goldens(folder / "dataset"))
    write("gradients_norm", gradients_norm.goldens(cases("gradients_norm")))
    write("gradients", ops.gradients(cases("cases")))
    write("loss", loss.goldens(cases("loss")))
    write("training", training.goldens())
    write("training_hybrid", training_hybrid.goldens())
    write("dropout", dropout.goldens())
    write("schedules", schedules.goldens(cases("schedules")))
    for name, tensors in unets.goldens(lambda name, model: model.save_pretrained(folder / name)).items():
        write(name, tensors)
    write("digits", digits.goldens(digits_path, cases("trajectories")))
    write("runs", runs.goldens(digits_path.parent, lambda name, model: model.save_pretrained(folder / name), cases("runs")))
    write("bound", bound.goldens(digits_path.parent, cases("bound")))
    write("likelihood", likelihood.goldens(digits_path.parent, cases("likelihood")))
    write("classifier", classifier.goldens(folder, digits_path.parent, cases("classifier")))
    write("edits", edits.goldens(digits_path.parent, cases("edits")))


def error(made, kept):
    """The largest difference, relative to the golden's largest magnitude; infinite if they do not fit."""
    if made.shape != kept.shape or made.dtype != kept.dtype:
        return float("inf")
    if made.numel() == 0:
        return 0.0
    difference = (made.double() - kept.double()).abs().max().item()
    if made.dtype in (torch.int64, torch.uint8):
        return 0.0 if difference == 0 else float("inf")
    return difference / max(kept.double().abs().max().item(), 1e-30)


def check(made_folder, tolerance):
    """Compares every file made anew with the one kept; returns the number of failures."""
    failures = 0
    made_files = {path.relative_to(made_folder) for path in made_folder.rglob("*.*") if path.is_file()}
    # matrix/ has its own generate.py, and what is in bench/ comes of the benchmark's scripts.
    kept = (path.relative_to(HERE) for path in HERE.rglob("*.safetensors"))
    kept_files = {path for path in kept if path.parts[0] not in ("matrix", "bench")}
    for stale in sorted(kept_files - made_files):
        failures += 1
        print(f"FAIL {stale}: nothing makes this file")
    for name in sorted(made_files):
        if not (HERE / name).is_file():
            failures += 1
            print(f"FAIL {name}: missing")
        elif name.suffix == ".json":
            same = json.loads((made_folder / name).read_text()) == json.loads((HERE / name).read_text())
            failures += not same
            print(f"{'ok  ' if same else 'FAIL'} {name}")
        elif name.suffix != ".safetensors":
            same = (made_folder / name).read_bytes() == (HERE / name).read_bytes()
            failures += not same
            print(f"{'ok  ' if same else 'FAIL'} {name}")
        else:
            made, kept = load_file(made_folder / name), load_file(HERE / name)
            bad = sorted(made.keys() ^ kept.keys())
            errors = {key: error(made[key], kept[key]) for key in made.keys() & kept.keys()}
            bad += [f"{key} ({value:.1e})" for key, value in sorted(errors.items()) if not value <= tolerance]
            failures += bool(bad)
            with safe_open(HERE / name, "pt") as file:
                made_with = (file.metadata() or {}).get("made_with", "")
            print(f"{'FAIL' if bad else 'ok  '} {name}: largest difference {max(errors.values(), default=0):.1e} {made_with}")
            for line in bad[:10]:
                print(f"       {line}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=Path, default=REPOSITORY / "www/models/digits", help="folder of the digits model")
    parser.add_argument("--check", action="store_true", help="write nothing; compare with the files kept here")
    parser.add_argument("--tolerance", type=float, default=5e-4, help="relative difference --check accepts; whole runs carry rounding on")
    arguments = parser.parse_args()
    if not (arguments.digits / "unet/config.json").is_file():
        sys.exit(f"no model in {arguments.digits}: expected unet/config.json there; give its folder with --digits")
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    # That of diffusers' FIR resampling, which makes a tensor of a tensor.
    warnings.filterwarnings("ignore", "To copy construct from a tensor")
    if not arguments.check:
        generate(HERE, arguments.digits)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), arguments.digits)
        sys.exit(1 if check(Path(folder), arguments.tolerance) else 0)


if __name__ == "__main__":
    main()
