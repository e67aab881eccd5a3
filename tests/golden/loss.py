"""The loss of a network that learns to denoise, and its gradient by every parameter, for cases of matrix/unets.json.

Read from `loss.json`. A case of the list:
    name              the case of matrix/unets.json whose config and weights it takes
    timestep          one a sample
    labels            class labels, one a sample; "identity" for a random embedding a sample
    prediction_type   what the network predicts (default epsilon)
    whole             whether the gradients are kept whole, too
"""

import json
import zlib
from pathlib import Path

import numpy
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import load_file

from schedules import betas_f64

MATRIX = Path(__file__).resolve().parent / "matrix"
# A gradient whose norm is below this part of the whole gradient's is the rounding of one that is zero, as that of an
# attention's to_k.bias is: the softmax does not see what is added to all scores of a row.
ZERO = 1e-12
VECTORS = 8


def in_f64(scheduler):
    """The same scheduler with float64 tables: 1 − ᾱ of the first time steps has few digits in float32."""
    scheduler.betas = betas_f64(scheduler.config)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, dim=0)
    return scheduler


def as_f64(unet):
    """The same network in float64. The embedding of the time steps stays as it is in float32, which diffusers makes it in."""
    unet.double().time_proj.register_forward_hook(lambda module, arguments, embedding: embedding.double())
    return unet


def losses(unet, scheduler, sample, noise, timestep, class_labels=None):
    """The loss of each image: the mean square error of what the network is to predict of x_t.

    Of a network that learns a variance too, which makes twice the channels, it is that of the first half.
    """
    x_t = scheduler.add_noise(sample, noise, timestep)
    predicted = unet(x_t, timestep, class_labels=class_labels).sample
    if predicted.shape[1] == 2 * sample.shape[1]:
        predicted = predicted.chunk(2, dim=1)[0]
    target = {
        "epsilon": lambda: noise,
        "sample": lambda: sample,
        "v_prediction": lambda: scheduler.get_velocity(sample, noise, timestep),
    }[scheduler.config.prediction_type]()
    return (predicted - target).square().flatten(1).mean(dim=1)


def gradients(unet, scheduler, inputs):
    """The loss of each image, and by path the gradient of their mean by every parameter that learns; zeros by an unused one."""
    loss = losses(unet, scheduler, **inputs)
    learning = {path: parameter for path, parameter in unet.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(loss.mean(), list(learning.values()), allow_unused=True, materialize_grads=True)
    whole = torch.stack([gradient.norm() for gradient in found]).norm()
    kept = (gradient if gradient.norm() > ZERO * whole else torch.zeros_like(gradient) for gradient in found)
    return loss.detach(), dict(zip(learning, kept))


def signs(count):
    """[count, 8] of −1 and 1: the upper bit of murmur3's finaliser of (8i + k) · 0x9E3779B1, in 32 bits, is set for −1."""
    x = numpy.arange(VECTORS * count, dtype=numpy.uint32) * numpy.uint32(0x9E3779B1)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> numpy.uint32(shift))) * numpy.uint32(factor)
    x ^= x >> numpy.uint32(16)
    return torch.from_numpy(1.0 - 2.0 * (x >> numpy.uint32(31))).view(count, VECTORS)


def load(case):
    """The network of a case of the matrix, in float32."""
    unet = UNet2DModel.from_config(case["config"]).eval()
    unet.load_state_dict({path: tensor.float() for path, tensor in load_file(MATRIX / case["weights"]).items()})
    return unet


def draw(case, unet, size):
    """What the network is given: images, and what comes on top of them."""
    generator = torch.Generator().manual_seed(zlib.crc32(case["name"].encode()))
    shape = (len(case["timestep"]), unet.config.in_channels, *size)
    inputs = {
        "sample": torch.randn(shape, generator=generator).clamp(-1, 1),
        "noise": torch.randn(shape, generator=generator),
        "timestep": torch.tensor(case["timestep"]),
    }
    if case.get("labels") == "identity":
        inputs["class_labels"] = torch.randn((shape[0], unet.time_embedding.linear_2.out_features), generator=generator)
    elif "labels" in case:
        inputs["class_labels"] = torch.tensor(case["labels"])
    return inputs


def goldens(cases):
    """{case}.{sample, noise, timestep, class_labels, loss}, and for each path {case}.{norm, dots, gradient}.{path}."""
    models = {case["name"]: case for case in json.loads((MATRIX / "unets.json").read_text())}
    tensors = {}
    for case in cases:
        name, model = case["name"], models[case["name"]]
        unet = load(model)
        inputs = draw(case, unet, model["size"])
        scheduler = in_f64(DDPMScheduler(prediction_type=case.get("prediction_type", "epsilon")))
        exact = {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in inputs.items()}
        loss, found = gradients(as_f64(unet), scheduler, exact)
        assert loss.isfinite().all(), name
        made = {**inputs, "loss": loss}
        for path, gradient in found.items():
            flat = gradient.flatten()
            made[f"norm.{path}"] = flat.norm().view(1)
            made[f"dots.{path}"] = flat @ signs(len(flat))
            if case.get("whole"):
                made[f"gradient.{path}"] = gradient
        tensors.update({f"{name}.{key}": tensor.float() if tensor.is_floating_point() else tensor for key, tensor in made.items()})
    return tensors
