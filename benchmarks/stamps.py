"""Folder of JPEG photographs by class, made of the stamps of a drawing program in the Debian package tuxpaint-stamps.

The package has some 250 photographs of the classes below, without background. Each class gets 100 images, which are
crops of them on white, 80 for training and 20 for testing; no photograph is in both. They measure time, not accuracy.
The authors and licences are in /usr/share/doc/tuxpaint-stamps-default of the package.
"""

import io
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from pretraining import packages

PACKAGE = "tuxpaint-stamps-default"
CLASSES = {
    "bird": "animals/birds",
    "clothes": "clothes",
    "fish": "animals/fish",
    "flower": "plants/flowers",
    "fruit": "food/fruit",
    "household": "household",
    "insect": "animals/insects",
    "mammal": "animals/mammals",
    "planet": "space/planets",
    "vegetable": "food/vegetables",
}
COUNTS = {"train": 80, "test": 20}  # images per class
_SIZE = (500, 375)  # pixels, as of a typical data set of photographs
_KEPT = 0.8  # least share of a photograph's sides in a crop
_NOT_PHOTOGRAPHS = {"cartoon", "plastic", "toys"}
_STAMPS = "./usr/share/tuxpaint/stamps/"


def write(folder: Path, package: Path, seed: int = 0) -> None:
    """Writes {train, test}/CLASS/NUMBER.jpg.

    Args:
        folder: to create.
        package: the ".deb" file.
        seed: of the crops.

    Raises:
        FileExistsError: the folder exists.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for label, stamps in _stamps(package).items():
        splits = {"test": stamps[::5], "train": [stamp for k, stamp in enumerate(stamps) if k % 5]}
        for split, count in COUNTS.items():
            place = folder / split / label
            place.mkdir(parents=True)
            for k in range(count):
                _crop(splits[split][k % len(splits[split])], random).save(place / f"{k:03}.jpg", quality=92)


def _stamps(package: Path) -> dict[str, list[Image.Image]]:
    """Returns {class: photographs with transparent background}."""
    stamps = {label: [] for label in CLASSES}
    for name, content in packages.members(package, (".png",)):
        place = PurePosixPath(name.removeprefix(_STAMPS)).parent
        if _NOT_PHOTOGRAPHS & set(place.parts):
            continue
        for label, root in CLASSES.items():
            if place.is_relative_to(root):
                with Image.open(io.BytesIO(content)) as stamp:
                    stamps[label].append(stamp.convert("RGBA"))
    return stamps


def _crop(stamp: Image.Image, random: np.random.Generator) -> Image.Image:
    """Returns a random crop of a stamp, resized to fit on a white picture."""
    sides = [round(length * random.uniform(_KEPT, 1)) for length in stamp.size]
    left, top = (int(random.integers(length - side + 1)) for length, side in zip(stamp.size, sides))
    cropped = stamp.crop((left, top, left + sides[0], top + sides[1]))
    scale = min(whole / side for whole, side in zip(_SIZE, sides))
    cropped = cropped.resize([max(1, round(side * scale)) for side in sides], Image.Resampling.LANCZOS)
    picture = Image.new("RGB", _SIZE, "white")
    picture.paste(cropped, tuple((whole - side) // 2 for whole, side in zip(_SIZE, cropped.size)), cropped)
    return picture
