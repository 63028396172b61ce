"""Files of the Hugging Face hub, downloaded and cached by the optional package huggingface_hub."""

import os
from pathlib import Path

from bit_keras.checkpoints.remote.addresses import hub_file
from bit_keras.system.optional import require


def fetch_from_hugging_face(url: str, offline: bool = False) -> Path:
    """Returns the local copy of a file, which huggingface_hub stores in its cache, HF_HUB_CACHE.

    The package reads the token of `hf auth login`, HF_TOKEN, and HF_HUB_OFFLINE. It looks for a newer file of the
    revision each time, and takes the one in the cache if the hub cannot be reached.

    Args:
        url: hf://owner/repo[@revision]/path.
        offline: True does not use the network.

    Raises:
        ValueError: the address is malformed.
        ImportError: huggingface_hub is not installed.
        ConnectionError: the file cannot be downloaded, or it is not in the cache and the network may not be used.
    """
    repository, revision, path = hub_file(url)
    require(url, "huggingface_hub")
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(
            huggingface_hub.hf_hub_download(
                repository,
                path,
                revision=revision,
                endpoint=os.environ.get("HF_ENDPOINT") or None,
                local_files_only=offline,
            )
        )
    except (
        errors.EntryNotFoundError,  # also for a file that is not in the cache
        errors.FileMetadataError,
        errors.HTTPError,  # of the library that it sends requests with
        errors.HFValidationError,
        errors.OfflineModeIsEnabled,
    ) as error:
        reason = f"{error} ({error.__cause__})" if error.__cause__ else f"{error}"
        if offline:
            reason = "BIT_KERAS_OFFLINE forbids the network, and the file is not in its cache"
        raise ConnectionError(f"huggingface_hub cannot download {url}: {reason}") from error
