"""Untrusted HDF5 files: a separate process, which may hang or crash, indexes them; data are read without libhdf5."""

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np

from bit_keras.checkpoints.checks import (
    CheckpointError,
    check_bytes,
    check_finite,
    check_floats,
    max_bytes,
    promised_bytes,
)

_PROGRAM = Path(__file__).with_name("hdf5_index.py")
# An undamaged file is indexed in less than a second.
_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Hdf5File:
    """Index of the contents of an HDF5 file.

    Attributes:
        path: the file.
        attributes: {path of a group: {name of an attribute: string or list of strings}}.
        datasets: {path of a dataset: {"shape", "dtype", "file", "offset", "bfloat16"}}.
    """

    path: Path
    attributes: dict[str, dict[str, str | list[str]]]
    datasets: dict[str, dict]

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a dataset; raises CheckpointError if it does not exist."""
        if self.datasets.get(name, {}).get("shape") is None:
            raise CheckpointError(f"{self.path}: no array exists at {name}")
        return tuple(self.datasets[name]["shape"])

    def read(self, name: str) -> np.ndarray:
        """Returns a dataset of finite floats, bfloat16 as float32.

        Raises:
            CheckpointError: it does not exist, does not hold finite floats, or is larger than the file.
        """
        self.shape(name)  # exists
        dtype = np.dtype(self.datasets[name]["dtype"])
        if self.datasets[name]["bfloat16"] and dtype.itemsize == 2:
            array = self._read(name, np.dtype(ml_dtypes.bfloat16)).astype("float32")
        else:
            check_floats(self.path, name, dtype)
            array = self._read(name, dtype)
        return check_finite(self.path, name, array)

    def read_bytes(self, name: str, max_bytes: int) -> bytes:
        """Returns a dataset of uint8.

        Raises:
            CheckpointError: it does not exist, has another type, or is larger than `max_bytes` or the file.
        """
        dataset = self.datasets.get(name, {})
        if math.prod(self.shape(name)) > max_bytes or dataset["dtype"] != "|u1" or dataset["offset"] is None:
            raise CheckpointError(f"{self.path}: {name} must be an array of at most {max_bytes:,} bytes")
        return self._read(name, np.dtype(np.uint8)).tobytes()

    def _read(self, name: str, dtype: np.dtype) -> np.ndarray:
        shape, dataset = self.shape(name), self.datasets[name]
        size = promised_bytes(shape, dtype)
        check_bytes(self.path, size)
        if not 0 <= dataset["offset"] <= os.path.getsize(dataset["file"]) - size:
            raise CheckpointError(f"{self.path} ends before {name} does")
        return np.fromfile(dataset["file"], dtype, size // dtype.itemsize, offset=dataset["offset"]).reshape(shape)


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike) -> Iterator[Hdf5File]:
    """Indexes an HDF5 file, whose data can be read within the block.

    Raises:
        FileNotFoundError: the file does not exist.
        CheckpointError: it is no readable HDF5 file, or it refers to data in other files.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such weight file: {path}")
    with tempfile.TemporaryDirectory() as scratch:
        contents = _run(path, sys.executable, "-P", _PROGRAM, path, Path(scratch, "copies"), max_bytes(path))
        yield Hdf5File(path, **json.loads(contents))


def _run(path: Path, *command) -> str:
    """Runs a program on `path` and returns its standard output; raises CheckpointError if it fails."""
    # One thread: NumPy's library reserves memory for each, and the program has little.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    try:
        result = subprocess.run(
            [*map(str, command)], env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise CheckpointError(f"{path} is no readable HDF5 file: indexing it took over {_SECONDS} seconds") from None
    if result.returncode:
        reason = result.stderr.strip() or f"indexing it ended with status {result.returncode}"
        raise CheckpointError(f"{path} is no readable HDF5 file: {reason}")
    return result.stdout
