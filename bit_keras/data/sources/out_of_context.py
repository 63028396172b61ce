"""The out-of-context set of the BiT paper: foreground objects of 21 classes of ILSVRC-2012 on other backgrounds."""

import dataclasses
from pathlib import Path

from bit_keras.data.errors import DataError
from bit_keras.data.source import Source
from bit_keras.data.sources.folder import class_files
from bit_keras.data.sources.image_files import open_image_files
from bit_keras.data.sources.imagenet import for_evaluation, read_json
from bit_keras.zoo.evaluation_sets import EvaluationSet

_MAP = "classes.json"


def open_out_of_context(row: EvaluationSet, root: Path, skip_unreadable: bool = False) -> Source:
    """Opens a folder of class folders that are named after classes of ILSVRC-2012.

    Args:
        row: of the table of evaluation sets.
        root: folder of the class folders. Their names are WordNet ids or lemmas, such as "golden retriever"; for other
            names the file classes.json in it gives {name of the folder: WordNet id or lemma}.
        skip_unreadable: as in `open_folder`.

    Raises:
        DataError: there are no class folders, classes.json has another form, or an image cannot be used.
    """
    names = _read_map(row, root)
    found = class_files(root)
    unknown = sorted(set(names) - {path.name for path in found})
    if unknown:
        raise DataError(f"{row.name}: {root / _MAP} names folders that do not exist: {', '.join(unknown)}")
    classes = {names.get(path.name, path.name): files for path, files in found.items()}
    if len(classes) < len(found):
        raise DataError(f"{row.name}: {root / _MAP} must give each folder a class of its own, got {sorted(classes)}")
    source = open_image_files(row.name, root, {"train": classes}, skip_unreadable=skip_unreadable, divide=False)
    identity = {**source.identity, "class_names": list(classes)}
    return for_evaluation(row, dataclasses.replace(source, identity=identity))


def _read_map(row: EvaluationSet, root: Path) -> dict[str, str]:
    path = root / _MAP
    if not path.is_file():
        return {}
    names = read_json(row, path)
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{row.name}: {path} must be an object, {{folder: WordNet id or lemma}}")
    return names
