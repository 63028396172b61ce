"""Letters in the typeface that comes with matplotlib."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from pretraining import letters
from pretraining.fashion import read_idx

FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@pytest.fixture(scope="module")
def drawn():
    fonts = [("DejaVuSans.ttf", FONT.read_bytes()), ("broken.ttf", b"no font")]
    return list(letters.draw(iter(fonts), np.random.default_rng(0)))


def test_no_class_is_a_digit_and_no_letter_has_two_classes():
    everything = "".join(letters.CLASSES)
    assert len(set(everything)) == len(everything)
    assert not any(letter.isdigit() or letter in "OoIl" for letter in everything)


def test_every_letter_that_the_font_has_is_drawn_once(drawn):
    labels = [label for label, _ in drawn]
    assert labels.count(letters.CLASSES.index("Cc")) == 2
    assert labels.count(letters.CLASSES.index("A")) == 1
    assert labels.count(letters.CLASSES.index("あ")) == 0  # not in DejaVu


def test_images_are_white_on_black_and_as_large_as_asked_for(drawn):
    for _, image in drawn:
        assert image.shape == (32, 32)
        assert image.dtype == np.uint8
        inked = np.argwhere(image > 100)
        assert inked.size
        assert 12 <= np.ptp(inked, axis=0).max() + 1 <= 32
        assert image[0].max() < 128  # nothing is cropped at the border
    assert np.mean([image.mean() for _, image in drawn]) < 64


def test_one_seed_one_drawing(drawn):
    again = list(letters.draw(iter([("DejaVuSans.ttf", FONT.read_bytes())]), np.random.default_rng(0)))
    for (label, image), (other_label, other) in zip(drawn, again, strict=True):
        assert label == other_label
        np.testing.assert_array_equal(image, other)


def test_large_classes_are_thinned():
    labels = np.array([0] * 2_000 + [1] * 3)
    kept = letters.thinned(labels, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(labels[kept]), [800, 3])
    assert (np.diff(kept) > 0).all()


def test_a_typeface_is_in_one_split_whatever_its_version():
    sides = {letters.is_for_testing(Path(f"fonts-lato_{version}_all.deb")) for version in ("2.0-2", "3.1")}
    assert len(sides) == 1
    names = Path(letters.__file__).with_name("fonts.txt").read_text().split()
    share = np.mean([letters.is_for_testing(Path(f"{name}_1_all.deb")) for name in names])
    assert 0.05 < share < 0.2


def test_idx_files():
    array = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    content = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()
    np.testing.assert_array_equal(read_idx(content), array)
    with pytest.raises(ValueError, match="must begin with 00 00 08, got 00 00 0d"):
        read_idx(b"\0\0\x0d\x03")
