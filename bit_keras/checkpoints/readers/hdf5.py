"""HDF5 files from strangers: listed by a process that may hang or crash, read without libhdf5."""

import contextlib
import dataclasses
import json
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
# A healthy file is listed in under a second.
_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Hdf5File:
    """What lies where in an HDF5 file.

    Attributes:
        path: the file.
        attributes: {path of a group: {name of an attribute: text or list of texts}}.
        datasets: {path of a dataset: {"shape", "dtype", "file", "offset", "bfloat16"}}.
    """

    path: Path
    attributes: dict[str, dict[str, str | list[str]]]
    datasets: dict[str, dict]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a dataset; raises CheckpointError if there is none at `name`."""
        if self.datasets.get(name, {}).get("shape") is None:
            raise CheckpointError(f"{self.path}: there is no array at {name}")
        return tuple(self.datasets[name]["shape"])

    def read(self, name: str) -> np.ndarray:
        """Returns the finite floats of a dataset, bfloat16 as float32.

        Raises:
            CheckpointError: it is no such array, or is larger than the file.
        """
        shape, dataset = self.shape(name), self.datasets[name]
        dtype = np.dtype(dataset["dtype"])
        is_bfloat16 = dataset["bfloat16"] and dtype.itemsize == 2
        if is_bfloat16:
            dtype = np.dtype(ml_dtypes.bfloat16)
        else:
            check_floats(self.path, name, dtype)
        size = promised_bytes(shape, dtype)
        check_bytes(self.path, size)
        if not 0 <= dataset["offset"] <= os.path.getsize(dataset["file"]) - size:
            raise CheckpointError(f"{self.path} ends before {name} does")
        array = np.fromfile(dataset["file"], dtype, size // dtype.itemsize, offset=dataset["offset"]).reshape(shape)
        return check_finite(self.path, name, array.astype("float32") if is_bfloat16 else array)


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike) -> Iterator[Hdf5File]:
    """Lists an HDF5 file, to be read inside the block.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is no readable HDF5 file, or data or links lead out of it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such weight file: {path}")
    with tempfile.TemporaryDirectory() as scratch:
        listing = _run(path, sys.executable, "-P", _PROGRAM, path, Path(scratch, "copies"), max_bytes(path))
        yield Hdf5File(path, **json.loads(listing))


def _run(path: Path, *command) -> str:
    """Returns the standard output of a program."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        result = subprocess.run(
            [*map(str, command)], env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise CheckpointError(f"{path} is no readable HDF5 file: listing it took over {_SECONDS} seconds") from None
    if result.returncode:
        reason = result.stderr.strip() or f"listing it ended with status {result.returncode}"
        raise CheckpointError(f"{path} is no readable HDF5 file: {reason}")
    return result.stdout
