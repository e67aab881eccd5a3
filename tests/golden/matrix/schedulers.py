"""Whole trajectories of diffusers' schedulers with a stand-in for the network, in float64, read from `schedulers.json`.

diffusers computes in float32. Its own source, read with float64 for every float32, gives the goldens; the
same run in the library as it is gives the timesteps, where rounding decides them, and how far float32 is off.
"""

import contextlib
import importlib
import inspect
import math
import sys
import types
from unittest import mock

import diffusers
import torch

SHAPE = (2, 3, 4, 4)
NOISES = 40

STEP, UNDO, CORRECT = 0, 1, 2


def class_of(name):
    """The scheduler class. That of DPMSolverSDE asks for torchsde, of which nothing is used here."""
    if name != "DPMSolverSDEScheduler":
        return getattr(diffusers, name)
    sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))
    return importlib.import_module("diffusers.schedulers.scheduling_dpmsolver_sde").DPMSolverSDEScheduler


def in_float64(cls):
    """The scheduler class from its module's source with float64 for float32."""
    module = inspect.getmodule(cls)
    copy = types.ModuleType(module.__name__)
    copy.__file__, copy.__package__ = module.__file__, module.__package__
    exec(compile(inspect.getsource(module).replace("float32", "float64"), module.__file__, "exec"), copy.__dict__)
    return getattr(copy, cls.__name__), copy


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def shared():
    """What all cases start from."""
    generator = torch.Generator().manual_seed(3)
    known = torch.rand(SHAPE, generator=generator, dtype=torch.float64) * 2 - 1
    mask = (torch.rand((2, 1, 4, 4), generator=generator) < 0.5).double().expand(SHAPE).clone()
    return {
        "x_T": torch.randn(SHAPE, generator=generator, dtype=torch.float64),
        "noise": torch.randn((NOISES, *SHAPE), generator=generator, dtype=torch.float64),
        "original": known,
        "mask": mask,
    }


def network(name, x, t):
    """The stand-in `name`; `t` is the timestep, or the sigma of a score."""
    if name == "score":
        return (0.3 * torch.sin(x / (1 + t)) - x / (1 + t)) / (1 + t)
    mean = 0.6 * torch.sin(x + t / 1000) + 0.1 * x
    if name == "mean":
        return mean
    wave = torch.cos(2 * x + t / 1000)
    return torch.cat([mean, wave if name == "learned_range" else 0.01 + 0.009 * wave], dim=1)


class Recorder:
    """A run's calls, and the noise it is given instead of a generator's."""

    def __init__(self, noise):
        self.noise, self.used = noise, 0
        self.calls = {key: [] for key in ("kind", "timesteps", "input_scale", "draws", "x")}

    def randn_tensor(self, shape, **arguments):
        assert tuple(shape) == SHAPE
        self.used += 1
        return self.noise[(self.used - 1) % NOISES].clone()

    def brownian(self, *_):
        """In place of a BrownianTreeNoiseSampler: of each step the motion to its middle is drawn first, and then the rest."""
        state = {}

        def sample(begin, end):
            drawn = self.randn_tensor(SHAPE)
            if "motion" not in state:
                state.update(motion=drawn * (begin - end).sqrt(), middle=end)
                return drawn
            motion = state.pop("motion") + drawn * (state.pop("middle") - end).sqrt()
            return motion / (begin - end).sqrt()

        return sample

    def call(self, kind, timestep, input_scale, x, used_before):
        values = {"kind": kind, "timesteps": timestep, "input_scale": input_scale, "draws": self.used - used_before, "x": x}
        for key, value in values.items():
            self.calls[key].append(value.clone() if torch.is_tensor(value) else value)


def ordinary(case, scheduler, given, recorder, timesteps):
    """As every pipeline does it: scale, evaluate, step; from step `begin` on as those do that start from an image."""
    scheduler.set_timesteps(case["steps"])
    model = case.get("model", "mean")
    init_noise_sigma = getattr(scheduler, "init_noise_sigma", 1.0)
    scaled = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
    x = given["x_T"] * init_noise_sigma
    if timesteps is not None:
        scheduler.timesteps = timesteps.to(scheduler.timesteps.dtype)
    begin = case.get("begin", 0) * scheduler.order
    if begin and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    for t in scheduler.timesteps[begin:]:
        used = recorder.used
        model_input = scaled(x, t)
        scale = scaled(torch.ones_like(x), t).flatten()[0].item()
        output = network(model, model_input, t.to(x.dtype))
        x = scheduler.step(output, t, x, **case.get("step", {})).prev_sample
        recorder.call(STEP, t.item(), scale, x, used)
    return init_noise_sigma, x


def repaint(case, scheduler, given, recorder, timesteps):
    """As RePaintPipeline does it."""
    scheduler.set_timesteps(case["steps"], **case["jumps"])
    scheduler.eta = case.get("eta", scheduler.config.eta)
    x = given["x_T"]
    last = scheduler.timesteps[0] + 1
    for t in scheduler.timesteps:
        used = recorder.used
        if t < last:
            output = network("mean", x, t.to(x.dtype))
            x = scheduler.step(output, t, x, given["original"], given["mask"]).prev_sample
            recorder.call(STEP, t.item(), 1.0, x, used)
        else:
            x = scheduler.undo_step(x, last)
            recorder.call(UNDO, last.item(), 1.0, x, used)
        last = t
    return 1.0, x


def score_sde_ve(case, scheduler, given, recorder, timesteps):
    """As ScoreSdeVePipeline does it, before its clamp to [0, 1]; the network is given sigma."""
    x = given["x_T"] * scheduler.init_noise_sigma
    scheduler.set_timesteps(case["steps"])
    scheduler.set_sigmas(case["steps"])
    mean = x
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas):
        for _ in range(scheduler.config.correct_steps):
            used = recorder.used
            x = scheduler.step_correct(network("score", x, sigma), x).prev_sample
            recorder.call(CORRECT, sigma.item(), 1.0, x, used)
        used = recorder.used
        out = scheduler.step_pred(network("score", x, sigma), t, x)
        x, mean = out.prev_sample, out.prev_sample_mean
        recorder.call(STEP, sigma.item(), 1.0, x, used)
    return scheduler.init_noise_sigma, mean


def config_of(case, cls):
    """The arguments of a case's scheduler; of another scheduler's file those that it has, as `from_config` takes them."""
    if "from" not in case:
        return case["config"]
    return {key: value for key, value in case["from"].items() if key in inspect.signature(cls).parameters}


LOOPS = {"RePaintScheduler": repaint, "ScoreSdeVeScheduler": score_sde_ve}


def run(case, dtype, given, timesteps=None):
    """The case in one type: everything of `Recorder`, `init_noise_sigma` and `x_0`."""
    library = class_of(case["scheduler"])
    with default_dtype(dtype):
        cls, module = in_float64(library) if dtype == torch.float64 else (library, inspect.getmodule(library))
        scheduler = cls(**config_of(case, library))
        given = {key: tensor.to(dtype) for key, tensor in given.items()}
        recorder = Recorder(given["noise"])
        noises = {"randn_tensor": recorder.randn_tensor, "BrownianTreeNoiseSampler": recorder.brownian}
        noises = {name: noise for name, noise in noises.items() if hasattr(module, name)}
        patches = mock.patch.multiple(module, **noises) if noises else contextlib.nullcontext()
        with patches, torch.no_grad():
            sigma, x_0 = LOOPS.get(case["scheduler"], ordinary)(case, scheduler, given, recorder, timesteps)
    made = {
        "init_noise_sigma": torch.tensor(float(sigma), dtype=torch.float64),
        "kind": torch.tensor(recorder.calls["kind"], dtype=torch.uint8),
        "draws": torch.tensor(recorder.calls["draws"], dtype=torch.uint8),
        "x": torch.stack(recorder.calls["x"]).double(),
        "x_0": x_0.double(),
    }
    made.update({key: torch.tensor(recorder.calls[key], dtype=torch.float64) for key in ("timesteps", "input_scale")})
    return made


GRID_SCHEDULERS = (
    "DDPM", "DDIM", "PNDM", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "KDPM2Discrete",
    "KDPM2AncestralDiscrete", "LMSDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep", "DEISMultistep",
    "UniPCMultistep", "LCM", "TCD", "DPMSolverSDE",
)


def grids():
    """{scheduler}: four numbers of x_0 for each run of `grid_runs`, zeros where diffusers raises or ends in what is no number."""
    given, tensors = shared(), {}
    for name in GRID_SCHEDULERS:
        ends = []
        for total, spacing, steps in grid_runs():
            taken = {"num_train_timesteps": total, "beta_schedule": "squaredcos_cap_v2", "timestep_spacing": spacing}
            case = {"scheduler": f"{name}Scheduler", "from": taken, "steps": steps}
            try:
                end = run(case, torch.float64, given)["x_0"][0, 0, 0]
            except (AssertionError, IndexError, ValueError):
                end = torch.zeros(4, dtype=torch.float64)
            ends.append(end if end.isfinite().all() else torch.zeros_like(end))
        tensors[f"{name}Scheduler"] = torch.stack(ends)
    return tensors


def grid_runs():
    for total in (10, 100, 1000):
        for spacing in ("leading", "trailing", "linspace"):
            for steps in (3, 9, 10, 99, 100):
                if steps <= total:
                    yield total, spacing, steps


def ratio_sample():
    """The start of diffusers' own scheduler tests."""
    return (torch.arange(768).reshape(3, 8, 8, 4) / 768).permute(3, 0, 1, 2)


def ratio_run(case):
    """The whole loop of diffusers' own tests, in the library's float32: x·t/(t + 1) for a network."""
    scheduler = getattr(diffusers, case["scheduler"])(**case["config"])
    if "steps" in case:
        scheduler.set_timesteps(case["steps"])
    x = ratio_sample()
    if case["scaled"]:
        x = x * scheduler.init_noise_sigma
    noise = {"generator": torch.manual_seed(0)} if case["noise"] else {}
    for _ in range(case.get("rounds", 1)):
        for t in scheduler.timesteps:
            if case["scaled"]:
                x = scheduler.scale_model_input(x, t)  # those tests go on with the scaled sample
            t_model = t.to(x.dtype)
            x = scheduler.step(x * t_model / (t_model + 1), t, x, **noise).prev_sample
        if hasattr(scheduler, "_step_index"):
            scheduler._step_index = None
    return x


def sum_goldens(cases):
    """{name}.x_0, after making sure that diffusers' tests would pass."""
    tensors = {}
    for case in cases:
        x_0 = ratio_run(case)
        for key, value in (("sum", x_0.abs().sum().item()), ("mean", x_0.abs().mean().item())):
            if key in case:
                assert abs(value - case[key]) <= case["within"], f"{case['name']}: {key} {value}, not {case[key]}"
        tensors[f"{case['name']}.x_0"] = x_0
    return tensors


def relative(made, exact):
    return ((made - exact).abs().max() / exact.abs().max()).item()


def goldens(cases):
    """shared.{…} and {case}.{…}."""
    given = shared()
    tensors = {f"shared.{key}": tensor for key, tensor in given.items()}
    for case in cases:
        library = run(case, torch.float32, given)
        exact = run(case, torch.float64, given)
        timesteps_off = (library["timesteps"] - exact["timesteps"]).abs().max().item()
        if timesteps_off > 0.5:
            exact = run(case, torch.float64, given, library["timesteps"])
        assert exact["x"].isfinite().all(), case["name"]
        off = relative(library["x_0"], exact["x_0"])
        assert off <= case.get("float32", 1e-5), f"{case['name']}: float32 is {off:.1e} off"
        assert timesteps_off <= case.get("timesteps_float32", 1e-3), f"{case['name']}: timesteps are {timesteps_off:.1e} off in float32"
        tensors.update({f"{case['name']}.{key}": tensor for key, tensor in exact.items()})
    return tensors
