#!/usr/bin/env python3
"""Makes what the Teach page teaches with, from the images that the shipped models learned from:

    scripts/teaching-data.py digits.npz letters.npz www/teach/data

Each archive has `images` (u8 [N, H, W]) and `labels` ([N]). Of each class as many images are taken, class after class, into
one sheet: a grey PNG of square tiles. A JSON file beside it says how to cut it up again.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = 80


def make_sheet(archive, name, names, each, folder):
    with np.load(archive) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    side = images.shape[1]
    random = np.random.default_rng(0)
    chosen = []
    for label in range(len(names)):
        of_class = np.flatnonzero(labels == label)
        chosen.append(np.sort(random.choice(of_class, each, replace=False)))
    tiles = images[np.concatenate(chosen)]
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.zeros((rows * COLUMNS, side, side), np.uint8)
    sheet[: len(tiles)] = tiles
    sheet = sheet.reshape(rows, COLUMNS, side, side).swapaxes(1, 2).reshape(rows * side, COLUMNS * side)
    Image.fromarray(sheet, "L").save(folder / f"{name}.png", optimize=True)
    about = {"side": side, "columns": COLUMNS, "each": each, "names": names}
    (folder / f"{name}.json").write_text(json.dumps(about) + "\n")


def main():
    digits, letters, folder = sys.argv[1:]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    make_sheet(digits, "digits", [str(digit) for digit in range(10)], 400, folder)
    make_sheet(letters, "letters", [chr(ord("A") + letter) for letter in range(26)], 200, folder)


if __name__ == "__main__":
    main()
