"""What diffusers draws for the weights of a new network of every case of `unets.json`, in short."""

import torch
from diffusers import UNet2DModel


def goldens(cases):
    """{case}.sums and {case}.first: of each tensor, by the order of their paths, Σ|x| and the first four numbers (zeros where
    there are fewer); {case}.next: what the generator gives after them. The seed is the case's place in the list."""
    tensors = {}
    for seed, case in enumerate(cases):
        torch.manual_seed(seed)
        model = UNet2DModel.from_config(case.get("canonical", case["config"]))
        tensors[f"{case['name']}.next"] = torch.rand(1)
        weights = [tensor.flatten() for _, tensor in sorted(model.state_dict().items())]
        tensors[f"{case['name']}.sums"] = torch.stack([tensor.double().abs().sum() for tensor in weights])
        tensors[f"{case['name']}.first"] = torch.stack([torch.nn.functional.pad(tensor, (0, 4))[:4] for tensor in weights])
    return tensors
