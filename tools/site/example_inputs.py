"""What the examples of docstrings read: small files in the current folder, and names.

Stands in for downloads: the published names of ILSVRC-2012's classes are made up here, except for a cat.
"""

import os
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import bit_keras
from bit_keras import detection
from tests.newcomer.make_inputs import write_boxes

__all__ = ["bit_keras", "detection", "keras", "np", "write"]


def write() -> None:
    """Writes the files, and sets the mirror of downloads and the cache to folders beside them."""
    random = np.random.default_rng(0)
    for name, photos in {"birds/robin": 10, "birds/wren": 10, "photos": 2}.items():
        Path(name).mkdir(parents=True)
        for number in range(photos):
            shade = 60 * (name == "birds/robin")
            pixels = random.integers(shade, shade + 128, (40, 50, 3)).astype("uint8")
            Image.fromarray(pixels).save(f"{name}/{number}.jpg")
    Path("robin.jpg").write_bytes(Path("birds/robin/0.jpg").read_bytes())
    Path("broken.jpg").write_bytes(b"no image")
    Path("broken.csv").write_text("path,label\nrobin.jpg,robin\nbroken.jpg,wren\n")
    write_boxes(Path("boxes"))
    _write_names(Path("mirror"))
    os.environ |= {"BIT_KERAS_MIRROR": os.path.abspath("mirror"), "BIT_KERAS_CACHE": os.path.abspath("cache")}


def _write_names(folder: Path) -> None:
    folder.mkdir()
    ids = [f"n{number:08}" for number in range(1000)]
    lemmas = [f"thing {number}" for number in range(1000)]
    ids[281], lemmas[281] = "n02123045", "tabby, tabby_cat"
    for content, lines in {"ids": ids, "lemmas": lemmas}.items():
        (folder / f"ilsvrc2012_wordnet_{content}.txt").write_text("".join(f"{line}\n" for line in lines))
