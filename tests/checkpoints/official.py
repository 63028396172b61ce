"""Writes synthetic files in the published layouts, for networks of any size."""

from pathlib import Path

import h5py
import numpy as np

from bit_keras.checkpoints.architecture import weight_shapes
from bit_keras.zoo.variants import Variant

# One filter in the stem: files of a few kilobytes, in which random damage hits structure more often than values.
TINY = Variant("tiny", 1 / 64, (1, 2, 1, 1), 0)


def random_arrays(variant: Variant = TINY, num_classes: int | None = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns random float32 weights under official keys."""
    rng = np.random.default_rng(seed)
    return {k: rng.normal(size=s).astype("float32") for k, s in weight_shapes(variant, num_classes).items()}


def write_legacy_h5(arrays: dict[str, np.ndarray], path: Path, full_names: bool = True) -> None:
    """Writes {official key: array} in the layout of Keras 2; see the docstring of `h5.py`."""
    with h5py.File(path, "w") as file:
        groups: dict[str, list[str]] = {}
        for key in arrays:
            first = key.removeprefix("resnet/").split("/")[0]
            groups.setdefault("head/dense" if first == "head" else first, []).append(key)
        without_weights = ["re_lu", "global_average_pooling2d"]
        layers = [*list(groups)[:6], *without_weights, *list(groups)[6:]]
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        file.attrs["backend"] = b"tensorflow"
        for layer in layers:
            group = file.create_group(layer)
            names = []
            for number, key in enumerate(groups.get(layer, [])):
                name = key.removeprefix("resnet/").replace("head/conv2d", "head/dense")
                name = f"{name}:0" if full_names else f"{name.rsplit('/')[-1]}_{number}:0"
                array = arrays[key]
                group.create_dataset(name, data=array[0, 0] if key == "resnet/head/conv2d/kernel" else array)
                names.append(name.encode())
            group.attrs["weight_names"] = names
