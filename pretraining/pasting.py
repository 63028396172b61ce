"""Images of pictures that are pasted on photographs, with a box around each."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

SIDE = 128  # pixels of an image
_SMALLEST, _LARGEST = 24, 64  # pixels of the longer side of a box, before rounding
_MOST = 4  # pictures in an image
_PLACES = 30  # tried for a picture; it is left out if it would overlap another one in all of them
_OPAQUE = 128  # of 255: from this opacity on a pixel belongs to the picture, not to the photograph
_BICUBIC = Image.Resampling.BICUBIC


Box = tuple[int, int, int, int]  # left, top, right, bottom: edges in pixels


@dataclasses.dataclass(frozen=True)
class Design:
    """One thing in several pictures, such as skin tones and the styles of several artists."""

    name: str
    label: int
    pictures: Sequence[Sequence[Image.Image]]  # RGBA; styles, which are equally frequent, and variants of each


@dataclasses.dataclass(frozen=True)
class Pasted:
    """A picture in an image. The box encloses all of its visible pixels."""

    design: Design
    box: Box
    area: int  # visible pixels


@dataclasses.dataclass(frozen=True)
class Example:
    """An RGB image of 128 x 128 pixels, the name of its photograph, and what is pasted on it."""

    image: Image.Image
    photograph: str
    pasted: list[Pasted]


def draw(designs: Sequence[Design], photographs: Mapping[str, Image.Image], random: np.random.Generator) -> Example:
    """Returns a random part of a photograph with 1 to 4 pictures, which do not overlap.

    Args:
        designs: all of a split; classes are equally frequent, and designs of a class.
        photographs: {name: RGB photograph of at least 128 x 128 pixels}.
        random: generator for all choices.
    """
    name = sorted(photographs)[random.integers(len(photographs))]
    image = _part(photographs[name], random)
    labels = sorted({design.label for design in designs})
    pasted, occupied = [], np.zeros((SIDE, SIDE), bool)
    for _ in range(random.integers(1, _MOST + 1)):
        label = _choice(labels, random)
        design = _choice([design for design in designs if design.label == label], random)
        picture = _view(_choice(_choice(design.pictures, random), random), random)
        corner = _free_corner(picture.size, occupied, random)
        if corner is None:
            continue
        image.paste(picture, corner, picture)
        left, top = corner
        occupied[top : top + picture.height, left : left + picture.width] = True
        pasted.append(Pasted(design, *_visible(picture, corner)))
    return Example(image, name, pasted)


def _choice(items: Sequence, random: np.random.Generator) -> Any:
    return items[random.integers(len(items))]


def _part(photograph: Image.Image, random: np.random.Generator) -> Image.Image:
    """Returns a square part, between 128 pixels and all of the shorter side, mirrored half of the time."""
    side = random.integers(SIDE, min(photograph.size) + 1)
    left, top = (random.integers(length - side + 1) for length in photograph.size)
    part = photograph.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


def _view(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Returns a picture turned by up to 15 degrees, in a random size, mirrored half of the time, without its margin."""
    turned = _trimmed(picture).rotate(random.uniform(-15, 15), _BICUBIC, expand=True)
    if random.random() < 0.5:
        turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = _trimmed(turned)
    scale = random.uniform(_SMALLEST, _LARGEST) / max(turned.size)
    return turned.resize([max(1, round(length * scale)) for length in turned.size], _BICUBIC)


def _trimmed(picture: Image.Image) -> Image.Image:
    return picture.crop(picture.getchannel("A").getbbox())


def _free_corner(size: tuple[int, int], occupied: np.ndarray, random: np.random.Generator) -> tuple[int, int] | None:
    """Returns left and top of a random place where nothing is, None if none was found."""
    width, height = size
    for _ in range(_PLACES):
        left, top = (int(random.integers(SIDE - length + 1)) for length in size)
        if not occupied[top : top + height, left : left + width].any():
            return left, top
    return None


def _visible(picture: Image.Image, corner: tuple[int, int]) -> tuple[Box, int]:
    """Returns the box around the visible pixels of a pasted picture, and their number."""
    opaque = picture.getchannel("A").point(lambda opacity: 255 * (opacity >= _OPAQUE))
    left, top, right, bottom = opaque.getbbox()
    box = (corner[0] + left, corner[1] + top, corner[0] + right, corner[1] + bottom)
    return box, opaque.histogram()[255]
