"""Program: publishes an exported model on Kaggle Models or the Hugging Face hub; by default a dry run.

The card of the hub, README.md on Hugging Face and two metadata files on Kaggle, is made from the card in the files. A
dry run shows it whole; an upload writes it where the hub has none.

Examples:
    bit-export publish --directory=exported/m-r50x1 --to=kaggle --handle=OWNER/bit/tensorFlow2/m-r50x1 --version=1
    bit-export publish --directory=exported/m-r50x1 --to=huggingface --handle=OWNER/bit-m-r50x1 --version=1 \\
        --nodry_run
"""

from pathlib import Path

from absl import flags

from bit_keras.checkpoints import formats
from bit_keras.checkpoints.card import Card
from bit_keras.saved_models.model_card import LICENCES
from bit_keras.saved_models.publish import HANDLES, publish
from bit_keras.system.logs import logger
from bit_keras.system.paths import expanded
from bit_keras.system.texts import counted, printable

_WEIGHTS = (".keras", ".npz", ".safetensors", ".h5")
_EDGE = (".tflite", ".onnx")


def main() -> None:
    values = flags.FLAGS
    card = find_card(Path(expanded(values.directory)))
    done = publish(
        values.directory,
        values.to,
        values.handle,
        values.version,
        values.dry_run,
        card=card,
        licence=values.licence,
        replace_card=values.replace_card,
    )
    for upload in done.uploads:
        print(f"{upload.sha256}  {upload.num_bytes:>13,}  {upload.path}")
    total = f"{counted(len(done.uploads), 'file')}, {sum(upload.num_bytes for upload in done.uploads):,} bytes"
    if values.dry_run:
        for name, text in done.texts.items():
            print(f"\n----- {name} -----\n{printable(text)}----- end of {name} -----")
        if values.licence is None and (card is None or card.licence is None):
            logger.warning("the licence of the weights is not known; an upload needs --licence")
        print(f"dry run: --nodry_run uploads {total} to {values.to} as {done.handle}")
        return
    if done.kept:
        print(f"{values.to} has {', '.join(done.kept)} of its own, which --replace_card replaces")
    print(f"{values.to} has {done.handle}: {total}")


def find_card(directory: Path) -> Card | None:
    """Returns the card of the first of these in a directory that has one, None if none has.

    The SavedModel, its latest version, the weight files in the order of their names, LiteRT and ONNX files.

    Raises:
        CheckpointError: a card is damaged.
        ImportError: a package that a format needs is not installed.
    """
    if not directory.is_dir():
        return None  # which `publish` refuses
    children = sorted(directory.iterdir())
    versions = sorted((child for child in children if child.name.isdecimal()), key=lambda child: -int(child.name))
    models = [folder for folder in (directory, *versions) if (folder / "saved_model.pb").is_file()]
    weights = [child for child in children if child.suffix in _WEIGHTS and child.is_file()]
    edge = [child for suffix in _EDGE for child in children if child.suffix == suffix and child.is_file()]
    readers = [(path, formats.read_card) for path in (*models, *weights)] + [(path, _read_edge_card) for path in edge]
    found = {}
    for path, read in readers:
        card = read(path)
        if card is not None:
            found[path] = card
    if not found:
        logger.warning("no file in %s carries a card of bit_keras: the texts for the hub state little", directory)
        return None
    first, *others = found
    logger.info("the texts for the hub are made from the card of %s", first)
    if different := [path.name for path in others if found[path] != found[first]]:
        logger.warning("%s carry other cards than %s; the texts are for the latter", ", ".join(different), first.name)
    return found[first]


def _read_edge_card(path: Path) -> Card | None:
    from bit_keras.edge.card import read_card  # needs a package of the extra edge

    return read_card(path)


def define_flags() -> None:
    flags.DEFINE_string("directory", None, "What to publish: a SavedModel, or a folder of model files.", required=True)
    flags.DEFINE_enum("to", None, list(HANDLES), "Hub to publish on.", required=True)
    handles = "; ".join(f"{place}: {form}" for place, (form, _) in HANDLES.items())
    flags.DEFINE_string("handle", None, f"Name on the hub. {handles}.", required=True)
    flags.DEFINE_integer("version", None, "Number of this version, 1 for the first.", required=True)
    flags.DEFINE_boolean("dry_run", True, "List what would be uploaded and show the card, without a network.")
    flags.DEFINE_string(
        "licence", None, f"Licence of the weights, such as {', '.join(LICENCES)}; that of their card if not given."
    )
    flags.DEFINE_boolean("replace_card", False, "Replace the card that the hub has.")
