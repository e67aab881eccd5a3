"""Classifiers of noisy images in the layout of guided-diffusion's EncoderUNetModel, their gradients, and runs that they guide
(Dhariwal and Nichol 2021), with diffusers' schedulers. Networks are those of CLASSIFIERS, runs are read from `classifier.json`."""

import json
import math

import diffusers
import torch
import torch.nn.functional as F
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import save_file
from torch import nn

from runs import MODELS, class_of, generators, make

CLASSIFIERS = {
    # Attention pooling, residual blocks that halve, the time as scale and shift; of the digits.
    "classifier_attention": dict(
        image_size=32, in_channels=1, model_channels=32, out_channels=10, num_res_blocks=1, attention_resolutions="8",
        channel_mult=[1, 1, 1], num_head_channels=16, use_scale_shift_norm=True, resblock_updown=True, pool="attention",
    ),
    # A mean, convolutions that halve, heads by their number; of what `unet_learned` makes.
    "classifier_adaptive": dict(
        image_size=8, in_channels=2, model_channels=32, out_channels=4, num_res_blocks=1, attention_resolutions=[2],
        channel_mult=[1, 1], num_heads=2, pool="adaptive",
    ),
    # Few channels to begin with, narrow heads in the new order, an odd map, means that halve.
    "classifier_odd": dict(
        image_size=10, in_channels=3, model_channels=20, out_channels=7, num_res_blocks=2, attention_resolutions=[1, 2],
        channel_mult=[1.6, 1.6], conv_resample=False, num_head_channels=2, use_new_attention_order=True, pool="attention",
    ),
}


def norm(channels):
    return nn.GroupNorm(32, channels)


def attend(q, k, v, heads):
    """Attention of [N, C, T] tensors, whose channels are those of one head after another."""
    n, c, _ = q.shape
    q, k, v = (x.reshape(n * heads, c // heads, -1) for x in (q, k, v))
    weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(c // heads), dim=-1)
    return (v @ weights.transpose(1, 2)).reshape(n, c, -1)


class Block(nn.Module):
    """A residual block; `down` halves the size."""

    def __init__(self, channels, out, time, scales, down=False):
        super().__init__()
        self.in_layers = nn.ModuleDict({"0": norm(channels), "2": nn.Conv2d(channels, out, 3, padding=1)})
        self.emb_layers = nn.ModuleDict({"1": nn.Linear(time, 2 * out if scales else out)})
        self.out_layers = nn.ModuleDict({"0": norm(out), "3": nn.Conv2d(out, out, 3, padding=1)})
        if channels != out:
            self.skip_connection = nn.Conv2d(channels, out, 1)
        self.scales, self.down = scales, down

    def forward(self, x, emb):
        h = F.silu(self.in_layers["0"](x))
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        h = self.in_layers["2"](h)
        told = self.emb_layers["1"](F.silu(emb))[:, :, None, None]
        if self.scales:
            scale, shift = told.chunk(2, dim=1)
            h = self.out_layers["0"](h) * (1 + scale) + shift
        else:
            h = self.out_layers["0"](h + told)
        h = self.out_layers["3"](F.silu(h))
        return h + (self.skip_connection(x) if hasattr(self, "skip_connection") else x)


class Attention(nn.Module):
    def __init__(self, channels, heads, new_order):
        super().__init__()
        self.norm, self.qkv, self.proj_out = norm(channels), nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, channels, 1)
        self.heads, self.new_order = heads, new_order

    def forward(self, x, emb):
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x).flatten(2))
        if self.new_order:
            q, k, v = qkv.chunk(3, dim=1)
        else:
            by_head = qkv.reshape(n, self.heads, 3, c // self.heads, h * w)
            q, k, v = (by_head[:, :, i].reshape(n, c, h * w) for i in range(3))
        return x + self.proj_out(attend(q, k, v, self.heads)).reshape(x.shape)


class Down(nn.Module):
    """Half the size by a strided convolution, or by a mean."""

    def __init__(self, channels, convolves):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if convolves else nn.AvgPool2d(2)

    def forward(self, x, emb):
        return self.op(x)


class Pool(nn.Module):
    """The mean attends to all pixels and itself."""

    def __init__(self, side, channels, heads, out):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(channels, side**2 + 1) / channels**0.5)
        self.qkv_proj, self.c_proj = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, out, 1)
        self.heads = heads

    def forward(self, x):
        x = x.flatten(2)
        x = torch.cat([x.mean(dim=2, keepdim=True), x], dim=2) + self.positional_embedding
        q, k, v = self.qkv_proj(x).chunk(3, dim=1)
        return self.c_proj(attend(q, k, v, self.heads))[:, :, 0]


class First(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x, emb):
        return self.conv(x)


class Classifier(nn.Module):
    def __init__(self, image_size, in_channels, model_channels, out_channels, num_res_blocks, attention_resolutions, pool,
                 channel_mult, conv_resample=True, num_heads=1, num_head_channels=-1, use_scale_shift_norm=False,
                 resblock_updown=False, use_new_attention_order=False):
        super().__init__()
        factors = attention_resolutions
        if isinstance(factors, str):
            factors = [image_size // int(side) for side in factors.split(",")]
        heads = lambda channels: num_heads if num_head_channels == -1 else channels // num_head_channels
        self.width, time = model_channels, 4 * model_channels
        self.time_embed = nn.Sequential(nn.Linear(model_channels, time), nn.SiLU(), nn.Linear(time, time))
        block = lambda channels, out, down=False: Block(channels, out, time, use_scale_shift_norm, down)
        attention = lambda channels: Attention(channels, heads(channels), use_new_attention_order)
        widths = [int(mult * model_channels) for mult in channel_mult]
        blocks, channels = [[First(in_channels, widths[0])]], widths[0]
        for level, out in enumerate(widths):
            for _ in range(num_res_blocks):
                blocks.append([block(channels, out)] + ([attention(out)] if 2**level in factors else []))
                channels = out
            if level + 1 < len(widths):
                blocks.append([block(channels, channels, True) if resblock_updown else Down(channels, conv_resample)])
        self.input_blocks = nn.ModuleList(nn.ModuleList(layers) for layers in blocks)
        self.middle_block = nn.ModuleList([block(channels, channels), attention(channels), block(channels, channels)])
        if pool == "attention":
            side = image_size // 2 ** (len(widths) - 1)
            self.out = nn.ModuleDict({"0": norm(channels), "2": Pool(side, channels, heads(channels), out_channels)})
        else:
            self.out = nn.ModuleDict({"0": norm(channels), "3": nn.Conv2d(channels, out_channels, 1)})

    def forward(self, x, t):
        half = self.width // 2
        angle = t.to(x.dtype)[:, None] * torch.exp(-math.log(10000) / half * torch.arange(half, dtype=x.dtype))
        emb = self.time_embed(torch.cat([angle.cos(), angle.sin()], dim=1))
        for layers in [*self.input_blocks, self.middle_block]:
            for layer in layers:
                x = layer(x, emb)
        x = F.silu(self.out["0"](x))
        return self.out["2"](x) if "2" in self.out else self.out["3"](x.mean(dim=(2, 3), keepdim=True)).flatten(1)

    def gradient(self, x, t, weights):
        """The gradient of Σ_k w_k log p(k | x_t) by each x_t."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (weights * torch.log_softmax(self(x, t), dim=1)).sum().backward()
            return x.grad


def classifier(name):
    """A random one, whose logits are as far apart as those of one that has learned. Its weights have 16 bits, as the file keeps
    them, and none is zero, as many would be before it learns."""
    torch.manual_seed(300 + list(CLASSIFIERS).index(name))
    network = Classifier(**CLASSIFIERS[name]).eval().requires_grad_(False)
    for key, tensor in network.named_parameters():
        last = key in ("out.2.c_proj.weight", "out.3.weight")
        tensor.copy_(((20 if last else 1) * tensor + 0.1 * torch.randn(tensor.shape) * (tensor.ndim == 1)).half())
    return network


def state(network):
    """By the names of guided-diffusion's modules: its first layer stands by itself."""
    return {key.replace("input_blocks.0.0.conv.", "input_blocks.0.0."): tensor for key, tensor in network.state_dict().items()}


def initial(name, seed):
    """What a new one begins with: of every tensor, in the order of their names, the sum of magnitudes and the first four numbers;
    and what the generator gives next."""
    torch.manual_seed(seed)
    network = Classifier(**CLASSIFIERS[name])
    following = torch.rand(1)
    tensors = state(network)
    zeros = ("out_layers.3.", "proj_out.", "out.3.")
    tensors = {key: torch.zeros_like(tensor) if any(zero in key for zero in zeros) else tensor for key, tensor in sorted(tensors.items())}
    sums = torch.stack([tensor.double().abs().sum() for tensor in tensors.values()])
    first = torch.cat([F.pad(tensor.double().flatten()[:4], (0, max(0, 4 - tensor.numel()))) for tensor in tensors.values()])
    return {f"{name}.initial.sums": sums, f"{name}.initial.first": first, f"{name}.initial.next": following}


def learning(name, network):
    """The loss of a batch, −ln p(y | x_t) image by image, and of its mean's gradient by every tensor, in the order of their names,
    the norm and the first four numbers."""
    config, generator = CLASSIFIERS[name], torch.Generator().manual_seed(12)
    shape = (2, config["in_channels"], config["image_size"], config["image_size"])
    images = torch.rand(shape, generator=generator) * 2 - 1
    noise = torch.randn(shape, generator=generator)
    timestep, labels = torch.tensor([40, 500]), torch.tensor([0, config["out_channels"] - 2])
    alphas = torch.cumprod(1 - torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64), 0)[timestep][:, None, None, None]
    x = alphas.sqrt() * images.double() + (1 - alphas).sqrt() * noise.double()
    with torch.enable_grad():
        network.requires_grad_()
        loss = F.cross_entropy(network(x, timestep.double()), labels, reduction="none")
        names = dict(network.named_parameters())
        found = dict(zip(names, torch.autograd.grad(loss.mean(), names.values())))
        network.requires_grad_(False)
    found = [found[key] for key in sorted(found, key=lambda key: key.replace("input_blocks.0.0.conv.", "input_blocks.0.0."))]
    norms = torch.stack([gradient.norm() for gradient in found])
    first = torch.cat([F.pad(gradient.flatten()[:4], (0, max(0, 4 - gradient.numel()))) for gradient in found])
    made = {"images": images, "noise": noise, "timestep": timestep, "class_labels": labels, "loss": loss.detach(), "norms": norms, "first": first}
    return {f"{name}.learning.{key}": tensor for key, tensor in made.items()}


def shifted(prediction, model, x, alpha, gradient, scale):
    """The model's output whose ε is ε − s √(1 − ᾱ) ∇ log p; x is √ᾱ x_0 + √(1 − ᾱ) ε."""
    signal, noise = alpha.sqrt(), (1 - alpha).sqrt()
    epsilon = {
        "epsilon": lambda: model,
        "sample": lambda: (x - signal * model) / noise,
        "v_prediction": lambda: signal * model + noise * x,
    }[prediction]()
    epsilon = epsilon - scale * noise * gradient
    return {
        "epsilon": lambda: epsilon,
        "sample": lambda: (x - noise * epsilon) / signal,
        "v_prediction": lambda: (epsilon - noise * x) / signal,
    }[prediction]()


@torch.no_grad()
def run(unet, network, case, scheduler_config):
    scheduler = class_of(case["scheduler"]).from_config(scheduler_config, **case.get("config", {}))
    scheduler.set_timesteps(case["steps"])
    generator, count = generators(case["seeds"]), case["count"]
    weights = torch.zeros(count, network(torch.zeros(1, unet.config.in_channels, *[unet.config.sample_size] * 2), torch.zeros(1)).shape[1])
    for image, pairs in enumerate(case["targets"]):
        for label, weight in pairs:
            weights[image, label] = weight
    classes, guidance = None, case.get("guidance", 1.0)
    if "classes" in case:
        classes = torch.tensor(case["classes"])

    def evaluate(x, t):
        of_class = unet(x, t, class_labels=classes).sample
        if guidance == 1.0:
            return of_class
        of_null = unet(x, t, class_labels=torch.full_like(classes, case["null_class"])).sample
        return of_null + guidance * (of_class - of_null)

    side = unet.config.sample_size
    channels = unet.config.in_channels
    x = randn_tensor((count, channels, side, side), generator=generator) * scheduler.init_noise_sigma
    for i, t in enumerate(scheduler.timesteps):
        x_t = scheduler.scale_model_input(x, t)
        model = evaluate(x_t, t)
        gradient = network.gradient(x_t, torch.full((count,), float(t)), weights)
        if case["scheduler"] == "DDPMScheduler":
            prev = scheduler.step(model, t, x, generator=generator).prev_sample
            if t > 0:
                learned = scheduler.config.variance_type == "learned_range"
                variance = scheduler._get_variance(t, predicted_variance=model[:, channels:] if learned else None)
                prev = prev + case["scale"] * (variance.exp() if learned else variance) * gradient
            x = prev
            continue
        if hasattr(scheduler, "sigmas"):
            alpha = 1 / (1 + scheduler.sigmas[i].double() ** 2)
        else:
            alpha = scheduler.alphas_cumprod[t].double()
        model = shifted(scheduler.config.prediction_type, model, x_t, alpha.float(), gradient, case["scale"])
        step = {"generator": generator} if "Ancestral" in case["scheduler"] else case.get("step", {})
        if case["scheduler"] == "DDIMScheduler":
            # Otherwise what the gradient adds to x0 would be clipped off again, and what it takes from epsilon would not.
            step = {**step, "use_clipped_model_output": True}
        x = scheduler.step(model, t, x, **step).prev_sample
    return x


def goldens(folder, models, cases):
    """Writes the classifiers; {classifier}.{sample, timestep, class_labels, logits, gradient} and
    {classifier}.initial.{sums, first, next}, {classifier}.learning.{images, noise, timestep, class_labels, loss, norms, first};
    {case}.x_0."""
    tensors, networks = {}, {}
    for seed, (name, config) in enumerate(CLASSIFIERS.items()):
        tensors |= initial(name, seed)
        networks[name] = network = classifier(name)
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps({"_class_name": "EncoderUNetModel"} | config, indent=2) + "\n")
        weights = {key: tensor.half().contiguous() for key, tensor in state(network).items()}
        save_file(weights, folder / name / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
        generator = torch.Generator().manual_seed(11)
        side, channels, classes = config["image_size"], config["in_channels"], config["out_channels"]
        sample = torch.randn((2, channels, side, side), generator=generator)
        timestep, labels = torch.tensor([3, 777]), torch.tensor([1, classes - 1])
        # In f64, so that the errors are those of who is compared.
        exact = network.double()
        tensors |= {
            f"{name}.sample": sample,
            f"{name}.timestep": timestep,
            f"{name}.class_labels": labels,
            f"{name}.logits": exact(sample.double(), timestep.double()).float(),
            f"{name}.gradient": exact.gradient(sample.double(), timestep.double(), F.one_hot(labels, classes).double()).float(),
        }
        tensors |= learning(name, exact)
        network.float()
    for case in cases:
        name, random = case["model"], case["model"] in MODELS
        own = {} if random else diffusers.DDPMScheduler.load_config(models / name, subfolder="scheduler")
        unet = make(name, list(MODELS).index(name)) if random else diffusers.UNet2DModel.from_pretrained(models / name, subfolder="unet").eval()
        tensors[f"{case['name']}.x_0"] = run(unet, networks[case["classifier"]], case, own)
    return tensors
