"""The terms of the variational bound in bits a number, written out in f64 from improved-diffusion's `gaussian_diffusion.py`
(Nichol and Dhariwal 2021): `_vb_terms_bpd` and `_prior_bpd`. Read from `bound.json`. A case of the list:
    name        what its tensors are called
    config      fields of the scheduler that are not DDPM's defaults, or of a shipped model not its own
    model       the network; a case without one has random numbers in place of what a network says
    timesteps   of a case with a network
    classes     of a model with classes, one an image
"""

import math
import zlib

import diffusers
import torch
from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr

from gradients_norm import levels
from loss import as_f64
from runs import MODELS, make
from schedules import betas_f64


class Process:
    """The tables and the two distributions of `GaussianDiffusion`."""

    def __init__(self, config):
        self.config = config
        self.betas = betas_f64(config)
        if config.rescale_betas_zero_snr:
            self.betas = rescale_zero_terminal_snr(self.betas)
        self.T = len(self.betas)
        self.alphas_cumprod = torch.cumprod(1 - self.betas, dim=0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]])
        self.posterior_variance = self.betas * (1 - before) / (1 - self.alphas_cumprod)
        self.posterior_log_variance_clipped = torch.cat([self.posterior_variance[1:2], self.posterior_variance[1:]]).log()
        self.posterior_mean_coef1 = self.betas * before.sqrt() / (1 - self.alphas_cumprod)
        self.posterior_mean_coef2 = (1 - before) * (1 - self.betas).sqrt() / (1 - self.alphas_cumprod)

    def q_sample(self, x0, t, noise):
        return self.alphas_cumprod[t].sqrt() * x0 + (1 - self.alphas_cumprod[t]).sqrt() * noise

    def p_mean_variance(self, x_t, t, output):
        signal, deviation = self.alphas_cumprod[t].sqrt(), (1 - self.alphas_cumprod[t]).sqrt()
        output, said = output[:, : x_t.shape[1]], output[:, x_t.shape[1] :]
        log_variance = {
            "fixed_small": lambda: self.posterior_log_variance_clipped[t],
            "fixed_small_log": lambda: self.posterior_log_variance_clipped[t],
            "fixed_large": lambda: torch.cat([self.posterior_variance[1:2], self.betas[1:]]).log()[t],
            # diffusers' networks say the variance, the authors' its logarithm.
            "learned": lambda: said.log(),
            "learned_range": lambda: (said + 1) / 2 * self.betas[t].log() + (1 - said) / 2 * self.posterior_log_variance_clipped[t],
        }[self.config.variance_type]()
        x0 = {
            "epsilon": lambda: (x_t - deviation * output) / signal,
            "sample": lambda: output,
            "v_prediction": lambda: signal * x_t - deviation * output,
        }[self.config.prediction_type]()
        if self.config.clip_sample:
            x0 = x0.clamp(-self.config.clip_sample_range, self.config.clip_sample_range)
        mean = self.posterior_mean_coef1[t] * x0 + self.posterior_mean_coef2[t] * x_t
        return mean, log_variance * torch.ones_like(mean)

    def vb_terms_bpd(self, x0, x_t, t, output):
        mean, log_variance = self.p_mean_variance(x_t, t, output)
        if t == 0:
            nats = levels(x0, mean, log_variance)
        else:
            true_mean = self.posterior_mean_coef1[t] * x0 + self.posterior_mean_coef2[t] * x_t
            true = self.posterior_log_variance_clipped[t]
            nats = normal_kl(true_mean, true, mean, log_variance)
        return nats.flatten(1).mean(dim=1) / math.log(2)

    def prior_bpd(self, x0):
        last = self.alphas_cumprod[-1]
        nats = normal_kl(last.sqrt() * x0, (1 - last).log(), torch.zeros(()), torch.zeros((), dtype=torch.float64))
        return nats.flatten(1).mean(dim=1) / math.log(2)


def normal_kl(mean1, logvar1, mean2, logvar2):
    square = (mean1 - mean2) ** 2 * torch.exp(-logvar2)
    return 0.5 * (-1.0 + logvar2 - logvar1 + torch.exp(logvar1 - logvar2) + square)


def formula(process, generator):
    """Random images and outputs at the ends of the process and in between: an x̂0 about as far off as a network's."""
    config, times = process.config, [0, 1, process.T // 3, process.T - 1]
    x0 = (150 * torch.randn((2, 3, 4, 4), generator=generator)).round().clamp(-127.5, 127.5) / 127.5
    noise = torch.randn((len(times), *x0.shape), generator=generator)
    error = torch.randn(noise.shape, generator=generator)
    x_t, outputs = [], []
    for i, t in enumerate(times):
        signal, deviation = process.alphas_cumprod[t].sqrt(), (1 - process.alphas_cumprod[t]).sqrt()
        x_t.append(process.q_sample(x0.double(), t, noise[i].double()).float())
        target = {
            "epsilon": lambda: noise[i].double(),
            "sample": lambda: x0.double(),
            "v_prediction": lambda: signal * noise[i].double() - deviation * x0.double(),
        }[config.prediction_type]()
        scale = 0.02 if config.prediction_type == "sample" else 0.3
        outputs.append((target + scale * error[i].double()).float())
    x_t, outputs = torch.stack(x_t), torch.stack(outputs)
    if config.variance_type.startswith("learned"):
        said = torch.randn(outputs.shape, generator=generator).clamp(-1, 1)
        if config.variance_type == "learned":
            said = (process.posterior_log_variance_clipped[times][:, None, None, None, None] + 0.3 * said).exp().float()
        outputs = torch.cat([outputs, said], dim=2)
    terms = [process.vb_terms_bpd(x0.double(), x.double(), t, output.double()) for t, x, output in zip(times, x_t, outputs)]
    return {
        "sample": x0, "timestep": torch.tensor(times), "x_t": x_t, "model_output": outputs,
        "terms": torch.stack(terms), "prior": process.prior_bpd(x0.double()),
    }


def pictures(count, channels, side):
    """A ring, and a bar, of grey edges, in whole levels from -1 to 1; in colours the planes differ in brightness."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    radius, across = (2 * x - side + 1) ** 2 + (2 * y - side + 1) ** 2, (2 * x - side + 1).abs()
    ring = 255 * ((radius > side**2 // 9) & (radius < side**2 // 3)) + 120 * ((radius >= side**2 // 3) & (radius < side**2 // 2))
    bar = 255 * (across < side // 6) + 90 * ((across >= side // 6) & (across < side // 4))
    drawn = torch.stack([ring, bar])[:count, None]
    planes = torch.cat([drawn * (channels - i) // channels for i in range(channels)], dim=1)
    return planes.float() / 127.5 - 1


def network(process, unet, case, generator):
    """Two pictures, or one, and what a network says of them and noise."""
    classes = case.get("classes")
    count = len(classes) if classes else 2
    number = unet.config.class_embed_type == "timestep"
    labels = None if classes is None else torch.tensor(classes, dtype=torch.float32 if number else torch.int64)
    x0 = pictures(count, unet.config.in_channels, unet.config.sample_size)
    noise = torch.randn((len(case["timesteps"]), *x0.shape), generator=generator)
    terms = []
    for t, drawn in zip(case["timesteps"], noise):
        # The network's input has 32 bits.
        x_t = process.q_sample(x0.double(), t, drawn.double()).float().double()
        terms.append(process.vb_terms_bpd(x0.double(), x_t, t, unet(x_t, t, class_labels=labels).sample))
    made = {
        "sample": x0, "noise": noise, "timestep": torch.tensor(case["timesteps"]),
        "terms": torch.stack(terms), "prior": process.prior_bpd(x0.double()),
    }
    return made if labels is None else {**made, "class_labels": labels}


@torch.no_grad()
def goldens(models, cases):
    """{case}.{sample, noise, timestep, class_labels, terms, prior}, of cases without a network {x_t, model_output} in place of
    noise; `models` is the folder of the shipped ones."""
    tensors = {}
    for case in cases:
        name = case.get("model")
        random = name is None or name in MODELS
        own = {} if random else diffusers.DDPMScheduler.load_config(models / name, subfolder="scheduler")
        process = Process(diffusers.DDPMScheduler.from_config(own, **case["config"]).config)
        generator = torch.Generator().manual_seed(zlib.crc32(case["name"].encode()))
        if name is None:
            made = formula(process, generator)
        else:
            unet = make(name, list(MODELS).index(name)) if random else diffusers.UNet2DModel.from_pretrained(models / name, subfolder="unet")
            made = network(process, as_f64(unet.eval()), case, generator)
        assert made["terms"].isfinite().all(), case["name"]
        tensors.update({f"{case['name']}.{key}": tensor for key, tensor in made.items()})
    return tensors
