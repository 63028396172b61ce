"""Frames and captions on pictures."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bit_keras.figures import boxes, fonts
from bit_keras.figures.boxes import colour_of, marked

RED = (255, 0, 0)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_frame_surrounds_its_box_and_hides_nothing_in_it(grey):
    image = np.full((600, 900, 3), grey, np.uint8)
    image[200:210, 300:320] = (1, 2, 3)
    picture = marked(image, [[200, 300, 210, 320]], [RED])
    assert picture.shape == image.shape
    np.testing.assert_array_equal(picture[200:210, 300:320], image[200:210, 300:320])
    column = picture[:200, 310]  # above the box, from the top
    np.testing.assert_array_equal(column[-5:], [[0, 0, 0], *[RED] * 3, [0, 0, 0]])  # a line of 900 / 300 pixels
    np.testing.assert_array_equal(column[:-5], image[:195, 310])
    for edge in (picture[212, 310], picture[205, 297], picture[205, 322]):
        np.testing.assert_array_equal(edge, RED)
    outside = np.ones((600, 900), bool)
    outside[195:215, 295:325] = False
    np.testing.assert_array_equal(picture[outside], image[outside])


def test_small_images_are_enlarged_by_a_whole_number_and_large_ones_reduced():
    assert marked(np.zeros((1, 1, 3), np.uint8), [], []).shape == (512, 512, 3)
    assert marked(np.zeros((100, 200, 3), np.uint8), [], []).shape == (300, 600, 3)
    assert marked(np.zeros((600, 500, 3), np.uint8), [], []).shape == (600, 500, 3)
    assert marked(np.zeros((1000, 4096, 3), np.uint8), [], []).shape == (500, 2048, 3)
    assert marked(np.zeros((100, 10_000, 3), np.uint8), [], []).shape == (32, 3200, 3)
    assert marked(np.zeros((9_000, 2, 3), np.uint8), [], []).shape == (9_000, 2, 3)
    assert marked(np.zeros((100, 200, 3), np.uint8), [], [], side=50).shape == (25, 50, 3)
    picture = marked(np.zeros((100, 200, 3), np.uint8), [[20, 30, 40, 60]], [RED])
    np.testing.assert_array_equal(np.argwhere((picture == RED).all(-1)).min(0), [60 - 3, 90 - 3])
    np.testing.assert_array_equal(np.argwhere((picture == RED).all(-1)).max(0), [120 + 2, 180 + 2])


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (3, 600), (512, 512)])
def test_a_box_of_the_whole_image_has_a_frame_inside_of_it(size):
    image = np.full((*size, 3), 100, np.uint8)
    picture = marked(image, [[0, 0, *size]], [RED], ["a name that is longer than the picture is wide 0.99"])
    assert ((picture == RED).all(-1) | (picture == 0).all(-1)).any(), "visible at the border"
    if size == (512, 512):
        np.testing.assert_array_equal(picture[1, 511 - 1], RED)
        np.testing.assert_array_equal(picture[256, 256], [100] * 3)


def test_the_first_frame_is_on_top():
    image = np.zeros((600, 600, 3), np.uint8)
    picture = marked(image, [[100, 100, 200, 200], [100, 100, 200, 200]], [RED, (0, 255, 0)], lines=[3, 9])
    np.testing.assert_array_equal(picture[97, 150], RED)
    np.testing.assert_array_equal(picture[92, 150], (0, 255, 0))


def test_captions_cover_neither_small_objects_nor_each_other():
    """Two small objects, one above the other, at the top of the image; the usual places would cover them."""
    image = np.full((600, 600, 3), 50, np.uint8)
    places = [[0, 300, 16, 316], [24, 300, 40, 316], [24, 322, 40, 338]]
    for top, left, bottom, right in places:
        image[top:bottom, left:right] = 255
    picture = marked(image, places, [colour_of(k) for k in range(3)], ["first 0.99", "second 0.98", "third 0.97"])
    for top, left, bottom, right in places:
        assert (picture[top + 4 : bottom - 4, left + 4 : right - 4] == 255).all()
    counts = [(picture == colour_of(k)).all(-1).sum() for k in range(3)]
    assert min(counts) > 700, "the captions are there, each in its colour"


def test_any_letters(monkeypatch):
    """A text of several scripts is drawn in parts, each by a font that has its letters."""
    letters = {"default": frozenset(map(ord, "ab $")), "rare": frozenset(map(ord, "鳥a"))}
    monkeypatch.setattr(fonts, "_installed", lambda: ("default", "rare"))
    monkeypatch.setattr(fonts, "_letters", letters.get)
    monkeypatch.setattr(fonts, "_font", lambda name, pixels: (name, pixels))
    fonts._font_with.cache_clear()
    try:
        assert fonts.runs("a鳥鳥 $b☃", 12) == [
            ("a", ("default", 12)),
            ("鳥鳥", ("rare", 12)),
            (" $b☃", ("default", 12)),
        ]
    finally:
        fonts._font_with.cache_clear()


def test_text_is_drawn_literally():
    picture = Image.new("RGB", (400, 40))
    fonts.write(ImageDraw.Draw(picture), (0, 30), "$x^2$ 鳥", 20, (255, 255, 255))
    columns = np.flatnonzero(np.asarray(picture).any(axis=(0, 2)))
    assert abs(columns.max() - fonts.width("$x^2$ 鳥", 20)) < 8
    assert fonts.width("$x^2$", 20) > fonts.width("x2", 20) + 20, "dollar signs have a width"
    assert fonts.width("", 20) == 0


def test_colours_are_bright_and_different():
    luminance = np.array(boxes.COLOURS) @ [0.299, 0.587, 0.114]
    assert luminance.min() > 120, "black letters are read on them"
    assert len(set(boxes.COLOURS)) == len(boxes.COLOURS)
    assert colour_of(len(boxes.COLOURS)) == colour_of(0)
