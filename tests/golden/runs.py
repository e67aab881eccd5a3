"""Whole runs as diffusers' pipelines make them, with torch's generators: one for a batch or one an image, guidance,
learned variances, thresholding, inpainting, SDEs, consistency, flows, sizes and classes of every kind. Read from
`runs.json`."""

import importlib
import inspect
import sys
import types

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor

TINY = dict(
    sample_size=8,
    block_out_channels=(8, 12),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    layers_per_block=1,
    norm_num_groups=4,
    attention_head_dim=4,
)

# Networks with random weights, for what the shipped models do not have.
MODELS = {
    "unet_learned": dict(in_channels=2, out_channels=4, **TINY),
    "unet_number": dict(in_channels=3, out_channels=3, class_embed_type="timestep", **TINY),
    "unet_vector": dict(in_channels=3, out_channels=3, class_embed_type="identity", **TINY),
    # Of five channels it makes two: the other three are a condition, as a picture to be enlarged.
    "unet_condition": dict(in_channels=5, out_channels=2, num_class_embeds=4, **TINY),
}


def make(name, index):
    torch.manual_seed(100 + index)
    model = diffusers.UNet2DModel(**MODELS[name]).eval()
    # An output of about the size of noise.
    torch.nn.init.normal_(model.conv_out.weight, std=0.1)
    return model


def generators(seeds):
    made = [torch.Generator().manual_seed(seed) for seed in seeds]
    return made[0] if len(made) == 1 else made


def class_of(name):
    """The scheduler class. That of DPMSolverSDE asks for torchsde, of which nothing is used here."""
    if name != "DPMSolverSDEScheduler":
        return getattr(diffusers, name)
    sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))
    return importlib.import_module("diffusers.schedulers.scheduling_dpmsolver_sde").DPMSolverSDEScheduler


class Brownian:
    """In place of torchsde's: of each step the motion to its middle is drawn first, and then the rest."""

    def __init__(self, shape, generator):
        self.shape, self.generator, self.motion = shape, generator, None

    def __call__(self, begin, end):
        drawn = randn_tensor(self.shape, generator=self.generator)
        if self.motion is None:
            self.motion, self.middle = drawn * (begin - end).sqrt(), end
            return drawn
        motion = self.motion + drawn * (self.middle - end).sqrt()
        self.motion = None
        return motion / (begin - end).sqrt()


def rescale_noise_cfg(output, of_class, guidance_rescale):
    """As diffusers' function of this name, which cannot be imported without transformers."""
    dims = list(range(1, output.ndim))
    rescaled = output * (of_class.std(dim=dims, keepdim=True) / output.std(dim=dims, keepdim=True))
    return guidance_rescale * rescaled + (1 - guidance_rescale) * output


def network(unet, case, classes):
    """The model's output at x and t, guided if the case says so."""
    guidance = case.get("guidance", 1.0)
    if guidance == 1.0:
        return lambda x, t: unet(x, t, class_labels=classes).sample
    both = torch.cat([classes, torch.full_like(classes, case["null_class"])])

    def guided(x, t):
        of_class, of_null = unet(torch.cat([x, x]), t, class_labels=both).sample.chunk(2)
        output = of_null + guidance * (of_class - of_null)
        rescale = case.get("guidance_rescale", 0.0)
        return rescale_noise_cfg(output, of_class, guidance_rescale=rescale) if rescale else output

    return guided


def conditioned(unet, condition):
    """The network with the condition after the channels of x, as SR3, Palette and the diffusion course have it."""

    def evaluate(x, t, class_labels):
        planes = condition.repeat(len(x) // len(condition), 1, 1, 1)
        return unet(torch.cat([x, planes], dim=1), t, class_labels=class_labels)

    evaluate.config = unet.config
    return evaluate


def run(unet, case, scheduler_config):
    """{x_0, …} of a case; `classes` and for inpainting `original` and `mask` beside it."""
    scheduler = class_of(case["scheduler"]).from_config(scheduler_config, **case.get("config", {}))
    generator, tensors = generators(case["seeds"]), {}
    height, width = case["size"] if "size" in case else (unet.config.sample_size,) * 2
    shape = (case["count"], unet.config.in_channels - case.get("condition_channels", 0), height, width)
    if "conditions" in case:
        planes = (case["conditions"], case["condition_channels"], height, width)
        tensors["condition"] = torch.randn(planes, generator=torch.Generator().manual_seed(7))
        unet = conditioned(unet, tensors["condition"])
    classes = None
    if unet.config.class_embed_type == "identity":
        classes = torch.randn((case["count"], 4 * TINY["block_out_channels"][0]), generator=torch.Generator().manual_seed(5))
    elif "classes" in case:
        kind = torch.float32 if unet.config.class_embed_type == "timestep" else torch.int64
        classes = torch.tensor(case["classes"], dtype=kind)
    if classes is not None:
        tensors["classes"] = classes
    evaluate = network(unet, case, classes)
    x = randn_tensor(shape, generator=generator)
    step = case.get("step", {})
    if case["scheduler"] == "RePaintScheduler":
        scheduler.set_timesteps(case["steps"], **case["jumps"])
        scheduler.eta = case["eta"]
        original = torch.randn(shape, generator=torch.Generator().manual_seed(6)).clamp(-1, 1)
        mask = torch.zeros(shape)
        mask[..., : width // 2] = 1
        tensors.update(original=original, mask=mask)
        last = scheduler.timesteps[0] + 1
        for t in scheduler.timesteps:
            if t < last:
                x = scheduler.step(evaluate(x, t), t, x, original, mask, generator).prev_sample
            else:
                x = scheduler.undo_step(x, last, generator)
            last = t
    elif case["scheduler"] == "ScoreSdeVeScheduler":
        x = x * scheduler.init_noise_sigma
        scheduler.set_timesteps(case["steps"])
        scheduler.set_sigmas(case["steps"])
        for t, sigma in zip(scheduler.timesteps, scheduler.sigmas):
            for _ in range(scheduler.config.correct_steps):
                x = scheduler.step_correct(evaluate(x, sigma), x, generator=generator).prev_sample
            out = scheduler.step_pred(evaluate(x, sigma), t, x, generator=generator)
            x = out.prev_sample
        x = out.prev_sample_mean
    else:
        scheduler.set_timesteps(case["steps"])
        x = x * getattr(scheduler, "init_noise_sigma", 1.0)
        scaled = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
        if hasattr(scheduler, "noise_sampler"):
            scheduler.noise_sampler = Brownian(shape, generator)
        takes = inspect.signature(scheduler.step).parameters
        given = {"generator": generator, **step}
        given = {key: value for key, value in given.items() if key in takes}
        for t in scheduler.timesteps:
            x = scheduler.step(evaluate(scaled(x, t), t), t, x, **given).prev_sample
    return {**tensors, "x_0": x}


@torch.no_grad()
def goldens(models, save, cases):
    """{case}.{x_0, classes, original, mask}; `models` is the folder of the shipped ones, `save` keeps the random ones."""
    unets, schedulers = {}, {}
    for index, name in enumerate(MODELS):
        unets[name] = make(name, index)
        save(name, unets[name])
        schedulers[name] = diffusers.DDPMScheduler().config
    for name in ("digits", "sprites"):
        unets[name] = diffusers.UNet2DModel.from_pretrained(models / name, subfolder="unet", torch_dtype=torch.float32).eval()
        schedulers[name] = diffusers.DDPMScheduler.load_config(models / name, subfolder="scheduler")
    tensors = {}
    for case in cases:
        made = run(unets[case["model"]], case, schedulers[case["model"]])
        assert made["x_0"].isfinite().all(), case["name"]
        tensors.update({f"{case['name']}.{key}": tensor.contiguous() for key, tensor in made.items()})
    return tensors
