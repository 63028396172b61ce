"""SavedModel directories of a BiT: those published on TF Hub and those written by `export_saved_model`.

Only the variables are read, by name; no graph is loaded or executed.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bit_keras.checkpoints.card import KEY, MAX_BYTES, Card
from bit_keras.checkpoints.checks import CheckpointError, check_finite
from bit_keras.checkpoints.names import HEAD_PATH, LORA, as_convolution, layer_path, normalize_key, weight_key
from bit_keras.checkpoints.readers import protobuf, tensor_bundle
from bit_keras.checkpoints.readers.tensor_bundle import Entry

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Variables of the checkpoint and of training, which are not part of the network.
_COUNTERS = {"save_counter", "global_step"}
_OFFICIAL = re.compile(r"(?:^|/)((?:root_block|block\d|group_norm(?:_\d+)?|head)/)")


def read_saved_model(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the variables of a SavedModel directory. TensorFlow is not needed.

    Args:
        path: the directory with `saved_model.pb` and `variables/`.

    Returns:
        {official key: array of floats}, the head as a 1x1 convolution, with LoRA merged into its kernel.

    Raises:
        FileNotFoundError: the directory does not exist or is no SavedModel.
        CheckpointError: its variables cannot be read, are not finite floats or do not belong to a BiT.
        OSError: a file cannot be opened or read.
    """
    path = Path(path)
    if not is_saved_model(path):
        raise FileNotFoundError(f"no SavedModel directory: {path}")
    with _reading(path):
        entries = tensor_bundle.read_index(_prefix(path))
        arrays = {}
        for key, name, entry in _network(path, entries):
            array = check_finite(path, name, tensor_bundle.read_floats(name, entry))
            arrays[key] = as_convolution(key, array)
        return _with_merged_lora(path, arrays)


def check_variables(path: str | os.PathLike) -> None:
    """Checks the index of a SavedModel's variables, if it has any, before TensorFlow loads it.

    On a damaged index TensorFlow aborts the process.

    Raises:
        CheckpointError: the index is damaged.
        OSError: a file cannot be opened or read.
    """
    prefix = _prefix(Path(path))
    if prefix.parent.is_dir() and any(prefix.parent.iterdir()):
        with _reading(path):
            tensor_bundle.read_index(prefix)


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


def _prefix(path: Path) -> Path:
    return path / "variables" / "variables"


@contextlib.contextmanager
def _reading(path: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise CheckpointError(f"{path} has no readable variables: {error}") from error


def _network(path: Path, entries: dict[str, Entry]) -> list[tuple[str, str, Entry]]:
    """Returns (official key, name, entry) of the variables of the network."""
    rows: dict[str, tuple[str, str, Entry]] = {}
    for checkpoint_key, name in _variable_names(entries).items():
        if name in _COUNTERS:
            continue
        key = _official_key(name)
        if key is None:
            raise CheckpointError(f"{path}: {name} is not a variable of a BiT")
        if key in rows:
            raise CheckpointError(f"{path}: two variables have the official key {key}, the second is {name}")
        if checkpoint_key not in entries:
            raise CheckpointError(f"{path} has no readable variables: {name} is missing in its index")
        rows[key] = key, name, entries[checkpoint_key]
    promised = sum(entry.size for *_, entry in rows.values())
    stored = sum(os.path.getsize(file) for file in {entry.file for *_, entry in rows.values()})
    if promised > stored:
        raise CheckpointError(f"{path}: its index promises {promised:,} bytes of variables; its files have {stored:,}")
    return list(rows.values())


def _with_merged_lora(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays with the kernel of the head as it is in use."""
    lora = [arrays.pop(weight_key(HEAD_PATH, name), None) for name in LORA]
    if all(array is None for array in lora):
        return arrays
    a, b, scale = lora
    key = weight_key(HEAD_PATH, "kernel")
    if a is not None and b is not None and scale is None:
        raise CheckpointError(
            f"{path}: its head has LoRA, and its scale, lora_alpha / rank, is not recorded, as by earlier versions: "
            "export the model again with this version"
        )
    shapes = [None if array is None else array.shape for array in (*lora, arrays.get(key))]
    if None in shapes or shapes != [(a.shape[0], len(b)), b.shape, (), (1, 1, a.shape[0], b.shape[-1])]:
        raise CheckpointError(f"{path}: LoRA of its head must have {', '.join(LORA)} that fit the kernel, got {shapes}")
    merged = arrays[key] + (scale * (a @ b)).astype(arrays[key].dtype)
    return {**arrays, key: check_finite(path, key, merged)}


def _variable_names(entries: dict[str, Entry]) -> dict[str, str]:
    """Returns {checkpoint key: name of the variable}. TF2 has names in the object graph; in TF1 they are the keys."""
    if _OBJECT_GRAPH not in entries:
        return {key: key for key in entries}
    # TrackableObjectGraph in tensorflow/core/protobuf/trackable_object_graph.proto: nodes with attributes.
    graph = protobuf.fields(tensor_bundle.read_text(_OBJECT_GRAPH, entries[_OBJECT_GRAPH]))
    names = {}
    for node in protobuf.messages(graph, 1):
        for attribute in protobuf.messages(protobuf.fields(node), 2):
            values = protobuf.fields(attribute)
            names[protobuf.text(values, 3)] = protobuf.text(values, 2).removesuffix(":0")
    return names


def _official_key(name: str) -> str | None:
    """Returns the official key of a variable with a name of our exports, or of the official code in any scope."""
    layer, _, weight = name.rpartition("/")
    path = layer_path(layer)
    if path is not None:
        return weight_key(path, weight)
    match = _OFFICIAL.search(name)
    return match and normalize_key(f"resnet/{name[match.start(1) :]}")
