"""Downloads weight files to a cache folder, and checks them against the hash recorded on first use."""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import filelock

from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.remote.addresses import (
    SCHEMES,
    cache_path,
    canonical,
    is_url,
    mirrors,
    package_path,
    request_for,
    scheme,
)
from bit_keras.checkpoints.remote.contents import check_contents
from bit_keras.checkpoints.remote.hugging_face import fetch_from_hugging_face
from bit_keras.checkpoints.remote.kaggle import fetch_from_kaggle
from bit_keras.checkpoints.remote.transfer import discard, receive
from bit_keras.system.files import whole
from bit_keras.system.logs import logger
from bit_keras.system.optional import is_installed

_HEX_DIGITS = {"md5": 32, "sha256": 64}


def fetch(url: str, md5: str | None = None, sha256: str | None = None) -> Path:
    """Returns the local copy of the file at `url`, downloading it on first use.

    On first use the format of the file and the given hashes are checked, whether it was downloaded or put there by
    hand, and its SHA-256 is written next to it (NAME.sha256, in the format of sha256sum). On each later use the file
    is compared with this hash.

    The copy is stored under the host and path of its address below BIT_KERAS_CACHE, or below `models/bit_keras` in
    the Keras home (KERAS_HOME or ~/.keras). The mirrors of BIT_KERAS_MIRROR are tried first,
    a comma-separated list of addresses and local folders.
    With BIT_KERAS_OFFLINE=1 the network is not used. Files of Kaggle are stored by kagglehub, and those of Hugging Face
    by huggingface_hub if it is installed and no mirror is set; their format and the given hashes are checked each time.

    Args:
        url: an http, https, gs, hf, kaggle or package address, or that of a page about weights on kaggle.com,
            huggingface.co or tfhub.dev, as browsers show it.
        md5: expected hash, 32 hexadecimal digits, None if unknown.
        sha256: expected hash, 64 hexadecimal digits, None if unknown.

    Raises:
        ValueError: the address or a hash is malformed, or the address is a page that is not about weights.
        ConnectionError: the file cannot be downloaded. The message lists the answer of each source, how much of the
            file was received, and where to put a copy made by hand.
        CheckpointError: the file is incomplete, is a web page, or has another hash. A downloaded file is deleted, one
            that was in the cache is kept.
        ImportError: kagglehub is not installed, for a kaggle address.
        OSError: the cache folder cannot be written.

    Example:
        >>> from bit_keras.checkpoints import fetch
        >>> path = fetch("https://storage.googleapis.com/bit_models/ilsvrc2012_wordnet_lemmas.txt")
        >>> path.name
        'ilsvrc2012_wordnet_lemmas.txt'
    """
    hashes = _given_hashes(md5=md5, sha256=sha256)
    if not is_url(url):
        raise ValueError(f"an address must begin with {', '.join(f'{each}://' for each in SCHEMES)}, got {url!r}")
    given, url = url, canonical(url)
    if url != given:
        logger.info("%s: %s", given, url)
    if scheme(url) == "kaggle":
        return _fetch_from_hub(url, hashes)
    if scheme(url) == "package":
        return _fetch_from_package(url, hashes)
    local = cache_path(url)
    if not local.is_file() and _client(url) and not mirrors(url):
        return _fetch_from_hub(url, hashes)
    if not local.is_file():
        sources = _sources(url, local)
        with _lock(local):
            if not local.is_file():  # otherwise another process has just downloaded it
                _download(url, local, sources, hashes)
                return local
    _check_cached(url, local, hashes)
    return local


def fetch_folder(url: str, files: Sequence[str]) -> Path:
    """Returns the local copy of a folder, whose files are downloaded by `fetch`.

    Args:
        url: address of the folder, such as one of the published "....tfhub" folders.
        files: relative paths of its files, such as ["saved_model.pb", "tfhub_module.pb", "variables/variables.index",
            "variables/variables.data-00000-of-00001"].

    Raises:
        ValueError: `files` is empty or contains a path outside of the folder, or the address has a query.
        Exception: the errors of `fetch`.
    """
    paths = [PurePosixPath(name) for name in files]
    if not paths or any(path.is_absolute() or ".." in path.parts or not path.parts for path in paths):
        raise ValueError(f"files must be paths below the folder, at least one, got {list(files)}")
    if "?" in url:
        raise ValueError(f"the address of a folder has no query, got {url!r}")
    copies = [fetch(f"{url.rstrip('/')}/{path}") for path in paths]
    return copies[0].parents[len(paths[0].parts) - 1]


def _client(url: str) -> Callable[[str, bool], Path] | None:
    """Returns the function that downloads a file with the package of its hub, None if it is downloaded by `receive`."""
    if scheme(url) == "kaggle":
        return fetch_from_kaggle
    return fetch_from_hugging_face if scheme(url) == "hf" and is_installed("huggingface_hub") else None


def _fetch_from_hub(url: str, hashes: list[tuple[str, str, str]]) -> Path:
    path = _client(url)(url, _is_offline())
    if path.is_file():
        check_contents(path, path.name)
        _check_hashes(path, hashes)
    elif hashes:
        raise ValueError(f"{url} is a folder, which has no hash")
    return path


def _fetch_from_package(url: str, hashes: list[tuple[str, str, str]]) -> Path:
    path = package_path(url)
    try:
        _check_hashes(path, hashes)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is not the file that was shipped: {error}\nInstall bit-keras anew") from error
    return path


def _given_hashes(**digests: str | None) -> list[tuple[str, str, str]]:
    """Returns [(algorithm, hexadecimal digits, source of the hash as the beginning of a message)]."""
    hashes = []
    for algorithm, digest in digests.items():
        if digest is None:
            continue
        if not re.fullmatch(f"[0-9a-fA-F]{{{_HEX_DIGITS[algorithm]}}}", digest):
            raise ValueError(f"{algorithm} must be {_HEX_DIGITS[algorithm]} hexadecimal digits, got {digest!r}")
        hashes.append((algorithm, digest.lower(), "the caller asks for"))
    return hashes


def _is_offline() -> bool:
    return os.environ.get("BIT_KERAS_OFFLINE", "").lower() in ("1", "true", "yes")


def _sources(url: str, local: Path) -> list[str]:
    sources = [*mirrors(url), url]
    if not _is_offline():
        return sources
    sources = [source for source in sources if not is_url(source) and Path(source).expanduser().is_file()]
    if not sources:
        raise ConnectionError(
            f"BIT_KERAS_OFFLINE forbids the network and {url} is not in the cache: put {local.name} into the folder "
            f"{local.parent}, or unset BIT_KERAS_OFFLINE"
        )
    return sources


@contextlib.contextmanager
def _lock(local: Path) -> Iterator[None]:
    """Lets one process at a time download a file; the lock of a killed process is released."""
    lock = filelock.FileLock(f"{local}.lock")
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.info("waiting for another process that downloads %s", local)
        lock.acquire()
    except OSError as error:
        reason = f"{error.strerror}; BIT_KERAS_CACHE may name another folder for downloads, got"
        raise OSError(error.errno, reason, str(local.parent)) from error
    try:
        yield
    finally:
        lock.release()


def _download(url: str, local: Path, sources: list[str], hashes: list[tuple[str, str, str]]) -> None:
    partial = Path(f"{local}.part")
    answers = []
    for source in sources:
        try:
            _bring(source, partial)
            digest = _check_partial(partial, local, hashes)
        except (ConnectionError, CheckpointError) as error:
            answers.append((source, error))
        else:
            os.replace(partial, local)
            discard(partial)
            _record(local, digest)
            return
    lines = "".join(f"\n  {source}: {error}" for source, error in answers)
    last = answers[-1][1]
    raise type(last)(f"cannot download {url}; a copy made by hand may be put at {local}{lines}") from last


def _bring(source: str, partial: Path) -> None:
    client = _client(source)
    if is_url(source) and client is None:
        address, token = request_for(source)
        receive(address, partial, token)
        return
    path = client(source, False) if client else Path(source).expanduser()
    if not path.is_file():
        raise ConnectionError("no such file")
    discard(partial)
    shutil.copyfile(path, partial)


def _check_partial(partial: Path, local: Path, hashes: list[tuple[str, str, str]]) -> str:
    try:
        check_contents(partial, local.name)
        return _check_hashes(partial, hashes + _recorded_hashes(local))
    except CheckpointError:
        discard(partial)
        raise


def _check_cached(url: str, local: Path, hashes: list[tuple[str, str, str]]) -> None:
    recorded = _recorded_hashes(local)
    try:
        if not recorded:
            check_contents(local, local.name)
        digest = _check_hashes(local, hashes + recorded)
    except CheckpointError as error:
        raise CheckpointError(
            f"{local} is not the file that it must be: {error}\nDelete it and {_record_of(local)} to download {url} "
            f"anew; delete {_record_of(local).name} alone to trust the file as it is"
        ) from error
    if not recorded:
        _record(local, digest)


def _check_hashes(path: Path, hashes: list[tuple[str, str, str]]) -> str:
    """Returns the SHA-256 of a file; raises CheckpointError unless the file has all of the hashes."""
    digests = {algorithm: _digest(path, algorithm) for algorithm in {"sha256", *(row[0] for row in hashes)}}
    for algorithm, digest, origin in hashes:
        if digests[algorithm] != digest:
            raise CheckpointError(f"its {algorithm} is {digests[algorithm]}, {origin} {digest}")
    return digests["sha256"]


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _record_of(local: Path) -> Path:
    return local.with_name(f"{local.name}.sha256")


def _record(local: Path, digest: str) -> None:
    try:
        with whole(_record_of(local)) as temporary:
            temporary.write_text(f"{digest}  {local.name}\n")
    except OSError as error:  # a shared cache may be read-only for this user
        logger.warning("the hash of %s is not recorded: %s", local, error)


def _recorded_hashes(local: Path) -> list[tuple[str, str, str]]:
    record = _record_of(local)
    if not record.is_file():
        return []
    digest = record.read_text(errors="replace").partition(" ")[0]
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise CheckpointError(f"{record} must hold a line as sha256sum writes it; delete it to trust the file as it is")
    return [("sha256", digest, f"{record} holds")]
