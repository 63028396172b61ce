"""Sources from a folder of class folders."""

import os
from pathlib import Path

from bit_keras.data.errors import DataError
from bit_keras.data.source import Source
from bit_keras.data.sources.image_files import Classes, open_image_files
from bit_keras.data.splits import FOR_TESTING, SPLIT_NAMES, assign

# Names in lower case that Windows, macOS and Synology add to folders; other hidden names begin with a dot.
_ADDED_BY_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir")


def open_folder(root: str | os.PathLike, seed: int = 0, skip_unreadable: bool = False, divide: bool = True) -> Source:
    """Opens a folder of images.

    Args:
        root: folder with `train/<class>/<image>` and the same classes in `test`, or in `validation`, `valid` or `val`,
            or in both; or folder with `<class>/<image>`. The names of the splits may be in any case; data without
            `test` are tested on the validation split. Without splits, 20 % of the images of each class, at least one,
            are for testing, chosen by a permutation of the sorted file names. Hidden files, what systems add
            (Thumbs.db, desktop.ini, __MACOSX, @eaDir), and files next to the class folders are ignored. Every image is
            decoded here once, so that training does not fail on a damaged one.
        seed: of the split of a folder without splits, in [0, 2**32).
        skip_unreadable: True leaves out the images that cannot be used, as if they did not exist.
        divide: False, for evaluation, makes all images of a folder without splits the test split, named "all"; class
            folders may then be empty.

    Raises:
        DataError: the folder has another structure, or an image cannot be used; `files` of the error are all such
            images.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    present = [path.name for path in root.iterdir() if path.name.lower() in SPLIT_NAMES and path.is_dir()]
    names = {"train": "."}
    if {"train"} < {SPLIT_NAMES[name.lower()] for name in present}:
        names = assign(root, present)
    return open_image_files(
        root.resolve().name,
        root,
        {split: _classes(root / name, may_be_empty=not divide) for split, name in names.items()},
        test_split=names.get("test", "test"),
        seed=seed,
        skip_unreadable=skip_unreadable,
        divide=divide,
    )


def _classes(root: Path, may_be_empty: bool) -> Classes:
    classes = {}
    for folder in _visible(root):
        if not folder.is_dir():
            continue
        classes[folder.name] = _visible(folder)
        if not classes[folder.name] and not may_be_empty:
            raise DataError(f"a class folder must hold images, got none in {folder}")
        for path in classes[folder.name]:
            if path.is_dir():
                raise DataError(
                    f"a class folder must hold images only, got the folder {path}; a root with splits needs train "
                    f"and one of {FOR_TESTING}"
                )
    if not classes:
        raise DataError(f"{root} must hold one folder for each class, got none")
    return classes


def is_hidden(name: str) -> bool:
    """Tells whether a file or folder of this name is hidden or added by a system, such as Thumbs.db."""
    return name.startswith(".") or name.lower() in _ADDED_BY_SYSTEMS


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))
