"""State dicts of PyTorch libraries in safetensors files: timm's `resnetv2_*_bit` and transformers' `BitModel`s.

Their convolutions are [out, in, height, width], and their norms call gamma and beta weight and bias.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from bit_keras.checkpoints import card as cards
from bit_keras.checkpoints.checks import CheckpointError, check_bytes, check_finite, reading
from bit_keras.checkpoints.names import is_head
from bit_keras.system.files import whole
from bit_keras.system.optional import require

_CONVOLUTIONS = {"1": "a", "2": "b", "3": "c"}  # of a unit: number in PyTorch -> letter in the official files
_UNIT = re.compile(
    r"(?:bit\.)?(?:encoder\.)?stages\.(\d)\.(?:blocks|layers)\.(\d+)\.(?:(norm|conv)([123])|(downsample)\.conv)\.(weight|bias)"
)
_OTHERS = {
    "stem.conv.weight": "resnet/root_block/standardized_conv2d/kernel",
    "bit.embedder.convolution.weight": "resnet/root_block/standardized_conv2d/kernel",
    "norm.weight": "resnet/group_norm/gamma",
    "bit.norm.weight": "resnet/group_norm/gamma",
    "norm.bias": "resnet/group_norm/beta",
    "bit.norm.bias": "resnet/group_norm/beta",
    "head.fc.weight": "resnet/head/conv2d/kernel",
    "classifier.1.weight": "resnet/head/conv2d/kernel",
    "head.fc.bias": "resnet/head/conv2d/bias",
    "classifier.1.bias": "resnet/head/conv2d/bias",
}
_TIMM = {official: name for name, official in reversed(_OTHERS.items())}
# Metadata key under which our own files carry a hash of their names and values: the format has no checksum.
_DIGEST = "bit_keras.sha256"
_FLOATS = ("F64", "F32", "F16", "BF16")


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a BiT's state dict with the tensor names of timm or transformers.

    Args:
        path: the file. Half-precision tensors are returned as float32.

    Returns:
        {official key: array of floats}, kernels as [height, width, in, out].

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the package safetensors is not installed.
        CheckpointError: it is no safetensors file, or a tensor does not belong to a BiT, is not of finite floats or
            has the same official key as another one.
        OSError: the file cannot be opened or read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such weight file: {path}")
    with _open(path) as tensors:
        check_bytes(path, path.stat().st_size)
        return _read(path, tensors)


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


def official_key(name: str) -> str | None:
    """Returns the official key of a tensor of timm or transformers, None if it does not belong to a BiT."""
    if name in _OTHERS:
        return _OTHERS[name]
    match = _UNIT.fullmatch(name)
    if match is None:
        return None
    stage, unit, kind, number, downsample, weight = match.groups()
    prefix = f"resnet/block{int(stage) + 1}/unit{int(unit) + 1:02d}"
    if kind == "norm":
        return f"{prefix}/{_CONVOLUTIONS[number]}/group_norm/{'gamma' if weight == 'weight' else 'beta'}"
    if weight == "bias":
        return None
    return f"{prefix}/{'a/proj' if downsample else _CONVOLUTIONS[number]}/standardized_conv2d/kernel"


def timm_name(key: str) -> str:
    """Returns timm's name of the tensor with an official key."""
    if key in _TIMM:
        return _TIMM[key]
    _, block, unit, letter, *rest = key.split("/")
    prefix = f"stages.{int(block.removeprefix('block')) - 1}.blocks.{int(unit.removeprefix('unit')) - 1}"
    number = next(number for number, each in _CONVOLUTIONS.items() if each == letter)
    match rest:
        case ["proj", _, _]:
            return f"{prefix}.downsample.conv.weight"
        case ["standardized_conv2d", _]:
            return f"{prefix}.conv{number}.weight"
        case _:
            return f"{prefix}.norm{number}.{'weight' if rest[-1] == 'gamma' else 'bias'}"


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


def _read(path: Path, tensors) -> dict[str, np.ndarray]:
    arrays, hasher = {}, hashlib.sha256()
    for name in sorted(tensors.offset_keys()):
        key = official_key(name)
        if key is None:
            raise CheckpointError(f"{path}: {name} is not a tensor of a BiT of timm or transformers")
        if key in arrays:
            raise CheckpointError(f"{path}: two tensors have the official key {key}, the second is {name}")
        dtype = tensors.get_slice(name).get_dtype()
        if dtype not in _FLOATS:
            raise CheckpointError(f"{path}: {name} must be one of {', '.join(_FLOATS)}, got {dtype}")
        array = tensors.get_tensor(name)
        _hash(hasher, name, array)
        array = array if dtype in ("F64", "F32") else array.astype("float32")
        arrays[key] = check_finite(path, name, _from_torch(key, array))
    written = (tensors.metadata() or {}).get(_DIGEST, hasher.hexdigest())
    if written != hasher.hexdigest():
        raise CheckpointError(f"{path} is damaged: its tensors have SHA-256 {hasher.hexdigest()}, it states {written}")
    return arrays


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
