"""Small datasets as NumPy and PIL write them, and what these read in them."""

import numpy
import torch
from PIL import Image


def goldens(folder):
    """Writes the files of dataset/; returns {file}.images, [N, C, H, W] or [C, H, W], and {file}.labels."""
    folder.mkdir(exist_ok=True)
    numbers = numpy.random.RandomState(0)
    tensors = {}

    def keep(name, images, labels=None):
        tensors[f"{name}.images"] = torch.from_numpy(numpy.array(images))
        if labels is not None:
            tensors[f"{name}.labels"] = torch.from_numpy(numpy.array(labels, dtype=numpy.int64))

    colour = numbers.randint(0, 256, (5, 6, 7, 3), dtype=numpy.uint8)
    labels = numpy.array([2, 0, 1, 2, 2])
    numpy.savez_compressed(folder / "last.npz", images=colour, labels=labels, classes=numpy.array(["cat", "dög", "owl"]))
    keep("last.npz", colour.transpose(0, 3, 1, 2), labels)
    numpy.savez(folder / "first.npz", images=colour.transpose(0, 3, 1, 2).copy(), labels=labels.astype(">i2")[:, None])
    keep("first.npz", colour.transpose(0, 3, 1, 2), labels)
    numpy.savez(folder / "grey.npz", colour[..., 0].copy())
    keep("grey.npz", colour[:, None, :, :, 0])
    keep("converted.npz", [[numpy.array(Image.fromarray(image).convert("L"))] for image in colour])

    # Smooth ones: what decoders may differ in shows at edges.
    y, x = numpy.mgrid[0:16, 0:24]
    smooth = numpy.stack([10 * y, 10 * x, 255 - 6 * (x + y)], axis=-1).clip(0, 255).astype(numpy.uint8)
    small = Image.fromarray(colour[0])

    def picture(name, image, **options):
        image.save(folder / name, **options)
        with Image.open(folder / name) as image:
            image = image.convert("RGB") if image.mode == "P" else image
            array = numpy.array(image)
        if array.dtype != numpy.uint8:  # sixteen bits
            array = (array >> 8).astype(numpy.uint8)
        keep(name, array[None] if array.ndim == 2 else array.transpose(2, 0, 1))

    picture("colour.jpg", Image.fromarray(smooth), quality=95, subsampling=0)
    picture("progressive.jpg", Image.fromarray(smooth), quality=90, progressive=True)
    picture("grey.jpg", Image.fromarray(smooth).convert("L"), quality=95)
    picture("colour.png", small)
    picture("palette.png", small.quantize(7))
    picture("grey.png", small.convert("L"))
    picture("alpha.png", small.convert("RGBA"))
    picture("sixteen.png", Image.fromarray(numbers.randint(0, 65536, (6, 7)).astype(numpy.uint16)))
    return tensors
