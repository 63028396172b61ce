"""A thousand damaged files per format: they are rejected without a crash, a hang or excessive memory.

npz files have checksums, and so do safetensors files written by this library. HDF5 files and other safetensors files
have none: a changed value is detected only by the hash recorded at the first use of the file. All other damage must be
rejected.
"""

import collections
import json
import resource
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from bit_keras.checkpoints import CheckpointError, fetch, read_weights, write_npz, write_safetensors
from bit_keras.checkpoints.readers import hdf5
from bit_keras.checkpoints.remote.addresses import cache_path
from tests.checkpoints.official import random_arrays, write_legacy_h5

WORKER = Path(__file__).parents[2] / "consumers" / "hdf5_worker.py"
FILES = 1000
MAX_SECONDS = 5  # per file; the slowest took 0.2
MAX_MEBIBYTES = 256  # increase of memory over all files

ARRAYS = random_arrays()


def _compressed(arrays, path):
    np.savez_compressed(path, **arrays)


def _timm(arrays, path):
    write_safetensors(arrays, path)
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path)  # without our metadata


WRITERS = {
    "stored.npz": write_npz,
    "deflated.npz": _compressed,
    "weights.h5": write_legacy_h5,
    "weights.safetensors": write_safetensors,
    "timm.safetensors": _timm,
}


def _damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes, removes, repeats, moves or inserts bytes, or overwrites a possible length."""
    data = bytearray(content)
    at, other = (int(i) for i in rng.integers(len(data), size=2))
    length = int(rng.integers(1, 32))
    match rng.integers(7):
        case 0:
            data[at] ^= int(rng.integers(1, 256))
        case 1:
            for i in rng.integers(len(data), size=8):
                data[i] = int(rng.integers(256))
        case 2:
            del data[at:]
        case 3:
            del data[at : at + length]
        case 4:
            data[at:at] = rng.bytes(length)
        case 5:
            data[at : at + 8] = [0, 2**31, 2**40, 2**63, 2**64 - 1][rng.integers(5)].to_bytes(8, "little")
        case 6:
            data[at : at + length] = data[other : other + length]
    return bytes(data)


@pytest.fixture
def hdf5_worker(monkeypatch):
    """Indexes HDF5 files in one process, which is restarted if a file hangs or crashes it."""
    processes = []

    def start():
        command = [sys.executable, "-P", WORKER, hdf5._PROGRAM]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def run(_, *command) -> str:
        process = processes[-1]
        process.stdin.write(json.dumps([str(part) for part in command[3:]]) + "\n")
        process.stdin.flush()
        readable, _, _ = select.select([process.stdout], [], [], MAX_SECONDS)
        answer = process.stdout.readline() if readable else ""
        if not answer:
            process.kill()
            start()
            raise CheckpointError("hung" if not readable else "crashed")
        fault = json.loads(answer).get("fault")
        if fault:
            raise CheckpointError(fault)
        return answer

    start()
    monkeypatch.setattr(hdf5, "_run", run)
    yield
    processes[-1].stdin.close()
    for process in processes:
        process.wait()
        process.stdout.close()
        process.stdin.close()


def _outcome(path) -> str:
    try:
        arrays = read_weights(path)
    except CheckpointError:
        return "refused by the reader"
    if {key: array.shape for key, array in arrays.items()} != {key: array.shape for key, array in ARRAYS.items()}:
        return "refused by the model"  # by names and shapes, see test_apply.py
    assert all(np.isfinite(array).all() for array in arrays.values())
    return "unchanged" if all(np.array_equal(arrays[key], ARRAYS[key]) for key in ARRAYS) else "other numbers"


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files(tmp_path, hdf5_worker, name):
    WRITERS[name](ARRAYS, tmp_path / name)
    content, rng = (tmp_path / name).read_bytes(), np.random.default_rng(0)
    assert _outcome(tmp_path / name) == "unchanged"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = collections.Counter()
    for _ in range(FILES):
        (tmp_path / name).write_bytes(_damaged(content, rng))
        start = time.monotonic()
        outcomes[_outcome(tmp_path / name)] += 1
        assert time.monotonic() - start < 2 * MAX_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MAX_MEBIBYTES
    assert outcomes["refused by the reader"] > FILES / 2
    if name not in ("weights.h5", "timm.safetensors"):
        assert not outcomes["other numbers"]
    print(dict(outcomes))


@pytest.mark.parametrize("name", ["stored.npz", "weights.h5", "weights.safetensors"])
def test_damaged_files_of_the_cache_are_all_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path))
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    url = f"https://host/{name}"
    path = cache_path(url)
    path.parent.mkdir()
    WRITERS[name](ARRAYS, path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    fetch(url)  # records the hash
    for _ in range(FILES):
        damaged = _damaged(content, rng)
        if damaged != content:
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="is not the file that it must be"):
                fetch(url)
    path.write_bytes(content)
    assert fetch(url) == path
