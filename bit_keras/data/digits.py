"""The bundled task: handwritten digits. digits.md states their source."""

import dataclasses
from pathlib import Path

import numpy as np

from bit_keras.data.source import Source
from bit_keras.data.sources.arrays import from_arrays

_NUM_TRAIN = 1_437  # 80 % of 1,797 images; the other 360 are the test split


def open_digits() -> Source:
    """Opens 1,797 images of 8 x 8 pixels, grey values 0 to 255 in three equal channels, with classes "0" to "9"."""
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    images = np.repeat(images[..., None], 3, axis=-1)  # [N, 8, 8] -> [N, 8, 8, 3]
    source = from_arrays(
        images[:_NUM_TRAIN], labels[:_NUM_TRAIN], images[_NUM_TRAIN:], labels[_NUM_TRAIN:], name="digits"
    )
    return dataclasses.replace(source, identity={**source.identity, "kind": "bundled"})
