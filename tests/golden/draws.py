"""Goldens of the random numbers of PyTorch's generator on the CPU."""

import torch

# Only the low 32 bits of a seed count: 4294967301 is 5, and 2**53 - 1 is 2**32 - 1.
SEEDS = [0, 1, 5, 1234, 2**31, 2**32 - 1, 2**32 + 5, 2**53 - 1]
LENGTHS = [1, 2, 3, 15, 16, 17, 31, 32, 100, 1000]

# Successive draws from one generator. A draw of fewer than 16 values makes them in pairs and keeps
# the second of a pair for the next short draw; a long draw in between neither uses nor drops it.
SEQUENCES = [
    [[1], [1], [1], [3], [2], [5]],
    [[3], [16], [1], [2, 2, 4], [4]],
    [[2, 1, 4, 4], [2, 1, 4, 4], [2, 1, 4, 4]],
    [[17], [3], [31], [1], [1, 1, 3, 3], [40], [2]],
    [[15], [15], [33], [15], [1], [16], [1]],
]
SEQUENCE_SEEDS = [1234, 2**32 - 1]

# One after another from one generator, so that each also shows how many bits those before it took. Whole numbers
# below 2**28 take 32 bits and others 64. The words of the generator are used up several times.
MIXED = [
    "rand.1", "rand.7", "rand.16", "rand.100", "uniform.5.-10.30", "uniform.64.-33.33", "uniform.300.0.100", "randn.3",
    "rand_below.20.10", "rand_below.64.50", "randint.8.1000", "randint.1.1", "randint.3.10", "randint.33.1000",
    f"randint.5.{2**28 - 1}", f"randint.5.{2**28}", f"randint.5.{2**28 + 1}", f"randint.5.{2**31}", f"randint.5.{2**32 - 1}",
    "randperm.0", "randperm.1", "randperm.2", "randperm.15", "randperm.16", "randperm.1000", "randn.2", "randn.20", "randn.1",
]  # fmt: skip
MIXED_SEEDS = [0, 1234, 2**32 + 5]


def draw(kind, generator):
    """A draw by its name."""
    kind, n, *numbers = kind.split(".")
    n, numbers = int(n), [int(number) for number in numbers]
    match kind:
        case "randn":
            return torch.randn(n, generator=generator)
        case "rand":
            return torch.rand(n, generator=generator)
        case "uniform":
            return torch.empty(n).uniform_(numbers[0] / 100, numbers[1] / 100, generator=generator)
        case "rand_below":
            return (torch.rand(n, generator=generator) < numbers[0] / 100).to(torch.uint8)
        case "randint":
            return torch.randint(0, numbers[0], (n,), generator=generator)
        case "randperm":
            return torch.randperm(n, generator=generator)
    raise ValueError(kind)


def goldens():
    """randn.{seed}.{n}, sequence.{seed}.{sequence}.{draw} in the order drawn, mixed.{seed}.{draw}.{kind} and its state."""
    tensors = {}
    for seed in SEEDS:
        for n in LENGTHS:
            tensors[f"randn.{seed}.{n}"] = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    for seed in SEQUENCE_SEEDS:
        for s, shapes in enumerate(SEQUENCES):
            generator = torch.Generator().manual_seed(seed)
            for d, shape in enumerate(shapes):
                tensors[f"sequence.{seed}.{s}.{d}"] = torch.randn(shape, generator=generator)
    for seed in MIXED_SEEDS:
        generator = torch.Generator().manual_seed(seed)
        for d, kind in enumerate(MIXED):
            tensors[f"mixed.{seed}.{d}.{kind}"] = draw(kind, generator)
        tensors[f"mixed.{seed}.state"] = generator.get_state()
    return tensors
