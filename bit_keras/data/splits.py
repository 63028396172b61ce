"""The names of the splits of data that are already divided."""

from collections.abc import Iterable

from bit_keras.data.errors import DataError

_VALIDATION = ("validation", "valid", "val")
# {name, in any case: the split it stands for}.
SPLIT_NAMES = {"train": "train", "test": "test", **dict.fromkeys(_VALIDATION, "validation")}
# What data need besides "train", for error messages.
FOR_TESTING = ", ".join(name for name in SPLIT_NAMES if name != "train")


def assign(where: object, names: Iterable[str]) -> dict[str, str]:
    """Returns {split: its name in the data} of "train", "test" and, if the data have both, "validation".

    Data with a validation split and no test split are tested on it.

    Args:
        where: file or folder, for messages.
        names: the names in the data, keys of `SPLIT_NAMES` in any case.

    Raises:
        DataError: two names stand for one split, or a split is missing.
    """
    found = {}
    for name in sorted(names):
        split = SPLIT_NAMES[name.lower()]
        if split in found:
            raise DataError(f"{where} must have one {split} split, got both {found[split]} and {name}; rename one")
        found[split] = name
    if "train" not in found or len(found) == 1:
        raise DataError(f"{where}: the splits must be train and one of {FOR_TESTING}, got {', '.join(found.values())}")
    if "test" not in found:
        found["test"] = found.pop("validation")
    return found
