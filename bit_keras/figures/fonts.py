"""Fonts of texts that are drawn in pixels of a picture."""

import functools
import itertools

import matplotlib.ft2font
from matplotlib import font_manager
from PIL import ImageDraw, ImageFont

from bit_keras.figures.drawing import FONTS


def runs(text: str, pixels: int) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """Returns a text in parts, each with a font that has its letters: matplotlib's own, or else an installed one.

    A letter that no font has is drawn as a box.

    Args:
        text: one line.
        pixels: size of the fonts.
    """
    parts = [(font, "".join(letters)) for font, letters in itertools.groupby(text, _font_with)]
    return [(part, _font(font, pixels)) for font, part in parts]


def width(text: str, pixels: int) -> int:
    """Returns the width of a text in pixels."""
    return round(sum(font.getlength(part) for part, font in runs(text, pixels)))


def write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, pixels: int, colour) -> None:
    """Draws a text literally.

    Args:
        draw: of the picture.
        place: left end of its base line, x and y in pixels.
        text: one line.
        pixels: size of the letters.
        colour: RGB.
    """
    x, y = place
    for part, font in runs(text, pixels):
        draw.text((x, y), part, fill=colour, font=font, anchor="ls")
        x += font.getlength(part)


def height(pixels: int) -> tuple[int, int]:
    """Returns how far letters of a size reach above and below the base line, in pixels."""
    return _font(_installed()[0], pixels).getmetrics()


@functools.cache
def _font_with(letter: str) -> str:
    return next((path for path in _installed() if ord(letter) in _letters(path)), _installed()[0])


@functools.cache
def _installed() -> tuple[str, ...]:
    found = {font.name: font.fname for font in reversed(font_manager.fontManager.ttflist)}
    return font_manager.findfont("DejaVu Sans"), *(found[name] for name in FONTS if name in found)


@functools.cache
def _letters(path: str) -> frozenset[int]:
    return frozenset(matplotlib.ft2font.FT2Font(path).get_charmap())


@functools.cache
def _font(path: str, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, pixels)
