"""Ten steps of training by torch.optim.AdamW, with clipped gradients and diffusers' EMA of the weights.

The network is `class_index` of matrix/unets.json: classes, attention, a downsampling and an upsampling in 34 KB.
"""

import json

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel

from loss import MATRIX, as_f64, in_f64, load, losses

MODEL = "class_index"
STEPS, BATCH, SEED = 10, 4, 20
LEARNING_RATE, BETAS, EPS, WEIGHT_DECAY, CLIP = 1e-3, (0.9, 0.999), 1e-8, 1e-2, 1.0


def model():
    """The case of the matrix, and its network."""
    (case,) = (case for case in json.loads((MATRIX / "unets.json").read_text()) if case["name"] == MODEL)
    return case, load(case)


def draw(unet, scheduler, size):
    """Of every step what the network is given."""
    generator = torch.Generator().manual_seed(SEED)
    shape = (STEPS, BATCH, unet.config.in_channels, *size)
    return {
        "sample": torch.randn(shape, generator=generator).clamp(-1, 1),
        "noise": torch.randn(shape, generator=generator),
        "timestep": torch.randint(0, scheduler.config.num_train_timesteps, (STEPS, BATCH), generator=generator),
        "class_labels": torch.randint(0, unet.config.num_class_embeds, (STEPS, BATCH), generator=generator),
    }


class Training:
    """A network that learns: its optimiser, and the moving average of its weights."""

    def __init__(self, unet, learning_rate=LEARNING_RATE):
        self.parameters = [parameter for parameter in unet.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=learning_rate, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)
        self.ema = EMAModel(self.parameters, decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)

    def learn(self, loss):
        """A step down a loss; gives the norm that the gradient had before it was clipped."""
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimiser.step()
        self.ema.step(self.parameters)
        return norm

    def weights(self, unet):
        """By path what the network has learned, and its moving averages."""
        made = {}
        for (path, parameter), average in zip(unet.named_parameters(), self.ema.shadow_params):
            made |= {f"weights.{path}": parameter.detach(), f"ema.{path}": average}
        return made


def double(steps):
    """The same numbers in float64."""
    return {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in steps.items()}


def agreeing(made, exact):
    """What was made in float32, if float64 gives the same."""
    for key in made:
        # The gradient is zero, and Adam divides its rounding by itself: in float32 it walks at random.
        if key.endswith(".to_k.bias"):
            made[key] = exact[key].float()
        error = (made[key] - exact[key]).abs().max().item()
        assert error < 2e-6, f"{key}: float32 and float64 differ by {error:.1e}"
    return made


def run(unet, scheduler, steps):
    """The loss and the gradient's norm of every step, and by path the weights after them and their moving averages."""
    training = Training(unet)
    curve, norms = [], []
    for values in zip(*steps.values()):
        loss = losses(unet, scheduler, **dict(zip(steps, values))).mean()
        norms.append(training.learn(loss))
        curve.append(loss.detach())
    made = {"losses": torch.stack(curve), "norms": torch.stack(norms)}
    return made | training.weights(unet)


def goldens():
    """steps.{sample, noise, timestep, class_labels}, losses and norms [10], and after the steps {weights, ema}.{path}."""
    case, unet = model()
    steps = draw(unet, DDPMScheduler(), case["size"])
    made = run(unet, DDPMScheduler(), steps)
    made = agreeing(made, run(as_f64(model()[1]), in_f64(DDPMScheduler()), double(steps)))
    return {**{f"steps.{key}": tensor for key, tensor in steps.items()}, **made}
