"""The card of a network inside of LiteRT and ONNX files, and LiteRT's own metadata.

LiteRT's metadata are a flatbuffer in the model and files in a zip archive at its end, which tools such as MediaPipe
read: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata. They are written here field by field, because
tflite-support, which writes them, needs an older protobuf than TensorFlow. Fields and values are numbered as in its
metadata_schema.fbs.
"""

import io
import os
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np

from bit_keras.checkpoints.card import KEY, MAX_BYTES, Card
from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.system.texts import label

CARD_FILE = f"{KEY}.json"
LABELS_FILE = "labels.txt"

_METADATA = "TFLITE_METADATA"  # name of the buffer of the metadata
_UNKNOWN, _TENSOR_AXIS_LABELS = 0, 2  # types of an associated file
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2  # content of a tensor
_NORMALIZATION_OPTIONS = 1  # a process unit
_RGB = 1


def read_card(path: str | os.PathLike) -> Card | None:
    """Returns the card of a network that `bit_keras.edge.export.export_edge` has written; None if the file has none.

    Args:
        path: a LiteRT (.tflite) or ONNX (.onnx) file.

    Raises:
        ImportError: the package onnx, which an ONNX file needs, is not installed.
        CheckpointError: the card, or the file, is damaged.
        OSError: the file cannot be read.

    Example:
        >>> from bit_keras.edge.card import read_card
        >>> read_card("edge/float32.tflite").class_names  # by `export_edge`
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    path = Path(path)
    text = _read_onnx(path) if path.suffix == ".onnx" else _read_litert(path)
    return None if text is None else Card.from_json(text, path)


def _read_litert(path: Path) -> bytes | None:
    with open(path, "rb") as file:
        if file.read(8)[4:] != b"TFL3":
            raise CheckpointError(f"{path} is neither a LiteRT file nor named .onnx")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(CARD_FILE) as file:
            return file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, KeyError):
        return None


def _read_onnx(path: Path) -> str | None:
    import onnx  # slow, and of the extra edge
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise CheckpointError(f"{path} is no ONNX file: {error}") from error
    return {entry.key: entry.value for entry in model.metadata_props}.get(KEY)


def add_to_onnx(model, card: Card) -> None:
    """Adds a card to an `onnx.ModelProto`, as metadata."""
    import onnx

    onnx.helper.set_model_props(model, {KEY: card.to_json()})


def add_to_litert(model: bytes, card: Card) -> bytes:
    """Returns a LiteRT model with metadata: its input, the labels of its output, and the card.

    Args:
        model: with one input, images [N, resolution, resolution, 3] in [0, 1], and one output, logits [N, K].
        card: of the network, with its resolution.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    network = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    network.metadata = network.metadata or []
    network.metadata.append(schema.MetadataT(name=_METADATA, buffer=len(network.buffers)))
    network.buffers.append(schema.BufferT(data=np.frombuffer(_metadata(card), np.uint8)))
    return with_files(bytes(flatbuffer_utils.convert_object_to_bytearray(network)), card)


def with_files(model: bytes, card: Card) -> bytes:
    """Returns a LiteRT model with card and class names as files in it, but no metadata about inputs and outputs."""
    content = io.BytesIO(model)
    with zipfile.ZipFile(content, "a") as archive:  # appended to the model, which readers of the model pass over
        archive.writestr(CARD_FILE, card.to_json())
        if card.class_names is not None:
            archive.writestr(LABELS_FILE, "".join(f"{label(name)}\n" for name in card.class_names))
    return content.getvalue()


def _metadata(card: Card) -> bytes:
    """Returns the flatbuffer ModelMetadata."""
    build = flatbuffers.Builder()
    size = _table(build, ("Uint32", card.resolution), ("Uint32", card.resolution))
    content = _table(build, ("Uint8", _IMAGE_PROPERTIES), _table(build, ("Int8", _RGB), size))
    # Tools divide pixels from 0 to 255 by this.
    scale = _table(build, _floats(build, 0), _floats(build, 255))
    units = _tables(build, _table(build, ("Uint8", _NORMALIZATION_OPTIONS), scale))
    stats = _table(build, _floats(build, 1), _floats(build, 0))
    text = f"RGB images with values in [0, 1], {card.resolution} x {card.resolution} pixels"
    images = _table(build, *_strings(build, "images", text), None, content, units, stats)

    content = _table(build, ("Uint8", _FEATURE_PROPERTIES), _table(build))
    labels = None
    if card.class_names is not None:
        labels = _tables(build, _file(build, LABELS_FILE, "names of the classes", _TENSOR_AXIS_LABELS))
    logits = _table(
        build, *_strings(build, "logits", "scores of the classes, before a softmax"), None, content, None, None, labels
    )

    graph = _table(build, None, None, _tables(build, images), _tables(build, logits))
    text = f"Big Transfer (BiT) image classifier; images become squares by {card.resize!r}"
    name, text, version, licence, parser = _strings(
        build, f"BiT {card.variant}", text, card.version, card.licence or "", "1.0.0"
    )
    files = _tables(build, _file(build, CARD_FILE, "what is known about the weights, as JSON", _UNKNOWN))
    model = _table(build, name, text, version, _tables(build, graph), None, licence, files, parser)
    build.Finish(model, b"M001")
    return bytes(build.Output())


def _file(build: flatbuffers.Builder, name: str, description: str, kind: int) -> int:
    return _table(build, *_strings(build, name, description), ("Int8", kind))


def _table(build: flatbuffers.Builder, *fields: int | tuple[str, int] | None) -> int:
    """Writes a table and returns its offset.

    Args:
        build: the buffer.
        *fields: in the order of the schema, offsets of what is written, types and values of numbers, or None.
    """
    build.StartObject(len(fields))
    for number, field in enumerate(fields):
        if isinstance(field, tuple):
            kind, value = field
            getattr(build, f"Prepend{kind}Slot")(number, value, 0)
        elif field is not None:
            build.PrependUOffsetTRelativeSlot(number, field, 0)
    return build.EndObject()


def _tables(build: flatbuffers.Builder, table: int) -> int:
    build.StartVector(4, 1, 4)
    build.PrependUOffsetTRelative(table)
    return build.EndVector()


def _floats(build: flatbuffers.Builder, value: float) -> int:
    return build.CreateNumpyVector(np.array([value], np.float32))


def _strings(build: flatbuffers.Builder, *texts: str) -> list[int]:
    return [build.CreateString(text) for text in texts]
