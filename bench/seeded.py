"""Full-size models of published configurations, whose weights follow from a seed: large models that need not be stored.

    python3 bench/seeded.py cifar10 FOLDER     google/ddpm-cifar10-32
    python3 bench/seeded.py 256 FOLDER         google/ddpm-celebahq-256, -church-256, -bedroom-256, …

FOLDER becomes a pipeline's folder. The numbers are those that bench/pack/seeded.mjs makes: by the same rule, which needs
nothing but 32-bit arithmetic.
"""

import argparse
import sys
from pathlib import Path

import diffusers
import numpy
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "golden"))
from full_size import CONFIGS, VARIANCE  # noqa: E402


def uniform(name, count):
    """`count` numbers from −1 to 1: murmur3's finaliser of their places, begun with FNV-1a of the tensor's name."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 & 0xFFFFFFFF
    x = numpy.arange(count, dtype=numpy.uint32) * numpy.uint32(0x9E3779B1) + numpy.uint32(seed)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> numpy.uint32(shift))) * numpy.uint32(factor)
    x ^= x >> numpy.uint32(16)
    return x / 2.0**31 - 1


def tensor(name, shape):
    """Spread as PyTorch's initialisation is: weights by what they sum up, norms the identity."""
    if len(shape) > 1:
        return uniform(name, int(numpy.prod(shape))) / numpy.sqrt(float(numpy.prod(shape[1:])))
    if "norm" in name:
        return numpy.full(shape, 1.0 if name.endswith("weight") else 0.0)
    return uniform(name, shape[0]) * 0.05


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=CONFIGS)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    unet = diffusers.UNet2DModel(**CONFIGS[arguments.model])
    for name, parameter in unet.named_parameters():
        numbers = tensor(name, tuple(parameter.shape)).astype(numpy.float32)
        parameter.copy_(torch.from_numpy(numbers).view(parameter.shape))
    scheduler = diffusers.DDPMScheduler(variance_type=VARIANCE[arguments.model])
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(arguments.folder)


if __name__ == "__main__":
    main()
