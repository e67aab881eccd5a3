"""Goldens of the schedulers: diffusers' own `set_timesteps` and `step`, on float64 tables."""

import math
from unittest import mock

import diffusers
import torch
from diffusers.schedulers import scheduling_ddpm

SHAPE = (3, 16)


def betas_f64(config):
    """The scheduler's betas by diffusers' formulas, in float64 instead of float32."""
    start, end, count = config.beta_start, config.beta_end, config.num_train_timesteps
    if config.beta_schedule == "linear":
        return torch.linspace(start, end, count, dtype=torch.float64)
    if config.beta_schedule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    assert config.beta_schedule == "squaredcos_cap_v2", config.beta_schedule

    def alpha_bar(t):
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    ratios = [alpha_bar((i + 1) / count) / alpha_bar(i / count) for i in range(count)]
    return torch.tensor([min(1 - ratio, 0.999) for ratio in ratios], dtype=torch.float64)


def build(case):
    """The case's scheduler with every table in float64, its timesteps set."""
    scheduler = getattr(diffusers, case["scheduler"])(**case["config"])
    float32_betas = scheduler.betas
    scheduler.betas = betas_f64(scheduler.config)
    torch.testing.assert_close(scheduler.betas.float(), float32_betas, rtol=1e-4, atol=1e-7)
    scheduler.alphas = 1.0 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, dim=0)
    one = torch.tensor(1.0, dtype=torch.float64)
    if case["scheduler"] == "DDIMScheduler":
        scheduler.final_alpha_cumprod = one if scheduler.config.set_alpha_to_one else scheduler.alphas_cumprod[0]
    else:
        scheduler.one = one
    scheduler.set_timesteps(case["steps"])
    assert len(scheduler.timesteps) == case["steps"], case["name"]
    return scheduler


def stored_rows(steps):
    """All rows of a short run; of a longer one the first and last two and the middle."""
    return list(range(steps)) if steps <= 7 else [0, 1, steps // 2, steps - 2, steps - 1]


def step(scheduler, case, t, sample, model, noise):
    """One step of diffusers with the given noise: (x_prev, x̂0, was noise asked for)."""
    if case["scheduler"] == "DDIMScheduler":
        out = scheduler.step(model, t, sample, eta=case["eta"], variance_noise=noise)
        return out.prev_sample, out.pred_original_sample, case["eta"] > 0
    with mock.patch.object(scheduling_ddpm, "randn_tensor", return_value=noise) as randn_tensor:
        out = scheduler.step(model, t, sample)
    return out.prev_sample, out.pred_original_sample, randn_tensor.called


def goldens(cases):
    """{case}.betas, .alphas_cumprod, .timesteps, .rows, .sample, .model, .noise, and by row .prev, .pred_x0, .draws_noise."""
    tensors = {}
    for seed, case in enumerate(cases):
        scheduler = build(case)
        generator = torch.Generator().manual_seed(seed)
        sample, model, noise = (torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(3))
        rows = stored_rows(case["steps"])
        steps = [step(scheduler, case, scheduler.timesteps[row], sample, model, noise) for row in rows]
        made = {
            "betas": scheduler.betas,
            "alphas_cumprod": scheduler.alphas_cumprod,
            "timesteps": scheduler.timesteps,
            "rows": torch.tensor(rows),
            "sample": sample,
            "model": model,
            "noise": noise,
            "prev": torch.stack([prev for prev, _, _ in steps]),
            "pred_x0": torch.stack([pred_x0 for _, pred_x0, _ in steps]),
            "draws_noise": torch.tensor([draws for _, _, draws in steps], dtype=torch.uint8),
        }
        assert all(tensor.isfinite().all() for tensor in made.values()), case["name"]
        tensors.update({f"{case['name']}.{key}": tensor.contiguous() for key, tensor in made.items()})
    return tensors
