"""What the address of a weight file means: who serves it, where its copy lies, which mirrors may have it.

| address | served by |
|---|---|
| https://host/path, http://host/path | the host |
| gs://bucket/path | Google Cloud Storage, public objects |
| hf://owner/repo[@revision]/path | the Hugging Face hub or HF_ENDPOINT, with HF_TOKEN; revision main by default |
| kaggle://owner/model/framework/variation[/version][/path] | Kaggle Models, through kagglehub |
| package://path | this package itself, which ships a file or two |
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

SCHEMES = ("http", "https", "gs", "hf", "kaggle", "package")
GOOGLE_STORAGE = "https://storage.googleapis.com"
HUGGING_FACE = "https://huggingface.co"

_OFFICIAL_BUCKET = "bit_models"


def is_url(name: str) -> bool:
    """Tells whether `name` is an address of one of `SCHEMES`."""
    return scheme(name) in SCHEMES


def scheme(name: str) -> str:
    """Returns what stands before "://", in lower case, "" if `name` has no such thing."""
    before, separator, _ = name.partition("://")
    return before.lower() if separator else ""


def request_for(url: str) -> tuple[str, str | None]:
    """Returns the http(s) address that serves a file, and the token to send there or None.

    Args:
        url: an address of any scheme but kaggle.

    Raises:
        ValueError: the address is malformed.
    """
    if scheme(url) == "hf":
        endpoint = os.environ.get("HF_ENDPOINT") or HUGGING_FACE
        return f"{endpoint.rstrip('/')}/{_hub_path(url)}", os.environ.get("HF_TOKEN") or None
    return _permanent(url), None


def cache_path(url: str) -> Path:
    """Returns where the local copy of the file at `url` lies, whether it is there or not.

    That is host/path below BIT_KERAS_CACHE, or below `models/bit_keras` in the Keras home (KERAS_HOME or ~/.keras).
    A query ("?...") is kept as a hash in front of the name. HF_ENDPOINT and mirrors leave the place as it is.

    Raises:
        ValueError: the address is malformed or names no file.
    """
    cache = os.environ.get("BIT_KERAS_CACHE")
    if not cache:
        cache = Path(os.environ.get("KERAS_HOME") or "~/.keras", "models", "bit_keras")
    return Path(cache).expanduser().absolute() / _relative_path(url)


def mirrors(url: str) -> list[str]:
    """Returns the addresses and local paths where the mirrors of BIT_KERAS_MIRROR would have the file at `url`.

    BIT_KERAS_MIRROR holds addresses of any scheme and local folders, with commas between them. A mirror is laid out
    like the cache, but has the files of the official bucket at its top: BASE/BiT-M-R50x1.npz, else BASE/host/path.

    Raises:
        ValueError: the address is malformed or names no file.
    """
    path = _relative_path(url)
    bucket = _relative_path(f"{GOOGLE_STORAGE}/{_OFFICIAL_BUCKET}")
    if path.is_relative_to(bucket):
        path = path.relative_to(bucket)
    bases = os.environ.get("BIT_KERAS_MIRROR", "").split(",")
    return [f"{base.strip().rstrip('/')}/{path}" for base in bases if base.strip()]


def package_path(url: str) -> Path:
    """Returns where the file of a package address lies.

    Raises:
        ValueError: the package has no such file.
    """
    path = Path(__file__).parents[2].joinpath(*_parts_below_scheme(url))
    if not path.is_file():
        raise ValueError(f"the package has no file {url!r}")
    return path


def kaggle_handle(url: str) -> tuple[str, str | None]:
    """Splits a kaggle address into kagglehub's handle, "owner/model/framework/variation[/version]", and a path or None.

    Raises:
        ValueError: the address is malformed.
    """
    parts = _parts_below_scheme(url)
    if len(parts) < 4:
        raise ValueError(f"a kaggle address is kaggle://owner/model/framework/variation[/version][/path], got {url!r}")
    length = 5 if len(parts) > 4 and re.fullmatch("[0-9]+", parts[4]) else 4
    return "/".join(parts[:length]), "/".join(parts[length:]) or None


def _permanent(url: str) -> str:
    """The http(s) address that a file is known by, whatever the environment says."""
    if scheme(url) == "gs":
        return f"{GOOGLE_STORAGE}/{'/'.join(_parts_below_scheme(url))}"
    if scheme(url) == "hf":
        return f"{HUGGING_FACE}/{_hub_path(url)}"
    if scheme(url) in ("http", "https"):
        return url
    raise ValueError(f"an address must begin with {', '.join(f'{each}://' for each in SCHEMES)}, got {url!r}")


def _relative_path(url: str) -> PurePosixPath:
    if scheme(url) == "kaggle":
        return PurePosixPath("kaggle", *_parts_below_scheme(url))
    parts = urlparse(_permanent(url))
    host = parts.netloc.rpartition("@")[2].replace(":", "_")  # a password has no place in a path
    below_host = [part for part in parts.path.split("/") if part not in ("", ".", "..")]
    if host in ("", ".", "..") or not below_host:
        raise ValueError(f"an address must name a host and a file, got {url!r}")
    path = PurePosixPath(host, *below_host)
    if parts.query:
        path = path.with_name(f"{hashlib.sha256(parts.query.encode()).hexdigest()[:16]}-{path.name}")
    return path


def _hub_path(url: str) -> str:
    owner, repo, *path = [*_parts_below_scheme(url), "", ""]
    repo, _, revision = repo.partition("@")
    path = "/".join(path).rstrip("/")
    if not (owner and repo and path):
        raise ValueError(f"an hf address is hf://owner/repo[@revision]/path, got {url!r}")
    return f"{owner}/{repo}/resolve/{revision or 'main'}/{path}"


def _parts_below_scheme(url: str) -> list[str]:
    parts = url.split("://", 1)[1].split("/")
    return [part for part in parts if part not in ("", ".", "..")]
