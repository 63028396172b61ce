"""Finds the local file for the name of published weights, an address or a path."""

import os
from pathlib import Path

from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.folders import OF_A_RUN, weight_file
from bit_keras.checkpoints.readers import shards
from bit_keras.checkpoints.remote import download
from bit_keras.checkpoints.remote.addresses import SCHEMES, canonical, request_for, scheme
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import logger
from bit_keras.system.paths import expanded
from bit_keras.zoo.presets import PRESETS, WeightFile, get_preset
from bit_keras.zoo.variants import get_variant


@known_arguments
def locate(
    name: str | os.PathLike, variant: str | None = None, file_format: str | None = None
) -> tuple[Path, str | None]:
    """Returns a local weight file, which is downloaded if necessary, and the variant that it must hold, if known.

    Args:
        name: name of published weights, address or path; of a folder the file in it is taken, best.npz, or else
            weights.npz, or the only weight file.
        variant: required architecture, None for any.
        file_format: format of the published file, such as "h5" or "timm", None for the first one; for names only.

    Raises:
        ValueError: the preset, file or variant does not exist, the variant contradicts the preset, or the weights
            were not published in this format; or the address is malformed.
        FileNotFoundError: a folder has no weight file.
        CheckpointError: the published file is known to be wrong, or the downloaded file differs from it; or a folder
            has several weight files.
        ConnectionError: the file cannot be downloaded.

    Example:
        >>> from bit_keras.checkpoints import locate
        >>> path, variant = locate("BiT-mini-R17x0.5")  # a preset: downloaded on first use
        >>> path.name, variant
        ('BiT-mini-R17x0.5.npz', 'R17x0.5')
    """
    if variant is not None:
        get_variant(variant)  # raises before a download
    name = expanded(name)
    if name not in PRESETS and (download.is_url(name) or os.path.exists(name)):
        if file_format is not None:
            raise ValueError(f"file_format={file_format!r} is for names of published weights, got {name!r}")
        found = _download(name) if download.is_url(name) else Path(name)
        path = weight_file(found)
        if path != found:
            where = "of the run in" if path.name in OF_A_RUN else "in the folder"
            logger.info("%s %s: %s", where, name, path.name)
        return path, variant
    if "://" in name:
        raise ValueError(f"an address must begin with {', '.join(f'{each}://' for each in SCHEMES)}, got {name!r}")
    try:
        row = get_preset(name)
    except ValueError as error:
        raise ValueError(f"no file is called {name!r}: {error}") from None
    if variant not in (None, row.variant):
        raise ValueError(f"preset {name} is variant {row.variant}, got variant={variant!r}")
    return _fetch(_file(row, file_format)), row.variant


def _file(row, file_format: str | None) -> WeightFile:
    files = {file.format: file for file in reversed(row.files)}
    if file_format is not None and file_format not in files:
        raise ValueError(f"{row.name} was published as {', '.join(sorted(files))}, got file_format={file_format!r}")
    return row.files[0] if file_format is None else files[file_format]


def _download(url: str) -> Path:
    """Returns the local copy of the file or folder at an address; that of an index with all its shards."""
    url = canonical(url)
    published = {file.url: file for row in PRESETS.values() for file in row.files}
    address = request_for(url)[0] if scheme(url) == "gs" else url
    if address.rstrip("/") in published:
        return _fetch(published[address.rstrip("/")])
    path = download.fetch(url)
    if path.name.endswith(shards.ENDING):
        for shard in shards.shard_files(path):
            download.fetch(f"{url.rpartition('/')[0]}/{shard.name}")
    return path


def _fetch(file: WeightFile) -> Path:
    if file.fault:
        raise CheckpointError(f"{file.url}: {file.fault}")
    if file.files:
        return download.fetch_folder(file.url, file.files)
    return download.fetch(file.url, md5=file.md5, sha256=file.sha256)
