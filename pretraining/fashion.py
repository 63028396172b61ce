"""Fashion-MNIST (Zalando, MIT licence) from the Debian package dataset-fashion-mnist."""

import gzip
import struct
from pathlib import Path

import numpy as np

from pretraining import packages

PACKAGE = "dataset-fashion-mnist"
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def read(package: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns {split: (images padded to uint8 [N, 32, 32], labels [N])}."""
    files = {Path(name).name: content for name, content in packages.members(package, ("-ubyte.gz",))}
    splits = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(files[f"{prefix}-images-idx3-ubyte.gz"])
        labels = read_idx(files[f"{prefix}-labels-idx1-ubyte.gz"]).astype(np.int64)
        splits[split] = np.pad(images, ((0, 0), (2, 2), (2, 2))), labels
    return splits


def read_idx(content: bytes) -> np.ndarray:
    """Returns the uint8 array of an IDX file, the format of MNIST, compressed with gzip or not.

    Raises:
        ValueError: it is not such a file, or it is truncated.
    """
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"an IDX file of bytes must begin with 00 00 08, got {content[:3].hex(' ')}")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
