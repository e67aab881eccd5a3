"""Log-likelihoods by the probability-flow ODE (Song et al. 2021, appendix D.2), in bits a number, by SciPy's adaptive Runge-Kutta
and autograd. Read from `likelihood.json`, whose fields are those of `bound.json`."""

import math
import zlib

import diffusers
import numpy
import torch
from scipy.integrate import solve_ivp

from bound import Process, pictures
from loss import as_f64
from runs import MODELS, make


def encode(process, unet, x0, probe, labels):
    """x_T and bits a number of images: dx/dσ = ε(x / √(1 + σ²), t(σ)), with t(σ) linear in ln σ, in terms of ln σ."""
    alphas = process.alphas_cumprod.numpy()
    logs = numpy.log(numpy.sqrt((1 - alphas) / alphas))
    count, size = len(x0), x0[0].numel()

    def slope(log_sigma, state):
        sigma = math.exp(log_sigma)
        # A tensor: of a number diffusers takes the whole part.
        t = torch.tensor(numpy.interp(log_sigma, logs, numpy.arange(len(logs))), dtype=torch.float32)
        signal = 1 / math.sqrt(1 + sigma**2)
        deviation = sigma * signal
        x = torch.from_numpy(state[: count * size]).reshape(x0.shape).requires_grad_()
        x_t = signal * x
        output = unet(x_t, t, class_labels=labels).sample[:, : x0.shape[1]]
        epsilon = {
            "epsilon": lambda: output,
            "sample": lambda: (x_t - signal * output) / deviation,
            "v_prediction": lambda: deviation * x_t + signal * output,
        }[process.config.prediction_type]()
        (product,) = torch.autograd.grad(epsilon, x, probe)
        trace = (product * probe).flatten(1).sum(dim=1)
        return sigma * torch.cat([epsilon.detach().flatten(), trace]).numpy()

    begin = numpy.concatenate([x0.double().flatten().numpy(), numpy.zeros(count)])
    solved = solve_ivp(slope, (logs[0], logs[-1]), begin, method="RK45", rtol=2e-5, atol=2e-5)
    assert solved.success, solved.message
    end = torch.from_numpy(solved.y[:, -1])
    variance = 1 + math.exp(2 * logs[-1])
    x, traces = end[: count * size].reshape(count, size), end[count * size :]
    prior = -0.5 * (math.log(2 * math.pi * variance) + x**2 / variance).sum(dim=1)
    bits = -(prior + traces) / size / math.log(2) + math.log2(127.5)
    return (x / math.sqrt(variance)).reshape(x0.shape), bits


def goldens(models, cases):
    """{case}.{sample, probe, class_labels, x_T, bits_per_dim}; `sample` is dequantised."""
    tensors = {}
    for case in cases:
        name, random = case["model"], case["model"] in MODELS
        own = {} if random else diffusers.DDPMScheduler.load_config(models / name, subfolder="scheduler")
        process = Process(diffusers.DDPMScheduler.from_config(own, **case["config"]).config)
        unet = make(name, list(MODELS).index(name)) if random else diffusers.UNet2DModel.from_pretrained(models / name, subfolder="unet")
        unet = as_f64(unet.eval()).requires_grad_(False)
        generator = torch.Generator().manual_seed(zlib.crc32(case["name"].encode()))
        classes, kind = case.get("classes"), torch.float32 if unet.config.class_embed_type == "timestep" else torch.int64
        labels = None if classes is None else torch.tensor(classes, dtype=kind)
        x0 = pictures(2, unet.config.in_channels, unet.config.sample_size)
        x0 = x0 + (torch.rand(x0.shape, generator=generator) - 0.5) / 127.5
        probe = (torch.rand(x0.shape, generator=generator) < 0.5) * 2.0 - 1.0
        x_t, bits = encode(process, unet, x0, probe.double(), labels)
        made = {"sample": x0, "probe": probe, "x_T": x_t.float(), "bits_per_dim": bits}
        made |= {} if labels is None else {"class_labels": labels}
        tensors.update({f"{case['name']}.{key}": tensor for key, tensor in made.items()})
    return tensors
