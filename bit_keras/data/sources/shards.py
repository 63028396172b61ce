"""The names of TFRecord files."""

import re
from pathlib import Path


def find_shards(root: Path, split: str) -> list[Path]:
    """Returns the TFRecord files of a split, sorted.

    Their names are the split, "-" or ".", and a text with "tfrecord" or with shard numbers such as "00000-of-00010".
    """
    pattern = re.compile(rf"{re.escape(split)}[-.](.*tfrecord.*|(.*-)?\d+-of-\d+.*)")
    return sorted(path for path in root.glob(f"{split}*") if pattern.fullmatch(path.name) and path.is_file())
