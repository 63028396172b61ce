"""Program: exports a module for TF Hub, a reusable SavedModel that also returns the outputs of its stages.

Examples:
    python -m export.tfhub --module=m-r50x1 --output=exported
    python -m export.tfhub --model=workdir/weights.npz --kind=classification --class_names=names.txt --output=exported
"""

import gzip
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import bit_keras  # before TensorFlow, to silence its messages at start-up

# isort: split
import keras
from absl import flags

from bit_keras.saved_models.export import check_arguments
from bit_keras.saved_models.writer import write_checked
from bit_keras.system import command_line, files
from bit_keras.system.logs import logger
from bit_keras.zoo import presets
from export.summary import Artefact, measure, table, write_summary
from hub_modules.table import TASKS, get_module

# Names allowed at the top of an archive, according to the validator of tensorflow/tfhub.dev.
_ROOT = {
    *("saved_model.pb", "tfhub_module.pb", "keras_metadata.pb", "fingerprint.pb"),
    *("assets", "assets.extra", "variables"),
}


def export_module(
    model: bit_keras.BiT,
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
        FileExistsError: `output` exists.
        RuntimeError: the outputs of the module differ from the model's.
    """
    output = Path(output)
    _check_arguments(output, kind, class_names)
    network = model if kind == "classification" else model.backbone
    class_names = check_arguments(network, output, "reusable", class_names, {})
    with files.whole(output) as written:
        written.mkdir()
        directory, destination = written / name, output / name
        options = {"endpoints": True}
        difference = write_checked(network, directory, "reusable", class_names, options, destination)
        write_archive(directory, written / f"{name}.tar.gz")
        logger.info("measuring")
        rates = _measure(directory)
    archive = output / f"{name}.tar.gz"
    artefact = Artefact(
        f"{name}, {kind}", destination, difference, rates, {"archive bytes": f"{archive.stat().st_size:,}"}
    )
    write_summary([artefact], output / "summary.json")
    return artefact


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
        raise FileExistsError(f"an archive is written to a path that does not exist yet, got {path}")
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
    if keras.config.backend() != "tensorflow":
        raise ValueError(f"KERAS_BACKEND must be tensorflow to write a module, got {keras.config.backend()}")
    if os.path.lexists(output):
        raise FileExistsError(f"a module is written to a directory that does not exist yet, got {output}")
    if class_names is not None and kind != "classification":
        raise ValueError(f"class names are for a classifier, got {len(class_names)} for a {kind}")


def _measure(directory: Path) -> dict[int, float]:
    import tensorflow as tf

    module = tf.saved_model.load(str(directory))
    return measure(lambda images: module(tf.constant(images)).numpy())


def main() -> None:
    values = flags.FLAGS
    if (values.module is None) == (values.model is None):
        raise command_line.UsageError("either --module or --model must be given, not both")
    if values.labels and values.class_names:
        raise command_line.UsageError("either --labels or --class_names may be given, not both")
    artefact = _export(values)
    print(table([artefact]))
    print(f"module in {artefact.path}, archive and summary.json beside it")


def _export(values: flags.FlagValues) -> Artefact:
    preset, kind, name = values.model, values.kind, "module"
    if values.module is not None:
        spec = get_module(values.module)
        preset, kind, name = spec.preset, spec.kind, spec.name
    if os.path.lexists(values.output):  # before a download
        raise FileExistsError(f"a module is written to a directory that does not exist yet, got {values.output}")
    class_names = _class_names(values, preset)
    model = bit_keras.BiT.from_preset(preset)
    if preset in presets.PRESETS and model.num_classes != presets.PRESETS[preset].num_classes:
        raise ValueError(
            f"the weights of {preset} must have {presets.PRESETS[preset].num_classes} classes, got {model.num_classes}"
        )
    return export_module(model, values.output, kind, class_names, name)


def _class_names(values: flags.FlagValues, preset: str) -> list[str] | None:
    if values.labels:
        labels = presets.get_preset(preset).labels
        if labels is None:
            raise ValueError(f"no list of classes was published for {preset}; give --class_names")
        return [f"{wordnet_id} {lemmas}" for wordnet_id, lemmas in bit_keras.class_names(labels)]
    return Path(values.class_names).read_text(encoding="utf-8").splitlines() if values.class_names else None


def _define_flags() -> None:
    flags.DEFINE_string("module", None, "Module of the catalogue to export; see hub_modules/pages/.")
    flags.DEFINE_string("model", None, "Name, path or address of the weights of a classifier.")
    flags.DEFINE_enum("kind", "classification", list(TASKS), "Kind of module, for --model.")
    flags.DEFINE_string(
        "class_names", None, "Text file with one class name per line; those of the weights if not given."
    )
    flags.DEFINE_boolean("labels", False, "Download the class names that were published with the weights.")
    flags.DEFINE_string("output", None, "Folder to create, for module, archive and summary.", required=True)


if __name__ == "__main__":
    _define_flags()
    command_line.run(main)
