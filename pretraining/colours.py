"""Ink and paper for images that are white on black."""

import numpy as np

_CONTRAST = 100  # least distance of ink and paper in RGB, of 255 * sqrt(3)
_AT_ONCE = 10_000  # images


def coloured(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns the images in RGB, half of them as they are, half in an ink on a paper drawn for each.

    A network that sees grey alone learns no colour: what its filters for colour are worth later is chance.

    Args:
        images: uint8 [N, H, W].
        random: of the choice and the colours.

    Returns:
        uint8 [N, H, W, 3].
    """
    result = np.empty((*images.shape, 3), np.uint8)
    for start in range(0, len(images), _AT_ONCE):
        chosen = slice(start, start + _AT_ONCE)
        grey = images[chosen, ..., None] / np.float32(255)
        ink, paper = _pairs(len(grey), random)
        result[chosen] = np.rint(paper + grey * (ink - paper))
    return result


def _pairs(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns inks and papers, float32 [count, 1, 1, 3] in [0, 255]."""
    pairs = random.integers(0, 256, (2, count, 3)).astype(np.float32)
    dull = np.linalg.norm(pairs[0] - pairs[1], axis=-1) < _CONTRAST
    plain = dull | (random.random(count) < 0.5)
    pairs[0, plain], pairs[1, plain] = 255, 0
    return pairs[0][:, None, None], pairs[1][:, None, None]
