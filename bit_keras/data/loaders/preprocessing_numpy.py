"""Preprocessing and augmentation of a single image in Pillow and NumPy; see `preprocessing` for TensorFlow.

Pixels of lossless formats equal those of TensorFlow. TensorFlow decodes JPEG with a faster, less accurate transform, so
that some values differ by a few units.
"""

import io
import struct
import threading
from collections.abc import Callable

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from bit_keras.data.loaders import exif, limits
from bit_keras.system.optional import install_command
from bit_keras.zoo.fits import CENTRAL

# How files begin.
JPEG, PNG, BMP, GIF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", (b"GIF87a", b"GIF89a")
# Pillow's classes for them.
_CLASSES = {
    JPEG: JpegImagePlugin.JpegImageFile,
    PNG: PngImagePlugin.PngImageFile,
    **dict.fromkeys(GIF, GifImagePlugin.GifImageFile),
    BMP: BmpImagePlugin.BmpImageFile,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImagePlugin.TiffImageFile),
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_FAULTS = (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, RuntimeError, struct.error)

_ATTEMPTS = 10  # to draw an inception crop that fits into the image
PRETRAINING_BITS = 1 + 4 * _ATTEMPTS

_pillows_limit = threading.Lock()


def measure(encoded: bytes) -> tuple[int, int]:
    """Decodes an image and returns height and width in pixels, upright.

    Raises:
        ValueError: as `decode`.
    """
    height, width, _ = decode(encoded).shape
    return height, width


def header_size(encoded: bytes) -> tuple[int, int]:
    """Returns height and width in pixels, upright, from the header of an image.

    Raises:
        ValueError: the header is damaged, or the image has too many pixels or another format than `decode` takes.
    """
    return _despite_pillows_limit(_header_size, encoded)


def header_orientation(encoded: bytes) -> int:
    """Returns the EXIF orientation by which `decode` turns an image, 1 to 8, from its header; raises as `header_size`.

    Other libraries, such as TensorFlow, do not turn images.
    """
    return _despite_pillows_limit(_header_orientation, encoded)


def _header_orientation(encoded: bytes) -> int:
    with _open(encoded) as image:
        if image.format != "TIFF":
            return _orientation(image)
        found = image.getexif().get(exif.ORIENTATION)  # Pillow applies it while it loads the pixels
        return found if found in range(1, 9) else 1


def _header_size(encoded: bytes) -> tuple[int, int]:
    with _open(encoded) as image:
        width, height = image.size
        return (width, height) if _orientation(image) >= 5 else (height, width)


def decode(encoded: bytes) -> np.ndarray:
    """Decodes an image and turns it upright according to its EXIF orientation.

    The formats are JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and, with the package pillow-heif, HEIC. Of an animation or of
    several pages the first is taken. Grey values are repeated, palettes looked up and CMYK converted; 16-bit values are
    reduced to their upper 8 bits, and alpha is dropped.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: it has another format or more pixels than `limits.check_pixels` allows, or is damaged; the message
            states which.
    """
    return _despite_pillows_limit(_decode, encoded)


def _decode(encoded: bytes) -> np.ndarray:
    with _open(encoded) as image:
        try:
            orientation = _orientation(image)
            image.load()  # turns TIFF files upright
            if image.mode in ("I", "F"):
                raise ValueError("32 bits per channel; 8 or 16 are supported")
            return np.ascontiguousarray(upright(_rgb(image), orientation))
        except _FAULTS as error:
            raise ValueError(f"cannot be decoded: {error}") from error


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):  # grey values, which Pillow would clip
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode != "P" or "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA"))  # Pillow warns of a conversion to RGB
    is_black = (pixels[..., 3:] == 0) & (image.format == "GIF")  # where a GIF has no pixels, as in TensorFlow
    return np.where(is_black, 0, pixels[..., :3]).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation that is still to be applied, before the pixels are loaded, as `exif_tf`."""
    return exif.orientation(image.info.get("exif") or b"")


def _open(encoded: bytes) -> Image.Image:
    """Reads the header of an image."""
    try:
        # Not Image.open, whose limit of pixels is a global variable of Pillow.
        image = _class(encoded)(io.BytesIO(encoded))
    except _FAULTS as error:
        raise ValueError(f"cannot be decoded: {error}") from error
    width, height = image.size
    limits.check_pixels(height, width)
    return image


def _class(encoded: bytes) -> Callable[[io.BytesIO], Image.Image]:
    """Returns Pillow's class for the format of a file."""
    for beginning, kind in _CLASSES.items():
        if encoded.startswith(beginning):
            return kind
    if encoded[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    brands = encoded[8 : int.from_bytes(encoded[:4])] if encoded[4:8] == b"ftyp" else b""
    brands = {brands[start : start + 4] for start in range(0, len(brands), 4)}
    if brands & {b"avif", b"avis"}:
        return AvifImagePlugin.AvifImageFile
    if brands & _HEIC_BRANDS:
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise ValueError(f"HEIC needs the package pillow-heif: {install_command('pillow_heif')}") from error
        return HeifImageFile
    raise ValueError("it must be JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC")


def _despite_pillows_limit(function: Callable, encoded: bytes):
    """Calls a function again, without Pillow's own limit of pixels, if an image passes that, which is lower."""
    try:
        return function(encoded)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        with _pillows_limit:  # one image at a time
            before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return function(encoded)
            finally:
                Image.MAX_IMAGE_PIXELS = before


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
    image: np.ndarray,
    bits: np.ndarray,
    *,
    resize: int,
    crop: int,
    random_crop: bool = True,
    flip: bool = True,
    fit: str = "squash",
) -> np.ndarray:
    """Augments an image according to the BiT-HyperRule.

    Args:
        image: uint8 [H, W, 3].
        bits: uint64 [3], random bits; the result is a pure function of image and bits.
        resize: side in pixels before the crop.
        crop: side in pixels of the result.
        random_crop: False resizes directly to `crop`.
        flip: True mirrors half of the images.
        fit: how the image becomes a square of `resize` pixels, one of `bit_keras.zoo.fits.FITS`.

    Returns:
        float32 [crop, crop, 3] in [-1, 1].
    """
    image = square(image, resize if random_crop else crop, fit)
    if random_crop:
        top, left = (int(offset) for offset in bits[:2] % np.uint64(resize - crop + 1))
        image = image[top : top + crop, left : left + crop]
    if flip and bits[2] >> np.uint64(63):
        image = image[:, ::-1]
    return image


def pretraining_image(
    image: np.ndarray, bits: np.ndarray, *, crop: int, min_area: float, flip: bool = True
) -> np.ndarray:
    """Augments an image as in BiT's pre-training: an inception crop, squashed to a square, and a flip.

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
    image = square(image[top : top + height, left : left + width], crop)
    return image[:, ::-1] if flip and bits[0] >> np.uint64(63) else image


def _inception_window(height: int, width: int, uniform: np.ndarray, min_area: float) -> tuple[int, int, int, int]:
    """Returns (top, left, height, width) of the first draw that fits into the image, or of the whole image."""
    for area, aspect, down, across in uniform:
        area = (min_area + (1 - min_area) * area) * height * width
        aspect = 3 / 4 + (4 / 3 - 3 / 4) * aspect
        rows, columns = round((area / aspect) ** 0.5), round((area * aspect) ** 0.5)
        if 0 < rows <= height and 0 < columns <= width:
            return int(down * (height - rows + 1)), int(across * (width - columns + 1)), rows, columns
    return 0, 0, height, width


def test_image(image: np.ndarray | bytes, *, crop: int, fit: str = "squash") -> np.ndarray:  # noqa: PT028
    """Prepares an image as for evaluation.

    Args:
        image: uint8 [H, W, 3], or the content of an image file.
        crop: side in pixels of the result.
        fit: how the image becomes a square, one of `bit_keras.zoo.fits.FITS`.

    Returns:
        float32 [crop, crop, 3] in [-1, 1].

    Raises:
        ValueError: as `decode`.
    """
    return square(decode(image) if isinstance(image, bytes) else image, crop, fit)


def square(image: np.ndarray, side: int, fit: str = "squash") -> np.ndarray:
    """Resizes uint8 [H, W, 3] to float32 [side, side, 3] in [-1, 1], where padding is 0, mid grey; see `FITS`."""
    height, width, _ = image.shape
    if fit in CENTRAL:
        part, whole = CENTRAL[fit]
        size = max((2 * part * min(height, width) + whole) // (2 * whole), 1)
        top, left = (height - size) // 2, (width - size) // 2
        image = image[top : top + size, left : left + size]
    if fit != "pad":
        return _scale(bilinear(image, side, side))
    rows, columns = _within(height, width, side)
    top, left = (side - rows) // 2, (side - columns) // 2
    padded = np.zeros((side, side, 3), np.float32)
    padded[top : top + rows, left : left + columns] = _scale(bilinear(image, rows, columns))
    return padded


def _within(height: int, width: int, side: int) -> tuple[int, int]:
    """Returns the size of an image whose longer side is resized to `side`: rounded to pixels, one at least."""
    longer = max(height, width)
    return tuple(max(1, (2 * size * side + longer) // (2 * longer)) for size in (height, width))


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes [H, W, C] to float32 [height, width, C] as `tf.image.resize`: half-pixel centres, no antialiasing."""
    top, bottom, down = _places(image.shape[0], height)
    left, right, across = _places(image.shape[1], width)
    # Each row that is used is interpolated once. `take` lets other threads run, indexing does not.
    used, rows = np.unique([top, bottom], return_inverse=True)
    top, bottom = rows.reshape(2, -1)
    image = image.take(used, axis=0)
    image = _interpolate(image.take(left, axis=1), image.take(right, axis=1), across[:, None])
    return _interpolate(image.take(top, axis=0), image.take(bottom, axis=0), down[:, None, None])


def _places(size: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, per output pixel, its two neighbours among `size` pixels and its distance from the first one."""
    places = (np.arange(side, dtype=np.float32) + 0.5) * (np.float32(size) / np.float32(side)) - np.float32(0.5)
    below = np.floor(places)
    return np.maximum(below, 0).astype(int), np.minimum(np.ceil(places), size - 1).astype(int), places - below


def _interpolate(first: np.ndarray, second: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    first = first.astype(np.float32, copy=False)
    return first + (second - first) * fraction


def _scale(image: np.ndarray) -> np.ndarray:
    return (image - np.float32(127.5)) / np.float32(127.5)
