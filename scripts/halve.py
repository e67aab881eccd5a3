"""Rounds the weights of a model to 16 bits, as the shipped models' are: half the download.

    python3 scripts/halve.py diffusion_pytorch_model.safetensors www/models/digits/unet/diffusion_pytorch_model.safetensors
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def halve(tensors):
    """Each tensor rounded to the nearest f16. What f16 cannot hold is an error, not an infinity."""
    halves = {name: tensor.to(torch.float16) for name, tensor in tensors.items()}
    for name, half in halves.items():
        if not half.isfinite().all():
            raise ValueError(f"{name} has a number that is too large for 16 bits")
    return halves


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="safetensors of any width")
    parser.add_argument("target", type=Path, help="where the same tensors go in f16")
    arguments = parser.parse_args()
    save_file(halve(load_file(arguments.source)), arguments.target, metadata={"format": "pt"})
    print(f"{arguments.target}: {arguments.source.stat().st_size:,} → {arguments.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
