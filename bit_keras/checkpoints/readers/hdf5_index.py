"""Program: lists what lies where in an HDF5 file, as JSON. h5py only.

    python hdf5_index.py FILE COPIES MAX_BYTES

libhdf5 loops for ever or crashes on some damaged files, so that `hdf5.py` runs this in a process of its own. Exit
status 0 comes with {"attributes": {group: {name: value}}, "datasets": {path: {"shape", "dtype", "file", "offset",
"bfloat16"}}} on standard output, another with what is wrong on standard error. Floats that do not lie in FILE in one
piece are copied to the file COPIES, MAX_BYTES of them at most.
"""

import json
import math
import sys
from typing import BinaryIO

import h5py
import numpy as np

try:
    import resource
except ImportError:  # no POSIX, no limit
    resource = None

# Groups and datasets; the largest BiT has some 1,500.
_MAX_NODES = 20_000
_MAX_NAMES = 10_000
# Address space of Python with h5py: more than it takes, less than a damaged length asks for.
_OWN_BYTES = 2**31
_CPU_SECONDS = 60
# What the readers need of attributes.
_ATTRIBUTES = ("layer_names", "weight_names", "name")


def index(path: str, copies: str, max_bytes: int) -> dict:
    """Returns the listing of a file.

    Raises:
        ValueError: a link may lead out of the file, data lie in another one, or there are more than `max_bytes`.
        Exception: whatever h5py raises for a damaged file.
    """
    listing = {"attributes": {}, "datasets": {}}
    with h5py.File(path, "r") as file, open(copies, "wb") as stream:
        nodes, seen = [("/", file)], set()
        while nodes:
            name, node = nodes.pop()
            address = h5py.h5o.get_info(node.id).addr
            if address in seen or len(seen) > _MAX_NODES:
                raise ValueError(f"{name} is there twice, or there are more than {_MAX_NODES} groups and arrays")
            seen.add(address)
            if isinstance(node, h5py.Dataset):
                listing["datasets"][name] = _dataset(name, node, path, stream, max_bytes)
            elif isinstance(node, h5py.Group):
                listing["attributes"][name] = {key: _names(node, key) for key in _ATTRIBUTES if key in node.attrs}
                nodes += [(f"{name.rstrip('/')}/{child}", _child(node, child)) for child in node]
    return listing


def _child(group: h5py.Group, name: str):
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} in {group.name} is a link, which is not followed")
    return group[name]


def _names(node, key: str):
    """A text, or the list of texts of an array."""
    value = node.attrs[key]
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(value)[:_MAX_NAMES]]
    return names if np.ndim(value) else names[0]


def _dataset(name: str, dataset: h5py.Dataset, path: str, copies: BinaryIO, max_bytes: int) -> dict:
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"the data of {name} lie in another file, which is not read")
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
    """The caller has a limit on time too, but may itself be killed."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))


def main(path: str, copies: str, max_bytes: str) -> str | None:
    """Prints the listing; returns what is wrong."""
    try:
        _limit(int(max_bytes) + _OWN_BYTES)
        print(json.dumps(index(path, copies, int(max_bytes))))
    except Exception as error:  # h5py raises any kind for damaged structures
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
