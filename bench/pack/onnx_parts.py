"""An ONNX file without what is in the model's weights too, for bench/pack/onnx_parts.mjs to put together again.

    python3 bench/pack/onnx_parts.py MODEL.onnx WEIGHTS.safetensors MODEL.parts

MODEL.parts has the length of a list (32 bits, little endian), the list as JSON, and the bytes that it calls literal, one
run after another. An entry of the list is {"literal": bytes} or {"tensor": name, "transposed": whether}: the numbers of a
tensor in 32 bits, of a matrix column by column if it is transposed, since torch stores linear layers' weights either way.
"""

import json
import struct
import sys
from hashlib import sha256
from pathlib import Path

import numpy
import onnx
from safetensors.numpy import load_file

# Shorter constants stay literal.
LEAST = 512


def references(weights):
    """Which tensor has these bytes, by their hash."""
    found = {}
    for name, tensor in load_file(weights).items():
        numbers = tensor.astype("<f4")
        forms = {False: numbers, True: numbers.T} if numbers.ndim == 2 else {False: numbers}
        for transposed, form in forms.items():
            key = sha256(numpy.ascontiguousarray(form).tobytes()).digest()
            found.setdefault(key, {"tensor": name, "transposed": transposed})
    return found


def main():
    model, weights, parts = map(Path, sys.argv[1:])
    known = references(weights)
    file = model.read_bytes()
    graph = onnx.load_from_string(file).graph
    entries, literals = [], []
    done = 0
    # In the order in which the file has them.
    for initializer in graph.initializer:
        raw = initializer.raw_data
        reference = known.get(sha256(raw).digest()) if len(raw) >= LEAST else None
        if reference is None:
            continue
        at = file.index(raw, done)
        entries += [{"literal": at - done}, reference]
        literals.append(file[done:at])
        done = at + len(raw)
    entries.append({"literal": len(file) - done})
    literals.append(file[done:])
    listed = json.dumps(entries).encode()
    parts.write_bytes(b"".join([struct.pack("<I", len(listed)), listed, *literals]))


if __name__ == "__main__":
    main()
