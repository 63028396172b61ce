"""State dicts of PyTorch's libraries in safetensors files, whole or in shards; `torch_names` knows their names.

Their convolutions are [out, in, height, width], and their norms call gamma and beta weight and bias.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from bit_keras.checkpoints import card as cards
from bit_keras.checkpoints.checks import CheckpointError, check_bytes, check_finite, reading
from bit_keras.checkpoints.names import is_head
from bit_keras.checkpoints.readers import shards
from bit_keras.checkpoints.readers.torch_names import official_keys, timm_name
from bit_keras.system.files import whole
from bit_keras.system.optional import require

# Metadata key under which our own files carry a hash of their names and values: the format has no checksum.
_DIGEST = "bit_keras.sha256"
_FLOATS = ("F64", "F32", "F16", "BF16")


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a BiT's state dict with the tensor names of timm, transformers or bit_pytorch.

    Args:
        path: the file. A prefix of all names, such as "module.", is left out. Half-precision tensors are returned as
            float32.

    Returns:
        {official key: array of floats}, kernels as [height, width, in, out].

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the package safetensors is not installed.
        CheckpointError: it is no safetensors file, or one of several shards; or a tensor does not belong to a BiT, is
            not of finite floats or has the same official key as another one.
        OSError: the file cannot be opened or read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such weight file: {path}")
    names = _names(path)
    if index := shards.index_of_shard(path):
        raise CheckpointError(f"{path} is one of several shards: give the index of all of them, {index}, or the folder")
    return _read(path, {path: names})


def read_shards(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state dict in shards; arguments and errors are those of `read_safetensors`, for the index of the shards.

    Raises:
        CheckpointError: in addition, a shard is missing or has other tensors than the index states.
    """
    path = Path(path)
    listed = shards.read_index(path)
    files = {file: {name for name in listed if listed[name] == file} for file in shards.shard_files(path)}
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{path} lists files that are missing beside it: {', '.join(missing)}")
    for file, names in files.items():
        if difference := names.symmetric_difference(_names(file)):
            raise CheckpointError(f"{path} and {file.name} differ: only one of them has {min(difference)}")
    return _read(path, files)


def read_card(path: str | os.PathLike) -> cards.Card | None:
    """Returns the card of a safetensors file, None if it has none.

    Raises:
        ImportError: the package safetensors is not installed.
        CheckpointError: it is no safetensors file, or its card is damaged.
        OSError: the file cannot be opened or read.
    """
    with _open(path) as tensors:
        text = (tensors.metadata() or {}).get(cards.KEY)
    return None if text is None else cards.Card.from_json(text, path)


def write_safetensors(
    arrays: Mapping[str, np.ndarray], path: str | os.PathLike, card: cards.Card | None = None
) -> None:
    """Writes {official key: array} as a state dict that timm's `resnetv2_*_bit` models load, whole or not at all.

    Args:
        arrays: in the official shapes.
        path: the file, which must end in ".safetensors"; an existing file is replaced.
        card: of the weights, for the metadata; None writes none.

    Raises:
        ValueError: the name does not end in ".safetensors".
        ImportError: the package safetensors is not installed.

    Example:
        >>> from bit_keras.checkpoints import collect_weights, read_weights, write_safetensors
        >>> model = bit_keras.BiT.from_preset("BiT-mini-R17x0.5")
        >>> write_safetensors(collect_weights(model), "weights.safetensors", model.card)
        >>> read_weights("weights.safetensors")["resnet/head/conv2d/bias"].shape
        (360,)
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f'the name of a safetensors file must end in ".safetensors", got {str(path)!r}')
    _safetensors()
    from safetensors.numpy import save_file

    tensors = {timm_name(key): np.ascontiguousarray(_to_torch(array)) for key, array in arrays.items()}
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        _hash(hasher, name, tensors[name])
    metadata = {"format": "pt", _DIGEST: hasher.hexdigest()}
    if card is not None:
        metadata[cards.KEY] = card.to_json()
    with whole(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _safetensors():
    require("a safetensors file", "safetensors")
    import safetensors

    return safetensors


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator:
    """Opens a safetensors file; what a damaged one raises within the block becomes a CheckpointError."""
    safetensors = _safetensors()
    errors = (safetensors.SafetensorError, OSError, ValueError, OverflowError)
    with reading(path, "safetensors file", errors), safetensors.safe_open(path, framework="numpy") as tensors:
        yield tensors


def _names(path: Path) -> list[str]:
    with _open(path) as tensors:
        return list(tensors.offset_keys())


def _read(path: Path, files: Mapping[Path, Iterable[str]]) -> dict[str, np.ndarray]:
    """Reads the tensors {file: names}; `path` is for messages about all of them."""
    keys = official_keys(path, [name for names in files.values() for name in names])
    arrays = {}
    for file, names in files.items():
        with _open(file) as tensors:
            check_bytes(file, file.stat().st_size)
            hasher = hashlib.sha256()
            for name in sorted(names):
                arrays[keys[name]] = _array(file, tensors, name, keys[name], hasher)
            written = (tensors.metadata() or {}).get(_DIGEST, hasher.hexdigest())
        if written != hasher.hexdigest():
            raise CheckpointError(
                f"{file} is damaged: its tensors have SHA-256 {hasher.hexdigest()}, it states {written}"
            )
    return arrays


def _array(file: Path, tensors, name: str, key: str, hasher) -> np.ndarray:
    dtype = tensors.get_slice(name).get_dtype()
    if dtype not in _FLOATS:
        raise CheckpointError(f"{file}: {name} must be one of {', '.join(_FLOATS)}, got {dtype}")
    array = tensors.get_tensor(name)
    _hash(hasher, name, array)
    return check_finite(file, name, _from_torch(key, array if dtype in ("F64", "F32") else array.astype("float32")))


def _hash(hasher, name: str, array: np.ndarray) -> None:
    hasher.update(name.encode())
    hasher.update(np.ascontiguousarray(array).view(np.uint8))


def _from_torch(key: str, array: np.ndarray) -> np.ndarray:
    """Transposes [out, in, height, width] to [height, width, in, out]; a dense head [out, in] becomes a 1x1 kernel."""
    if is_head(key) and array.ndim == 2:
        array = array[..., None, None]
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _to_torch(array: np.ndarray) -> np.ndarray:
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
