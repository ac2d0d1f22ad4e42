"""Make the embedded sample again from the full CIFAR-10: `python -m minicnn.data.make_sample [DATA_DIR]`.

For maintainers. Takes the first images of each class in file order, writes `sample/train.png` and `sample/test.png`
beside this file, and prints the checksums that `sample.py` must hold.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np

from .cifar import cifar10
from .files import digest, extra, write
from .sample import CLASSES, PER_CLASS, from_tiles, to_tiles


def main(arguments: list[str]) -> None:
    pillow = extra("PIL.Image", "writing the sample")
    for part, count in PER_CLASS.items():
        full = cifar10(part == "train", *arguments[:1], sources=("cache", "official", "npm"))
        first = np.stack([np.flatnonzero(full.labels == label)[:count] for label in range(len(CLASSES))], axis=1)
        images = np.ascontiguousarray(full.images[first.reshape(-1)])
        picture = to_tiles(images, len(CLASSES))
        assert (from_tiles(picture, len(CLASSES)) == images).all()
        out = io.BytesIO()
        pillow.fromarray(picture).save(out, "PNG", optimize=True)
        path = Path(__file__).parent / "sample" / f"{part}.png"
        write(path, out.getvalue())
        print(
            f'    "{part}": "{digest(images.data, "sha256")}",  # {len(images)} images, {len(out.getvalue()):,} bytes'
        )


if __name__ == "__main__":
    main(sys.argv[1:])
