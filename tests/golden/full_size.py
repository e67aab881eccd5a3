"""Full-size models of published configurations with random weights, and what diffusers makes of them.

    python3 tests/golden/full_size.py cifar10 FOLDER     google/ddpm-cifar10-32
    python3 tests/golden/full_size.py 256 FOLDER         google/ddpm-celebahq-256, -church-256, -bedroom-256, …

FOLDER becomes a pipeline folder, with io.safetensors (sample, timestep) and expected.safetensors (model_output) in it for
`denoise eps`. Nothing of it is committed: 143 and 455 MB.
"""

import argparse
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

SHARED = dict(
    layers_per_block=2,
    attention_head_dim=None,
    downsample_padding=0,
    flip_sin_to_cos=False,
    freq_shift=1,
    norm_eps=1e-6,
)
CONFIGS = {
    "cifar10": dict(
        sample_size=32,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        **SHARED,
    ),
    "256": dict(
        sample_size=256,
        block_out_channels=(128, 128, 256, 256, 512, 512),
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
        **SHARED,
    ),
}
VARIANCE = {"cifar10": "fixed_large", "256": "fixed_small"}


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=CONFIGS)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**CONFIGS[arguments.model]).eval()
    scheduler = diffusers.DDPMScheduler(variance_type=VARIANCE[arguments.model])
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(arguments.folder)
    side = unet.config.sample_size
    sample, timestep = torch.randn(1, 3, side, side), torch.tensor([500.0])
    save_file({"sample": sample, "timestep": timestep}, arguments.folder / "io.safetensors")
    save_file({"model_output": unet(sample, timestep).sample}, arguments.folder / "expected.safetensors")
    print(f"{sum(p.numel() for p in unet.parameters()):,} parameters in {arguments.folder}")


if __name__ == "__main__":
    main()
