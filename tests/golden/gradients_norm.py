"""Goldens of losses: what torch.autograd makes of those of gradients_norm.json, and torch.optim of parameters.

The loss of images is mean_n(weights_n * mean((output_n - target_n)^2)), so that its gradient by the output is nothing
special. Everything is computed in float64 from float32 inputs and rounded once; the rows of the variational bound stay
float64.
"""

import math

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler

import ops
import unets


def leaf(tensor):
    return tensor.double().requires_grad_()


def activated(x, function):
    return getattr(F, function)(x) if function else x


def square_error(output, target, weights):
    """The loss of each image."""
    return weights * (output - target).square().flatten(1).mean(dim=1)


def weighted(output, randn):
    """A loss of an output, and what it is made of."""
    target, weights = randn(*output.shape), 1 + randn(len(output)).abs()
    loss = square_error(output, target.double(), weights.double()).mean()
    return loss, {"target": target, "weights": weights}


# Each of these gives the leaves by their names, what else there is to store, and the loss.


def images(case, randn, channels="channels"):
    return randn(case["n"], case[channels], case["h"], case["w"])


def modulate(case, randn):
    n, channels = case["n"], case["channels"]
    made = {
        "input": images(case, randn),
        "weight": 1 + 0.3 * randn(channels),
        "bias": 0.5 * randn(channels),
        "scale": 0.4 * randn(n, channels),
        "shift": randn(n, channels),
    }
    leaves = {name: leaf(tensor) for name, tensor in made.items()}
    output = F.group_norm(leaves["input"], case["groups"], leaves["weight"], leaves["bias"], case["eps"])
    output = output * (1 + leaves["scale"][:, :, None, None]) + leaves["shift"][:, :, None, None]
    loss, more = weighted(activated(output, case["function"]), randn)
    return leaves, made | more, loss


def two_tensors(case, randn):
    """The scale and shift of two tensors' GroupNorm, applied to a third."""
    channels = case["channels"] + case["second"]
    made = {
        "a": images(case, randn) + 0.5,
        "b": 2 * images(case, randn, "second") - 0.3,
        "input": randn(case["n"], channels, case["h"], case["w"]),
        "weight": 1 + 0.3 * randn(channels),
        "bias": 0.5 * randn(channels),
    }
    leaves = {name: leaf(tensor) for name, tensor in made.items()}
    groups = torch.cat([leaves["a"], leaves["b"]], dim=1).reshape(case["n"], case["groups"], -1)
    variance, mean = torch.var_mean(groups, dim=-1, correction=0)
    size = channels // case["groups"]
    scale = leaves["weight"] / torch.sqrt(variance + case["eps"]).repeat_interleave(size, dim=1)
    shift = leaves["bias"] - mean.repeat_interleave(size, dim=1) * scale
    output = leaves["input"] * scale[:, :, None, None] + shift[:, :, None, None]
    loss, more = weighted(activated(output, case["function"]), randn)
    return leaves, made | more, loss


def mean_square_error(case, randn):
    made = {"input": images(case, randn), "target": images(case, randn), "weights": 1 + randn(case["n"]).abs()}
    leaves = {name: leaf(made[name]) for name in ("input", "target")}
    losses = square_error(leaves["input"], leaves["target"], made["weights"].double())
    return leaves, made | {"output": losses.detach()}, losses.mean()


def mix(case, randn):
    made = {"x": images(case, randn), "y": images(case, randn), "a": randn(case["n"]), "b": randn(case["n"])}
    leaves = {name: leaf(made[name]) for name in ("x", "y")}
    a, b = (made[name].double()[:, None, None, None] for name in ("a", "b"))
    loss, more = weighted(a * leaves["x"] + b * leaves["y"], randn)
    return leaves, made | more, loss


def cross_entropy(case, randn):
    logits = case.get("input_scale", 1.0) * randn(case["n"], case["classes"])
    labels = (randn(case["n"]).abs() * 1000).long() % case["classes"]
    leaves = {"input": leaf(logits)}
    losses = F.cross_entropy(leaves["input"], labels, reduction="none")
    return leaves, {"input": logits, "labels": labels, "output": losses.detach()}, losses.mean()


def levels(x0, mean, log_variance):
    """-ln p(x_0 | x_1) of the decoder of Nichol and Dhariwal 2021, with their approximation of the normal distribution."""

    def normal(x):
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    deviation = torch.exp(0.5 * log_variance)
    above = normal((x0 - mean + 1 / 255) / deviation)
    below = normal((x0 - mean - 1 / 255) / deviation)
    inside = torch.where(x0 > 0.999, 1 - below, above - below)
    return -torch.log(torch.where(x0 < -0.999, above, inside).clamp(min=1e-12))


def variational_bound(case, randn):
    """The two distributions in full, from the posterior's coefficients and what is predicted of x_0."""
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    bars = torch.cumprod(1 - betas, dim=0)
    assert torch.allclose(bars.float(), scheduler.alphas_cumprod, atol=1e-6)
    before = torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
    posterior = betas * (1 - before) / (1 - bars)
    posterior[0] = posterior[1]
    t = torch.tensor(case["timesteps"])
    of = lambda table: table[t][:, None, None, None]

    # Whole levels, the first and the last of them often.
    x0 = (images(case, randn) * 150).round().clamp(-127.5, 127.5).float() / 127.5
    noise = images(case, randn)
    prediction = {"epsilon": noise, "sample": x0}.get(case["prediction"])
    target = of(bars).sqrt() * noise - of(1 - bars).sqrt() * x0 if prediction is None else prediction
    # Of x_0's own size where the signal is much larger than the noise.
    prediction = target + (0.02 if case["prediction"] == "sample" else 0.3) * images(case, randn)
    prediction, target, variance = prediction.float(), target.float(), (0.7 * images(case, randn)).clamp(-1, 1)

    def x0_of(output):
        noisy = of(bars).sqrt() * x0.double() + of(1 - bars).sqrt() * noise.double()
        return {
            "epsilon": lambda: (noisy - of(1 - bars).sqrt() * output) / of(bars).sqrt(),
            "v_prediction": lambda: of(bars).sqrt() * noisy - of(1 - bars).sqrt() * output,
            "sample": lambda: output,
        }[case["prediction"]]()

    coefficient = betas * before.sqrt() / (1 - bars)
    factor = coefficient * {
        "epsilon": -(1 - bars).sqrt() / bars.sqrt(),
        "v_prediction": -(1 - bars).sqrt(),
        "sample": torch.ones(1000, dtype=torch.float64),
    }[case["prediction"]]
    leaves = {"variance": leaf(variance)}
    part = (leaves["variance"] + 1) / 2
    log_variance = part * of(betas.log()) + (1 - part) * of(posterior.log())
    for image, step in enumerate(case["timesteps"]):
        if step > 0:
            own = scheduler._get_variance(step, predicted_variance=variance[image], variance_type="learned_range")
            assert torch.allclose(own, log_variance[image].float().detach(), rtol=1e-4)
    # The means' part of x_t is the same in both.
    means = [of(coefficient) * x for x in (x0_of(target.double()), x0_of(prediction.double()))]
    true, model = (torch.distributions.Normal(*it) for it in zip(means, (of(posterior).sqrt(), torch.exp(0.5 * log_variance))))
    kl = torch.distributions.kl_divergence(true, model)
    decoder = levels(x0.double(), x0.double() + means[1] - means[0], log_variance)
    bound = torch.where(of(torch.arange(1000)) == 0, decoder, kl).flatten(1).mean(dim=1) / math.log(2)
    rows = torch.stack([factor[t], posterior[t].log(), betas[t].log(), (t == 0).double()], dim=1)
    made = {"x0": x0, "prediction": prediction, "target": target, "variance": variance, "rows": rows, "output": bound.detach()}
    return leaves, made, bound.mean()


def unet(case, randn):
    """The mean square of a whole network's output, and its gradient by what the network is given."""
    name = case["name"].removeprefix("unet_")
    inputs = unets.given(name)
    leaves = {"sample": leaf(inputs["sample"])}
    model = unets.build(name).double()
    output = model(leaves["sample"], inputs["timestep"], class_labels=inputs.get("class_labels")).sample
    return leaves, {}, output.square().mean()


def optimiser(case, randn):
    """Some steps of AdamW on random gradients, clipped, with a moving average."""
    initial, gradients = randn(case["len"]), randn(case["steps"], case["len"])
    p = leaf(initial)
    shadow = initial.double()
    adamw = torch.optim.AdamW([p], lr=case["rate"], weight_decay=case["decay"])
    for gradient in gradients:
        p.grad = gradient.double()
        if case["limit"]:
            torch.nn.utils.clip_grad_norm_([p], case["limit"])
        adamw.step()
        shadow = shadow - (1 - case["ema"]) * (shadow - p.detach())
    state = adamw.state[p]
    return {
        "initial": initial,
        "gradients": gradients,
        "p": p.detach(),
        "m": state["exp_avg"],
        "v": state["exp_avg_sq"],
        "shadow": shadow,
    }


def goldens(cases):
    """{case}.{tensor} and {case}.gradient.{leaf}."""
    tensors = {}

    def store(case, made):
        for key, tensor in made.items():
            # The logarithms of two variances may differ in their last digits only.
            kept = key == "rows" or not tensor.is_floating_point()
            stored = tensor.detach() if kept else tensor.detach().float()
            tensors[f"{case['name']}.{key}"] = stored.clone()

    for case in cases:
        generator = ops.seeded(case["name"])
        randn = lambda *shape: torch.randn(shape, generator=generator)
        if case["op"] == "optimiser":
            store(case, optimiser(case, randn))
            continue
        leaves, made, loss = globals()[case["op"]](case, randn)
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        store(case, made | {"loss": loss.reshape(1)})
        store(case, {f"gradient.{name}": gradient for name, gradient in zip(leaves, gradients)})
    return tensors
