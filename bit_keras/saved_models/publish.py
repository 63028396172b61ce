"""Uploads of exported models to Kaggle Models and the Hugging Face hub."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from bit_keras.system.checks import check_integer, known_arguments
from bit_keras.system.optional import require
from bit_keras.system.paths import expanded

# In Kaggle's spelling. On Hugging Face the licence belongs in the repository's card, README.md, which is not changed.
_LICENCE = "Apache 2.0"
# A directory with such a file at its top is accepted, like a SavedModel.
_MODEL_FILES = (".keras", ".npz", ".safetensors", ".tflite", ".onnx", ".xml")
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
HANDLES = {
    "kaggle": ("OWNER/MODEL/FRAMEWORK/VARIATION", rf"{_PART}/{_PART}/{_PART}/{_PART}"),
    "huggingface": ("OWNER/REPOSITORY", rf"{_PART}/{_PART}"),
}
# kagglehub packs more files into a zip archive, which loaders cannot read.
_MOST_KAGGLE_FILES = 50
# Files that are not deleted when a new version lacks them: the repository's card and git's settings.
_PERMANENT = {"README.md", ".gitattributes"}


@dataclasses.dataclass(frozen=True)
class Upload:
    """One file of an upload.

    Attributes:
        path: relative to the directory, with "/".
        num_bytes: its size.
        sha256: its hash in hexadecimal digits.
    """

    path: str
    num_bytes: int
    sha256: str


def list_uploads(directory: str | os.PathLike) -> list[Upload]:
    """Returns the files that would be uploaded, sorted by path.

    Args:
        directory: a SavedModel, a TF Serving model with one SavedModel per version, or a folder with model files.

    Raises:
        ValueError: it is none of these, or contains a link or a hidden file, which hubs treat differently.
    """
    directory = Path(directory)
    if not _is_artefact(directory):
        raise ValueError(
            "what is published must be a directory with saved_model.pb, with versions that have it, or with a file "
            f"that ends in {', '.join(_MODEL_FILES)}, got {directory}"
        )
    paths = sorted(directory.rglob("*"))
    odd = [path for path in paths if path.is_symlink() or path.name.startswith(".")]
    if odd:
        raise ValueError(f"links and hidden files are not published, got {', '.join(map(str, odd))}")
    return [_upload(path, directory) for path in paths if path.is_file()]


@known_arguments
def publish(
    directory: str | os.PathLike, to: str, handle: str, version: int, dry_run: bool = True
) -> tuple[str, list[Upload]]:
    """Uploads a directory as the next version of a model.

    Args:
        directory: see `list_uploads`.
        to: "kaggle" or "huggingface"; their packages read the credentials in the usual way.
        handle: OWNER/MODEL/FRAMEWORK/VARIATION on Kaggle, OWNER/REPOSITORY on Hugging Face. A model or repository that
            does not exist is created as private. On Hugging Face a version is a tag, "v1", "v2", ....
        version: number of this version, 1 for the first.
        dry_run: True only checks and lists the files, without a network.

    Returns:
        The handle with its version, and the files.

    Raises:
        ValueError: the directory or the handle is not as described above, or the version does not follow the last one.
        FileExistsError: the version exists.
        PermissionError: credentials are missing.
        ImportError: the package of the hub is not installed.
        ConnectionError: the hub cannot be reached or rejects the upload.
    """
    if to not in HANDLES:
        raise ValueError(f"to must be one of {', '.join(HANDLES)}, got {to!r}")
    form, pattern = HANDLES[to]
    if not re.fullmatch(pattern, handle):
        raise ValueError(f"a handle on {to} is {form}, got {handle!r}")
    check_integer("version", version)
    directory = expanded(directory)
    uploads = list_uploads(directory)
    if to == "kaggle" and len(uploads) > _MOST_KAGGLE_FILES:
        raise ValueError(f"Kaggle accepts at most {_MOST_KAGGLE_FILES} separate files, got {len(uploads)}")
    if not dry_run:
        if to == "kaggle":
            _send_to_kaggle(Path(directory), handle, version)
        else:
            _send_to_huggingface(Path(directory), handle, version, uploads)
    return (f"{handle}/{version}" if to == "kaggle" else f"{handle}@v{version}"), uploads


def _is_artefact(directory: Path) -> bool:
    if not directory.is_dir():
        return False
    versions = [child for child in directory.iterdir() if child.name.isdecimal()]
    return (
        (directory / "saved_model.pb").is_file()
        or any((child / "saved_model.pb").is_file() for child in versions)
        or any(child.suffix in _MODEL_FILES and child.is_file() for child in directory.iterdir())
    )


def _upload(path: Path, directory: Path) -> Upload:
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Upload(path.relative_to(directory).as_posix(), path.stat().st_size, digest)


def _check_version(version: int, last: int, handle: str) -> None:
    if version <= last:
        raise FileExistsError(f"{handle} has version {version}; the next one is {last + 1}")
    if version > last + 1:
        raise ValueError(f"the next version of {handle} is {last + 1}, got {version}")


def _send_to_kaggle(directory: Path, handle: str, version: int) -> None:
    require("Kaggle", "kagglehub")
    import kagglehub
    import requests
    from kagglehub import config, exceptions

    if config.get_kaggle_credentials() is None:
        raise PermissionError(
            "Kaggle needs credentials: set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or put kaggle.json "
            "into ~/.kaggle; https://www.kaggle.com/settings makes them"
        )
    try:
        _check_version(version, _last_kaggle_version(handle), handle)
        kagglehub.model_upload(handle, str(directory), license_name=_LICENCE, version_notes=f"Version {version}")
    except (requests.RequestException, exceptions.BackendError, exceptions.UnauthenticatedError) as error:
        raise ConnectionError(f"Kaggle does not accept {handle}: {error}") from error


def _last_kaggle_version(handle: str) -> int:
    """Returns the last version of a model, 0 if the model does not exist, for which Kaggle answers 403 or 404."""
    from kagglehub.clients import build_kaggle_client
    from kagglehub.exceptions import KaggleApiHTTPError, handle_call
    from kagglehub.handle import parse_model_handle
    from kagglesdk.models.types.model_api_service import ApiGetModelInstanceRequest

    parsed = parse_model_handle(handle)
    request = ApiGetModelInstanceRequest()
    request.owner_slug, request.model_slug, request.instance_slug = parsed.owner, parsed.model, parsed.variation
    request.framework = parsed.framework_enum()
    try:
        with build_kaggle_client() as client:
            return handle_call(lambda: client.models.model_api_client.get_model_instance(request)).version_number
    except KaggleApiHTTPError as error:
        if error.response is not None and error.response.status_code in (403, 404):
            return 0
        raise


def _send_to_huggingface(directory: Path, handle: str, version: int, uploads: Sequence[Upload]) -> None:
    require("Hugging Face", "huggingface_hub")
    import huggingface_hub
    from huggingface_hub.errors import HTTPError  # of the library that it sends requests with

    if huggingface_hub.get_token() is None:
        raise PermissionError(
            "Hugging Face needs credentials: set HF_TOKEN or run `hf auth login`; "
            "https://huggingface.co/settings/tokens makes a token, which must allow writing"
        )
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(handle, private=True, exist_ok=True)
        tags = [ref.name for ref in api.list_repo_refs(handle).tags]
        _check_version(version, max((int(tag[1:]) for tag in tags if re.fullmatch(r"v\d+", tag)), default=0), handle)
        stale = set(api.list_repo_files(handle)) - {upload.path for upload in uploads} - _PERMANENT
        commit = api.upload_folder(
            repo_id=handle,
            folder_path=directory,
            commit_message=f"Version {version}",
            delete_patterns=sorted(stale) or None,
        )
        api.create_tag(handle, tag=f"v{version}", revision=commit.oid)
    except HTTPError as error:
        raise ConnectionError(f"Hugging Face does not accept {handle}: {error}") from error
