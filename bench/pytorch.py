"""Times evaluations of a U-Net by PyTorch, eager, on the CPU, as bench/native.rs does by Denoise.

    python3 bench/pytorch.py MODEL_FOLDER [--threads 1] [--evaluations 15]

Prints JSON: milliseconds of each evaluation, and the version.
"""

import argparse
import json
import time

import diffusers
import torch

WARM_UP = 2


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evaluations", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    unet = diffusers.UNet2DModel.from_pretrained(arguments.model, subfolder="unet").eval()
    size = unet.config.sample_size
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    sample = torch.randn(1, unet.config.in_channels, height, width)
    labels = torch.tensor([0]) if unet.config.num_class_embeds else None
    milliseconds = []
    for i in range(WARM_UP + arguments.evaluations):
        begin = time.perf_counter()
        unet(sample, 500, labels)
        if i >= WARM_UP:
            milliseconds.append(1e3 * (time.perf_counter() - begin))
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    print(json.dumps({"milliseconds": milliseconds, "threads": torch.get_num_threads(), "versions": versions}))


if __name__ == "__main__":
    main()
