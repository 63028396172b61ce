"""Program: convert weights between all formats, or list what was published.

Examples:
    python -m bit_keras.convert BiT-M-R50x1 bit_m_r50x1.safetensors
    python -m bit_keras.convert model.safetensors saved_model_directory
    python -m bit_keras.convert --list "BiT-M-*"
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from absl import flags

from bit_keras import checkpoints
from bit_keras.checkpoints.card import Card
from bit_keras.checkpoints.formats import detect_format, read_weights
from bit_keras.checkpoints.readers.keras_file import write_weights_card
from bit_keras.checkpoints.reference import is_program, peer
from bit_keras.network.model import BiT, save_npz
from bit_keras.saved_models.check import relative_difference
from bit_keras.saved_models.export import export_saved_model
from bit_keras.system import command_line
from bit_keras.system.checks import known_arguments
from bit_keras.system.files import whole
from bit_keras.system.logs import doing
from bit_keras.system.paths import check_place, expanded
from bit_keras.zoo import presets

# Relative to the scale of the logits. Libraries round differently, and random weights amplify this with depth: 1.3e-4
# was measured with R152x2. A wrong kernel layout, padding or epsilon gives larger differences.
TOLERANCE = 1e-3

# [N, H, W] of the images on which both networks are run: one size is even, one odd.
_CHECK_SIZES = ((2, 64, 64), (1, 97, 75))


@dataclasses.dataclass(frozen=True)
class Conversion:
    """Result of `convert`.

    Attributes:
        path: the written file or directory.
        variant: architecture of the weights.
        num_classes: outputs of the head.
        source_difference: largest difference between the logits of the source's own library and of BiT, relative to
            their scale; None if no installed library runs the source, or it was not to be run.
        difference: the same for the written file.
        source_is_program: the source is a SavedModel or a `.keras` file, which only `run_source` runs.

    Example:
        >>> done = convert("BiT-mini-R17x0.5", "mini.npz")
        >>> done.path.name, done.variant, done.source_is_program
        ('mini.npz', 'R17x0.5', False)
    """

    path: Path
    variant: str
    num_classes: int
    source_difference: float | None
    difference: float | None
    source_is_program: bool


@known_arguments
def convert(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    *,
    variant: str | None = None,
    num_classes: int | None = None,
    file_format: str | None = None,
    overwrite: bool = False,
    run_source: bool = False,
) -> Conversion:
    """Writes weights in another format and checks the result; leaves no file if a check fails.

    The written weights are read again and must be bit-identical. Source and copy are each run in the library of their
    format, if it is installed, and must give the logits of BiT. A SavedModel and a `.keras` file hold programs, so as
    sources they are run only with `run_source`.

    Args:
        source: name of published weights, address or path, as in `BiT.from_preset`.
        destination: path to write. Its ending determines the format: ".npz" (official), ".safetensors" (timm), ".keras"
            or ".weights.h5" (Keras 3); any other name, such as "birds" or "birds.v1.2", means a SavedModel directory.
        variant: architecture that the source must have; None infers it from the shapes.
        num_classes: outputs of a new head of zeros, None for the head of the source.
        file_format: which file of a published preset to read, None for the official npz.
        overwrite: replace an existing file.
        run_source: also run the graph of a SavedModel or the configuration of a `.keras` file that is the source, with
            the rights of this process: only for those of known origin.

    Raises:
        ValueError: as `BiT.from_preset`, or `destination` has an ending of files that are not written.
        FileExistsError: `destination` exists.
        ConnectionError, ImportError, CheckpointError: as `BiT.from_preset`.
        RuntimeError: source or copy does not give the logits of BiT, or the copy is not bit-identical.

    Example:
        >>> from bit_keras.convert import convert
        >>> convert("BiT-mini-R17x0.5", "mini.weights.h5").num_classes
        360
    """
    source, destination = expanded(source), check_place("destination", destination)
    write = _writer(destination)
    if os.path.lexists(destination) and (not overwrite or destination.is_dir()):
        raise FileExistsError(f"{destination} exists; --overwrite replaces a file, never a directory")
    with doing(f"reading {source}"):
        source_path, variant = checkpoints.locate(source, variant, file_format)
        model = BiT.from_preset(source_path, num_classes, variant)
        if num_classes is None and source in presets.PRESETS:
            model.card = Card.of_preset(presets.PRESETS[source])
    has_source_head = num_classes is None
    source_difference, source_is_program = None, is_program(detect_format(source_path))
    if has_source_head and (run_source or not source_is_program):
        with doing("comparing it with its own library"):
            source_difference = _difference(model, source_path)
    with doing(f"writing {destination}, reading it again and comparing it"), whole(destination) as temporary:
        write(model, temporary)
        _check_same_numbers(model, temporary)
        difference = _difference(model, temporary)
    return Conversion(
        destination, model.variant_name, model.num_classes, source_difference, difference, source_is_program
    )


def _write_keras_weights(model: BiT, path: Path) -> None:
    model.save_weights(path)
    write_weights_card(path, model.card)


_WRITERS: dict[str, Callable[[BiT, Path], None]] = {
    ".npz": save_npz,
    ".safetensors": lambda model, path: checkpoints.write_safetensors(
        checkpoints.collect_weights(model), path, model.card
    ),
    ".weights.h5": _write_keras_weights,
    ".keras": lambda model, path: model.save(path),
    "": lambda model, path: export_saved_model(model, path),
}


# Endings of files of weights and archives that are not written. Other endings, as in "birds.v1.2", are part of a name.
_NOT_WRITTEN = {
    *(".bin", ".ckpt", ".h5", ".hdf5", ".json", ".msgpack", ".npy", ".onnx", ".pb", ".pickle", ".pkl", ".pt", ".pth"),
    *(".bz2", ".gz", ".rar", ".tar", ".tflite", ".tgz", ".xz", ".zip", ".zst", ".7z"),
}


def _writer(destination: Path) -> Callable[[BiT, Path], None]:
    endings = [ending for ending in _WRITERS if ending]
    for ending in endings:
        if destination.name.endswith(ending):
            return _WRITERS[ending]
    # "weights.npz.old" and "weights.NPZ" are mistakes as well.
    if not {suffix.lower() for suffix in destination.suffixes}.isdisjoint((*endings, *_NOT_WRITTEN)):
        raise ValueError(
            f"the destination must end in {', '.join(endings)}, or have no ending for a SavedModel, got {destination}"
        )
    return _WRITERS[""]


def _check_same_numbers(model: BiT, path: Path) -> None:
    expected, written = checkpoints.collect_weights(model), read_weights(path)
    wrong = sorted(
        {key for key in expected.keys() | written.keys() if not np.array_equal(expected.get(key), written.get(key))}
    )
    if wrong:
        raise RuntimeError(f"{path.name} was read again and differs in {', '.join(wrong)}")


def _difference(model: BiT, path: Path) -> float | None:
    """Returns the largest difference between the logits of `model` and of a file in its own library, relative to their
    scale; None if no installed library runs it.
    """
    run = peer(path, detect_format(path), model.variant, model.num_classes)
    if run is None:
        return None
    random = np.random.default_rng(0)
    largest = 0.0
    for size in _CHECK_SIZES:
        images = random.uniform(-1, 1, (*size, 3)).astype("float32")
        expected, found = keras.ops.convert_to_numpy(model(images)), run(images)
        difference = relative_difference(expected, found)
        if difference > TOLERANCE:
            raise RuntimeError(
                f"{path.name} gives different logits in its own library, by {difference:.2g} of their scale; "
                f"allowed is {TOLERANCE}"
            )
        largest = max(largest, difference)
    return largest


def _in_words(difference: float | None, reason: str) -> str:
    return f"not compared: {reason}" if difference is None else f"{difference:.1e} of their scale from BiT's"


def main(*arguments: str) -> None:
    values = flags.FLAGS
    if values.list:
        print(presets.describe(*arguments[:1]))
        return
    if len(arguments) != 2:
        raise command_line.UsageError(
            f"SOURCE and DESTINATION must be given, got {' '.join(arguments) or 'nothing'}; "
            "--list [PATTERN] lists what was published"
        )
    done = convert(
        *arguments,
        variant=values.variant,
        num_classes=values.num_classes,
        file_format=values.file_format,
        overwrite=values.overwrite,
        run_source=values.run_source,
    )
    print(f"{done.path}: {done.variant} with {done.num_classes} classes, read again, bit-identical")
    no_other = "no other library that runs this format is installed"
    reason = "it holds a program, which --run_source runs" if done.source_is_program else no_other
    print(f"  logits of the source: {_in_words(done.source_difference, reason)}")
    print(f"  logits of the copy:   {_in_words(done.difference, no_other)}")


def _define_flags() -> None:
    flags.DEFINE_boolean(
        "list", False, "List the published weights, all or those that match a pattern such as BiT-M-*."
    )
    flags.DEFINE_string("variant", None, "Architecture of the source; inferred from its shapes if not given.")
    flags.DEFINE_integer("num_classes", None, "Outputs of a new head of zeros, for a source without head.")
    flags.DEFINE_string("file_format", None, "Which file of published weights to take: npz, h5, timm, ...")
    flags.DEFINE_boolean("overwrite", False, "Replace an existing file.")
    flags.DEFINE_boolean(
        "run_source",
        False,
        "Also run the graph of a SavedModel or the configuration of a .keras file that is the source, to compare its "
        "logits. They are programs: only for those of known origin.",
    )


def run() -> None:
    """Entry point of the console script `bit-convert`."""
    _define_flags()
    command_line.run(main, arguments="SOURCE DESTINATION", interrupted="nothing was written")


if __name__ == "__main__":
    run()
