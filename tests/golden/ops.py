"""Goldens of the single operations: one set of tensors for each case of cases.json.

Inputs are float32. The outputs are computed in float64 and rounded once, so they are the exact
values; the exception is `timestep_embedding`, which is diffusers' own float32 function.
"""

import zlib

import torch
import torch.nn.functional as F
from diffusers.models.downsampling import KDownsample2D, downsample_2d
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.upsampling import KUpsample2D, upsample_2d

import dropout as masks


def seeded(name):
    """A generator that depends on the case's name only, so that cases can be added or reordered."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def conv2d(case, randn):
    n, h, w, cin, cout = (case[k] for k in ("n", "h", "w", "in_channels", "out_channels"))
    kernel, (before, after) = case["kernel"], case["padding"]
    x = randn(n, cin, h, w)
    weight = randn(cout, cin, kernel, kernel) / (cin * kernel * kernel) ** 0.5
    bias = randn(cout)
    padded = F.pad(x.double(), (before, after, before, after))
    output = F.conv2d(padded, weight.double(), bias.double(), stride=case["stride"])
    return {"input": x, "weight": weight, "bias": bias, "output": output}


def linear(case, randn):
    x = randn(case["rows"], case["in_features"])
    weight = randn(case["out_features"], case["in_features"]) / case["in_features"] ** 0.5
    bias = randn(case["out_features"])
    output = F.linear(x.double(), weight.double(), bias.double())
    return {"input": x, "weight": weight, "bias": bias, "output": output}


def group_norm(case, randn):
    x = randn(case["n"], case["channels"], case["h"], case["w"]) + case.get("input_mean", 0.0)
    weight = 1 + 0.3 * randn(case["channels"])
    bias = 0.5 * randn(case["channels"])
    output = F.group_norm(x.double(), case["groups"], weight.double(), bias.double(), case["eps"])
    output = F.silu(output) if case["silu"] else output
    return {"input": x, "weight": weight, "bias": bias, "output": output}


def attention(case, randn):
    n, tokens, heads, head_dim = (case[k] for k in ("n", "tokens", "heads", "head_dim"))
    query, key, value = (randn(n, tokens, heads * head_dim) for _ in range(3))
    query = query * case.get("query_scale", 1.0)
    split = [x.double().view(n, tokens, heads, head_dim).transpose(1, 2) for x in (query, key, value)]
    output = F.scaled_dot_product_attention(*split).transpose(1, 2).reshape(n, tokens, heads * head_dim)
    return {"query": query, "key": key, "value": value, "output": output}


def activation(case, randn):
    x = randn(case["n"], case["c"], case["h"], case["w"]) * case.get("input_scale", 1.0)
    return {"input": x, "output": getattr(F, case["function"])(x.double())}


def add(case, randn):
    a, b = (randn(case["n"], case["c"], case["h"], case["w"]) for _ in range(2))
    return {"a": a, "b": b, "output": (a.double() + b.double()) * case.get("scale", 1.0)}


def affine(case, randn):
    x = randn(case["n"], case["c"], case["h"], case["w"])
    return {"input": x, "output": x.double() * case["scale"] + case["offset"]}


def divide(case, randn):
    x = randn(case["n"], case["c"], case["h"], case["w"])
    divisor = 1.5 + randn(case["n"]).abs()
    return {"input": x, "divisor": divisor, "output": x.double() / divisor.double()[:, None, None, None]}


def dropout(case, randn):
    x = randn(case["n"], case["c"], case["h"], case["w"])
    kept = masks.mask(x.shape, case["probability"], case["layer"], case["seed"])
    return {"input": x, "seed": masks.parts(case["seed"]), "output": x.double() * kept / (1 - case["probability"])}


def upfirdn2d(case, randn):
    x = randn(case["n"], case["c"], case["h"], case["w"])
    kernel = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
    output = {
        "fir_up": lambda: upsample_2d(x.double(), kernel),
        "fir_down": lambda: downsample_2d(x.double(), kernel),
        "mean": lambda: F.avg_pool2d(x.double(), 2),
        "k_up": lambda: KUpsample2D().double()(x.double()),
        "k_down": lambda: KDownsample2D().double()(x.double()),
    }[case["filter"]]()
    return {"input": x, "output": output}


def mix_tokens(case, randn):
    x = randn(case["n"], case["c"], case["h"], case["w"])
    matrix = randn(case["tokens"], case["h"] * case["w"]) / (case["h"] * case["w"]) ** 0.5
    made = {"input": x, "matrix": matrix}
    output = torch.einsum("ij,ncj->nci", matrix.double(), x.double().flatten(2))
    if case["op"] == "mix_tokens_add":
        made["rows"] = randn(case["tokens"], case["c"])
        output = output + made["rows"].double().T
    return made | {"output": output.reshape(case["n"], case["c"], *case.get("size", []))}


mix_tokens_add = mix_tokens


def add_row(case, randn):
    x, row = randn(case["n"], case["c"], case["h"], case["w"]), randn(case["n"], case["c"])
    return {"input": x, "row": row, "output": x.double() + row.double()[:, :, None, None]}


def concat(case, randn):
    a, b = (randn(case["n"], case[c], case["h"], case["w"]) for c in ("c1", "c2"))
    return {"a": a, "b": b, "output": torch.cat([a, b], dim=1)}


def upsample(case, randn):
    x = randn(case["n"], case["c"], case["h"], case["w"])
    return {"input": x, "output": F.interpolate(x, scale_factor=2.0, mode="nearest")}


def timestep_embedding(case, randn):
    timesteps = torch.tensor(case["timesteps"], dtype=torch.float32)
    output = get_timestep_embedding(
        timesteps,
        case["dim"],
        flip_sin_to_cos=case["flip_sin_to_cos"],
        downscale_freq_shift=case["freq_shift"],
    )
    return {"timesteps": timesteps, "output": output}


def fourier(case, randn):
    timesteps = torch.tensor(case["timesteps"], dtype=torch.float32)
    weight = 16 * randn(case["dim"] // 2)
    angle = torch.log(timesteps.double())[:, None] * weight.double()[None, :] * 2 * torch.pi
    return {"timesteps": timesteps, "weight": weight, "output": torch.cat([angle.sin(), angle.cos()], dim=-1)}


def embedding(case, randn):
    weight, labels = randn(case["num"], case["dim"]), torch.tensor(case["labels"])
    return {"labels": labels, "weight": weight, "output": F.embedding(labels, weight)}


def goldens(cases):
    """{case}.{tensor} for every case of cases.json; all floating tensors are stored as float32."""
    tensors = {}
    for case in cases:
        generator = seeded(case["name"])
        made = globals()[case["op"]](case, lambda *shape: torch.randn(shape, generator=generator))
        for key, tensor in made.items():
            stored = tensor.float() if tensor.is_floating_point() else tensor
            tensors[f"{case['name']}.{key}"] = stored.contiguous()
    return tensors


def gradients(cases):
    """The gradients of every case whose op has some, of the loss sum(output * output_gradient).

    {case}.output_gradient is random, and {case}.{tensor}_gradient is there for every floating tensor that the
    output follows from. Gradients are computed in float64 and rounded once.
    """
    without = {"timestep_embedding", "fourier"}
    tensors = {}
    for case in cases:
        if case["op"] in without:
            continue
        generator = seeded(case["name"])
        randn = lambda *shape: torch.randn(shape, generator=generator).requires_grad_()
        made = globals()[case["op"]](case, randn)
        output = made.pop("output")
        gradient = torch.randn(output.shape, generator=seeded(case["name"] + ".gradient"))
        inputs = {key: tensor for key, tensor in made.items() if tensor.is_floating_point()}
        found = torch.autograd.grad(output, list(inputs.values()), gradient.to(output.dtype))
        tensors[f"{case['name']}.output_gradient"] = gradient
        for key, tensor in zip(inputs, found):
            tensors[f"{case['name']}.{key}_gradient"] = tensor.float().clone(memory_format=torch.contiguous_format)
    return tensors
