"""The names of TFRecord files."""

import re
from pathlib import Path

from bit_keras.data.splits import SPLIT_NAMES

_SPLIT = "|".join(SPLIT_NAMES)
# This library's names: "train-00000-of-00010", "train-0.tfrecord", "train.tfrecord".
_OWN = re.compile(rf"({_SPLIT})[-.](.*tfrecord.*|(.*-)?\d+-of-\d+.*)")
# Those of other programs: "flowers_train_00000-of-00005.tfrecord" (TF-Slim), "flowers-train.tfrecord-00000-of-00001"
# (TFDS), "coco_train.record-00000-of-00100" (object detection), "train/00-192x192-798.tfrec" (Kaggle).
_OTHER = re.compile(r".*(\.tfrec(ord)?s?|\.record|[-_.]\d+-of-\d+)([-_.]\d+-of-\d+)?", re.IGNORECASE)
_WORD = re.compile(rf"(?<![a-z])({_SPLIT})(?![a-z])", re.IGNORECASE)


def find_shards(root: Path) -> dict[str, list[Path]]:
    """Returns {split, a key of `SPLIT_NAMES`: its TFRecord files, sorted}.

    The split is a word in the name of the file or, if that has none, in the name of its folder below `root`.
    """
    if not root.is_dir():
        return {}
    folders = [root, *(path for path in root.iterdir() if _split(path.name) and path.is_dir())]
    shards = {}
    for path in sorted(path for folder in folders for path in folder.iterdir() if _is_shard(path.name)):
        split = _split(path.name) or (None if path.parent == root else _split(path.parent.name))
        if split and path.is_file():
            shards.setdefault(split, []).append(path)
    return shards


def _is_shard(name: str) -> bool:
    return bool(_OWN.fullmatch(name) or _OTHER.fullmatch(name))


def _split(name: str) -> str | None:
    """Returns the split that a name states; the last one if it has several, such as "my_test_data-train"."""
    own = _OWN.fullmatch(name)
    words = [own[1]] if own else _WORD.findall(name)
    return words[-1].lower() if words else None
