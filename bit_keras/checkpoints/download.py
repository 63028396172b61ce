"""Weight files from the network, kept in Keras's cache folder."""

import hashlib
import os
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlparse

import keras

from bit_keras.files import whole


def is_url(name: str) -> bool:
    """Tells whether `name` is an http or https address."""
    return urlparse(name).scheme in ("http", "https")


def fetch(url: str) -> Path:
    """Returns the local copy of the file at `url`, downloading it on first use.

    The copy keeps host and path of the address below `models/bit_keras` in the Keras home (KERAS_HOME or ~/.keras).
    A query ("?...") is kept as a hash in front of the name.

    Args:
        url: an http or https address.

    Raises:
        ConnectionError: the file cannot be had. The message says where a copy made by hand may lie.
    """
    parts = urlparse(url)
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser().absolute()
    below_host = [part for part in parts.path.split("/") if part not in ("", ".", "..")]
    local = home.joinpath("models", "bit_keras", parts.netloc.replace(":", "_"), *below_host)
    if parts.query:
        local = local.with_name(f"{hashlib.sha256(parts.query.encode()).hexdigest()[:16]}-{local.name}")
    if local.is_file():
        return local
    with whole(local) as temporary:  # a folder for each call: another process may be downloading the same file
        try:
            keras.utils.get_file(
                temporary.name, url, cache_dir=home, cache_subdir=temporary.parent, force_download=True
            )
        except Exception as error:  # get_file raises a bare Exception for every fault of the network
            if isinstance(error.__context__, HTTPError):
                error.__context__.close()  # get_file leaves the connection open
            raise ConnectionError(f"cannot download {url} ({error}); a copy may be put at {local}") from error
    return local
