"""The address of a weight file: its server, the path of its cached copy, and its mirrors.

| address | served by |
|---|---|
| https://host/path, http://host/path | the host |
| gs://bucket/path | Google Cloud Storage, public objects |
| hf://owner/repo[@revision]/path | the Hugging Face hub or HF_ENDPOINT; revision main by default (1) |
| kaggle://owner/model/framework/variation[/version][/path] | Kaggle Models, through kagglehub |
| package://path | this package, for the files that are installed with it |

(1) through huggingface_hub, with its login, cache and offline mode, if it is installed; else with HF_TOKEN

`canonical` turns the addresses of pages, as browsers show them, into these.
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

from bit_keras.system.paths import cache_folder
from bit_keras.zoo.presets import PRESETS

SCHEMES = ("http", "https", "gs", "hf", "kaggle", "package")
GOOGLE_STORAGE = "https://storage.googleapis.com"
HUGGING_FACE = "https://huggingface.co"

# What the address of a repository on Hugging Face stands for.
WEIGHTS_OF_REPOSITORY = "model.safetensors"

_OFFICIAL_BUCKET = "bit_models"
_EXAMPLE_OF_KAGGLE = "https://www.kaggle.com/models/google/bit/frameworks/tensorFlow2/variations/m-r50x1"
# Pages of Hugging Face that are not those of a model.
_NOT_MODELS = ("api", "blog", "collections", "datasets", "docs", "models", "organizations", "papers", "spaces", "tasks")


def is_url(name: str) -> bool:
    """Tells whether `name` is an address: of one of `SCHEMES`, or without one of a site that `canonical` knows."""
    return scheme(name) in SCHEMES or name.partition("/")[0].lower().removeprefix("www.") in _SITES


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

    That is host/path below `system.paths.cache_folder`. For a query ("?...") its hash is prepended to the file name.
    HF_ENDPOINT and mirrors do not change the path.

    Raises:
        ValueError: the address is malformed or names no file.
    """
    return cache_folder() / _relative_path(url)


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


def canonical(url: str) -> str:
    """Returns the address of a file for an address as browsers show it; any other address as it is.

    | site | address |
    |---|---|
    | kaggle.com/models/..., in both forms | kaggle://owner/model/framework/variation[/version] |
    | tfhub.dev/..., whose modules moved to Kaggle | the same |
    | huggingface.co, hf.co: the page of a file | hf://owner/repo[@revision]/path |
    | huggingface.co, hf.co: the page of a repository or folder | the model.safetensors in it |
    | storage.cloud.google.com and console.cloud.google.com: the page of an object | gs://bucket/path |

    Args:
        url: an address for which `is_url` is true.

    Raises:
        ValueError: it is a page of one of these sites that is not about weights.
    """
    name, found = url.strip(), scheme(url.strip())
    if found == "kaggle":
        return _of_kaggle(url, _path_components(name))
    if found == "hf":
        return _of_hugging_face(url, _path_components(name.partition("#")[0]))
    if found not in ("", "http", "https"):
        return name
    parsed = urlparse(name if found else f"https://{name}")
    convert = _SITES.get((parsed.hostname or "").removeprefix("www."))
    if convert is None:
        return name.partition("#")[0]
    return convert(url, _components(parsed.path))


def _of_kaggle(url: str, components: list[str]) -> str:
    """Returns a kaggle address for owner/model/framework/variation[/version][/path], with or without the words between
    them that the new pages have.
    """
    if components[2:3] == ["frameworks"]:
        owner, model, _, framework, _, variation, versions, *rest = [*components, "", "", "", "", ""]
        version = rest if versions == "versions" else [versions, *rest]
        components = list(filter(None, [owner, model, framework, variation, *version]))
    if len(components) < 4:
        raise ValueError(
            "the address of weights on Kaggle is kaggle://owner/model/framework/variation[/version][/path] or the page "
            f"of a variation, such as {_EXAMPLE_OF_KAGGLE}; got {url!r}"
        )
    framework = components[2][:1].lower() + components[2][1:]  # a page may begin it with a capital letter
    return "kaggle://" + "/".join([*components[:2], framework, *components[3:]])


def _of_kaggle_page(url: str, components: list[str]) -> str:
    if components[:3] == ["api", "v1", "models"]:
        components = components[2:]
    if components[:1] != ["models"]:
        components = ["models"]  # not a page of weights
    if components[-1] == "download":
        components = components[:-1]
    return _of_kaggle(url, components[1:])


def _of_tfhub(url: str, components: list[str]) -> str:
    *names, last = [*(name.lower() for name in components), ""]
    version = names.pop() if names and names[-1].isdigit() else last
    publisher, model, *variation = [*names, "", ""]
    moved = f"kaggle://{publisher}/{model}/tensorFlow2/{'-'.join(filter(None, variation)).replace('_', '-')}"
    if any(moved == file.url for row in PRESETS.values() for file in row.files):
        return f"{moved}/{version}" if version else moved
    raise ValueError(
        "the modules of tfhub.dev moved to Kaggle: find this one at https://www.kaggle.com/models and use "
        f"kaggle://owner/model/framework/variation/version; got {url!r}"
    )


def _of_hugging_face(url: str, components: list[str]) -> str:
    """Returns an hf address for owner/repo[@revision][/path]."""
    owner, repo, *path = [*components, "", ""]
    path = "/".join(filter(None, path))
    if not (owner and repo.partition("@")[0]):
        raise ValueError(
            "the address of weights on Hugging Face is hf://owner/repo[@revision][/path] or the page of a model or of "
            f"one of its files, such as https://huggingface.co/google/bit-50; got {url!r}"
        )
    return f"hf://{owner}/{repo}/{path or WEIGHTS_OF_REPOSITORY}"


def _of_hugging_face_page(url: str, components: list[str]) -> str:
    owner, repo, kind, revision, *path = [*components, "", "", "", ""]
    path = [part for part in path if part]
    is_page = kind in ("", "tree", "blob", "resolve", "raw", "commit") and owner not in _NOT_MODELS
    if not is_page or (kind in ("blob", "resolve", "raw") and not path):
        return _of_hugging_face(url, [])  # raises
    if kind == "tree":
        path.append(WEIGHTS_OF_REPOSITORY)
    revision = f"@{revision}" if revision not in ("", "main") else ""
    return _of_hugging_face(url, [owner, f"{repo}{revision}" if repo else "", *path])


def _of_google_storage(url: str, components: list[str]) -> str:
    if components[:3] == ["storage", "browser", "_details"]:
        components = components[3:]
    if len(components) < 2 or components[:2] == ["storage", "browser"]:
        raise ValueError(f"an address of Google Cloud Storage must name a file, gs://bucket/path, got {url!r}")
    return "gs://" + "/".join(components)


# {host of the pages that browsers show, without "www.": function of (address, components of its path)}
_SITES = {
    "kaggle.com": _of_kaggle_page,
    "tfhub.dev": _of_tfhub,
    "huggingface.co": _of_hugging_face_page,
    "hf.co": _of_hugging_face_page,
    "storage.cloud.google.com": _of_google_storage,
    "console.cloud.google.com": _of_google_storage,
}


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
