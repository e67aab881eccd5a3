"""Images over [−1, 1] as bytes, which are float32 arithmetic by definition: pictures.safetensors."""

import torch

from ops import seeded

# [N, C, H, W]
SHAPES = {"rgba8_grey_9x5": (2, 1, 9, 5), "rgba8_rgb_5x7": (3, 3, 5, 7), "rgba8_rgb_one_pixel": (1, 3, 1, 1)}


def rgba8(shape, generator):
    x = torch.randn(shape, generator=generator)
    # Values whose byte would hang on the last bit become 0.0, which lies on a tie exactly (127.5 -> 128).
    distance = ((x.double() / 2 + 0.5) * 255 - 0.5) % 1
    x[(distance < 1e-3) | (distance > 1 - 1e-3)] = 0.0
    edges = torch.tensor([0.0, 1.0, -1.0, 1.5, -1.5, 1e30, -1e30, 1e-6, -1e-6])[: x.numel()]
    x.view(-1)[: edges.numel()] = edges
    levels = torch.round((x / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1)
    alpha = torch.full((*levels.shape[:3], 1), 255, dtype=torch.uint8)
    rgb = levels if shape[1] == 3 else levels.repeat(1, 1, 1, 3)
    return {"input": x, "output": torch.cat([rgb, alpha], dim=-1)}


def goldens():
    """{case}.input and {case}.output, u8 [N, H, W, 4]."""
    made = {name: rgba8(shape, seeded(name)) for name, shape in SHAPES.items()}
    return {f"{name}.{key}": tensor for name, tensors in made.items() for key, tensor in tensors.items()}
