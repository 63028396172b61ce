"""The names of the splits of data that are already divided."""

from collections.abc import Callable, Iterable

from bit_keras.data.errors import DataError
from bit_keras.system.logs import logger

_VALIDATION = ("validation", "valid", "val")
# {name, in any case: the split it stands for}.
SPLIT_NAMES = {"train": "train", "test": "test", **dict.fromkeys(_VALIDATION, "validation")}
# What data may have besides "train", for error messages.
FOR_TESTING = ", ".join(name for name in SPLIT_NAMES if name != "train")


def assign(where: object, names: Iterable[str], is_labelled: Callable[[str], bool] = lambda name: True) -> dict:
    """Returns {split: its name in the data} of "train" and, if the data have them, "test" and "validation".

    A test split without labels, as competitions publish it, is not used. Data with a validation split and no test split
    are tested on it. Where "train" is the only split, the caller takes test examples from it.

    Args:
        where: file or folder, for messages.
        names: the names in the data, keys of `SPLIT_NAMES` in any case.
        is_labelled: tells whether the test split, given by its name in the data, has labels.

    Raises:
        DataError: two names stand for one split, or "train" is missing.
    """
    found = {}
    for name in sorted(names):
        split = SPLIT_NAMES[name.lower()]
        if split in found:
            raise DataError(f"{where} must have one {split} split, got both {found[split]} and {name}; rename one")
        found[split] = name
    if "train" not in found:
        raise DataError(f"{where}: there must be a split train, got {', '.join(found.values()) or 'none'}")
    if "test" in found and not is_labelled(found["test"]):
        instead = found.get("validation") or "a share of train"
        logger.warning("%s: the split %s has no labels; tested on %s instead", where, found.pop("test"), instead)
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    return found
