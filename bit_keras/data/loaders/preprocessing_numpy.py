"""Preprocessing and augmentation of a single image in Pillow and NumPy; see `preprocessing` for TensorFlow.

Pixels of lossless formats equal those of TensorFlow. TensorFlow decodes JPEG with a faster, less accurate transform, so
that some values differ by a few units.
"""

import io
import struct

import numpy as np
from PIL import Image

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")
_FAULTS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)

_ATTEMPTS = 10  # to draw an inception crop that fits into the image
PRETRAINING_BITS = 1 + 4 * _ATTEMPTS


def measure(encoded: bytes) -> tuple[int, int, int]:
    """Decodes an image and returns its size; formats that TensorFlow does not support are rejected.

    Returns:
        Number of frames (1 unless GIF), height and width in pixels.

    Raises:
        ValueError: it cannot be decoded by Pillow or by TensorFlow.
    """
    with _open(encoded) as image:
        frames = getattr(image, "n_frames", 1) if image.format in ("GIF", "WEBP") else 1
        if image.format == "WEBP" and (frames > 1 or image.mode != "RGB"):
            raise ValueError("a WebP file must be a single image without alpha")
        if image.format == "BMP" and int.from_bytes(encoded[28:30], "little") not in (8, 24, 32):
            raise ValueError("a BMP file must have 8, 24 or 32 bits per pixel")
    height, width, _ = decode(encoded).shape
    return frames, height, width


def decode(encoded: bytes) -> np.ndarray:
    """Decodes an image, or the first frame of an animation, to uint8 [H, W, 3].

    Grey values are repeated, palettes looked up and CMYK converted; 16-bit values are reduced to their upper 8 bits,
    and alpha is dropped. The EXIF orientation is not applied; see `upright`.

    Raises:
        ValueError: it cannot be decoded.
    """
    with _open(encoded) as image:
        try:
            if image.mode.startswith("I"):  # 16-bit grey values, which Pillow would clip
                return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # Pillow warns otherwise
            return np.asarray(image.convert("RGB"))
        except _FAULTS as error:
            raise ValueError(f"cannot be decoded: {error}") from error


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Rotates and mirrors an image according to its EXIF orientation.

    Args:
        image: [H, W, C].
        orientation: 1 to 8; EXIF 2.32, section 4.6.4.

    Returns:
        [H, W, C], or [W, H, C] for orientations from 5 on.
    """
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image[::-1] if orientation in (3, 4, 7, 8) else image


def train_image(
    image: np.ndarray, bits: np.ndarray, *, resize: int, crop: int, random_crop: bool = True, flip: bool = True
) -> np.ndarray:
    """Augments an image according to the BiT-HyperRule.

    Args:
        image: uint8 [H, W, 3].
        bits: uint64 [3], random bits; the result is a pure function of image and bits.
        resize: side in pixels before the crop.
        crop: side in pixels of the result.
        random_crop: False resizes directly to `crop`.
        flip: True mirrors half of the images.

    Returns:
        float32 [crop, crop, 3] in [-1, 1].
    """
    image = bilinear(image, resize if random_crop else crop)
    if random_crop:
        top, left = (int(offset) for offset in bits[:2] % np.uint64(resize - crop + 1))
        image = image[top : top + crop, left : left + crop]
    if flip and bits[2] >> np.uint64(63):
        image = image[:, ::-1]
    return _scale(image)


def pretraining_image(
    image: np.ndarray, bits: np.ndarray, *, crop: int, min_area: float, flip: bool = True
) -> np.ndarray:
    """Augments an image as in BiT's pre-training: an inception crop and a flip.

    Source: arXiv 1912.11370, section 3.2; the crop is that of arXiv 1409.4842, section 6.

    Args:
        image: uint8 [H, W, 3].
        bits: uint64 [PRETRAINING_BITS], random bits; the result is a pure function of image and bits.
        crop: side in pixels of the result.
        min_area: least fraction of the image's area in a crop, in (0, 1]; the paper uses 0.08.
        flip: True mirrors half of the images.

    Returns:
        float32 [crop, crop, 3] in [-1, 1].
    """
    uniform = bits[1:] / np.float64(2**64)
    top, left, height, width = _inception_window(*image.shape[:2], uniform.reshape(_ATTEMPTS, 4), min_area)
    image = bilinear(image[top : top + height, left : left + width], crop)
    if flip and bits[0] >> np.uint64(63):
        image = image[:, ::-1]
    return _scale(image)


def _inception_window(height: int, width: int, uniform: np.ndarray, min_area: float) -> tuple[int, int, int, int]:
    """Returns (top, left, height, width) of the first draw that fits into the image, or of the whole image."""
    for area, aspect, down, across in uniform:
        area = (min_area + (1 - min_area) * area) * height * width
        aspect = 3 / 4 + (4 / 3 - 3 / 4) * aspect
        rows, columns = round((area / aspect) ** 0.5), round((area * aspect) ** 0.5)
        if 0 < rows <= height and 0 < columns <= width:
            return int(down * (height - rows + 1)), int(across * (width - columns + 1)), rows, columns
    return 0, 0, height, width


def test_image(image: np.ndarray, *, crop: int) -> np.ndarray:
    """Resizes uint8 [H, W, 3] to float32 [crop, crop, 3] in [-1, 1]."""
    return _scale(bilinear(image, crop))


def bilinear(image: np.ndarray, side: int) -> np.ndarray:
    """Resizes [H, W, C] to float32 [side, side, C] as `tf.image.resize`: half-pixel centres, no antialiasing."""
    top, bottom, down = _places(image.shape[0], side)
    left, right, across = _places(image.shape[1], side)

    def row(y: np.ndarray) -> np.ndarray:
        return _interpolate(image[np.ix_(y, left)], image[np.ix_(y, right)], across[:, None])

    return _interpolate(row(top), row(bottom), down[:, None, None])


def _open(encoded: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except _FAULTS as error:
        raise ValueError(f"cannot be decoded: {error}") from error


def _places(size: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, per output pixel, its two neighbours among `size` pixels and its distance from the first one."""
    places = (np.arange(side, dtype=np.float32) + 0.5) * (np.float32(size) / np.float32(side)) - np.float32(0.5)
    below = np.floor(places)
    return np.maximum(below, 0).astype(int), np.minimum(np.ceil(places), size - 1).astype(int), places - below


def _interpolate(first: np.ndarray, second: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    first = first.astype(np.float32)
    return first + (second - first) * fraction


def _scale(image: np.ndarray) -> np.ndarray:
    return (image - np.float32(127.5)) / np.float32(127.5)
