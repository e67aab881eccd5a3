"""Tiny UNet2DModels with random weights, and every intermediate activation of one evaluation."""

import torch
from diffusers import UNet2DModel

MODELS = {
    # Classes, attention inside the blocks, one head, a non-square sample.
    "tiny_class": {
        "config": dict(
            sample_size=(12, 8),
            in_channels=3,
            out_channels=3,
            block_out_channels=(10, 14),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=2,
            norm_num_groups=2,
            attention_head_dim=None,
            num_class_embeds=5,
            downsample_padding=1,
            flip_sin_to_cos=True,
            freq_shift=0,
            norm_eps=1e-5,
        ),
        "timestep": [3.0, 981.0],
        "class_labels": [4, 1],
    },
    # No classes, odd channel counts and thus an odd time embedding, three heads in the middle
    # only, three levels down to an odd size.
    "tiny_plain": {
        "config": dict(
            sample_size=(20, 12),
            in_channels=1,
            out_channels=1,
            block_out_channels=(9, 9, 12),
            down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=3,
            attention_head_dim=4,
            downsample_padding=0,
            flip_sin_to_cos=False,
            freq_shift=1,
            norm_eps=1e-6,
        ),
        "timestep": [999.0, 0.0],
    },
    # One level, so that the sample may have odd sides; no attention in the middle; heads of 4 that
    # do not fill the 15 channels, so that the projections of the attention are 15 -> 12 -> 15.
    "tiny_odd": {
        "config": dict(
            sample_size=(9, 7),
            in_channels=2,
            out_channels=5,
            block_out_channels=(15,),
            down_block_types=("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",),
            layers_per_block=1,
            norm_num_groups=5,
            attention_head_dim=4,
            add_attention=False,
            flip_sin_to_cos=True,
            freq_shift=1,
            norm_eps=1e-5,
        ),
        "timestep": [512.25, 17.0],
    },
}

# The same model with its weights rounded to 16 bits; evaluated in float32.
CASTS = {"tiny_plain_f16": ("tiny_plain", torch.float16), "tiny_plain_bf16": ("tiny_plain", torch.bfloat16)}


def randomise(model, generator):
    """Weights of a scale that keeps activations near one, and no bias or norm left at its default."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            value = 1 + 0.2 * noise if name.endswith("weight") else 0.2 * noise
        elif name.endswith("bias"):
            value = 0.2 * noise
        elif name == "class_embedding.weight":
            value = noise
        else:
            value = noise / parameter[0].numel() ** 0.5
        parameter.data.copy_(value)


def build(name):
    model = UNet2DModel(**MODELS[name]["config"]).eval()
    randomise(model, torch.Generator().manual_seed(list(MODELS).index(name)))
    return model


def given(name):
    """What a model is evaluated on."""
    spec = MODELS[name]
    generator = torch.Generator().manual_seed(100 + list(MODELS).index(name))
    config = spec["config"]
    inputs = {
        "sample": torch.randn((2, config["in_channels"], *config["sample_size"]), generator=generator),
        "timestep": torch.tensor(spec["timestep"]),
    }
    if "class_labels" in spec:
        inputs["class_labels"] = torch.tensor(spec["class_labels"])
    return inputs


def trace(model, sample, timestep, class_labels):
    """The model's output and, by module path, the output of every layer worth comparing."""
    activations = {}

    def record(path):
        def hook(module, inputs, output):
            activations[path] = (output[0] if isinstance(output, tuple) else output).clone()

        return hook

    parts = ("down_blocks", "mid_block", "up_blocks")
    layers = ("resnets", "attentions", "downsamplers", "upsamplers")
    hooks = []
    for path, module in model.named_modules():
        names = path.split(".")
        whole = path in ("conv_in", "time_proj", "time_embedding", "class_embedding", "mid_block", "conv_norm_out", "conv_out")
        block = names[0] in parts and len(names) == 2 and names[0] != "mid_block"
        layer = names[0] in parts and len(names) >= 3 and names[-2] in layers
        if whole or block or layer:
            hooks.append(module.register_forward_hook(record(path)))
    with torch.no_grad():
        output = model(sample, timestep, class_labels=class_labels).sample
    for hook in hooks:
        hook.remove()
    return output, activations


def goldens(write_model):
    """By model: sample, timestep, class_labels, output and the activations. `write_model(name, model)` stores the weights."""
    files = {}
    for name in MODELS:
        model = build(name)
        write_model(f"unet_{name}", model)
        inputs = given(name)
        output, activations = trace(model, inputs["sample"], inputs["timestep"], inputs.get("class_labels"))
        files[f"unet_{name}"] = {**inputs, "output": output, **activations}
    for name, (source, dtype) in CASTS.items():
        model = build(source).to(dtype)
        write_model(f"unet_{name}", model)
        inputs = {key: files[f"unet_{source}"][key] for key in ("sample", "timestep")}
        output, _ = trace(model.float(), inputs["sample"], inputs["timestep"], None)
        files[f"unet_{name}"] = {**inputs, "output": output}
    return files
