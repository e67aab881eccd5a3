"""The masks of the engine's dropout, and networks of every family of blocks that learn with them.

A mask follows from a seed of 64 bits, the number of its layer and where each number lies, by Philox4x32 with ten rounds (Salmon et
al. 2011): images lie channels last, padded to a multiple of four, and four numbers have the four words of one counter.
"""

import json

import numpy
import torch
from diffusers import DDPMScheduler
from diffusers.models.resnet import ResnetBlock2D, ResnetBlockCondNorm2D
from safetensors.torch import load_file

from loss import MATRIX, as_f64, in_f64, load, losses
from training import STEPS, Training, agreeing, double, draw, model

PROBABILITY, SEED = 0.3, 0x0123_4567_89AB_CDEF
NETWORKS = ("scale_shift", "resnet_resampling", "resnet_blocks", "skip_scale_shift", "ncsnpp_attention_top", "k_blocks", "class_index")


def philox(counter, key):
    """[..., 4] words of each counter [..., 4] under a key of two words, all uint64 below 2**32."""
    low = numpy.uint64(0xFFFFFFFF)
    shift = numpy.uint64(32)
    a, b, c, d = (counter[..., i] for i in range(4))
    for round in range(10):
        k0, k1 = ((key[i] + round * weyl) & 0xFFFFFFFF for i, weyl in enumerate((0x9E3779B9, 0xBB67AE85)))
        first, second = a * numpy.uint64(0xD2511F53), c * numpy.uint64(0xCD9E8D57)
        a, b, c, d = (second >> shift) ^ b ^ numpy.uint64(k0), second & low, (first >> shift) ^ d ^ numpy.uint64(k1), first & low
    return numpy.stack([a, b, c, d], axis=-1)


def mask(shape, probability, layer, seed):
    """Which numbers of images [N, C, H, W] are kept."""
    n, c, h, w = shape
    fours = n * h * w * ((c + 3) // 4)
    counter = numpy.zeros((fours, 4), dtype=numpy.uint64)
    counter[:, 0], counter[:, 1] = numpy.arange(fours), layer
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32)).reshape(n, h, w, -1)[..., :c]
    return torch.from_numpy(words >= round(probability * 2**32)).permute(0, 3, 1, 2)


def parts(seed):
    """A seed as four numbers of 16 bits, the lowest first."""
    return torch.tensor([seed >> shift & 0xFFFF for shift in (0, 16, 32, 48)])


class Masked(torch.nn.Module):
    """In the place of a network's nn.Dropout: the masks of a seed, one layer after another as they are evaluated."""

    def __init__(self, probability):
        super().__init__()
        self.probability, self.layer, self.seed = probability, 0, 0

    def begin(self, seed):
        self.layer, self.seed = 0, seed

    def forward(self, x):
        kept = mask(x.shape, self.probability, self.layer, self.seed)
        self.layer += 1
        return x * kept / (1 - self.probability)


def masked(unet, probability):
    """What drops out in every residual block of a network that diffusers would drop out in, and nowhere else."""
    learning = type(unet).from_config(unet.config, dropout=probability)
    dropping = {path for path, module in learning.named_modules() if isinstance(module, torch.nn.Dropout) and module.p > 0}
    masks = Masked(probability)
    for path, block in unet.named_modules():
        if isinstance(block, (ResnetBlock2D, ResnetBlockCondNorm2D)):
            dropping.remove(f"{path}.dropout")
            block.dropout = masks
    assert not dropping, dropping
    return masks


def outputs():
    """output.{network}, for the sample, timestep and class_labels that matrix/unets.safetensors has of it."""
    cases = {case["name"]: case for case in json.loads((MATRIX / "unets.json").read_text())}
    given = load_file(MATRIX / "unets.safetensors")
    made = {}
    for name in NETWORKS:
        unet = as_f64(load(cases[name]))
        masked(unet, PROBABILITY).begin(SEED)
        labels = given.get(f"{name}.class_labels")
        with torch.no_grad():
            output = unet(given[f"{name}.sample"].double(), given[f"{name}.timestep"], class_labels=labels).sample
        made[f"output.{name}"] = output.float()
    return made


def run(unet, steps):
    """As that of training.py, with the masks of each step's seed."""
    masks, ten = masked(unet, PROBABILITY), Training(unet)
    scheduler = DDPMScheduler() if next(unet.parameters()).dtype == torch.float32 else in_f64(DDPMScheduler())
    curve = []
    for *values, seed in zip(*steps.values()):
        masks.begin(sum(part << 16 * i for i, part in enumerate(seed.tolist())))
        loss = losses(unet, scheduler, *values).mean()
        ten.learn(loss)
        curve.append(loss.detach())
    return {"losses": torch.stack(curve), **ten.weights(unet)}


def goldens():
    """The outputs; of ten steps of training.py's network with dropout steps.{sample, noise, timestep, class_labels, dropout_seed},
    losses [10], and after them {weights, ema}.{path}."""
    case, unet = model()
    steps = draw(unet, DDPMScheduler(), case["size"])
    seeds = numpy.random.default_rng(24).integers(0, 2**64, STEPS, dtype=numpy.uint64)
    steps["dropout_seed"] = torch.stack([parts(int(seed)) for seed in seeds])
    made = agreeing(run(unet, steps), run(as_f64(model()[1]), double(steps)))
    return {**outputs(), **{f"steps.{key}": tensor for key, tensor in steps.items()}, **made}
