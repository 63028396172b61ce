"""Program: prints an index of an HDF5 file's contents as JSON. It needs h5py and NumPy only.

    python hdf5_index.py FILE COPIES MAX_BYTES

libhdf5 never ends or crashes on some damaged files, so `hdf5.py` runs this in a separate process. On success it prints
{"attributes": {group: {name: value}}, "datasets": {path: {"shape", "dtype", "file", "offset", "bfloat16"}}} to standard
output; on failure it prints the reason to standard error and exits with another status than 0. Arrays of floats that
are not stored contiguously in FILE are copied to the file COPIES, MAX_BYTES at most.
"""

import json
import math
import sys
from typing import BinaryIO

import h5py
import numpy as np

try:
    import resource
except ImportError:  # not a POSIX system: runs without limits
    resource = None

# Most groups and datasets; the largest BiT has some 1,500.
_MAX_NODES = 20_000
# Most names in a list; a block of R152x4 has 325 weights.
_MAX_NAMES = 5_000
# Most characters of the index: names may be long, and many attributes may refer to one long text in the file.
_MAX_TEXT = 2**24
# Address space of Python with h5py, of which it needs a quarter.
_OWN_BYTES = 2**29
_CPU_SECONDS = 60
# The attributes that the readers need.
_ATTRIBUTES = ("layer_names", "weight_names", "name", "model_config")


def index(path: str, copies: str, max_bytes: int) -> dict:
    """Returns the index of a file's contents, as described above.

    Raises:
        ValueError: the file contains soft or external links, data are in another file, or there are too many of them.
        Exception: any error of h5py for a damaged file.
    """
    contents = {"attributes": {}, "datasets": {}}
    with h5py.File(path, "r") as file, open(copies, "wb") as stream:
        nodes, seen = [("/", file)], set()
        while nodes:
            name, node = nodes.pop()
            address = h5py.h5o.get_info(node.id).addr
            if address in seen or len(seen) > _MAX_NODES:
                raise ValueError(f"{name} is listed twice, or there are more than {_MAX_NODES} groups and arrays")
            seen.add(address)
            if isinstance(node, h5py.Dataset):
                contents["datasets"][name] = _dataset(name, node, path, stream, max_bytes)
            elif isinstance(node, h5py.Group):
                contents["attributes"][name] = {key: _names(node, key) for key in _ATTRIBUTES if key in node.attrs}
                nodes += [(f"{name.rstrip('/')}/{child}", _child(node, child)) for child in node]
    return contents


def _child(group: h5py.Group, name: str):
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} in {group.name} is a link, which is not followed")
    return group[name]


def _names(node, key: str):
    """Returns an attribute: a string, or the list of strings of an array."""
    if math.prod(node.attrs.get_id(key).shape) > _MAX_NAMES:
        raise ValueError(f"the attribute {key} of {node.name} has more than {_MAX_NAMES} names")
    value = node.attrs[key]
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(value)]
    return names if np.ndim(value) else names[0]


def _dataset(name: str, dataset: h5py.Dataset, path: str, copies: BinaryIO, max_bytes: int) -> dict:
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"the data of {name} are in another file, which is not read")
    shape, dtype, offset = dataset.shape, dataset.dtype, dataset.id.get_offset()
    if offset is None and shape is not None and np.issubdtype(dtype, np.floating):
        size = math.prod(map(int, shape)) * dtype.itemsize
        if copies.tell() + size > max_bytes:
            raise ValueError(f"{name} promises an array of {size} bytes; at most {max_bytes} are read")
        path, offset = copies.name, copies.tell()
        copies.write(dataset[()].tobytes())
    is_bfloat16 = dataset.attrs.get("dtype") == "bfloat16"
    return {"shape": shape, "dtype": dtype.str, "file": path, "offset": offset, "bfloat16": is_bfloat16}


def _limit(memory: int) -> None:
    """Limits memory and time of this process. The caller has a time limit as well, but may be killed before it."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))


def main(path: str, copies: str, max_bytes: str) -> str | None:
    """Prints the index and returns None, or returns the reason of a failure."""
    memory = int(max_bytes) + _OWN_BYTES
    try:
        _limit(memory)
        text = json.dumps(index(path, copies, int(max_bytes)))
    except MemoryError:
        return f"its index needs more memory than the {memory // 2**20:,} MiB that a file of this size may take"
    except Exception as error:  # h5py may raise any type for a damaged file
        return f"{type(error).__name__}: {error}"
    if len(text) > _MAX_TEXT:
        return f"its names have {len(text):,} characters, of which at most {_MAX_TEXT:,} are read"
    print(text)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
