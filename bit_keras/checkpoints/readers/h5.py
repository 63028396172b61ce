"""Official h5 files: written by Keras 2 from the official TF2 network (`bit_tf2/models.py`, `save_weights`).

The root group lists the layers in the order of the network, and each layer its weights in the order of creation: for
a unit gamma, beta and kernel of a, b and c, then the projection. Weights are assigned by this order, because their
names need not be full paths. Shapes are always checked; names are checked if they are full paths.
"""

import numpy as np

from bit_keras.checkpoints.architecture import weight_shapes
from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.names import HEAD_PATH, as_convolution, is_head, normalize_key, weight_key
from bit_keras.checkpoints.readers.hdf5 import Hdf5File
from bit_keras.zoo.variants import Variant

# Three norms with two weights each, and three kernels. The first unit of a block has a projection as well.
_WEIGHTS_IN_UNIT = 9


def is_legacy(file: Hdf5File) -> bool:
    """Tells whether an HDF5 file was written by Keras 2."""
    return "layer_names" in file.attributes.get(_root(file), {})


def read_legacy(file: Hdf5File) -> dict[str, np.ndarray]:
    """Reads an official h5 file.

    Args:
        file: the index of its contents. The head, if any, is a dense layer there.

    Returns:
        {official key: array of floats}, the head as a 1x1 convolution.

    Raises:
        CheckpointError: the number of weights, or the shape or full name of a weight, does not fit a BiT.
    """
    layers = _layers(file)
    names = [name for layer in layers for name in layer]
    shapes = _expected_shapes(file, layers)
    for key, name in zip(shapes, names):
        _check(file, key, shapes[key], name)
    return {key: as_convolution(key, file.read(name)) for key, name in zip(shapes, names)}


def _root(file: Hdf5File) -> str:
    """Returns the group of the layers: "/" after `save_weights`, one level below after `model.save`."""
    return "/model_weights" if "/model_weights" in file.attributes else "/"


def _layers(file: Hdf5File) -> list[list[str]]:
    """Returns the paths of the weights of each layer that has weights."""
    root = _root(file)
    layers = []
    for layer in _texts(file, root, "layer_names"):
        group = f"{root.rstrip('/')}/{layer}"
        layers.append([f"{group}/{weight}" for weight in _texts(file, group, "weight_names")])
    return [layer for layer in layers if layer]


def _texts(file: Hdf5File, group: str, attribute: str) -> list[str]:
    texts = file.attributes.get(group, {}).get(attribute)
    if not isinstance(texts, list):
        raise CheckpointError(f"{file.path}: {group} has no list {attribute}")
    return texts


def _expected_shapes(file: Hdf5File, layers: list[list[str]]) -> dict[str, tuple[int, ...]]:
    """Returns {official key: shape} of the network with the same number of weights per layer as the file."""
    counts = [len(layer) for layer in layers]
    units = tuple(count // _WEIGHTS_IN_UNIT for count in counts[1:5])
    backbone = [1, *(_WEIGHTS_IN_UNIT * count + 1 for count in units), 2]
    if counts not in (backbone, [*backbone, 2]) or 0 in units:
        raise CheckpointError(
            f"{file.path}: a BiT has a stem of 1 weight, four blocks of 9 weights per unit and 1 more, a norm of 2 and "
            f"a head of 2; this file has {counts}"
        )
    stem = file.shape(layers[0][0])
    if len(stem) != 4:
        raise CheckpointError(f"{file.path}: the stem must be a kernel [7, 7, 3, filters], got {stem}")
    num_classes = file.shape(layers[6][1])[-1:] if len(layers) == 7 else ()
    variant = Variant("in the file", stem[-1] / 64, units, 0)
    return weight_shapes(variant, *num_classes)


def _check(file: Hdf5File, key: str, shape: tuple[int, ...], name: str) -> None:
    stored = shape[2:] if key == weight_key(HEAD_PATH, "kernel") else shape
    if file.shape(name) != stored:
        raise CheckpointError(f"{file.path}: {name} is {file.shape(name)}; {key} must be {stored}")
    # A full path names the layer a second time, below the layer's group. The head is "head/dense" there.
    full_name = normalize_key(name.removesuffix(":0"))
    if "/unit" in full_name and not is_head(key) and not full_name.endswith(key.removeprefix("resnet/")):
        raise CheckpointError(f"{file.path}: {name} is listed in place of {key}")
