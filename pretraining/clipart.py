"""Pictures of the Open Clip Art Library (public domain) out of the Debian package openclipart-png.

A class is one or more of its folders. Left out are folders with animals, faces, flags, food, hands, persons or vehicles
among their pictures, and pictures of calendars and clocks, for their digits.
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
_SCALE = 4  # of the drawing, before it is made smaller
_VIEWS = 16  # of a picture
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
    """Returns {split: (uint8 [N, 32, 32, 3], class [N])}: sixteen views of every picture, a fifth of these for testing.

    Args:
        package: the ".deb" file.
        random: of paper, size, turn and mirroring.
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
    """Returns the picture on white or, in half of the views, on coloured paper."""
    paper = random.integers(0, 256, 3).tolist() if random.random() < 0.5 else [255, 255, 255]
    sheet = Image.new("RGBA", (_SCALE * SIDE, _SCALE * SIDE), (*paper, 255))
    scale = random.uniform(20, 32) * _SCALE / max(picture.size)
    size = [max(1, round(length * scale)) for length in picture.size]
    bilinear = Image.Resampling.BILINEAR
    turned = picture.resize(size, bilinear).rotate(random.uniform(-15, 15), bilinear, expand=True)
    if random.random() < 0.5:
        turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    layer = Image.new("RGBA", sheet.size)
    layer.paste(turned, tuple((_SCALE * SIDE - length) // 2 for length in turned.size))
    return np.asarray(Image.alpha_composite(sheet, layer).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
