"""Images and boxes as a network takes them: flipped, scaled, cropped and padded to a square, boxes with the pixels."""

import numpy as np

from bit_keras.data.loaders import preprocessing_numpy

SCALES = (
    0.8,
    1.2,
)  # aug_scale_min and _max of retinanet_resnetfpn_coco, official/vision/configs/retinanet.py of tf-models
BITS = 4  # random numbers of an image


def train_image(
    image: np.ndarray,
    corners: np.ndarray,
    bits: np.ndarray,
    *,
    size: int,
    scales: tuple[float, float] = SCALES,
    flip: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Augments an image and its boxes.

    The image is mirrored, resized so that its longer side is `size` times a random scale, and a random part of at most
    `size` pixels is taken; the rest is padded at the bottom and on the right. Source: `resize_and_crop_image` in
    official/vision/ops/preprocess_ops.py of tf-models, the successor of the code that BiT's detectors were based on
    (arXiv 1912.11370, section 3.7), which jitters by 0.8 to 1.2; the older code does not by default: `scales` (1, 1).

    A box stays if its centre is in the crop, and is clipped to that (arXiv 1512.02325, SSD, section 2.2). tf-models
    keeps also slivers of boxes whose centre is outside.

    Args:
        image: uint8 [H, W, 3].
        corners: float32 [G, 4], [top, left, bottom, right] in pixels of the image.
        bits: uint64 [BITS], random bits; the result is a pure function of all arguments.
        size: side in pixels of the result.
        scales: least and greatest scale, above 0.
        flip: True mirrors half of the images.

    Returns:
        float32 [size, size, 3] in [-1, 1], where the padding is 0;
        float32 [K, 4], the boxes that stay, in pixels of the result;
        int64 [K], their indices.
    """
    corners = corners.astype(np.float64)
    if flip and bits[0] >> np.uint64(63):
        image, corners = image[:, ::-1], mirrored(corners, image.shape[1])
    low, high = scales
    scale = low + (high - low) * float(bits[1] / np.float64(2**64))
    rows, columns = within(*image.shape[:2], max(1, round(scale * size)))
    top, left = (
        int(offset % np.uint64(max(side - size, 0) + 1)) for offset, side in zip(bits[2:], (rows, columns), strict=True)
    )
    corners = corners * scale_of(image.shape[:2], (rows, columns)) - [top, left, top, left]
    resized = preprocessing_numpy.bilinear(image, rows, columns)[top : top + size, left : left + size]
    corners, kept = _cropped(corners, *resized.shape[:2])
    return _padded(resized, size), corners, kept


def test_image(image: np.ndarray, *, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Prepares an image as for evaluation: its longer side becomes `size` pixels, the rest is padded.

    Args:
        image: uint8 [H, W, 3].
        size: side in pixels of the result.

    Returns:
        float32 [size, size, 3] in [-1, 1], where the padding is 0;
        int32 [2], rows and columns from the top left that hold the image.
    """
    content = within(*image.shape[:2], size)
    return _padded(preprocessing_numpy.bilinear(image, *content), size), np.array(content, np.int32)


def to_image(corners: np.ndarray, content: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Returns boxes in pixels of the original image, clipped to it.

    Args:
        corners: [..., 4], [top, left, bottom, right] in pixels of the result of `test_image`.
        content: [2], rows and columns that hold the image there.
        size: [2], height and width in pixels of the original image.

    Returns:
        float64 [..., 4].
    """
    boxes = np.asarray(corners, np.float64) * scale_of(content, size)
    return np.clip(boxes, 0, np.tile(np.asarray(size, np.float64), 2))


def scale_of(before: np.ndarray | tuple[int, int], after: np.ndarray | tuple[int, int]) -> np.ndarray:
    """Returns the factors of boxes, float64 [4], for an image resized from one (height, width) to another.

    The two sides are rounded to pixels, so that their factors may differ a little.
    """
    return np.tile(np.asarray(after, np.float64) / np.asarray(before, np.float64), 2)


def mirrored(corners: np.ndarray, width: int) -> np.ndarray:
    """Returns the boxes [G, 4] of a mirrored image of this width."""
    top, left, bottom, right = corners.T
    return np.stack([top, width - right, bottom, width - left], axis=-1)


def within(height: int, width: int, side: int) -> tuple[int, int]:
    """Returns the size of an image whose longer side is resized to `side`: rounded to pixels, one at least."""
    longer = max(height, width)
    return max(1, (2 * height * side + longer) // (2 * longer)), max(1, (2 * width * side + longer) // (2 * longer))


def _cropped(corners: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the clipped boxes whose centre is in a crop, float32 [K, 4], and their indices."""
    down, across = (corners[:, :2] + corners[:, 2:]).T / 2
    kept = np.flatnonzero((down >= 0) & (down < rows) & (across >= 0) & (across < columns))
    boxes = np.clip(corners[kept], 0, [rows, columns, rows, columns]).astype(np.float32)
    return boxes, kept


def _padded(image: np.ndarray, size: int) -> np.ndarray:
    """Returns pixel values, [rows, columns, 3], in [-1, 1], with 0 below and on the right."""
    padded = np.zeros((size, size, 3), np.float32)
    padded[: image.shape[0], : image.shape[1]] = (image - np.float32(127.5)) / np.float32(127.5)
    return padded
