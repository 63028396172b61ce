"""Boxes move with the pixels: they are found again in images with painted rectangles."""

import numpy as np
import pytest

from bit_keras.data.loaders import preprocessing_numpy
from bit_keras.detection.data import augmentation

pytestmark = pytest.mark.any_backend

HALF = np.uint64(2**63)


def _painted(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    top, left, bottom, right = box
    image = np.full((height, width, 3), [0, 0, 255], np.uint8)  # blue, which the padding is not
    image[top:bottom, left:right] = 255
    return image


def _found(image: np.ndarray) -> list[float]:
    """Returns [top, left, bottom, right] of the white rectangle, to a part of a pixel, from the sums of its profiles.

    Bilinear interpolation turns an edge into a ramp around it, so the place where a profile crosses its half is the
    edge. The padding is 0 and counts as blue.
    """
    white = np.where((image == 0).all(axis=-1), 0, (image[..., 0] + 1) / 2)
    edges = []
    for profile in (white.max(axis=1), white.max(axis=0)):
        above = np.flatnonzero(profile > 0.5)
        first, last = above[0], above[-1]
        before = profile[first - 1] if first else 1
        after = profile[last + 1] if last + 1 < len(profile) else 1
        begin = first + 0.5 - (profile[first] - 0.5) / max(profile[first] - before, 1e-9) if first else 0
        end = (
            last + 0.5 + (profile[last] - 0.5) / max(profile[last] - after, 1e-9)
            if last + 1 < len(profile)
            else last + 1
        )
        edges.append((begin, end))
    (top, bottom), (left, right) = edges
    return [top, left, bottom, right]


@pytest.mark.parametrize(("height", "width"), [(60, 90), (97, 55), (64, 64)])
# Bilinear resizing to fewer pixels takes the nearest ones, which moves an edge by up to half a pixel.
@pytest.mark.parametrize(("size", "tolerance"), [(50, 0.51), (180, 0.06)])
def test_boxes_are_where_their_pixels_are(height, width, size, tolerance):
    random = np.random.default_rng(0)
    seen = {"flipped": 0, "cut": 0, "dropped": 0}
    for _ in range(60):
        top, left = random.integers(0, height - 12), random.integers(0, width - 12)
        box = (top, left, random.integers(top + 10, height + 1), random.integers(left + 10, width + 1))
        image, corners = _painted(height, width, box), np.array([box], np.float32)
        bits = random.integers(0, 2**64, augmentation.BITS, np.uint64)
        result, moved, kept = augmentation.train_image(image, corners, bits, size=size, scales=(0.6, 1.8))
        assert result.shape == (size, size, 3)
        assert result.dtype == moved.dtype == np.float32
        seen["flipped"] += bool(bits[0] >= HALF)
        if not len(kept):
            seen["dropped"] += 1
            continue
        assert (moved[:, :2] >= 0).all()
        assert (moved[:, 2:] <= size).all()
        seen["cut"] += bool((moved == 0).any() or (moved == size).any())
        visible = np.where(moved[0] < 0.5, 0, np.where(moved[0] > size - 0.5, size, moved[0]))
        np.testing.assert_allclose(_found(result), visible, atol=tolerance)
    assert min(seen.values()) >= 3, seen


def test_without_jitter_it_is_the_test_image():
    """The official code of tensorflow/tpu: the longer side becomes the size, 0 is padded after normalization."""
    image = np.random.default_rng(0).integers(0, 256, (30, 47, 3), np.uint8)
    corners = np.array([[3, 5, 20, 40]], np.float32)
    for first in (0, 2**64 - 1):
        bits = np.full(4, first, np.uint64)
        result, moved, _ = augmentation.train_image(image, corners, bits, size=64, scales=(1, 1), flip=False)
        expected, content = augmentation.test_image(image, size=64)
        np.testing.assert_array_equal(result, expected)
        assert content.tolist() == [41, 64]  # 30 * 64 / 47 = 40.85
        np.testing.assert_array_equal(expected[:41], preprocessing_numpy.square(image, 64, "pad")[11:52])
        assert not expected[41:].any()
        np.testing.assert_allclose(moved, corners * np.tile([41 / 30, 64 / 47], 2), rtol=1e-6)
        np.testing.assert_allclose(augmentation.to_image(moved, content, image.shape[:2]), corners, rtol=1e-6)


def test_a_box_stays_if_its_centre_is_in_the_crop():
    """Resized to twice its size, the crop begins at the top left if the bits are 0."""
    image = np.zeros((10, 10, 3), np.uint8)
    corners = np.array(
        [[0, 0, 9.98, 9.98], [0, 0, 10, 10], [0, 4, 4, 5.98], [0, 4.1, 4, 6.1], [9, 9, 10, 10]], np.float32
    )
    _, moved, kept = augmentation.train_image(image, corners, np.zeros(4, np.uint64), size=10, scales=(2, 2))
    assert kept.tolist() == [0, 2]
    np.testing.assert_allclose(moved, [[0, 0, 10, 10], [0, 8, 8, 10]])
    bits = np.array([0, 0, 10, 10], np.uint64)  # offsets 10 of 0 to 10: the bottom right
    _, moved, kept = augmentation.train_image(image, corners, bits, size=10, scales=(2, 2))
    assert kept.tolist() == [1, 4]
    np.testing.assert_allclose(moved, [[0, 0, 10, 10], [8, 8, 10, 10]])


def test_no_boxes_and_extreme_images():
    none = np.zeros((0, 4), np.float32)
    for shape in ((1, 900, 3), (900, 1, 3), (2, 2, 3)):
        image = np.full(shape, 255, np.uint8)
        result, moved, kept = augmentation.train_image(image, none, np.full(4, 7, np.uint64), size=32)
        assert moved.shape == (0, 4)
        assert kept.shape == (0,)
        assert result.max() == 1
        _, content = augmentation.test_image(image, size=32)
        assert content.max() == 32
        assert content.min() >= 1


def test_random_numbers_are_uniform_and_separate():
    image, corners = np.zeros((20, 20, 3), np.uint8), np.array([[0, 0, 20, 20]], np.float32)
    random = np.random.default_rng(1)
    draws = random.integers(0, 2**64, (400, 4), np.uint64)
    sides = [augmentation.train_image(image, corners, bits, size=100, flip=False)[1][0] for bits in draws]
    extents = np.array([bottom - top for top, _, bottom, _ in sides])
    assert extents.min() >= 80
    assert extents.max() == 100  # larger ones are cropped
    assert 0.35 < np.mean(extents < 100) < 0.65  # scales below 1
    assert abs(np.mean(draws[:, 0] >= HALF) - 0.5) < 0.1
