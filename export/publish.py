"""Program: publish what was exported on Kaggle Models or on the Hugging Face hub; a dry run unless told otherwise.

Examples:
    python -m export.publish --directory=exported/m-r50x1 --to=kaggle --handle=OWNER/bit/tensorFlow2/m-r50x1 --version=1
    python -m export.publish --directory=exported/m-r50x1 --to=huggingface --handle=OWNER/bit-m-r50x1 --version=1 \\
        --nodry_run
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from bit_keras.system import command_line

# As Kaggle writes it. On Hugging Face it stands in the card of the repository, README.md, which is left alone.
_LICENCE = "Apache 2.0"
# What is looked for in the root of a directory, beside a SavedModel.
_MODEL_FILES = (".keras", ".npz", ".safetensors", ".tflite", ".onnx", ".xml")
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_HANDLES = {
    "kaggle": ("OWNER/MODEL/FRAMEWORK/VARIATION", rf"{_PART}/{_PART}/{_PART}/{_PART}"),
    "huggingface": ("OWNER/REPOSITORY", rf"{_PART}/{_PART}"),
}
# kagglehub makes one zip archive of more, which no loader reads.
_MOST_KAGGLE_FILES = 50
# Not of a version: the card of a repository, and what git keeps there.
_STAYS = {"README.md", ".gitattributes"}


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
    """Returns the files that would be uploaded, by their paths.

    Args:
        directory: a SavedModel, a TF Serving model with a SavedModel for each version, or a folder with model files.

    Raises:
        ValueError: it is none of these, or holds a link or a hidden file, which uploads treat in different ways.
    """
    directory = Path(directory)
    if not _is_artefact(directory):
        raise ValueError(
            "what is published must be a directory with saved_model.pb, with versions that hold it, or with a file "
            f"that ends in {', '.join(_MODEL_FILES)}, got {directory}"
        )
    paths = sorted(directory.rglob("*"))
    odd = [path for path in paths if path.is_symlink() or path.name.startswith(".")]
    if odd:
        raise ValueError(f"links and hidden files are not published, got {', '.join(map(str, odd))}")
    return [_upload(path, directory) for path in paths if path.is_file()]


def publish(
    directory: str | os.PathLike, to: str, handle: str, version: int, dry_run: bool = True
) -> tuple[str, list[Upload]]:
    """Uploads a directory as the next version of a model.

    Args:
        directory: see `list_uploads`.
        to: "kaggle" or "huggingface", whose packages read the credentials as they always do.
        handle: OWNER/MODEL/FRAMEWORK/VARIATION on Kaggle, where the model is made if there is none, private;
            OWNER/REPOSITORY on Hugging Face, likewise, where the version becomes the tag "v1", "v2", ....
        version: the number that this version gets, 1 for the first.
        dry_run: check and list, and use no network.

    Returns:
        The handle with its version, and the files.

    Raises:
        ValueError: the directory or the handle is not as said above, or the version does not follow the last one.
        FileExistsError: there is such a version.
        PermissionError: there are no credentials.
        ImportError: the package of the place is not installed.
        ConnectionError: the place refuses.
    """
    if to not in _HANDLES:
        raise ValueError(f"to must be one of {', '.join(_HANDLES)}, got {to!r}")
    form, pattern = _HANDLES[to]
    if not re.fullmatch(pattern, handle):
        raise ValueError(f"a handle on {to} is {form}, got {handle!r}")
    if version < 1:
        raise ValueError(f"versions count from 1, got {version}")
    uploads = list_uploads(directory)
    if to == "kaggle" and len(uploads) > _MOST_KAGGLE_FILES:
        raise ValueError(f"Kaggle takes {_MOST_KAGGLE_FILES} files one by one, got {len(uploads)}")
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
    try:
        import kagglehub
        import requests
        from kagglehub import config, exceptions
    except ImportError as error:
        raise ImportError("Kaggle needs the package kagglehub: pip install 'bit-keras[kaggle]'") from error
    if config.get_kaggle_credentials() is None:
        raise PermissionError(
            "Kaggle needs credentials: set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or put kaggle.json "
            "into ~/.kaggle; https://www.kaggle.com/settings makes them"
        )
    try:
        _check_version(version, _last_kaggle_version(handle), handle)
        kagglehub.model_upload(handle, str(directory), license_name=_LICENCE, version_notes=f"Version {version}")
    except (requests.RequestException, exceptions.BackendError, exceptions.UnauthenticatedError) as error:
        raise ConnectionError(f"Kaggle does not take {handle}: {error}") from error


def _last_kaggle_version(handle: str) -> int:
    """Returns 0 for a model that is not there yet; Kaggle answers 403 or 404 then."""
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
    try:
        import httpx2  # what huggingface_hub speaks
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "Hugging Face needs the package huggingface_hub: pip install 'bit-keras[huggingface]'"
        ) from error
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
        stale = set(api.list_repo_files(handle)) - {upload.path for upload in uploads} - _STAYS
        commit = api.upload_folder(
            repo_id=handle,
            folder_path=directory,
            commit_message=f"Version {version}",
            delete_patterns=sorted(stale) or None,
        )
        api.create_tag(handle, tag=f"v{version}", revision=commit.oid)
    except httpx2.HTTPError as error:
        raise ConnectionError(f"Hugging Face does not take {handle}: {error}") from error


def main() -> None:
    values = flags.FLAGS
    handle, uploads = publish(values.directory, values.to, values.handle, values.version, values.dry_run)
    for upload in uploads:
        print(f"{upload.sha256}  {upload.num_bytes:>13,}  {upload.path}")
    total = f"{len(uploads)} files, {sum(upload.num_bytes for upload in uploads):,} bytes"
    if values.dry_run:
        print(f"dry run: --nodry_run uploads {total} to {values.to} as {handle}")
    else:
        print(f"{values.to} has {handle}: {total}")


def _define_flags() -> None:
    flags.DEFINE_string("directory", None, "What to publish: a SavedModel, or a folder of model files.", required=True)
    flags.DEFINE_enum("to", None, list(_HANDLES), "Where to.", required=True)
    handles = "; ".join(f"{place}: {form}" for place, (form, _) in _HANDLES.items())
    flags.DEFINE_string("handle", None, f"Name there. {handles}.", required=True)
    flags.DEFINE_integer("version", None, "Number of this version, 1 for the first.", required=True)
    flags.DEFINE_boolean("dry_run", True, "List what would be uploaded, without a network.")


if __name__ == "__main__":
    _define_flags()
    command_line.run(main)
