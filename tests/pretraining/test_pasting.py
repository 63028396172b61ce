"""Pictures pasted on photographs."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pretraining import pasting
from pretraining.pasting import Design


def _disc(colour: str) -> Image.Image:
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((8, 20, 55, 44), fill=colour)
    return picture


@pytest.fixture(scope="module")
def examples():
    designs = [Design("a", 0, [[_disc("red")]]), Design("b", 0, [[_disc("red")]]), Design("c", 1, [[_disc("red")]])]
    photographs = {"sea": Image.new("RGB", (300, 200), (0, 0, 255)), "leaf": Image.new("RGB", (128, 500), (0, 255, 0))}
    random = np.random.default_rng(0)
    return [pasting.draw(designs, photographs, random) for _ in range(200)]


def test_boxes_enclose_exactly_the_visible_pixels(examples):
    for example in examples:
        pixels = np.asarray(example.image)
        assert pixels.shape == (128, 128, 3)
        visible = pixels[..., 0] >= 128  # there is no red in the photographs, so that it is the opacity
        for pasted in example.pasted:
            left, top, right, bottom = pasted.box
            inside = visible[top:bottom, left:right].copy()
            assert inside.sum() == pasted.area > 0
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert edge.any()
            visible[top:bottom, left:right] = False
        assert not visible.any()  # also nothing between the boxes, and nothing in two of them


def test_one_to_four_pictures_of_all_sizes_and_classes(examples):
    assert {len(example.pasted) for example in examples} == {1, 2, 3, 4}
    pasted = [pasted for example in examples for pasted in example.pasted]
    sides = [max(right - left, bottom - top) for left, top, right, bottom in (item.box for item in pasted)]
    assert 22 <= min(sides) < 30
    assert 58 < max(sides) <= 65
    shares = {name: np.mean([item.design.name == name for item in pasted]) for name in "abc"}
    assert shares == pytest.approx(
        {"a": 0.25, "b": 0.25, "c": 0.5}, abs=0.08
    )  # classes equally, then designs of a class


def test_the_photograph_is_named(examples):
    assert {example.photograph for example in examples} == {"sea", "leaf"}
    for example in examples:
        pixels = np.asarray(example.image).astype(int)
        blue, green = (np.median(pixels[..., channel]) for channel in (2, 1))
        assert (blue > green) == (example.photograph == "sea")
