"""Program: makes the images that the shipped network is pre-trained on, out of Debian packages.

Fashion-MNIST and letters of 1,900 typefaces: pieces of clothing and letters, no digits. Needs apt-get.

Example:
    python -m pretraining.images --out=/tmp/upstream.npz
"""

import logging as standard_logging
from pathlib import Path

import numpy as np
from absl import app, flags, logging

from bit_keras.files import whole
from pretraining import fashion, letters, packages

_OUT = flags.DEFINE_string("out", None, "The npz file to write.", required=True)
_PACKAGES = flags.DEFINE_string("packages", "/tmp/bit_keras_packages", "Where the Debian packages are kept.")
_SEED = flags.DEFINE_integer("seed", 0, "Of size, place, turn, slant and choice of the letters.")
_SPLITS = ("train", "test")


def make(folder: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns the arrays of `bit_keras.data.load("...npz")`: clothes and letters, uint8 [N, 32, 32].

    Args:
        folder: where the Debian packages are kept; those missing are downloaded.
        seed: of the drawing.
    """
    clothes = fashion.read(packages.fetch([fashion.PACKAGE], folder)[0])
    names = Path(__file__).with_name("fonts.txt").read_text().split()
    drawn = _letters(packages.fetch(names, folder), seed)
    arrays = {"class_names": np.array([*fashion.CLASSES, *letters.CLASSES])}
    for split in _SPLITS:
        images, labels = drawn[split]
        arrays[f"{split}_images"] = np.concatenate([clothes[f"{split}_images"], images])
        arrays[f"{split}_labels"] = np.concatenate([clothes[f"{split}_labels"], labels + len(fashion.CLASSES)])
    return arrays


def _letters(font_packages: list[Path], seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns {split: (images, labels)}; a typeface is in one split alone."""
    random = np.random.default_rng(seed)
    drawn = {split: [] for split in _SPLITS}
    for package in font_packages:
        split = "test" if letters.is_for_testing(package) else "train"
        drawn[split] += letters.draw(packages.members(package, (".ttf", ".otf")), random)
    result = {}
    for split, pairs in drawn.items():
        labels, images = (np.array(column) for column in zip(*pairs))
        kept = letters.thinned(labels, random)
        result[split] = images[kept], labels[kept]
    return result


def main(_) -> None:
    standard_logging.getLogger("fontTools").setLevel(standard_logging.ERROR)  # which remarks on every odd table
    arrays = make(Path(_PACKAGES.value), _SEED.value)
    with whole(_OUT.value) as path:
        np.savez_compressed(path, **arrays)
    for split in _SPLITS:
        labels = arrays[f"{split}_labels"]
        clothes = int((labels < len(fashion.CLASSES)).sum())
        logging.info("%s: %d pieces of clothing, %d letters", split, clothes, len(labels) - clothes)
    logging.info("%d classes; wrote %s", len(arrays["class_names"]), _OUT.value)


if __name__ == "__main__":
    app.run(main)
