"""SavedModel directories of a BiT: those published on TF Hub and those written by `export_saved_model`.

Only the variables are read, by name; no graph is loaded or executed.
"""

import os
import re
from pathlib import Path

import numpy as np

from bit_keras.checkpoints.card import KEY, MAX_BYTES, Card
from bit_keras.checkpoints.checks import CheckpointError, check_bytes, check_finite, check_floats, promised_bytes
from bit_keras.checkpoints.names import as_convolution, layer_path, normalize_key, weight_key
from bit_keras.system.optional import require

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Variables of the checkpoint and of training, which are not part of the network.
_COUNTERS = {"save_counter", "global_step"}
_OFFICIAL = re.compile(r"(?:^|/)((?:root_block|block\d|group_norm(?:_\d+)?|head)/)")


def read_saved_model(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the variables of a SavedModel directory.

    Args:
        path: the directory with `saved_model.pb` and `variables/`.

    Returns:
        {official key: array of floats}, the head as a 1x1 convolution.

    Raises:
        FileNotFoundError: the directory does not exist or is no SavedModel.
        ImportError: TensorFlow is not installed.
        CheckpointError: its variables cannot be read, are not finite floats or do not belong to a BiT.
    """
    path = Path(path)
    if not is_saved_model(path):
        raise FileNotFoundError(f"no SavedModel directory: {path}")
    require("a SavedModel", "tensorflow")
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    prefix = path / "variables" / "variables"
    try:
        return _read(path, tf.train.load_checkpoint(os.fspath(prefix)))
    except CheckpointError:
        raise
    # IndexError: the data are truncated. DecodeError: the object graph is damaged.
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError, DecodeError) as error:
        raise CheckpointError(f"{path} has no readable variables: {error}") from error


def is_saved_model(path: Path) -> bool:
    """Tells whether `path` is a SavedModel directory."""
    return (path / "saved_model.pb").is_file()


def read_card(path: str | os.PathLike) -> Card | None:
    """Returns the card among the assets of a SavedModel; without one, the class names; None if there are none.

    Raises:
        CheckpointError: the card is damaged.
        OSError: a file cannot be opened or read.
    """
    assets = Path(path) / "assets"
    card, names = assets / f"{KEY}.json", assets / "class_names.txt"
    if card.is_file():
        with open(card, "rb") as file:
            return Card.from_json(file.read(MAX_BYTES + 1), card)
    if names.is_file():
        return Card(class_names=tuple(names.read_text(encoding="utf-8", errors="replace").splitlines()))
    return None


def _read(path: Path, reader) -> dict[str, np.ndarray]:
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    variables = {name: key for key, name in _variable_names(reader, shapes).items() if name not in _COUNTERS}
    data = path / "variables" / "variables.data-00000-of-00001"
    promised = sum(promised_bytes(tuple(shapes[k]), np.dtype(dtypes[k].as_numpy_dtype)) for k in variables.values())
    check_bytes(data, promised)
    arrays = {}
    for name, checkpoint_key in variables.items():
        key = _official_key(name)
        if key is None:
            raise CheckpointError(f"{path}: {name} is not a variable of a BiT")
        if key in arrays:
            raise CheckpointError(f"{path}: two variables have the official key {key}, the second is {name}")
        array = reader.get_tensor(checkpoint_key)
        check_floats(path, name, array.dtype)
        arrays[key] = as_convolution(key, check_finite(path, name, array))
    return arrays


def _variable_names(reader, checkpoint_keys) -> dict[str, str]:
    """Returns {checkpoint key: name of the variable}. TF2 has names in the object graph; in TF1 they are the keys."""
    if _OBJECT_GRAPH not in checkpoint_keys:
        return {key: key for key in checkpoint_keys}
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
    attributes = [attribute for node in graph.nodes for attribute in node.attributes]
    return {attribute.checkpoint_key: attribute.full_name.removesuffix(":0") for attribute in attributes}


def _official_key(name: str) -> str | None:
    """Returns the official key of a variable with a name of our exports, or of the official code in any scope."""
    layer, _, weight = name.rpartition("/")
    path = layer_path(layer)
    if path is not None:
        return weight_key(path, weight)
    match = _OFFICIAL.search(name)
    return match and normalize_key(f"resnet/{name[match.start(1) :]}")
