"""Modules for TF Hub: reusable SavedModels that also return the outputs of their stages, and their archives."""

import dataclasses
import gzip
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import keras

from bit_keras.checkpoints.card import KEY, Card
from bit_keras.network.model import BiT
from bit_keras.saved_models.export import check_arguments
from bit_keras.saved_models.summary import Artefact, measure, write_summary
from bit_keras.saved_models.writer import write_checked
from bit_keras.system import files
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import logger
from bit_keras.system.optional import require
from bit_keras.system.paths import check_place
from bit_keras.zoo.modules import TASKS

# Names allowed at the top of an archive, according to the validator of tensorflow/tfhub.dev.
_ROOT = {
    *("saved_model.pb", "tfhub_module.pb", "keras_metadata.pb", "fingerprint.pb"),
    *("assets", "assets.extra", "variables"),
}


@known_arguments
def export_module(
    model: BiT,
    output: str | os.PathLike,
    kind: str = "classification",
    class_names: Sequence[str] | None = None,
    name: str = "module",
) -> Artefact:
    """Writes `output`/NAME, `output`/NAME.tar.gz and `output`/summary.json; leaves no files if a check fails.

    The check runs in a fresh process. The module takes float32 images [N, H, W, 3] in **[0, 1]**, any N, H and W, and
    rescales them to the model's [-1, 1]. The object that hub.load returns has, in addition to the attributes in
    `bit_keras.export_saved_model`:

    - `endpoints(inputs, training=False)`: {"root_block", "block1", ..., "block4": [N, H / stride, W / stride, C] with
      strides 4, 4, 8, 16, 32, "features": [N, F]}, and for a classifier "logits": [N, K], all float32. They use the
      module's variables, so that gradients of any endpoint reach these.

    Args:
        model: a classifier, which is not changed.
        output: folder to create, which must not exist.
        kind: "classification" for logits [N, K], or "feature-vector" for pooled features [N, F].
        class_names: the K names of the outputs of a classifier, in their order; None for those of the
            card of the weights, if it has any.
        name: of the module.

    Returns:
        The record of the module, with its speed on images of 224 x 224 pixels.

    Raises:
        ValueError: `kind` is unknown, the class names do not fit it, or the Keras backend is not tensorflow.
        ImportError: TensorFlow is not installed.
        FileExistsError: `output` exists.
        RuntimeError: the outputs of the module differ from the model's.
    """
    output = check_place("output", output)
    _check_arguments(output, kind, class_names)
    network = model if kind == "classification" else model.backbone
    class_names = check_arguments(network, output, "reusable", class_names, {})
    with files.whole(output) as written:
        written.mkdir()
        directory, destination = written / name, output / name
        options = {"endpoints": True}
        difference = write_checked(network, directory, "reusable", class_names, options, destination)
        if kind == "feature-vector":
            _write_card(directory, model.card)
        write_archive(directory, written / f"{name}.tar.gz")
        logger.info("measuring")
        rates = _measure(directory)
    archive = output / f"{name}.tar.gz"
    artefact = Artefact(
        f"{name}, {kind}", destination, difference, rates, {"archive bytes": f"{archive.stat().st_size:,}"}
    )
    write_summary([artefact], output / "summary.json")
    return artefact


def _write_card(directory: Path, card: Card) -> None:
    """Stores the parts of the card that describe the features; a classifier has its own card already."""
    of_features = dataclasses.replace(card, class_names=None, labels=None, accuracy=None, accuracy_on=None)
    (directory / "assets").mkdir(exist_ok=True)
    (directory / "assets" / f"{KEY}.json").write_text(of_features.to_json(), encoding="utf-8")


def write_archive(directory: str | os.PathLike, path: str | os.PathLike) -> None:
    """Writes a SavedModel as a .tar.gz for TF Hub; the same files give byte-identical archives.

    Args:
        directory: the SavedModel.
        path: file to create.

    Raises:
        ValueError: `directory` is not a SavedModel, or contains at its top a name that TF Hub rejects.
        FileExistsError: `path` exists.
    """
    directory, path = Path(directory), Path(path)
    if os.path.lexists(path):
        raise FileExistsError(f"path must be one that does not exist yet, got {path}")
    found = {child.name for child in directory.iterdir()} if directory.is_dir() else set()
    if "saved_model.pb" not in found or found - _ROOT:
        raise ValueError(
            f"an archive is made of a directory with saved_model.pb and nothing but {', '.join(sorted(_ROOT))}, got "
            f"{', '.join(sorted(found)) or 'nothing'} in {directory}"
        )
    with (
        files.whole(path) as temporary,
        open(temporary, "wb") as stream,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=stream, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        # Folders too: tensorflow_hub creates only folders that are listed before their files.
        for member in sorted(directory.rglob("*")):
            _add(archive, member, member.relative_to(directory).as_posix())


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Adds a file or folder without its owner, group, mode and time, so that archives are reproducible."""
    record = tarfile.TarInfo(name)
    if path.is_dir():
        record.type, record.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(record)
        return
    record.size = path.stat().st_size
    with open(path, "rb") as content:
        archive.addfile(record, content)


def _check_arguments(output: Path, kind: str, class_names: Sequence[str] | None) -> None:
    if kind not in TASKS:
        raise ValueError(f"kind must be one of {', '.join(TASKS)}, got {kind!r}")
    require("a module for TF Hub", "tensorflow")
    if keras.config.backend() != "tensorflow":
        raise ValueError(f"KERAS_BACKEND must be tensorflow to write a module, got {keras.config.backend()}")
    if os.path.lexists(output):
        raise FileExistsError(f"output must be a directory that does not exist yet, got {output}")
    if class_names is not None and kind != "classification":
        raise ValueError(f"class names are for a classifier, got {len(class_names)} for a {kind}")


def _measure(directory: Path) -> dict[int, float]:
    import tensorflow as tf

    module = tf.saved_model.load(str(directory))
    return measure(lambda images: module(tf.constant(images)).numpy())
