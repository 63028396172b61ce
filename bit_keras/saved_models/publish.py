"""Uploads of exported models to Kaggle Models and the Hugging Face hub."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bit_keras.checkpoints.card import Card
from bit_keras.saved_models.model_card import LICENCES, Described, huggingface_texts, kaggle_texts
from bit_keras.system.checks import check_integer, known_arguments
from bit_keras.system.optional import require
from bit_keras.system.paths import expanded

# A directory with such a file at its top is accepted, like a SavedModel.
_MODEL_FILES = (".keras", ".npz", ".safetensors", ".tflite", ".onnx", ".xml")
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
HANDLES = {
    "kaggle": ("OWNER/MODEL/FRAMEWORK/VARIATION", rf"{_PART}/{_PART}/{_PART}/{_PART}"),
    "huggingface": ("OWNER/REPOSITORY", rf"{_PART}/{_PART}"),
}
# kagglehub packs more files into a zip archive, which loaders cannot read.
_MOST_KAGGLE_FILES = 50
_README = "README.md"
# Files that are not deleted when a new version lacks them: the repository's card and git's settings.
_PERMANENT = {_README, ".gitattributes"}


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


@dataclasses.dataclass(frozen=True)
class Publication:
    """What is published.

    Attributes:
        handle: with the version.
        uploads: the files.
        texts: {name: content} of the card for the hub, `bit_keras.saved_models.model_card`.
        kept: names of texts that were not uploaded, because the hub has some; empty for a dry run.
    """

    handle: str
    uploads: list[Upload]
    texts: dict[str, str]
    kept: tuple[str, ...] = ()


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
    directory: str | os.PathLike,
    to: str,
    handle: str,
    version: int,
    dry_run: bool = True,
    *,
    card: Card | None = None,
    licence: str | None = None,
    replace_card: bool = False,
) -> Publication:
    """Uploads a directory as the next version of a model, and its card where the hub has none.

    Args:
        directory: see `list_uploads`. A README.md at its top is the card on Hugging Face, instead of a generated one.
        to: "kaggle" or "huggingface"; their packages read the credentials in the usual way.
        handle: OWNER/MODEL/FRAMEWORK/VARIATION on Kaggle, OWNER/REPOSITORY on Hugging Face. A model or repository that
            does not exist is created as private. On Hugging Face a version is a tag, "v1", "v2", ....
        version: number of this version, 1 for the first.
        dry_run: True only checks and lists the files, and makes the texts, without a network.
        card: of the weights, for the texts; None if nothing is known of them.
        licence: SPDX identifier of the licence of the weights, for Kaggle one of
            `bit_keras.saved_models.model_card.LICENCES`; None for that of the card.
        replace_card: replace texts that the hub has.

    Raises:
        ValueError: the directory or the handle is not as described above, the version does not follow the last one, or
            the licence is not known (unless in a dry run) or not one that Kaggle has.
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
    directory = Path(expanded(directory))
    uploads = list_uploads(directory)
    if to == "kaggle" and len(uploads) > _MOST_KAGGLE_FILES:
        raise ValueError(f"Kaggle accepts at most {_MOST_KAGGLE_FILES} separate files, got {len(uploads)}")
    files = tuple(upload.path for upload in uploads)
    licence = licence or (card and card.licence)
    described = Described(handle, version, files, card, licence, _kind(directory, files))
    texts = kaggle_texts(described) if to == "kaggle" else huggingface_texts(described)
    if to == "huggingface" and _README in files:
        texts = {}
    kept = ()
    if not dry_run:
        if licence is None:
            raise ValueError(
                f"the licence of the weights is not known: their card states none. --licence (`licence` in Python) "
                f"states it: {', '.join(LICENCES)}"
            )
        if to == "kaggle":
            kept = _send_to_kaggle(directory, handle, version, texts, replace_card)
        else:
            kept = _send_to_huggingface(directory, handle, version, uploads, texts, replace_card)
    return Publication(f"{handle}/{version}" if to == "kaggle" else f"{handle}@v{version}", uploads, texts, kept)


def _is_artefact(directory: Path) -> bool:
    if not directory.is_dir():
        return False
    versions = [child for child in directory.iterdir() if child.name.isdecimal()]
    return (
        (directory / "saved_model.pb").is_file()
        or any((child / "saved_model.pb").is_file() for child in versions)
        or any(child.suffix in _MODEL_FILES and child.is_file() for child in directory.iterdir())
    )


def _kind(directory: Path, files: Sequence[str]) -> str | None:
    """Returns the kind of the SavedModel in a directory, by a name that only graphs of this kind contain."""
    graphs = [directory / file for file in files if file.rpartition("/")[2] == "saved_model.pb"]
    content = graphs[-1].read_bytes() if graphs else b""
    names = {"serving": b"serve_bytes", "reusable": b"regularization_losses"}
    return next((kind for kind, name in names.items() if name in content), None)


def _upload(path: Path, directory: Path) -> Upload:
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Upload(path.relative_to(directory).as_posix(), path.stat().st_size, digest)


def _check_version(version: int, last: int, handle: str) -> None:
    if version <= last:
        raise FileExistsError(f"{handle} has version {version}; the next one is {last + 1}")
    if version > last + 1:
        raise ValueError(f"the next version of {handle} is {last + 1}, got {version}")


def _send_to_kaggle(
    directory: Path, handle: str, version: int, texts: Mapping[str, str], replace_card: bool
) -> tuple[str, ...]:
    """Uploads the files and the texts; returns the names of the texts that were not uploaded."""
    require("Kaggle", "kagglehub")
    import kagglehub
    import requests
    from kagglehub import config, exceptions

    if config.get_kaggle_credentials() is None:
        raise PermissionError(
            "Kaggle needs credentials: set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or put kaggle.json "
            "into ~/.kaggle; https://www.kaggle.com/settings makes them"
        )
    of_model, of_variation = map(json.loads, texts.values())
    try:
        _check_version(version, _last_kaggle_version(handle), handle)
        kagglehub.model_upload(
            handle, str(directory), license_name=of_variation["licenseName"], version_notes=f"Version {version}"
        )
        return _describe_on_kaggle(handle, texts, of_model, of_variation, replace_card)
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


def _describe_on_kaggle(
    handle: str, texts: Mapping[str, str], of_model: Mapping, of_variation: Mapping, replace_card: bool
) -> tuple[str, ...]:
    """Uploads the texts that Kaggle lacks, or all; returns the names of the others. The first is that of the model."""
    from google.protobuf.field_mask_pb2 import FieldMask
    from kagglehub.clients import build_kaggle_client
    from kagglehub.exceptions import handle_call, handle_mutate_call
    from kagglehub.handle import parse_model_handle
    from kagglesdk.models.types import model_api_service as types

    parsed, kept = parse_model_handle(handle), []
    model, variation = types.ApiGetModelRequest(), types.ApiGetModelInstanceRequest()
    new_model, new_variation = types.ApiUpdateModelRequest(), types.ApiUpdateModelInstanceRequest()
    for request in (model, variation, new_model, new_variation):
        request.owner_slug, request.model_slug = parsed.owner, parsed.model
    for request in (variation, new_variation):
        request.framework, request.instance_slug = parsed.framework_enum(), parsed.variation
    new_model.subtitle, new_model.description = of_model["subtitle"], of_model["description"]
    new_model.provenance_sources = of_model["provenanceSources"]
    new_model.update_mask = FieldMask(paths=["subtitle", "description", "provenance_sources"])
    new_variation.overview, new_variation.usage = of_variation["overview"], of_variation["usage"]
    new_variation.fine_tunable, new_variation.training_data = of_variation["fineTunable"], of_variation["trainingData"]
    new_variation.update_mask = FieldMask(paths=["overview", "usage", "fine_tunable", "training_data"])
    with build_kaggle_client() as client:
        api, (name_of_model, name_of_variation) = client.models.model_api_client, texts
        if replace_card or not handle_call(lambda: api.get_model(model)).description:
            handle_mutate_call(lambda: api.update_model(new_model))
        else:
            kept.append(name_of_model)
        found = handle_call(lambda: api.get_model_instance(variation))
        if replace_card or not (found.overview or found.usage):
            handle_mutate_call(lambda: api.update_model_instance(new_variation))
        else:
            kept.append(name_of_variation)
    return tuple(kept)


def _send_to_huggingface(
    directory: Path,
    handle: str,
    version: int,
    uploads: Sequence[Upload],
    texts: Mapping[str, str],
    replace_card: bool,
) -> tuple[str, ...]:
    """Uploads the files and the texts; returns the names of the texts that were not uploaded."""
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
        there = set(api.list_repo_files(handle))
        stale = there - {upload.path for upload in uploads} - _PERMANENT
        kept = () if replace_card else tuple(name for name in texts if name in there)
        for name in texts.keys() - set(kept):
            content = texts[name].encode()
            api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=handle, commit_message="Model card")
        commit = api.upload_folder(
            repo_id=handle,
            folder_path=directory,
            commit_message=f"Version {version}",
            delete_patterns=sorted(stale) or None,
        )
        api.create_tag(handle, tag=f"v{version}", revision=commit.oid)
        return kept
    except HTTPError as error:
        raise ConnectionError(f"Hugging Face does not accept {handle}: {error}") from error
