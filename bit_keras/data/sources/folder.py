"""Sources from a folder of class folders."""

import os
from pathlib import Path

from bit_keras.data.errors import DataError, shortened
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
            `test`, or whose `test` has no class folders, are tested on the validation split. Without both, 20 % of the
            images of each class, at least one, are for testing, chosen by a permutation of the sorted file names.
            Hidden files, what systems add (Thumbs.db, desktop.ini, __MACOSX, @eaDir), and files next to the class
            folders are ignored. Every image is decoded here once, so that training does not fail on a damaged one;
            what is no image, such as a folder or a pipe in a class folder, cannot be used either.
        seed: of the split of a folder without splits, in [0, 2**32).
        skip_unreadable: True leaves out the images that cannot be used, as if they did not exist.
        divide: False, for evaluation, makes all images of a folder without splits the test split, named "all"; class
            folders may then be empty.

    Raises:
        DataError: the folder has another structure, or an image cannot be used; `files` of the error are all such
            images.

    Example:
        >>> from bit_keras.data.sources.folder import open_folder
        >>> open_folder("birds")  # birds/robin/*.jpg and birds/wren/*.jpg
        Source(birds: 16 training and 4 test examples of 2 classes)
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        is_other = f"; files of data end in .csv, .tsv or .npz, {root.name} is another file" if root.exists() else ""
        raise DataError(f"no such folder: {root}{is_other}")
    names = _splits(root)
    return open_image_files(
        root.resolve().name,
        root,
        {split: _classes(root / name, may_be_empty=not divide) for split, name in names.items()},
        test_split=names.get("test", "test"),
        seed=seed,
        skip_unreadable=skip_unreadable,
        divide=divide,
    )


def _splits(root: Path) -> dict[str, str]:
    """Returns {split: its folder}; without splits that of "train" is "."."""
    present = {path.name: _folders(path) for path in _folders(root) if path.name.lower() in SPLIT_NAMES}
    train = next((folders for name, folders in present.items() if name.lower() == "train"), None)
    if train is None or (len(present) == 1 and not train):  # the class "train"
        return {"train": "."}
    classes = {folder.name for folder in train}

    def is_labelled(test: str) -> bool:
        """Competitions publish test images without class folders, or in one folder with a name of its own."""
        found = {folder.name for folder in present[test]}
        return len(found) > 1 or bool(found & classes)

    return assign(root, present, is_labelled)


def class_files(root: Path, may_be_empty: bool = False) -> dict[Path, list[Path]]:
    """Returns {class folder: its files}, both sorted.

    Raises:
        DataError: there is no class folder, or one has no files and must not be empty.
    """
    classes = {folder: _visible(folder) for folder in _folders(root)}
    empty = [str(folder) for folder, files in classes.items() if not files]
    if empty and not may_be_empty:
        raise DataError(f"a class folder must hold images, got none in {', '.join(shortened(empty))}")
    if not classes:
        raise DataError(f"{root} must hold one folder for each class, got none")
    return classes


def _classes(root: Path, may_be_empty: bool) -> Classes:
    classes = {folder.name: files for folder, files in class_files(root, may_be_empty).items()}
    if all(path.is_dir() for files in classes.values() for path in files):
        raise DataError(
            f"a class folder must hold images, got folders only in {root}; a root with splits needs train and may have "
            f"{FOR_TESTING}"
        )
    return classes


def is_hidden(name: str) -> bool:
    """Tells whether a file or folder of this name is hidden or added by a system, such as Thumbs.db."""
    return name.startswith(".") or name.lower() in _ADDED_BY_SYSTEMS


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}") from error


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]
