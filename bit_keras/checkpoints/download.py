"""Weight files from the network, kept in Keras's cache folder."""

import os
from pathlib import Path
from urllib.parse import urlparse

import keras


def is_url(name: str) -> bool:
    """Tells whether `name` is an http or https address."""
    return urlparse(name).scheme in ("http", "https")


def fetch(url: str) -> Path:
    """Returns the local copy of the file at `url`, downloading it on first use.

    The copy keeps host and path of the address below `models/bit_keras` in the Keras home (KERAS_HOME or ~/.keras).

    Args:
        url: an http or https address.

    Raises:
        ConnectionError: the file cannot be had. The message says where a copy made by hand may lie.
    """
    parts = urlparse(url)
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    below_host = [part for part in parts.path.split("/") if part not in ("", ".", "..")]
    local = home.joinpath("models", "bit_keras", parts.netloc.replace(":", "_"), *below_host)
    if local.is_file():
        return local
    local.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial = keras.utils.get_file(
            f"{local.name}.part", url, cache_dir=home, cache_subdir=local.parent, force_download=True
        )
    except Exception as error:  # get_file raises a bare Exception for every fault of the network
        raise ConnectionError(f"cannot download {url} ({error}); a copy may be put at {local}") from error
    os.replace(partial, local)
    return local
