"""The address of a weight file: its server, the path of its cached copy, and its mirrors.

| address | served by |
|---|---|
| https://host/path, http://host/path | the host |
| gs://bucket/path | Google Cloud Storage, public objects |
| hf://owner/repo[@revision]/path | the Hugging Face hub or HF_ENDPOINT; revision main by default (1) |
| kaggle://owner/model/framework/variation[/version][/path] | Kaggle Models, through kagglehub |
| package://path | this package, for the files that are installed with it |

(1) through huggingface_hub, with its login, cache and offline mode, if it is installed; else with HF_TOKEN
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

from bit_keras.zoo.presets import PRESETS

SCHEMES = ("http", "https", "gs", "hf", "kaggle", "package")
GOOGLE_STORAGE = "https://storage.googleapis.com"
HUGGING_FACE = "https://huggingface.co"

_OFFICIAL_BUCKET = "bit_models"


def is_url(name: str) -> bool:
    """Tells whether `name` is an address of one of `SCHEMES`."""
    return scheme(name) in SCHEMES


def scheme(name: str) -> str:
    """Returns the text before "://" in lower case, "" if `name` does not contain "://"."""
    before, separator, _ = name.partition("://")
    return before.lower() if separator else ""


def request_for(url: str) -> tuple[str, str | None]:
    """Returns the http(s) address of a file, and the token to send there, if any.

    Args:
        url: an address of any scheme except kaggle and package.

    Raises:
        ValueError: the address is malformed.
    """
    if scheme(url) == "hf":
        endpoint = os.environ.get("HF_ENDPOINT") or HUGGING_FACE
        return f"{endpoint.rstrip('/')}/{_hub_path(url)}", os.environ.get("HF_TOKEN") or None
    return _permanent(url), None


def cache_path(url: str) -> Path:
    """Returns the path of the cached copy of the file at `url`, whether it exists or not.

    That is host/path below BIT_KERAS_CACHE, or below `models/bit_keras` in the Keras home (KERAS_HOME or ~/.keras).
    For a query ("?...") its hash is prepended to the file name. HF_ENDPOINT and mirrors do not change the path.

    Raises:
        ValueError: the address is malformed or names no file.
    """
    cache = os.environ.get("BIT_KERAS_CACHE")
    if not cache:
        cache = Path(os.environ.get("KERAS_HOME") or "~/.keras", "models", "bit_keras")
    return Path(cache).expanduser().absolute() / _relative_path(url)


def mirrors(url: str) -> list[str]:
    """Returns the addresses and local paths of the file at `url` in the mirrors of BIT_KERAS_MIRROR.

    BIT_KERAS_MIRROR is a comma-separated list of addresses of any scheme and of local folders. A mirror has the same
    layout as the cache, except for files of the official bucket: BASE/BiT-M-R50x1.npz, and BASE/host/path for others.

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
    """Returns the path of the file at a package address.

    Raises:
        ValueError: the package has no such file.
    """
    path = Path(__file__).parents[2].joinpath(*_path_components(url))
    if not path.is_file():
        raise ValueError(f"the package has no file {url!r}")
    return path


def kaggle_handle(url: str) -> tuple[str, str | None]:
    """Splits a kaggle address into kagglehub's handle, owner/model/framework/variation[/version], and a path if any.

    Raises:
        ValueError: the address is malformed.
    """
    components = _path_components(url)
    if len(components) < 4:
        raise ValueError(f"a kaggle address is kaggle://owner/model/framework/variation[/version][/path], got {url!r}")
    length = 5 if len(components) > 4 and re.fullmatch("[0-9]+", components[4]) else 4
    return "/".join(components[:length]), "/".join(components[length:]) or None


def hub_file(url: str) -> tuple[str, str, str]:
    """Splits an hf address into repository, revision and path, without percent-encoding.

    Raises:
        ValueError: the address is malformed.
    """
    repository, revision, path = map(unquote, _hub_parts(url))
    return repository, revision, path


def check_not_moved(url: str) -> None:
    """Raises ValueError for an address of tfhub.dev, whose modules moved to Kaggle, with the address to use instead."""
    match = re.fullmatch(r"https?://(?:www\.)?tfhub\.dev(/.*?)??(/\d+)?/?([?#].*)?", url, re.IGNORECASE)
    if match is None:
        return
    publisher, model, *variation = [*_components((match[1] or "").lower()), "", ""]
    moved = f"kaggle://{publisher}/{model}/tensorFlow2/{'-'.join(filter(None, variation)).replace('_', '-')}"
    if any(moved == file.url for row in PRESETS.values() for file in row.files):
        raise ValueError(f"the modules of tfhub.dev moved to Kaggle, this one to {moved}{match[2] or ''}; got {url!r}")
    raise ValueError(
        "the modules of tfhub.dev moved to Kaggle: find this one at https://www.kaggle.com/models and use "
        f"kaggle://owner/model/framework/variation/version; got {url!r}"
    )


def _permanent(url: str) -> str:
    """Returns the http(s) address of a file, independent of environment variables."""
    if scheme(url) == "gs":
        return f"{GOOGLE_STORAGE}/{'/'.join(_path_components(url))}"
    if scheme(url) == "hf":
        return f"{HUGGING_FACE}/{_hub_path(url)}"
    if scheme(url) in ("http", "https"):
        return url
    raise ValueError(f"an address must begin with {', '.join(f'{each}://' for each in SCHEMES)}, got {url!r}")


def _relative_path(url: str) -> PurePosixPath:
    if scheme(url) == "kaggle":
        return PurePosixPath("kaggle", *_path_components(url))
    parsed = urlparse(_permanent(url))
    host = parsed.netloc.rpartition("@")[2].replace(":", "_")  # without user name and password
    below_host = _components(parsed.path)
    if host in ("", ".", "..") or not below_host:
        raise ValueError(f"an address must name a host and a file, got {url!r}")
    path = PurePosixPath(host, *below_host)
    if parsed.query:
        path = path.with_name(f"{hashlib.sha256(parsed.query.encode()).hexdigest()[:16]}-{path.name}")
    return path


def _hub_path(url: str) -> str:
    repository, revision, path = _hub_parts(url)
    return f"{repository}/resolve/{revision}/{path}"


def _hub_parts(url: str) -> tuple[str, str, str]:
    owner, repo, *path = [*_path_components(url), "", ""]
    repo, _, revision = repo.partition("@")
    path = "/".join(path).rstrip("/")
    if not (owner and repo and path):
        raise ValueError(f"an hf address is hf://owner/repo[@revision]/path, got {url!r}")
    return f"{owner}/{repo}", revision or "main", path


def _path_components(url: str) -> list[str]:
    return _components(url.split("://", 1)[1])


def _components(path: str) -> list[str]:
    return [component for component in path.split("/") if component not in ("", ".", "..")]
