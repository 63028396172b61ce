"""Files and folders of Kaggle Models, downloaded and cached by the optional package kagglehub."""

import contextlib
import os
from pathlib import Path

from bit_keras.checkpoints.remote.addresses import kaggle_handle
from bit_keras.system import inventory
from bit_keras.system.optional import require


def fetch_from_kaggle(url: str, offline: bool = False) -> Path:
    """Returns the local copy of a file or folder, which kagglehub stores below KAGGLEHUB_CACHE.

    Args:
        url: kaggle://owner/model/framework/variation[/version][/path]; the newest version and the whole folder by
            default.
        offline: True does not use the network; the newest version is then the newest one in the cache.

    Raises:
        ValueError: the address is malformed.
        ImportError: kagglehub is not installed.
        ConnectionError: it cannot be downloaded, or it is not in the cache and `offline` is True.
    """
    handle, path = kaggle_handle(url)
    if offline:
        return _cached(url, handle, path)
    require(url, "kagglehub")
    import kagglehub
    import requests
    from kagglehub import exceptions

    try:
        found = Path(kagglehub.model_download(handle, path=path))
        if found.is_dir() and inventory.is_recorded(found) and not inventory.is_complete(found):
            # kagglehub looks for the folder only, not for files that were deleted in it.
            inventory.forget(found)
            found = Path(kagglehub.model_download(handle, path=path, force_download=True))
    except (
        requests.RequestException,
        exceptions.BackendError,
        exceptions.CredentialError,
        exceptions.DataCorruptionError,
        exceptions.NotFoundError,
        exceptions.UnauthenticatedError,
    ) as error:
        raise ConnectionError(f"kagglehub cannot download {url}: {error}") from error
    if found.is_dir() and not inventory.is_recorded(found):
        with contextlib.suppress(OSError):  # a shared cache may be read-only for this user
            inventory.record(found)
    return found


def _cached(url: str, handle: str, path: str | None) -> Path:
    cache = Path(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub").expanduser()
    folder = cache.joinpath("models", handle)
    if handle.count("/") == 3:
        versions = [int(child.name) for child in folder.glob("*") if child.name.isdecimal()]
        folder = folder / str(max(versions, default=1))
    found = folder / (path or "")
    # kagglehub writes this marker after the last file of a folder.
    is_complete = folder.with_name(f"{folder.name}.complete").is_file()
    if found.is_dir() and inventory.is_recorded(found):
        is_complete = is_complete and inventory.is_complete(found)
    if found.is_file() or (found.is_dir() and is_complete):
        return found
    raise ConnectionError(
        f"BIT_KERAS_OFFLINE forbids the network and {url} is not in kagglehub's cache: put it at {found}, "
        "or unset BIT_KERAS_OFFLINE"
    )
