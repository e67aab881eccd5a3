"""Ten steps of training with the hybrid loss of Nichol and Dhariwal 2021, L_simple + λ L_vlb, written out from the paper.

The network is `learned_variance` of matrix/unets.json, whose output is a prediction and, of as many channels, v, which says
the variance. The steps, AdamW, clipping and the moving average are those of training.py.
"""

import json
import math

import torch

from gradients_norm import levels
from loss import MATRIX, as_f64, load
from training import BATCH, STEPS, Training, agreeing, double

MODEL = "learned_variance"
# T / 1000 is not 1, so that a λ without T would be noticed.
T = 400
PREDICTIONS = ("epsilon", "v_prediction", "sample")


def model():
    """The case of the matrix, and its network."""
    (case,) = (case for case in json.loads((MATRIX / "unets.json").read_text()) if case["name"] == MODEL)
    return case, load(case)


def draw(channels, size):
    """Of every step what the network is given; the first and the last timestep are among them."""
    generator = torch.Generator().manual_seed(22)
    shape = (STEPS, BATCH, channels, *size)
    made = {
        "sample": torch.randn(shape, generator=generator).clamp(-1, 1),
        "noise": torch.randn(shape, generator=generator),
        "timestep": torch.randint(0, T, (STEPS, BATCH), generator=generator),
    }
    made["timestep"][0, :3] = torch.tensor([0, T - 1, 1])
    made["timestep"][7, 1:] = torch.tensor([T - 1, 0, 0])
    return made


def losses(unet, prediction_type, sample, noise, timestep):
    """The loss of each image: of the prediction the mean square error, and T / 1000 times the term of the bound of its timestep,
    in bits a number, of which only v learns (`RESCALED_MSE` of the authors' gaussian_diffusion.py)."""
    betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    bars = torch.cumprod(1 - betas, dim=0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
    posterior = betas * (1 - before) / (1 - bars)
    # β̃ of the first timestep is 0: its logarithm is taken of the second's.
    log_posterior = torch.cat([posterior[1:2], posterior[1:]]).log()
    of = lambda table: table[timestep].to(sample.dtype)[:, None, None, None]

    signal, deviation = of(bars.sqrt()), of((1 - bars).sqrt())
    x_t = signal * sample + deviation * noise
    predicted, v = unet(x_t, timestep).sample.chunk(2, dim=1)
    target = {"epsilon": noise, "sample": sample, "v_prediction": signal * noise - deviation * sample}[prediction_type]
    mean_square = (predicted - target).square().flatten(1).mean(dim=1)

    fixed = predicted.detach()
    x_0 = {
        "epsilon": lambda: (x_t - deviation * fixed) / signal,
        "sample": lambda: fixed,
        "v_prediction": lambda: signal * x_t - deviation * fixed,
    }[prediction_type]()
    from_x0, from_xt = of(betas * before.sqrt() / (1 - bars)), of((1 - before) * (1 - betas).sqrt() / (1 - bars))
    true_mean, mean = from_x0 * sample + from_xt * x_t, from_x0 * x_0 + from_xt * x_t
    part = (v + 1) / 2
    log_variance = part * of(betas.log()) + (1 - part) * of(log_posterior)
    log_true = of(log_posterior)
    kl = 0.5 * (-1 + log_variance - log_true + torch.exp(log_true - log_variance) + (true_mean - mean) ** 2 * torch.exp(-log_variance))
    decoder = levels(sample, mean, log_variance)
    bound = torch.where(timestep[:, None, None, None] == 0, decoder, kl).flatten(1).mean(dim=1) / math.log(2)
    return mean_square + T / 1000 * bound


def run(unet, steps):
    """Of a network that predicts ε the loss of every step, and by path the weights after them and their moving averages."""
    training = Training(unet)
    curve = []
    for values in zip(*steps.values()):
        loss = losses(unet, "epsilon", **dict(zip(steps, values))).mean()
        training.learn(loss)
        curve.append(loss.detach())
    return {"losses": torch.stack(curve), **training.weights(unet)}


def goldens():
    """steps.{sample, noise, timestep}; first.{prediction} [4], the losses of the images of the first step; losses [10], and after
    the steps {weights, ema}.{path}."""
    case, unet = model()
    steps = draw(unet.config.in_channels, case["size"])
    exact_steps = double(steps)
    made = agreeing(run(unet, steps), run(as_f64(model()[1]), exact_steps))
    fresh = as_f64(model()[1])
    first = {key: values[0] for key, values in exact_steps.items()}
    with torch.no_grad():
        made |= {f"first.{prediction}": losses(fresh, prediction, **first).float() for prediction in PREDICTIONS}
    return {**{f"steps.{key}": tensor for key, tensor in steps.items()}, **made}
