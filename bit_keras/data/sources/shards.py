"""The names of TFRecord files."""

import re
from pathlib import Path


def find_shards(root: Path, split: str) -> list[Path]:
    """Returns the files "<split>-..." and "<split>...." whose names hold "tfrecord" or "-00000-of-00010", sorted."""
    pattern = re.compile(rf"{re.escape(split)}[-.](.*tfrecord.*|(.*-)?\d+-of-\d+.*)")
    return sorted(path for path in root.glob(f"{split}*") if pattern.fullmatch(path.name) and path.is_file())
