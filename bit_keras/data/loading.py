"""Opens a task's data by name."""

import os
from pathlib import Path, PureWindowsPath

from bit_keras.data.digits import open_digits
from bit_keras.data.errors import DataError
from bit_keras.data.source import Source
from bit_keras.data.sources.arrays import open_arrays
from bit_keras.data.sources.csv_file import open_table
from bit_keras.data.sources.folder import open_folder
from bit_keras.data.sources.imagenet import open_real as open_real_files
from bit_keras.data.sources.imagenet import open_v2, open_validation
from bit_keras.data.sources.objectnet import open_objectnet
from bit_keras.data.sources.objectnet_archive import is_unpacked
from bit_keras.data.sources.out_of_context import open_out_of_context
from bit_keras.data.sources.shards import find_shards
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import shows_messages
from bit_keras.system.optional import require
from bit_keras.system.paths import expanded
from bit_keras.zoo.evaluation_sets import EvaluationSet, find_set
from bit_keras.zoo.tasks import FAMILIES

# {name of an evaluation set: how its path is opened}
_OPEN = {
    "imagenet2012": open_validation,
    "imagenet2012_real": open_real_files,
    "imagenet_v2": open_v2,
    "objectnet": open_objectnet,
    "out_of_context": open_out_of_context,
}


@known_arguments
@shows_messages
def load(
    name: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    *,
    manual_dir: str | os.PathLike | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
    image_column: str | None = None,
    label_column: str | None = None,
    verbose: bool = True,
) -> Source:
    """Opens the data of a task.

    Args:
        name: one of
            "digits": 1,797 handwritten digits, which are included in the package;
            a task of `bit_keras.list_tasks()`, such as "vtab/clevr-count", with its own splits and labels;
            an evaluation set of that list with a path, such as "objectnet:/data/objectnet-1.0.zip";
            a path that ends in ".csv" or ".tsv": a file that lists images and labels, see `open_table`;
            a path that ends in ".npz": a file of arrays, see `open_arrays`;
            a folder with TFRecord files of the split "train", see `open_tfrecords`;
            another path that exists or begins with "/", "." or "~": a folder of class folders, see `open_folder`;
            else a dataset of TensorFlow Datasets, such as "cifar10", "name/config", "name:version" or "name[:80%]",
            which is downloaded and prepared if necessary; where TensorFlow is not installed, by
            `python -m bit_keras.data prepare`.
        data_dir: data folder of TensorFlow Datasets, None for its default; not used by other sources.
        manual_dir: folder of the archives that TensorFlow Datasets cannot download itself, such as those of
            imagenet2012, or that it should not download; not used by other sources.
        seed: of the choice of test images, in [0, 2**32), for data without splits or with a training split alone.
        skip_unreadable: True leaves out the images of a folder, a CSV file or TFRecord files that cannot be used; not
            used by other sources.
        divide: False, for evaluation, makes all images of such data the test split, named "all"; classes may then be
            empty.
        image_column, label_column: names of the columns of a CSV file, or of the features of TFRecord files and
            TensorFlow Datasets, that hold the images and the labels; None for the usual ones.
        verbose: False shows only warnings, and no progress.

    Raises:
        DataError: the data do not exist, or do not have the required form.
        ImportError: the data need TensorFlow or TensorFlow Datasets, which is not installed.

    Example:
        >>> source = bit_keras.data.load("birds", verbose=False)  # birds/robin/*.jpg and birds/wren/*.jpg
        >>> source.class_names, source.num_train, source.num_test
        (('robin', 'wren'), 16, 4)
    """
    name = expanded(name)
    if not name.strip():
        raise DataError(f"the name or path of the data must be given, got {name!r}")
    data_dir, manual_dir = (path and expanded(path) for path in (data_dir, manual_dir))
    path, is_path = Path(name), _is_path(name)
    columns = {"image_column": image_column, "label_column": label_column}
    if name == "digits":
        return open_digits()
    row, place = find_set(name)
    if place:
        return _open_set(row, Path(expanded(place)), skip_unreadable)
    if row and not row.builder:
        raise DataError(f"{name} must be given as {row.name}:PATH, to {row.path}. {row.by_hand}")
    if name.lower().endswith((".csv", ".tsv")) and not path.is_dir():
        return open_table(name, seed, skip_unreadable, divide, **columns)
    if name.lower().endswith(".npz") and not path.is_dir():
        return open_arrays(name)
    if name.startswith("~"):
        raise DataError(f"no such file or folder: {name}")
    if "train" in find_shards(path):
        require(f"the folder of TFRecord files {name}", "tensorflow")
        from bit_keras.data.sources.tfrecords import open_tfrecords

        return open_tfrecords(name, seed, skip_unreadable, divide, **columns)
    if is_path and is_unpacked(path):
        raise DataError(f"{name} is ObjectNet, whose licence forbids to train on it; to evaluate: objectnet:{name}")
    if is_path:
        return open_folder(name, seed, skip_unreadable, divide)
    _check_installed(name, "tensorflow_datasets")
    if name.startswith(FAMILIES) or (row and row.name == "imagenet2012_real"):
        _check_installed(name, "tensorflow")  # computes their labels
    if name.startswith(FAMILIES):
        from bit_keras.data.sources.tfds_task import open_task

        return open_task(name, data_dir, manual_dir)
    if row and row.name == "imagenet2012_real":
        from bit_keras.data.sources.tfds_task import open_real

        return open_real(row, data_dir, manual_dir)
    from bit_keras.data.sources.tfds import open_tfds  # slow to import

    return open_tfds(name, data_dir, manual_dir, seed, divide, **columns)


def _check_installed(name: str, package: str) -> None:
    try:
        require(f"{name!r} of TensorFlow Datasets", package)
    except ImportError as error:
        raise ImportError(
            f'{error}; allowed without it are "digits", the path of a folder and that of a CSV file', name=error.name
        ) from error


def _open_set(row: EvaluationSet, path: Path, skip_unreadable: bool) -> Source:
    """Opens an evaluation set by its path."""
    if row.name != "objectnet" and not path.is_dir():
        raise DataError(f"{row.name}: the path must lead to {row.path}; no such folder: {path}")
    return _OPEN[row.name.partition("/")[0]](row, path, skip_unreadable)


def _is_path(name: str) -> bool:
    """Tells whether a name is a path, not one of TensorFlow Datasets; raises DataError if it is one of Windows."""
    path = Path(name)
    # Those of pathlib raise errors for names that are too long.
    if name.startswith(("/", ".", "~")) or os.path.isdir(name) or (path.suffix and os.path.exists(name)):
        return True
    if "\\" not in name and not PureWindowsPath(name).is_absolute():
        return False
    if os.name != "nt":
        raise DataError(
            f"{name} is a path of Windows, which does not exist here: it must have the form /data/birds, or in WSL "
            "/mnt/c/data/birds for C:\\data\\birds"
        )
    return True
