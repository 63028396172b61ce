"""The card in LiteRT and ONNX files, and LiteRT's metadata as readers of its schema find them."""

import dataclasses
import zipfile

import flatbuffers.encode
import flatbuffers.number_types as types
import numpy as np
import onnx
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers.table import Table

from bit_keras.checkpoints import CheckpointError
from bit_keras.checkpoints.card import Card
from bit_keras.edge.card import add_to_litert, add_to_onnx, read_card

CARD = Card(
    variant="R50x1", class_names=("Käse", "a, b", "東京"), resolution=8, input_range=(0.0, 1.0), licence="Apache-2.0"
)


class Fields:
    """A flatbuffer's table, read by the numbers of its fields."""

    def __init__(self, buffer: bytes, place: int):
        self._table = Table(buffer, place)

    @classmethod
    def root(cls, buffer: bytes) -> "Fields":
        return cls(buffer, flatbuffers.encode.Get(types.UOffsetTFlags.packer_type, buffer, 0))

    def _place(self, field: int) -> int:
        offset = self._table.Offset(4 + 2 * field)
        assert offset, f"field {field} is not there"
        return offset + self._table.Pos

    def text(self, field: int) -> str:
        return self._table.String(self._place(field)).decode()

    def number(self, field: int, flags=types.Uint32Flags) -> int:
        return self._table.Get(flags, self._place(field))

    def table(self, field: int) -> "Fields":
        return Fields(self._table.Bytes, self._table.Indirect(self._place(field)))

    def only(self, field: int) -> "Fields":
        """The table in a list of one."""
        place = self._place(field) - self._table.Pos
        assert self._table.VectorLen(place) == 1
        return Fields(self._table.Bytes, self._table.Indirect(self._table.Vector(place)))

    def floats(self, field: int) -> list[float]:
        return self._table.GetVectorAsNumpy(types.Float32Flags, self._place(field) - self._table.Pos).tolist()


@pytest.fixture(scope="module")
def model() -> bytes:
    """A LiteRT model of images [1, 8, 8, 3] to logits [1, 3]."""

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], name="images")])
    def call(images):
        return {"logits": tf.reduce_mean(images, [1, 2]) * [1.0, 2.0, 3.0]}

    return tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()], call).convert()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("litert") / "model.tflite"
    path.write_bytes(add_to_litert(model, CARD))
    return path


def test_the_card_is_read_again(file):
    assert read_card(file) == CARD


def test_the_model_computes_the_same(model, file):
    images = np.random.default_rng(0).uniform(size=(1, 8, 8, 3)).astype(np.float32)
    found = []
    for source in ({"model_content": model}, {"model_path": str(file)}):
        interpreter = Interpreter(**source)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*found)


def _metadata(file) -> Fields:
    model = schema.Model.GetRootAs(file.read_bytes(), 0)
    (buffer,) = (
        model.Metadata(k).Buffer()
        for k in range(model.MetadataLength())
        if model.Metadata(k).Name() == b"TFLITE_METADATA"
    )
    content = model.Buffers(buffer).DataAsNumpy().tobytes()
    assert content[4:8] == b"M001"
    return Fields.root(content)


def test_metadata(file):
    """The numbers of the fields are those of metadata_schema.fbs, version 1.5."""
    metadata = _metadata(file)
    assert metadata.text(0) == "BiT R50x1"
    assert (metadata.text(2), metadata.text(5), metadata.text(7)) == (CARD.version, "Apache-2.0", "1.0.0")
    assert metadata.only(6).text(0) == "bit_keras_card.json"

    images = metadata.only(3).only(2)
    assert images.text(0) == "images"
    assert images.table(3).number(0, types.Uint8Flags) == 2, "ImageProperties"
    assert images.table(3).table(1).number(0, types.Int8Flags) == 1, "RGB"
    size = images.table(3).table(1).table(1)
    assert (size.number(0), size.number(1)) == (8, 8)
    unit = images.only(4)
    assert unit.number(0, types.Uint8Flags) == 1, "NormalizationOptions"
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == ([0], [255])
    assert (images.table(5).floats(0), images.table(5).floats(1)) == ([1], [0])

    logits = metadata.only(3).only(3)
    assert logits.text(0) == "logits"
    assert logits.table(3).number(0, types.Uint8Flags) == 1, "FeatureProperties"
    assert logits.only(6).text(0) == "labels.txt"
    assert logits.only(6).number(2, types.Int8Flags) == 2, "TENSOR_AXIS_LABELS"


def test_labels_are_in_the_archive_at_the_end(file):
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["bit_keras_card.json", "labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == list(CARD.class_names)


def test_without_names_there_are_no_labels(model, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(add_to_litert(model, dataclasses.replace(CARD, class_names=None)))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["bit_keras_card.json"]
    with pytest.raises(AssertionError, match="field 6 is not there"):
        _metadata(path).only(3).only(3).only(6)


def test_onnx(tmp_path):
    value = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["images"], ["logits"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "graph", [value], [value]))
    onnx.save(model, tmp_path / "before.onnx")
    assert read_card(tmp_path / "before.onnx") is None
    add_to_onnx(model, CARD)
    onnx.save(model, tmp_path / "after.onnx")
    assert read_card(tmp_path / "after.onnx") == CARD


def test_other_files(model, tmp_path):
    (tmp_path / "plain.tflite").write_bytes(model)
    assert read_card(tmp_path / "plain.tflite") is None
    for name in ("a.onnx", "a.tflite"):
        (tmp_path / name).write_bytes(b"neither of them")
        with pytest.raises(CheckpointError, match=r"is no ONNX file|is neither a LiteRT file nor named .onnx"):
            read_card(tmp_path / name)
