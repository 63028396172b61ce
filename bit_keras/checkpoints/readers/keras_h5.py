"""Keras 3's `.h5` files of a whole BiT: `model.save("best.h5")`, or `ModelCheckpoint("best.h5")`.

Weights are found by the names of their layers, like those of `.weights.h5`; apart from that the layout is that of Keras
2. The saved configuration is never deserialized, so it cannot run code.
"""

import json

import numpy as np

from bit_keras.checkpoints.card import Card
from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.names import as_convolution, layer_name, layer_path, weight_key
from bit_keras.checkpoints.readers.hdf5 import Hdf5File

_WEIGHTS = "/model_weights/"
_STEM = f"/{layer_name('root_block/standardized_conv2d')}/kernel"


def is_model(file: Hdf5File) -> bool:
    """Tells whether an HDF5 file is one of Keras 3 with a whole BiT, where "_" replaces "/" in the names of layers."""
    return any(name.startswith(_WEIGHTS) and name.endswith(_STEM) for name in file.datasets)


def read_model(file: Hdf5File) -> dict[str, np.ndarray]:
    """Reads the weights in a whole model; the optimizer is left out.

    Returns:
        {official key: array of floats}, the head as a 1x1 convolution.

    Raises:
        CheckpointError: an array is of a layer or weight that no BiT has, or two are of the same.
    """
    arrays = {}
    for name in file.datasets:
        if not name.startswith(_WEIGHTS):
            continue
        *_, layer, weight = name.split("/")
        path = layer_path(layer)
        if path is None or weight not in (("gamma", "beta") if path.endswith("group_norm") else ("kernel", "bias")):
            raise CheckpointError(f"{file.path}: {name} is not a weight of a BiT{_reason(weight)}")
        if file.datasets[name]["dtype"] == "|V2":
            raise CheckpointError(
                f"{file.path}: {name} is in bfloat16, which this format cannot hold, nor Keras load: save weights in "
                'bfloat16 by model.save("model.keras") or save_npz'
            )
        key = weight_key(path, weight)
        if key in arrays:
            raise CheckpointError(f"{file.path}: two arrays are {key}, the second is {name}")
        arrays[key] = as_convolution(key, file.read(name))
    return arrays


def read_card(file: Hdf5File) -> Card | None:
    """Returns the card in the configuration of a model; None if there is none.

    Raises:
        CheckpointError: the card is damaged.
    """
    try:
        config = json.loads(file.attributes["/"]["model_config"])["config"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return Card.from_dict(config["card"], file.path) if isinstance(config, dict) and "card" in config else None


def _reason(weight: str) -> str:
    if weight.startswith("lora_"):
        return ': this format does not merge LoRA; save_npz and model.save("model.keras") do'
    return ": a quantized network has no float weights" if weight.endswith(("_scale", "_zero", "_history")) else ""
