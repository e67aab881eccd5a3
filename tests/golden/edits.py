"""Runs that keep, invert or mix something, as loops around diffusers' schedulers: inpainting as its
`StableDiffusionInpaintPipeline` has it, the inversion of an image, noise between two noises, and the embedding of a class
between two. Read from `edits.json`."""

import inspect

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor

from runs import generators, network


class Mixed(torch.nn.Module):
    """A class embedding in which each image has a share of another class; images beyond those have none."""

    def __init__(self, embedding, labels, weights):
        super().__init__()
        self.embedding, self.labels, self.weights = embedding, torch.tensor(labels), torch.tensor(weights)

    def forward(self, labels):
        own = self.embedding(labels)
        mixed, weights = own.clone(), self.weights[:, None]
        count = len(self.labels)
        mixed[:count] = (1 - weights) * own[:count] + weights * self.embedding(self.labels)
        return mixed


def slerp(a, b, weight):
    """Between two noises, along the great circle: Song et al. 2020, equation 67."""
    angle = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / torch.sin(angle)


def run(unet, case, scheduler_config):
    """{x_0, classes} of a case, and `original` and `mask` of one that has them."""
    scheduler = getattr(diffusers, case["scheduler"]).from_config(scheduler_config, **case.get("config", {}))
    classes = torch.tensor(case["classes"])
    shape = (len(classes), unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    tensors, between = {"classes": classes}, case.get("slerp")
    # Every image of a strip between two noises has the noise of a batch of one.
    generator = generators(case["seeds"] * len(classes) if between else case["seeds"])
    noise = randn_tensor(shape, generator=generator)
    if between:
        to = torch.randn(shape[1:], generator=torch.Generator().manual_seed(between["seed"]))
        noise = torch.stack([slerp(own.double(), to.double(), weight).float() for own, weight in zip(noise, between["weights"])])
    if case.get("inpaint") or case.get("image"):
        tensors["original"] = torch.randn(shape, generator=torch.Generator().manual_seed(6)).clamp(-1, 1)
    if case.get("inpaint"):
        tensors["mask"] = torch.zeros((1, 1, *shape[2:]))
        tensors["mask"][..., : shape[3] // 2] = 1
    own = getattr(unet, "class_embedding", None)
    if "class_mix" in case:
        unet.class_embedding = Mixed(own, **case["class_mix"])
    evaluate = network(unet, case, classes)

    scheduler.set_timesteps(case["steps"])
    timesteps = scheduler.timesteps
    if "begin" in case:
        scheduler.set_begin_index(case["begin"])
        timesteps = timesteps[case["begin"] :]

    def known(x, index):
        """x with the known part of the image as noisy as the step of this index expects it."""
        if not case.get("inpaint"):
            return x
        original, mask = tensors["original"], tensors["mask"]
        if index < len(timesteps):
            original = scheduler.add_noise(original, noise, timesteps[index].repeat(len(original)))
        return mask * original + (1 - mask) * x

    if case.get("image"):
        x = tensors["original"]
    elif "begin" in case:
        x = scheduler.add_noise(tensors["original"], noise, timesteps[:1].repeat(len(noise)))
    else:
        x = noise * scheduler.init_noise_sigma
    x = known(x, 0)
    scaled = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
    takes = inspect.signature(scheduler.step).parameters
    given = {key: value for key, value in {"generator": generator, **case.get("step", {})}.items() if key in takes}
    for index, t in enumerate(timesteps):
        x = scheduler.step(evaluate(scaled(x, t), t), t, x, **given).prev_sample
        x = known(x, index + 1)
    if own is not None:
        unet.class_embedding = own
    return {**tensors, "x_0": x}


@torch.no_grad()
def goldens(models, cases):
    """{case}.{x_0, classes, original, mask}; `models` is the folder of the shipped ones."""
    tensors = {}
    for case in cases:
        folder = models / case["model"]
        unet = diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32).eval()
        made = run(unet, case, diffusers.DDPMScheduler.load_config(folder, subfolder="scheduler"))
        assert made["x_0"].isfinite().all(), case["name"]
        tensors.update({f"{case['name']}.{key}": tensor.contiguous() for key, tensor in made.items()})
    return tensors
