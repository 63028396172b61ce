"""What all sources of image files with boxes have in common, once their annotations are read."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from bit_keras.data import held_out
from bit_keras.data.errors import DataError
from bit_keras.data.source import median_size
from bit_keras.detection.data.annotations import Annotated, DetectionSource, divide
from bit_keras.detection.data.entry import Entry
from bit_keras.detection.data.scan import checked
from bit_keras.system.texts import one_line, read_names


def open_entries(
    name: str,
    root: Path,
    kind: str,
    entries: Mapping[str, Sequence[Entry]],
    splits: Mapping[str, str],
    class_names: Sequence[str],
    *,
    category_ids: Sequence[int] = (),
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
) -> DetectionSource:
    """Returns the source of checked images and boxes.

    Args:
        name: name of the task.
        root: folder of the data.
        kind: of the source, for its identity.
        entries: {name of a split in the data: its images}.
        splits: {split: its name in the data}, see `data.splits.assign`.
        class_names: one name per class.
        category_ids: see `DetectionSource`; () for 1 to K.
        seed: of the choice of test images where there are none, in [0, 2**32).
        skip_unreadable: see `scan.checked`.
        divide: False, for evaluation, makes all images the test split, named "all", if there is no test split.

    Raises:
        DataError: as `scan.checked`.
    """
    check_classes(name, class_names)
    found = checked(name, root, {split: entries[split] for split in splits.values()}, skip_unreadable)
    return open_splits(
        {split: found[named] for split, named in splits.items()},
        seed,
        divide,
        name=name,
        class_names=tuple(class_names),
        category_ids=tuple(category_ids or range(1, len(class_names) + 1)),
        identity={"kind": kind},
        test_split=splits.get("test", "test"),
    )


def open_splits(splits: dict[str, Annotated], seed: int, takes_test: bool, **attributes) -> DetectionSource:
    """Returns the source with these splits, of which test images are taken from "train" if they have none.

    Args:
        splits: of "train" and optionally "test" and "validation".
        seed: as in `open_entries`.
        takes_test: False makes all images the test split, as `divide` of `open_entries`.
        **attributes: of the source; `identity` gets fingerprints.
    """
    class_names, identity = attributes["class_names"], attributes["identity"]
    if "test" not in splits and not takes_test:
        splits["test"], attributes["test_split"] = splits["train"], "all"
    elif "test" not in splits:
        splits["train"], splits["test"] = divide(splits["train"], held_out.TEST_SHARE, seed, held_out.FOR_TEST)
        if seed:
            identity["split_seed"] = seed
    classes = (class_names, attributes["category_ids"])
    identity["fingerprint"] = splits["train"].fingerprint(classes, splits["test"].fingerprint())
    if "validation" in splits:
        identity["validation"] = splits["validation"].fingerprint(classes)
    source = DetectionSource(image_size=median_size(splits["train"].sizes), **attributes, **splits)
    return source.with_content()


def listed_classes(classes: str | os.PathLike | Sequence[str]) -> list[str]:
    """Returns the names of a list, or of a text file with a name per line."""
    if not isinstance(classes, str | os.PathLike):
        return list(classes)
    return [line.strip() for line in read_names("classes", Path(classes).expanduser()) if line.strip()]


def check_classes(where: str | Path, class_names: Sequence[str]) -> None:
    """Raises DataError unless there are classes, with different names that are not blank."""
    if not class_names or not all(map(str.strip, class_names)):
        raise DataError(f"{where}: classes must have names, got {list(class_names) or 'none'}")
    twins = sorted({name for name in class_names if list(class_names).count(name) > 1})
    if twins:
        raise DataError(f"{where}: classes must have different names, got more than once: {one_line(', '.join(twins))}")


def inside(folder: Path, name: str) -> Path | None:
    """Returns the path of a file that annotations name, None if it would lie outside of the folder, or is no name."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half of a character
        return None
    parts = PurePosixPath(name.replace("\\", "/"))
    leaves = parts.is_absolute() or ".." in parts.parts or PureWindowsPath(name).drive or "\0" in name
    return None if leaves or not parts.parts else folder / parts
