"""Names the images that cannot be read any more, when training has begun.

Images are checked when the data are opened. What fails later has changed since, or its disk fails; TensorFlow's error
then does not say which image it is.
"""

import contextlib
import sys
from collections.abc import Iterator

import numpy as np

from bit_keras.data.errors import DataError
from bit_keras.data.examples import Examples
from bit_keras.data.remembered import forget
from bit_keras.data.source import Source, Split
from bit_keras.data.sources.scan import scan
from bit_keras.system.logs import doing, logger
from bit_keras.system.texts import counted

_ITERATOR = "IteratorGetNext"  # the operation of TensorFlow that fails if an element of a dataset does
_WAY_OUT = (
    "It could be read when the data were opened: repair it, and start again with the same command, or with "
    "--skip_unreadable to leave it out, in a new workdir"
)


@contextlib.contextmanager
def named(source: Source) -> Iterator[None]:
    """Raises an error that names the images of `source` which cannot be read, if the block fails because of them.

    The next start checks all images again, also those that earlier starts have found to be usable.

    Raises:
        DataError: images cannot be read; `files` are all of them. It replaces an error of TensorFlow.
    """
    try:
        yield
    except DataError as error:
        if not error.files:
            raise
        forget()
        raise DataError(f"{error}\n{_WAY_OUT}", error.files) from error
    except Exception as error:
        if not _is_of_data(error):
            raise
        logger.error("an image cannot be read: looking for it in all of %s", source.name)
        try:
            for split in filter(None, (source.train, source.test, source.validation)):
                _check(split)
        except DataError as named_error:
            forget()
            raise DataError(f"{named_error}\n{_WAY_OUT}", named_error.files) from error
        raise


def _is_of_data(error: Exception) -> bool:
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(error, tensorflow.errors.OpError) and _ITERATOR in str(error)


def _check(split: Split) -> None:
    """Decodes all images of a split that is in files; raises DataError that names those which cannot be used."""
    with doing(f"checking {counted(len(split), 'image')}"):
        if isinstance(split, Examples):
            if split.in_files:
                scan(list(split.images))
        elif hasattr(split, "read_encoded"):  # records of TFRecord files, whose module imports TensorFlow
            scan(np.arange(len(split)).tolist(), read=split.read_encoded, name=split.name)
