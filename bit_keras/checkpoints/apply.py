"""Strict assignment of a weight file's arrays to a model, and its inverse."""

from collections.abc import Mapping

import keras
import numpy as np

from bit_keras.checkpoints import names
from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.readers.npz import NpzArrays


def apply_weights(model: keras.Model, arrays: Mapping[str, np.ndarray], skip_head: bool = False) -> None:
    """Assigns arrays under official keys to all weights of a BiT model.

    All shapes are compared before the first assignment, so an error leaves the model unchanged.

    Args:
        model: a bit_keras.BiT.
        arrays: {official key: array}.
        skip_head: True leaves the model's head unchanged and ignores that in `arrays`.

    Raises:
        CheckpointError: entries are missing, unused or of the wrong shape. The message lists them all: "-" for
            entries that only the model has, "+" for entries that only the file has, "!" for shapes that differ.
    """
    variables, shapes = _official_variables(model), shapes_of(arrays)
    if skip_head:
        variables = {key: value for key, value in variables.items() if not names.is_head(key)}
        shapes = {key: value for key, value in shapes.items() if not names.is_head(key)}
    needed = {key: _official_shape(key, variable) for key, variable in variables.items()}
    faults = [f"- {key} {shape}" for key, shape in needed.items() if key not in shapes]
    faults += [f"+ {key} {shape}" for key, shape in shapes.items() if key not in needed]
    faults += [
        f"! {key} is {shapes[key]}, must be {shape}"
        for key, shape in needed.items()
        if key in shapes and shapes[key] != shape
    ]
    if faults:
        raise CheckpointError(
            f"the weights do not fit {model.variant_name} with {model.num_classes} classes "
            "(- missing, + unused, ! misshapen):\n" + "\n".join(faults)
        )
    for key, variable in variables.items():
        variable.assign(arrays[key].reshape(variable.shape))


def shapes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Returns {official key: shape}, without reading arrays from an npz file."""
    if isinstance(arrays, NpzArrays):
        return arrays.shapes
    return {key: array.shape for key, array in arrays.items()}


def collect_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns {official key: array in its official shape} of a bit_keras.BiT, the inverse of `apply_weights`.

    Half-precision weights are returned as float32, because npz files do not support bfloat16.
    """
    arrays = {}
    for key, variable in _official_variables(model).items():
        value = keras.ops.cast(variable, keras.backend.result_type(variable.dtype, "float32"))
        arrays[key] = keras.ops.convert_to_numpy(value).reshape(_official_shape(key, variable))
    return arrays


def _official_variables(model: keras.Model) -> dict[str, keras.Variable]:
    layers = {path: model.backbone.get_layer(names.layer_name(path)) for path in names.backbone_paths(model.variant)}
    layers[names.HEAD_PATH] = model.get_layer(names.HEAD)
    return {names.weight_key(path, weight.name): weight for path, layer in layers.items() for weight in layer.weights}


def _official_shape(key: str, variable: keras.Variable) -> tuple[int, ...]:
    """Returns the shape in the file, where the head's dense kernel [C, K] is a 1x1 convolution [1, 1, C, K]."""
    is_dense = names.is_head(key) and len(variable.shape) == 2
    return (1, 1, *variable.shape) if is_dense else tuple(variable.shape)
