"""Whether boxes lie in their images."""

import numpy as np

_TOLERANCE = 1.0  # pixels by which a box may leave its image, as rounding and other conventions have it; it is clipped
EMPTY, LEAVES, BESIDE = "is empty", "leaves the image", "is beside the image"


def misfits(corners: np.ndarray, size: tuple[int, int] | None) -> dict[int, str]:
    """Returns {index of a box: what is wrong with it}.

    Args:
        corners: float64 [G, 4], [top, left, bottom, right] in pixels.
        size: (height, width) of their image, None if it is unknown.
    """
    if size is not None and _all_fit(corners, clipped(corners, size)):  # at once: data have a million boxes
        return {}
    masks = {"must have finite numbers": ~np.isfinite(corners).all(-1), EMPTY: _empty(_rounded(corners))}
    if size is not None:
        height, width = size
        image = f" of {width}x{height} pixels"
        limits = np.array([height, width, height, width])
        masks[LEAVES + image] = ((corners < -_TOLERANCE) | (corners > limits + _TOLERANCE)).any(-1)
        masks[BESIDE + image] = _empty(clipped(corners, size))
    found = {}
    for fault, mask in masks.items():
        for index in np.flatnonzero(mask).tolist():
            found.setdefault(index, fault)
    return dict(sorted(found.items()))


def _all_fit(corners: np.ndarray, inside: np.ndarray) -> bool:
    return bool((np.abs(corners - inside) <= _TOLERANCE).all() and not _empty(inside).any())


def clipped(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns boxes [G, 4], clipped to an image of this (height, width) in pixels, float32."""
    height, width = size
    return _rounded(np.clip(corners, 0, [height, width, height, width]))


def _rounded(corners: np.ndarray) -> np.ndarray:
    """Returns float32, the type of boxes in training."""
    with np.errstate(over="ignore"):  # too large, and so beyond every image
        return corners.astype(np.float32)


def _empty(corners: np.ndarray) -> np.ndarray:
    top, left, bottom, right = corners.T
    return ~((bottom > top) & (right > left))
