"""Weight files in the official format with random weights, for programs that need no published ones."""

import zipfile
from pathlib import Path

import numpy as np


def write_random_npz(path: Path, variant: str, num_classes: int) -> int:
    """Writes an npz file in the official format, one array at a time; returns the size of its arrays in bytes."""
    from bit_keras.checkpoints.architecture import weight_shapes
    from bit_keras.zoo.variants import get_variant

    random, total = np.random.default_rng(0), 0
    with zipfile.ZipFile(path, "w") as archive:
        for key, shape in weight_shapes(get_variant(variant), num_classes).items():
            array = random.standard_normal(shape, np.float32)
            total += array.nbytes
            with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array)
    return total
