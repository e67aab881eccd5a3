"""Goldens of `torch.randn` on the CPU."""

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


def goldens():
    """randn.{seed}.{n}, and sequence.{seed}.{sequence}.{draw} in the order drawn."""
    tensors = {}
    for seed in SEEDS:
        for n in LENGTHS:
            tensors[f"randn.{seed}.{n}"] = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    for seed in SEQUENCE_SEEDS:
        for s, shapes in enumerate(SEQUENCES):
            generator = torch.Generator().manual_seed(seed)
            for d, shape in enumerate(shapes):
                tensors[f"sequence.{seed}.{s}.{d}"] = torch.randn(shape, generator=generator)
    return tensors
