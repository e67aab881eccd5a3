"""Tiny random UNet2DModels that together take every config field to every value, read from `unets.json`.

A case of the list:
    config      config.json, word for word; keys that are missing take the library's defaults
    canonical   only where diffusers no longer reads `config`: what it means today
    weights     the checkpoint, or its index, below this folder
    dtype       of the stored weights (default float32); the output is evaluated in float32
    size        [height, width] of the sample; `batch` samples (default 2)
    timestep    one a sample
    labels      class labels, one a sample; "identity" for a random embedding a sample
    rename      how the keys of the checkpoint differ from today's (see RENAMES)
    shard       bytes a shard may have
"""

import importlib.util
import json
import tempfile
from pathlib import Path

import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent


def neighbour(name):
    """A module of the folder above, where another one has our name."""
    spec = importlib.util.spec_from_file_location(f"golden_{name}", HERE.parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


randomise = neighbour("unets").randomise


def legacy_attention(tensors):
    """The attention keys before diffusers 0.15."""
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    return {replaced(key, names): tensor for key, tensor in tensors.items()}


def downsampler_duplicates(tensors):
    """Every downsampler twice, `conv` and `op`, and once more as the still older `Conv2d_0`."""
    twice = dict(tensors)
    for key, tensor in tensors.items():
        if ".downsamplers.0.conv." in key:
            twice[key.replace(".conv.", ".op.")] = tensor.clone()
            twice[key.replace(".conv.", ".Conv2d_0.")] = tensor.clone()
    return twice


def oldest(tensors):
    """The first release: other names for the parts, the duplicates and the legacy attention."""
    parts = {"mid_block": "mid", "down_blocks": "downsample_blocks", "up_blocks": "upsample_blocks"}
    tensors = downsampler_duplicates(legacy_attention(tensors))
    return {".".join([parts.get(key.split(".")[0], key.split(".")[0]), *key.split(".")[1:]]): tensor for key, tensor in tensors.items()}


RENAMES = {"legacy_attention": legacy_attention, "downsampler_duplicates": downsampler_duplicates, "oldest": oldest}


def replaced(text, names):
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def build(case, seed):
    """The case's model with random weights, rounded to the stored type and back to float32."""
    model = UNet2DModel.from_config(case.get("canonical", case["config"])).eval()
    generator = torch.Generator().manual_seed(seed)
    randomise(model, generator)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name == "time_proj.weight" and parameter.ndim == 1:
            parameter.data.copy_(16 * noise)  # Gaussian Fourier frequencies, at the scale they have
        elif name.endswith(".linear.weight"):
            parameter.data.copy_(0.3 * noise / parameter.shape[1] ** 0.5)  # ada_group, which is named a norm
    return model.to(getattr(torch, case.get("dtype", "float32"))).float()


def inputs(case, model, seed):
    generator = torch.Generator().manual_seed(seed)
    batch = case.get("batch", 2)
    made = {"sample": torch.randn((batch, model.config.in_channels, *case["size"]), generator=generator)}
    integers = model.config.time_embedding_type == "learned"
    made["timestep"] = torch.tensor(case["timestep"], dtype=torch.int64 if integers else torch.float32)
    if case.get("labels") == "identity":
        made["class_labels"] = torch.randn((batch, model.time_embedding.linear_2.out_features), generator=generator)
    elif "labels" in case:
        indices = model.config.class_embed_type is None or integers
        made["class_labels"] = torch.tensor(case["labels"], dtype=torch.int64 if indices else torch.float32)
    return made


LAYERS = ("resnets", "attentions", "downsamplers", "upsamplers")
SKIP_LAYERS = ("resnet_down", "resnet_up", "upsampler", "skip_conv", "skip_norm")


def traced(path):
    names = path.split(".")
    if names[0] == "mid_block":
        return len(names) == 1
    if names[0] in ("down_blocks", "up_blocks"):
        return len(names) == 2 or (len(names) == 3 and names[2] in SKIP_LAYERS) or (len(names) == 4 and names[2] in LAYERS)
    return path in ("time_proj", "time_embedding", "conv_in", "conv_norm_out", "conv_out")


def evaluate(model, values, trace):
    """The model's output and, if asked for, by module path what every layer hands on."""
    activations = {}

    def record(path):
        def hook(module, arguments, output):
            activations[path] = (output[0] if isinstance(output, tuple) else output).clone()

        return hook

    hooks = [module.register_forward_hook(record(path)) for path, module in model.named_modules() if trace and traced(path)]
    with torch.no_grad():
        output = model(values["sample"], values["timestep"], class_labels=values.get("class_labels")).sample
    for hook in hooks:
        hook.remove()
    return output, activations


def checkpoint(case, model):
    """The tensors as the case's checkpoint names and rounds them."""
    dtype = getattr(torch, case.get("dtype", "float32"))
    tensors = {key: tensor.to(dtype).contiguous() for key, tensor in model.state_dict().items()}
    return RENAMES[case["rename"]](tensors) if "rename" in case else tensors


def store(case, model, folder):
    target = folder / case["weights"]
    target.parent.mkdir(parents=True, exist_ok=True)
    if "shard" in case:
        model.save_pretrained(target.parent, max_shard_size=case["shard"])
        (target.parent / "config.json").unlink()
    else:
        save_file(checkpoint(case, model), target, metadata={"format": "pt"})


def check_conditioned(case, model, values, output):
    """The output must not hang on the order of float32 sums."""
    exact_values = {key: value.double() if value.dtype == torch.float32 else value for key, value in values.items()}
    hook = model.double().time_proj.register_forward_hook(lambda module, arguments, embedding: embedding.double())
    exact, _ = evaluate(model, exact_values, False)
    hook.remove()
    model.float()
    error = ((output - exact).norm() / exact.norm()).item()
    assert error < 1e-5, f"{case['name']}: float32 and float64 differ by {error:.1e}"


def check_loads(case, folder, values, output):
    """diffusers itself must load what was stored, from the case's own config.json, to the same output."""
    with tempfile.TemporaryDirectory() as model_folder:
        model_folder = Path(model_folder)
        (model_folder / "config.json").write_text(json.dumps(case["config"]))
        stored = folder / case["weights"]
        for file in stored.parent.iterdir() if "shard" in case else [stored]:
            name = file.name if "shard" in case else "diffusion_pytorch_model.safetensors"
            (model_folder / name).symlink_to(file.resolve())
        loaded = UNet2DModel.from_pretrained(model_folder, torch_dtype=torch.float32).eval()
    again, _ = evaluate(loaded, values, False)
    torch.testing.assert_close(again, output, rtol=1e-5, atol=1e-6, msg=lambda text: f"{case['name']}: {text}")


def goldens(cases, folder):
    """Stores every checkpoint below `folder`; returns {name}.{sample, timestep, class_labels, output} and {name}.at.{path}."""
    tensors = {}
    for case in cases:
        seed = sum(ord(letter) << (index % 16) for index, letter in enumerate(case["name"]))
        model = build(case, seed)
        values = inputs(case, model, seed + 1)
        output, activations = evaluate(model, values, case.get("trace", False))
        assert output.isfinite().all() and output.std() > 0.05, case["name"]
        check_conditioned(case, model, values, output)
        store(case, model, folder)
        if "canonical" not in case:
            check_loads(case, folder, values, output)
        made = {**values, "output": output, **{f"at.{path}": tensor for path, tensor in activations.items()}}
        tensors.update({f"{case['name']}.{key}": tensor for key, tensor in made.items()})
    return tensors
