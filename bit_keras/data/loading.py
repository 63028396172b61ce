"""Opens a task's data by name."""

import os
from pathlib import Path

from bit_keras.data.digits import open_digits
from bit_keras.data.errors import DataError
from bit_keras.data.source import Source
from bit_keras.data.sources.arrays import open_arrays
from bit_keras.data.sources.csv_file import open_table
from bit_keras.data.sources.folder import open_folder
from bit_keras.data.sources.shards import find_shards
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import shows_messages
from bit_keras.system.optional import require
from bit_keras.system.paths import expanded


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
    verbose: bool = True,
) -> Source:
    """Opens the data of a task.

    Args:
        name: one of
            "digits": 1,797 handwritten digits, which are included in the package;
            a path that ends in ".csv": a file that lists images and labels, see `open_table`;
            a path that ends in ".npz": a file of arrays, see `open_arrays`;
            a folder with TFRecord files "train-*", see `open_tfrecords`;
            another path that exists or begins with "/", "." or "~": a folder of class folders, see `open_folder`;
            else a dataset of TensorFlow Datasets, such as "cifar10", "name/config" or "name:version", which is
            downloaded and prepared if necessary.
        data_dir: data folder of TensorFlow Datasets, None for its default; not used by other sources.
        manual_dir: folder of the archives that TensorFlow Datasets cannot download itself, such as those of
            imagenet2012, or that it should not download; not used by other sources.
        seed: of the split of a folder or CSV file without splits, in [0, 2**32); not used by other sources.
        skip_unreadable: True leaves out the images of a folder or CSV file that cannot be used; not used by other
            sources.
        divide: False, for evaluation, makes all images of a folder or CSV file without splits the test split, named
            "all"; classes may then be empty. Not used by other sources.
        verbose: False shows only warnings, and no progress.

    Raises:
        DataError: the data do not exist, or do not have the required form.
        ImportError: the data need TensorFlow or TensorFlow Datasets, which is not installed.
    """
    name = expanded(name)
    if not name.strip():
        raise DataError(f"the name or path of the data must be given, got {name!r}")
    data_dir, manual_dir = (path and expanded(path) for path in (data_dir, manual_dir))
    if name == "digits":
        return open_digits()
    if name.lower().endswith(".csv") and not Path(name).is_dir():
        return open_table(name, seed, skip_unreadable, divide)
    if name.lower().endswith(".npz") and not Path(name).is_dir():
        return open_arrays(name)
    if name.startswith("~"):
        raise DataError(f"no such file or folder: {name}")
    if find_shards(Path(name), "train"):
        require(f"the folder of TFRecord files {name}", "tensorflow")
        from bit_keras.data.sources.tfrecords import open_tfrecords

        return open_tfrecords(name)
    if name.startswith(("/", ".", "~")) or Path(name).is_dir():
        return open_folder(name, seed, skip_unreadable, divide)
    try:
        require(f"{name!r} of TensorFlow Datasets", "tensorflow", "tensorflow_datasets")
    except ImportError as error:
        raise ImportError(
            f'{error}; allowed without it are "digits", the path of a folder and that of a CSV file', name=error.name
        ) from error
    from bit_keras.data.sources.tfds import open_tfds  # slow to import

    return open_tfds(name, data_dir, manual_dir)
