"""Sources from a folder of class folders."""

import os
from pathlib import Path

from bit_keras.data.errors import DataError
from bit_keras.data.source import Source
from bit_keras.data.sources.image_files import TEST_SPLITS, Classes, open_image_files
from bit_keras.system.logs import logger

# Names in lower case that Windows, macOS and Synology add to folders; other hidden names begin with a dot.
_ADDED_BY_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir")


def open_folder(root: str | os.PathLike, seed: int = 0, skip_unreadable: bool = False) -> Source:
    """Opens a folder of images.

    Args:
        root: folder with `train/<class>/<image>` and the same classes in `test`, `validation` or `val`, or folder
            with `<class>/<image>`. With splits, the first of `test`, `validation` and `val` that exists is for
            testing, and the others are not used. Without splits, 20 % of the images of each class, at least one, are
            for testing, chosen by a permutation of the sorted file names. Hidden files, what
            systems add (Thumbs.db, desktop.ini, __MACOSX, @eaDir), and files next to the class folders are ignored.
            Every image is decoded here once, so that training does not fail on a damaged one.
        seed: of the split of a folder without splits, in [0, 2**32).
        skip_unreadable: True leaves out the images that cannot be used, as if they did not exist.

    Raises:
        DataError: the folder has another structure, or an image cannot be used; `files` of the error are all such
            images.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    present = [name for name in TEST_SPLITS if (root / name).is_dir()]
    if present and (root / "train").is_dir():
        train, test = _classes(root / "train"), _classes(root / present[0])
        if present[1:]:
            logger.info("%s: tested on %s; %s is not used", root, present[0], " and ".join(present[1:]))
    else:
        train, test = _classes(root), None
    return open_image_files(root.resolve().name, root, train, test, seed=seed, skip_unreadable=skip_unreadable)


def _classes(root: Path) -> Classes:
    classes = {}
    for folder in _visible(root):
        if not folder.is_dir():
            continue
        classes[folder.name] = _visible(folder)
        if not classes[folder.name]:
            raise DataError(f"a class folder must hold images, got none in {folder}")
        for path in classes[folder.name]:
            if path.is_dir():
                raise DataError(
                    f"a class folder must hold images only, got the folder {path}; a root with splits needs train "
                    f"and one of {', '.join(TEST_SPLITS)}"
                )
    if not classes:
        raise DataError(f"{root} must hold one folder for each class, got none")
    return classes


def _visible(folder: Path) -> list[Path]:
    """Returns what a folder holds, sorted, without hidden files and what systems add."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.lower() not in _ADDED_BY_SYSTEMS
    )
