"""Sources from a folder of class folders."""

import concurrent.futures
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.examples import Examples
from bit_keras.data.source import Source, median_size

_TEST_FOLDERS = ("test", "validation", "val")
_TEST_SHARE = 0.2  # of a folder without splits


def open_folder(root: str | os.PathLike) -> Source:
    """Opens a folder of images.

    Args:
        root: folder with `train/<class>/<image>` and the same classes in `test`, `validation` or `val` (the first
            that exists), or with `<class>/<image>`. The latter is split class by class, 80 % for training, by a
            permutation of the sorted file names with seed 0. Hidden files, and files beside class folders, are
            ignored. Every image is decoded here once, so that training does not stop on a bad one.

    Raises:
        DataError: the folder is none of these, or an image has not 3 channels or cannot be read.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    test_root = next((root / name for name in _TEST_FOLDERS if (root / name).is_dir()), None)
    if test_root and (root / "train").is_dir():
        train, test = _classes(root / "train"), _classes(test_root)
        if train.keys() != test.keys():
            raise DataError(
                f"{root}: both splits must have the same classes; only in train: {sorted(train.keys() - test.keys())}, "
                f"only in {test_root.name}: {sorted(test.keys() - train.keys())}"
            )
    else:
        train, test = _divide(_classes(root))

    train_files, test_files = _flatten(train), _flatten(test)
    sizes = _check_images(train_files + test_files)
    return Source(
        name=root.resolve().name,
        class_names=tuple(train),
        image_size=median_size(sizes[: len(train_files)]),
        train=_examples(train),
        test=_examples(test),
        identity={"kind": "folder", "fingerprint": _fingerprint(root, train_files + test_files)},
    )


def _classes(root: Path) -> dict[str, list[Path]]:
    """Returns {class: its files}, both sorted by name."""
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
                    f"and one of {', '.join(_TEST_FOLDERS)}"
                )
    if not classes:
        raise DataError(f"{root} must hold one folder for each class, got none")
    return classes


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _divide(classes: dict[str, list[Path]]) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Splits the files of each class into training and test, at least one for each."""
    train, test = {}, {}
    for name, files in classes.items():
        if len(files) < 2:
            raise DataError(f"class {name!r} must have 2 images or more, to train and to test, got {len(files)}")
        order = np.random.RandomState(0).permutation(len(files))
        num_test = max(1, round(_TEST_SHARE * len(files)))
        test[name] = [files[i] for i in sorted(order[:num_test])]
        train[name] = [files[i] for i in sorted(order[num_test:])]
    return train, test


def _flatten(classes: dict[str, list[Path]]) -> list[Path]:
    return [path for files in classes.values() for path in files]


def _examples(classes: dict[str, list[Path]]) -> Examples:
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    names = np.array([str(path) for path in _flatten(classes)], dtype=object)
    return Examples(names, labels, in_files=True)


def _check_images(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Decodes every image and returns (height, width) of each; raises DataError that names all bad ones."""
    results = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for i in range(0, len(paths), 1_000):
            results += pool.map(_inspect, paths[i : i + 1_000])
            logging.log_every_n_seconds(logging.INFO, "%d of %d images checked", 10, len(results), len(paths))
    faults = [result for result in results if isinstance(result, str)]
    if faults:
        raise DataError("\n  ".join([f"{len(faults)} of {len(paths)} images cannot be used:", *shortened(faults)]))
    return results


def _inspect(path: Path) -> tuple[int, int] | str:
    """Returns the image's (height, width), or what is wrong with it."""
    try:
        image = tf.io.decode_image(path.read_bytes())  # [H, W, C], of a GIF [frames, H, W, 3]
    except (OSError, tf.errors.OpError):
        return f"{path}: cannot be decoded as JPEG, PNG, BMP, WebP or GIF"
    if image.ndim == 4 and len(image) > 1:
        return f"{path}: must be a single image, got an animation of {len(image)} frames"
    height, width, channels = image.shape[-3:]
    if channels != 3:
        return f"{path}: must have 3 channels, got {channels}"
    return height, width


def _fingerprint(root: Path, paths: Sequence[Path]) -> str:
    names = sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in paths)
    return hashlib.sha256(repr(names).encode()).hexdigest()
