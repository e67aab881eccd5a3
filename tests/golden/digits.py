"""Goldens of the digits model: single evaluations, and whole runs with torch's noise."""

import inspect

import diffusers
import torch

SEED, TIMES, CLASSES, NULL_CLASS = 1234, (0, 10, 500, 999), [3, 7], 10


def trajectory(unet, scheduler_config, case):
    """One run as a diffusers pipeline makes it: x_T and then each step's noise from one generator."""
    overrides = {key: case[key] for key in ("timestep_spacing", "variance_type") if case[key] is not None}
    scheduler = getattr(diffusers, case["scheduler"]).from_config(scheduler_config, **overrides)
    scheduler.set_timesteps(case["steps"])
    generator = torch.Generator().manual_seed(case["seed"])
    takes = inspect.signature(scheduler.step).parameters
    given = {"generator": generator, "eta": case["eta"]}
    given = {key: value for key, value in given.items() if key in takes}
    classes = torch.tensor(case["classes"])
    side = unet.config.sample_size
    x = torch.randn((len(classes), unet.config.in_channels, side, side), generator=generator)
    x = x * scheduler.init_noise_sigma
    tensors = {"timesteps": scheduler.timesteps}
    for i, t in enumerate(scheduler.timesteps, start=1):
        model = unet(scheduler.scale_model_input(x, t), t, class_labels=classes).sample
        out = scheduler.step(model, t, x, **given)
        x = out.prev_sample
        if i in case["saved_steps"]:
            tensors[f"x.{i}"] = x
            tensors[f"pred_x0.{i}"] = out.pred_original_sample
    return {**tensors, "x0": x}


@torch.no_grad()
def goldens(folder, trajectories):
    """sample, eps.t{t}.class, eps.t{t}.null, and {trajectory}.timesteps, .x.{i}, .pred_x0.{i}, .x0."""
    unet = diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32).eval()
    scheduler_config = diffusers.DDPMScheduler.load_config(folder, subfolder="scheduler")
    sample = torch.randn((2, 1, 32, 32), generator=torch.Generator().manual_seed(SEED))
    tensors = {"sample": sample}
    for t in TIMES:
        for label, classes in (("class", CLASSES), ("null", [NULL_CLASS] * 2)):
            tensors[f"eps.t{t}.{label}"] = unet(sample, t, class_labels=torch.tensor(classes)).sample
    for case in trajectories:
        made = trajectory(unet, scheduler_config, case)
        tensors.update({f"{case['name']}.{key}": tensor for key, tensor in made.items()})
    return tensors
