"""LiteRT and ONNX files, compared with the Keras model that they were exported from."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

import bit_keras
from bit_keras import data
from bit_keras.edge import export as edge
from bit_keras.edge.card import read_card
from bit_keras.edge.export import FORMATS, compare, export_edge
from bit_keras.export import edge as program_module
from bit_keras.runs.config import LOAD_OPTIONS
from bit_keras.system import command_line

ROOT = Path(edge.__file__).parents[2]
SIZE = 32


@pytest.fixture(scope="module")
def source() -> data.Source:
    return data.load("digits")


@pytest.fixture(scope="module")
def model(source) -> bit_keras.BiT:
    """A network with random features and a head that is fitted to the digits."""
    model = bit_keras.BiT.from_preset(Path(__file__).parents[1] / "fixtures" / "golden_r_small.npz")
    batches = data.train_batches(
        source, batch_size=source.num_train, resize=SIZE, crop=SIZE, seed=0, random_crop=False, flip=False
    )
    images, targets = next(batches.as_numpy_iterator())
    features = model.backbone.predict(images, verbose=0)  # [N, F]
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
    features = (features - mean) / scale
    ridge = features.T @ features + 1000 * np.eye(features.shape[-1])
    kernel = np.linalg.solve(ridge, features.T @ (targets - 0.1)) / scale[:, np.newaxis]
    model.get_layer("head").set_weights([kernel, -mean @ kernel])
    return model


@pytest.fixture(scope="module")
def program(model, tmp_path_factory) -> tuple[Path, str]:
    """The directory that the program wrote, and its output."""
    folder = tmp_path_factory.mktemp("edge")
    bit_keras.save_npz(model, folder / "weights.npz")
    output = folder / "new" / "edge"
    command = [sys.executable, "-m", "export.edge", f"--model={folder / 'weights.npz'}", f"--output={output}"]
    result = subprocess.run(
        [*command, "--dataset=digits", f"--resolution={SIZE}", "--calibration_examples=64", "--test_examples=200"],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"},
        cwd=ROOT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return output, result.stdout


@pytest.fixture(scope="module")
def exported(program) -> dict[str, Path]:
    folder, _ = program
    return {name: folder / row.file_name for name, row in FORMATS.items()}


def test_every_format_keeps_the_accuracy(program):
    folder, output = program
    rows = json.loads((folder / "summary.json").read_text())["artefacts"]
    header, *lines, last = output.splitlines()
    assert last == f"files in {folder}, class_names.txt and summary.json beside them"
    assert header.startswith("artefact             bytes")
    assert [line.split()[0] for line in lines] == [row["name"] for row in rows] == list(FORMATS)
    for row in rows:
        limits = FORMATS[row["name"]]
        assert row["path"] == str(folder / limits.file_name)
        assert row["max_difference"] <= limits.max_difference
        assert row["extra"]["Keras accuracy"] > 0.75
        assert row["extra"]["test accuracy"] > 0.75
        assert row["extra"]["test examples"] == "200"
    sizes = {row["name"]: row["bytes"] for row in rows}
    assert 0.45 < sizes["litert_float16"] / sizes["litert_float32"] < 0.55
    assert 0.23 < sizes["litert_int8"] / sizes["litert_float32"] < 0.32
    assert 0.23 < sizes["litert_dynamic_int8"] / sizes["litert_float32"] < 0.32


def test_what_is_written(program):
    folder, _ = program
    assert os.listdir(folder.parent) == ["edge"]
    assert {path.name for path in folder.iterdir()} == {
        *(row.file_name for row in FORMATS.values()),
        *("class_names.txt", "summary.json"),
    }
    assert (folder / "class_names.txt").read_text().splitlines() == [str(k) for k in range(10)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_consumer_needs_no_tensorflow(exported, model, source, tmp_path, name):
    """Images that differ from those of the export: uint8 as from a camera, without the library's preprocessing."""
    images = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    consumer = ROOT / "tests" / "consumers" / "edge_images.py"
    result = subprocess.run(
        [sys.executable, consumer, exported[name], tmp_path / "images.npy"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout.splitlines()[-1])
    expected = keras.ops.convert_to_numpy(model(images / np.float32(127.5) - 1))
    difference = np.abs(np.array(facts["logits"]) - expected).max() / np.abs(expected).max()
    assert difference < FORMATS[name].max_difference
    assert not facts["foreign_modules"]
    if name == "onnx":
        assert facts["inputs"] == {"images": ["batch", "height", "width", 3]}
        assert facts["outputs"] == {"logits": ["batch", 10]}
        assert facts["other_size"] == [2, 10]
        assert {node.domain for node in onnx.load(exported[name]).graph.node} == {""}  # operators of the standard only
        return
    assert facts["signature"] == {"serving_default": {"inputs": ["images"], "outputs": ["logits"]}}
    assert facts["shape"] == [-1, SIZE, SIZE, 3]
    assert facts["input_type"] == ("int8" if name == "litert_int8" else "float32")
    # Standardized kernels are constants: no operation computes them, and none is an operation of TensorFlow.
    assert facts["operations"]["CONV_2D"] == 20
    assert not any(operation.startswith(("Flex", "SQRT")) for operation in facts["operations"])
    assert facts["quantized_convolutions"] == (20 if name == "litert_int8" else 0)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_carries_its_card(exported, name):
    card = read_card(exported[name])
    assert (card.class_names, card.resolution, card.variant) == (tuple("0123456789"), SIZE, "R17x0.5")
    assert (card.input_range, card.resize) == ((0, 1), "squash")


def _scale_head(path: Path, model: bit_keras.BiT) -> None:
    """Increases the head's kernel in the file by a thousandth."""
    kernel = model.get_layer("head").get_weights()[0].T  # [K, F], as LiteRT stores it
    content = path.read_bytes()
    assert content.count(kernel.tobytes()) == 1
    path.write_bytes(content.replace(kernel.tobytes(), (kernel * np.float32(1.001)).tobytes()))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_scale_head, "litert_float32: the logits differ by"),
        (lambda path, model: path.write_bytes(b"no model"), r"litert_float32 does not run \(exit status 1\)"),
        (lambda path, model: path.unlink(), r"litert_float32 does not run \(exit status 1\)"),
    ],
)
def test_a_wrong_file_leaves_nothing_behind(exported, model, source, tmp_path, monkeypatch, damage, message):
    run_python = edge.run_python

    def convert(fault, *arguments):
        if arguments[:2] != ("-m", "bit_keras.edge.convert"):
            return run_python(fault, *arguments)
        path = arguments[5] / "float32.tflite"
        path.write_bytes(exported["litert_float32"].read_bytes())
        damage(path, model)

    monkeypatch.setattr(edge, "run_python", convert)
    with pytest.raises(RuntimeError, match=message):
        export_edge(model, tmp_path / "edge", source, SIZE, formats=["litert_float32"], test_examples=20)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", FORMATS)
def test_differences_that_are_refused(name):
    expected = np.random.default_rng(0).normal(size=(8, 10))
    labels = expected.argmax(axis=-1)
    most = FORMATS[name].max_difference * np.abs(expected).max()
    assert compare(name, expected + 0.99 * most, expected, labels)[1] == (1, 1)
    for found in (expected + 1.01 * most, np.full_like(expected, np.nan), expected[:, :9]):
        with pytest.raises(RuntimeError, match=f"{name}: the logits differ by .* allowed is"):
            compare(name, found, expected, labels)


@pytest.mark.parametrize(
    ("lost", "count", "is_allowed"),
    [(0, 1000, True), (30, 1000, True), (31, 1000, False), (1, 10, True), (2, 10, False)],
)
def test_accuracy_that_may_be_lost(lost, count, is_allowed):
    expected = np.tile([1000.0, 999.0], (count, 1))
    found = expected.copy()
    found[:lost, 0] = 998.0
    labels = np.zeros(count, int)
    if is_allowed:
        assert compare("litert_int8", found, expected, labels)[1] == (1.0, pytest.approx(1 - lost / count))
        return
    with pytest.raises(RuntimeError, match=r"litert_int8: the test accuracy falls from 1\.0000 to"):
        compare("litert_int8", found, expected, labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ["onnx", "tflite"]}, "formats must be some of litert_float32, .* got onnx, tflite"),
        ({"formats": []}, "formats must be some of .* got none"),
        ({"resolution": 0}, "resolution must be 1 or more, got 0"),
        ({"calibration_examples": 0}, "calibration_examples must be 1 or more, got 0"),
        ({"test_examples": 0}, "test_examples must be 1 or more, got 0"),
        ({"model": lambda: bit_keras.BiT("R17x0.5", 3)}, "got 3 outputs for 10 classes"),
        ({"model": lambda: bit_keras.BiT("R17x0.5", 10, dtype="mixed_bfloat16")}, "in float32, .* got mixed_bfloat16"),
    ],
)
def test_arguments_are_refused(model, source, tmp_path, arguments, message):
    arguments = {"model": lambda: model, "formats": ["onnx"], **arguments}
    wrong = arguments.pop("model")()
    with pytest.raises(ValueError, match=message):
        export_edge(wrong, tmp_path / "edge", source, **arguments)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("known", "served"), [(40, 40), (None, 224)])
def test_the_resolution_is_that_of_the_weights(source, tmp_path, monkeypatch, known, served):
    class _Images(Exception):
        pass

    def write(split, source, max_examples, shape, path):
        raise _Images(shape["crop"])

    model = bit_keras.BiT("R17x0.5", 10)
    model.resolution = known
    monkeypatch.setattr(edge, "_write_images", write)
    with pytest.raises(_Images, match=f"^{served}$"):
        export_edge(model, tmp_path / "edge", source)


def test_a_network_that_is_too_large_for_a_file(model, source, tmp_path, monkeypatch):
    monkeypatch.setattr(edge, "_MAX_BYTES", 4 * model.count_params())
    with pytest.raises(ValueError, match="must have less than 8,"):
        export_edge(model, tmp_path / "edge", source, SIZE)
    assert os.listdir(tmp_path) == []


def test_the_program_fails_with_a_status(golden_npz, tmp_path, monkeypatch):
    examples = {"calibration_examples": 1, "test_examples": 1}
    task = {"dataset": "digits", "resolution": SIZE, "formats": ["onnx"], **dict.fromkeys(LOAD_OPTIONS)}
    values = types.SimpleNamespace(model=golden_npz, output=tmp_path, **task, **examples)
    monkeypatch.setattr(program_module.flags, "FLAGS", values)
    monkeypatch.setattr("sys.argv", ["edge"])
    monkeypatch.setattr(command_line, "_parse", lambda *_: [])
    with pytest.raises(SystemExit) as error:
        command_line.run(program_module.main)
    assert error.value.code == 1
    assert os.listdir(tmp_path) == []


def test_an_existing_directory_is_refused(model, source, tmp_path):
    with pytest.raises(FileExistsError, match=f"a directory that does not exist yet, got {tmp_path}"):
        export_edge(model, tmp_path, source, SIZE)
    assert os.listdir(tmp_path) == []


def test_a_missing_converter(model, source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"needs the package tf2onnx, .* pip install 'bit-keras\[edge\]'"):
        export_edge(model, tmp_path / "edge", source)
    assert os.listdir(tmp_path) == []
