"""The index of a safetensors file in shards (`model.safetensors.index.json`), which Hugging Face's libraries write."""

import json
import re
from pathlib import Path

from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.readers import torch_pickle

ENDING = ".safetensors.index.json"
_MAX_BYTES = 2**24
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")


def read_index(path: Path) -> dict[str, Path]:
    """Returns {name of a tensor: its file, beside the index}; whether the files exist is not checked.

    Raises:
        CheckpointError: it is no such index, or names files elsewhere or of another format.
        OSError: the file cannot be opened or read.
    """
    with open(path, "rb") as stream:
        text = stream.read(_MAX_BYTES + 1)
    try:
        content = json.loads(text) if len(text) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        content = None
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not files or not all(isinstance(name, str) for name in files.values()):
        raise CheckpointError(
            f"{path} is text, and no index of safetensors files: that is JSON with a weight_map of names to files"
        )
    for name in sorted(set(files.values())):
        if not name or Path(name).name != name or "\\" in name:
            raise CheckpointError(f"{path}: shards must lie beside the index, got {name!r}")
    if not any(name.endswith(".safetensors") for name in files.values()):
        raise torch_pickle.refusal(*(path.with_name(name) for name in sorted(set(files.values()))))
    return {tensor: path.with_name(name) for tensor, name in files.items()}


def shard_files(path: Path) -> list[Path]:
    """Returns the files that an index lists, each once; raises as `read_index`."""
    return sorted(set(read_index(path).values()))


def index_of_shard(path: Path) -> Path | None:
    """Returns the path that the index of a shard has by its name; None for a file that is no shard, or the only one."""
    match = _SHARD.fullmatch(path.name)
    if match is None or int(match[2]) < 2:
        return None
    return path.with_name(f"{match[1]}{ENDING}")
