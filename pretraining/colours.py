"""Random colours for images that are white on black."""

import numpy as np

_CONTRAST = 100  # smallest distance of foreground and background in RGB; the largest possible is 255 * sqrt(3)
_CHUNK = 10_000  # images coloured at a time, to bound the memory


def coloured(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns the images in RGB: half unchanged, half with a random foreground and background colour per image.

    A network trained on grey images only does not learn colour filters.

    Args:
        images: uint8 [N, H, W].
        random: generator for the choice of images and the colours.

    Returns:
        uint8 [N, H, W, 3].
    """
    result = np.empty((*images.shape, 3), np.uint8)
    for start in range(0, len(images), _CHUNK):
        chosen = slice(start, start + _CHUNK)
        grey = images[chosen, ..., None] / np.float32(255)
        foreground, background = _pairs(len(grey), random)
        result[chosen] = np.rint(background + grey * (foreground - background))
    return result


def _pairs(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns foregrounds and backgrounds, each float32 [count, 1, 1, 3] in [0, 255]."""
    pairs = random.integers(0, 256, (2, count, 3)).astype(np.float32)
    low_contrast = np.linalg.norm(pairs[0] - pairs[1], axis=-1) < _CONTRAST
    unchanged = low_contrast | (random.random(count) < 0.5)
    pairs[0, unchanged], pairs[1, unchanged] = 255, 0
    return pairs[0][:, None, None], pairs[1][:, None, None]
