"""ObjectNet: photographs of everyday objects from unusual sides, 113 of whose classes are also in ILSVRC-2012.

Source: abarbu/objectnet-template-tensorflow; the mapping is read from the user's copy of the data.
"""

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.examples import Examples, no_examples
from bit_keras.data.loaders import preprocessing_numpy
from bit_keras.data.source import Source, median_size
from bit_keras.data.sources.imagenet import for_evaluation, in_list
from bit_keras.data.sources.objectnet_archive import Archive, Files, open_files
from bit_keras.data.sources.scan import scan
from bit_keras.system.logs import logger
from bit_keras.zoo.evaluation_sets import EvaluationSet
from bit_keras.zoo.presets import LABELS

_NUM_CLASSES = LABELS["ilsvrc2012"]
_RED, _BORDER = (255, 0, 0), 2  # pixels on each side; a border of another width belongs to other copies of the data


@dataclasses.dataclass(frozen=True)
class Mapping:
    """The classes that ObjectNet and ILSVRC-2012 share.

    Attributes:
        classes: {folder of images: numbers of its classes in ILSVRC-2012}, of the shared classes.
        class_names: lemmas of the 1,000 classes.
    """

    classes: dict[str, list[int]]
    class_names: tuple[str, ...]


def open_objectnet(row: EvaluationSet, path: Path, skip_unreadable: bool = False) -> Source:
    """Opens the images of the shared classes; a prediction is right if it is one of the classes of the folder.

    Every image is decoded here once, so that no evaluation fails on a damaged one or on one without its border.

    Args:
        row: of the table of evaluation sets.
        path: objectnet-1.0.zip, or the folder that it was unpacked to.
        skip_unreadable: True leaves out the images that cannot be used, as if they did not exist.

    Raises:
        DataError: the archive or a file in it is missing or damaged, the password is wrong, the mapping does not know a
            class, or an image cannot be used.
    """
    files = open_files(path)
    mapping = read_mapping(files)
    names = [name for name in files.images() if _folder(name) in mapping.classes]
    if not names:
        raise DataError(f"objectnet: {path} must hold images/FOLDER/*.png of the shared classes, got none")
    if isinstance(files, Archive):
        _check_password(files, names[0])
        if files.is_slow:
            logger.warning("objectnet: the archive is read at about 1 MB/s; install unzip, or unpack it first")
    digests = {}

    def read(name: str) -> bytes:
        content = files.read(name)
        digests[name] = hashlib.sha256(content).digest()
        return content

    sizes = scan(names, skip_unreadable, read, measure=lambda content: decode(content).shape[:2])
    sizes = {name: size for name, size in zip(names, sizes.tolist()) if any(size)}
    if not sizes:
        raise DataError(f"objectnet: {path} must hold images that can be used, got none")
    names = list(sizes)
    test = Examples(
        np.array(names, dtype=object),
        np.zeros(len(names), np.int64),
        in_files=True,
        pixels=np.array([math.prod(size) for size in sizes.values()], np.int64),
        digests=np.array([digests[name] for name in names], dtype=object),
        reader=lambda name: decode(files.read(name)),
    )
    source = Source(
        name=row.name,
        class_names=(),
        image_size=median_size(list(sizes.values())),
        train=no_examples(),
        test=test,
        identity={"kind": "folder", "fingerprint": hashlib.sha256(repr(names).encode()).hexdigest()},
    )
    source = in_list(source, mapping.class_names, [mapping.classes[_folder(name)] for name in names])
    competing = {number for numbers in mapping.classes.values() for number in numbers}
    return dataclasses.replace(for_evaluation(row, source), competing=tuple(sorted(competing)))


def _check_password(archive: Archive, name: str) -> None:
    """Raises DataError if an image cannot be read, before all of them are."""
    try:
        archive.read(name)
    except ValueError as error:
        raise DataError(f"objectnet: {name} cannot be read: {error}") from error


def decode(content: bytes) -> np.ndarray:
    """Decodes an image and cuts off its red border, which marks images of ObjectNet wherever they are shown.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: the image is damaged or has no such border.
    """
    image = preprocessing_numpy.decode(content)
    inner = image[_BORDER:-_BORDER, _BORDER:-_BORDER]
    is_red = (image == _RED).all(axis=-1)
    is_red[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
    if not inner.size or not is_red.all():
        raise ValueError(f"it must have ObjectNet's red border of {_BORDER} pixels: use the original file")
    return inner


def _folder(name: str) -> str:
    return name.split("/")[1]


def read_mapping(files: Files) -> Mapping:
    """Returns the mapping that is in the archive, whose files number the classes of ILSVRC-2012 in two ways.

    Raises:
        DataError: a file is missing, or has another form, or names what the others do not know.
    """
    labels = _read_json(files, "folder_to_objectnet_label.json")  # {"alarm_clock": "Alarm clock"}
    shared = _read_json(files, "objectnet_to_imagenet_1k.json")  # {"Alarm clock": "analog clock; digital clock"}
    lines = _read_json(files, "pytorch_to_imagenet_2012_id.json")  # {"409": line of this class in the list below}
    lemmas = _read(files, "imagenet_to_label_2012_v2").decode("utf-8", "replace").splitlines()
    lemmas = [lemma.strip() for lemma in lemmas]
    try:
        class_names = tuple(lemmas[lines[str(number)]] for number in range(_NUM_CLASSES))
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"objectnet: pytorch_to_imagenet_2012_id.json must give a line of imagenet_to_label_2012_v2, which has "
            f"{len(lemmas):,}, for each class 0 to {_NUM_CLASSES - 1}: {error}"
        ) from error
    folders = {label: folder for folder, label in labels.items()}
    _check_known("objectnet_to_imagenet_1k.json", shared, folders, "folder_to_objectnet_label.json")
    wanted = {folders[label]: texts.split("; ") for label, texts in shared.items()}
    all_lemmas = [lemma for texts in wanted.values() for lemma in texts]
    _check_known("objectnet_to_imagenet_1k.json", all_lemmas, class_names, "imagenet_to_label_2012_v2")
    _check_images(files, labels)
    return Mapping(
        {folder: sorted(class_names.index(lemma) for lemma in texts) for folder, texts in wanted.items()}, class_names
    )


def _check_images(files: Files, labels: dict) -> None:
    _check_known("images", sorted({_folder(name) for name in files.images()}), labels, "folder_to_objectnet_label.json")


def _check_known(where: str, names, known, mapping: str) -> None:
    unknown = [repr(name) for name in names if name not in known]
    if unknown:
        raise DataError(
            f"objectnet: {mapping} must know every class of {where}; it does not know {', '.join(shortened(unknown))}"
        )


def _read_json(files: Files, name: str) -> dict:
    try:
        content = json.loads(_read(files, name))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"objectnet: mappings/{name} must be JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"objectnet: mappings/{name} must be a JSON object, got {type(content).__name__}")
    return content


def _read(files: Files, name: str) -> bytes:
    try:
        return files.read(f"mappings/{name}")
    except (OSError, ValueError) as error:
        raise DataError(f"objectnet: mappings/{name} cannot be read: {error}") from error
