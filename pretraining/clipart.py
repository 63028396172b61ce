"""Pictures of the Open Clip Art Library (public domain) from the Debian package openclipart-png.

A class is one or more of its folders. Excluded are folders whose pictures include animals, faces, flags, food, hands,
persons or vehicles, which are classes of downstream tasks, and pictures of calendars and clocks, which contain digits.
"""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pretraining import packages

PACKAGE = "openclipart-png"
SIDE = 32  # pixels
_SCALE = 4  # pictures are drawn this many times larger, then reduced
_VIEWS = 16  # per picture
_DIGITS = ("1day", "5days", "7days", "calculator", "clock", "date", "dayview", "month", "ooo_calc", "today", "xdays")
_FOLDERS = {
    "action icon": ("computer/icons/flat-theme/action", "computer/icons/lemon-theme/actions"),
    "application icon": ("computer/icons/flat-theme/applications", "computer/icons/lemon-theme/apps"),
    "arrow": ("shapes/arrows",),
    "building": ("buildings", "buildings/homes"),
    "button": ("computer/buttons",),
    "callout": ("shapes/callouts",),
    "device icon": ("computer/icons/flat-theme/device", "computer/icons/lemon-theme/devices"),
    "document icon": ("computer/icons/lemon-theme/mimetypes",),
    "electronics": ("electronics", "computer/hardware"),
    "flower": ("plants/flowers",),
    "folder icon": ("computer/icons/lemon-theme/filesystems",),
    "jigsaw piece": ("shapes/jigsaw",),
    "lamp": ("signs_and_symbols/led",),
    "musical instrument": ("recreation/music",),
    "ornament": ("decorations",),
    "pattern": ("special/patterns",),
    "plant": ("plants",),
    "tool": ("tools",),
    "weather": ("signs_and_symbols/weather",),
}
CLASSES = tuple(_FOLDERS)


def draw(package: Path, random: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns {split: (uint8 [N, 32, 32, 3], class indices [N])}: 16 views per picture; a fifth of the pictures test.

    Args:
        package: the ".deb" file.
        random: generator for background, size, rotation and mirroring.
    """
    drawn = {"train": ([], []), "test": ([], [])}
    for label, name, content in _pictures(package):
        images, labels = drawn["test" if zlib.crc32(name.encode()) % 5 == 0 else "train"]
        with Image.open(io.BytesIO(content)) as picture:
            picture = picture.convert("RGBA")
        picture.thumbnail((_SCALE * SIDE, _SCALE * SIDE))
        for _ in range(_VIEWS):
            images.append(_view(picture, random))
            labels.append(label)
    return {split: (np.array(images), np.array(labels)) for split, (images, labels) in drawn.items()}


def _pictures(package: Path) -> Iterator[tuple[int, str, bytes]]:
    labels = {folder: label for label, folders in enumerate(_FOLDERS.values()) for folder in folders}
    for name, content in packages.members(package, (".png",)):
        folder, _, file = name.partition("/openclipart/png/")[2].rpartition("/")
        if folder in labels and not file.startswith(_DIGITS):
            yield labels[folder], file, content


def _view(picture: Image.Image, random: np.random.Generator) -> np.ndarray:
    """Returns a random view of a picture, on a white or, half of the time, on a coloured background."""
    background = random.integers(0, 256, 3).tolist() if random.random() < 0.5 else [255, 255, 255]
    sheet = Image.new("RGBA", (_SCALE * SIDE, _SCALE * SIDE), (*background, 255))
    scale = random.uniform(20, 32) * _SCALE / max(picture.size)
    size = [max(1, round(length * scale)) for length in picture.size]
    bilinear = Image.Resampling.BILINEAR
    turned = picture.resize(size, bilinear).rotate(random.uniform(-15, 15), bilinear, expand=True)
    if random.random() < 0.5:
        turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    layer = Image.new("RGBA", sheet.size)
    layer.paste(turned, tuple((_SCALE * SIDE - length) // 2 for length in turned.size))
    return np.asarray(Image.alpha_composite(sheet, layer).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
