"""Program: writes the images that the bundled network is pre-trained on, from Debian packages.

These are Fashion-MNIST, letters in 1,900 typefaces and clip art, in grey and in colour, without digits. Needs apt-get.

Example:
    python -m pretraining.images --out=/tmp/upstream.npz
"""

import logging as standard_logging
from pathlib import Path

import numpy as np
from absl import flags

from bit_keras.system import command_line
from bit_keras.system.files import whole
from bit_keras.system.logs import logger
from pretraining import clipart, fashion, letters, packages
from pretraining.colours import coloured

_OUT = flags.DEFINE_string("out", None, "npz file to write.", required=True)
_PACKAGES = flags.DEFINE_string("packages", "/tmp/bit_keras_packages", "Folder to download the Debian packages to.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the drawing.")
_SPLITS = ("train", "test")


def make(folder: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns the arrays of `bit_keras.data.load("...npz")`: clothes, letters and clip art, uint8 [N, 32, 32, 3].

    Args:
        folder: folder of the Debian packages; missing ones are downloaded.
        seed: of the drawing.
    """
    random = np.random.default_rng(seed)
    fonts = Path(__file__).with_name("fonts.txt").read_text().split()
    datasets = (
        (fashion.CLASSES, fashion.read(packages.fetch([fashion.PACKAGE], folder)[0])),
        (letters.CLASSES, _letters(packages.fetch(fonts, folder), random)),
        (clipart.CLASSES, clipart.draw(packages.fetch([clipart.PACKAGE], folder)[0], random)),
    )
    arrays = {"class_names": np.concatenate([classes for classes, _ in datasets])}
    for split in _SPLITS:
        images, labels, first = [], [], 0
        for classes, drawn in datasets:
            images.append(drawn[split][0] if drawn[split][0].ndim == 4 else coloured(drawn[split][0], random))
            labels.append(drawn[split][1] + first)
            first += len(classes)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = np.concatenate(images), np.concatenate(labels)
    return arrays


def _letters(font_packages: list[Path], random: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns {split: (images, labels)}; all images of a typeface are in the same split."""
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


def main() -> None:
    standard_logging.getLogger("fontTools").setLevel(standard_logging.ERROR)  # it warns of every unusual table
    arrays = make(Path(_PACKAGES.value), _SEED.value)
    with whole(_OUT.value) as path:
        np.savez_compressed(path, **arrays)
    for split in _SPLITS:
        logger.info("%s: %d images", split, len(arrays[f"{split}_labels"]))
    logger.info("%d classes; wrote %s", len(arrays["class_names"]), _OUT.value)


if __name__ == "__main__":
    command_line.run(main)
