"""Detectors as ONNX and LiteRT files, run in their runtimes and compared with the Keras model."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

import bit_keras
from bit_keras.detection import save_npz
from bit_keras.detection.export import edge, run_exported
from bit_keras.detection.network.decoding import detect
from bit_keras.edge.card import read_card
from tests.detection.exported import NAMES, RESOLUTION, random_detector, random_images

OUTPUTS = ("class", "box")


@pytest.fixture(scope="module")
def detector():
    return random_detector()


@pytest.fixture(scope="module")
def program(run_program, detector, tmp_path_factory) -> tuple[Path, str]:
    """The directory with an ONNX file that the program wrote, and its output."""
    folder = tmp_path_factory.mktemp("onnx")
    save_npz(detector, folder / "weights.npz")
    flags = [f"--model={folder / 'weights.npz'}", f"--output={folder / 'out'}", "--kind=onnx"]
    result = run_program("bit_keras.detection", "export", *flags)
    assert result.returncode == 0, result.stderr
    return folder / "out", result.stdout


@pytest.fixture(scope="module")
def litert(detector, tmp_path_factory) -> tuple[Path, dict]:
    """The directory with LiteRT files, and their differences."""
    folder = tmp_path_factory.mktemp("litert") / "out"
    return folder, edge.export_detector_edge(detector, folder, "litert")


def compare(found: dict, detector, images: np.ndarray, tolerance: float) -> dict:
    """Compares raw outputs with those of the Keras model, which it returns."""
    expected = detector.predict_on_batch(2 * images - 1)
    for name in OUTPUTS:
        assert found[name].shape == expected[name].shape
        assert np.abs(found[name] - expected[name]).max() < tolerance * np.abs(expected[name]).max()
    return expected


def copied_decoder(folder: Path):
    spec = importlib.util.spec_from_file_location("copied", folder / "decode_numpy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.decode_numpy


def test_what_is_written(program, litert):
    folder, output = program
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "decode_numpy.py", "class_names.txt"}
    assert (folder / "class_names.txt").read_text(encoding="utf-8").splitlines() == list(NAMES)
    first, last = output.splitlines()
    assert first.startswith("model.onnx")
    assert last == f"files in {folder}, with decode_numpy.py, which makes boxes of their outputs"
    folder, differences = litert
    names = {"float32.tflite", "float16.tflite"}
    assert {path.name for path in folder.iterdir()} == names | {"decode_numpy.py", "class_names.txt"}
    assert differences.keys() == names
    assert differences["float32.tflite"] < 1e-4 < differences["float16.tflite"] < 0.02
    sizes = {name: (folder / name).stat().st_size for name in names}
    assert 0.45 < sizes["float16.tflite"] / sizes["float32.tflite"] < 0.6


# In the third, groups of one or two numbers are normalized, which amplifies rounding.
@pytest.mark.parametrize(("shape", "tolerance"), [((2, 64, 64), 1e-4), ((1, 100, 150), 1e-4), ((1, 33, 90), 1e-3)])
def test_onnx(program, detector, shape, tolerance):
    session = onnxruntime.InferenceSession(program[0] / "model.onnx", providers=["CPUExecutionProvider"])
    assert {value.name: value.shape for value in session.get_inputs()} == {"images": ["batch", "height", "width", 3]}
    shapes = {value.name: value.shape for value in session.get_outputs()}
    assert shapes == {"class": ["batch", "anchors", 3], "box": ["batch", "anchors", 4]}
    images = random_images(*shape)
    found = dict(zip(OUTPUTS, session.run(OUTPUTS, {"images": images}), strict=True))
    outputs = compare(found, detector, images, tolerance)
    # The copied decoder, on the outputs of the Keras model: small differences may change what is suppressed.
    decode = copied_decoder(program[0])
    boxes, scores, classes, num = decode(outputs["class"], outputs["box"], *shape[1:], score=0.5)
    expected = detect(outputs, shape[1:], score=0.5)
    assert (num > 0).all()
    assert num.tolist() == expected.num.tolist()
    assert classes.tolist() == expected.classes.tolist()
    np.testing.assert_allclose(boxes, expected.boxes, rtol=0, atol=1e-3)
    np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=1e-6)


def test_operators_of_onnx_alone(program):
    assert {node.domain for node in onnx.load(program[0] / "model.onnx").graph.node} == {""}


@pytest.mark.parametrize(("name", "tolerance"), [("float32.tflite", 1e-4), ("float16.tflite", 0.02)])
def test_litert(litert, detector, name, tolerance):
    interpreter = Interpreter(str(litert[0] / name))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["images"], "outputs": ["box", "class"]}}
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, RESOLUTION, RESOLUTION, 3]
    operations = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert not [operation for operation in operations if operation.startswith("Flex")]
    images = random_images(1, RESOLUTION, RESOLUTION)
    compare(interpreter.get_signature_runner("serving_default")(images=images), detector, images, tolerance)


def test_cards(program, litert):
    for path in (program[0] / "model.onnx", litert[0] / "float32.tflite"):
        card = read_card(path)
        assert (card.task, card.class_names, card.resolution) == ("detection", NAMES, RESOLUTION)
        assert card.input_range == (0, 1)


def test_the_runtimes_need_nothing_of_the_library(program, litert, tmp_path):
    np.savez(tmp_path / "inputs.npz", **{"0/images": random_images(1, RESOLUTION, RESOLUTION)})
    files = [str(program[0] / "model.onnx"), str(litert[0] / "float32.tflite")]
    code = (
        "import json, runpy, sys; main = runpy.run_path(sys.argv[1])['main']; "
        "[main(path, sys.argv[2], sys.argv[3]) for path in sys.argv[4:]]; "
        "print(json.dumps(sorted({'tensorflow', 'keras', 'bit_keras'} & set(sys.modules))))"
    )
    inputs = [run_exported.__file__, tmp_path / "inputs.npz", tmp_path / "result.npz"]
    command = [sys.executable, "-P", "-c", code, *map(str, inputs), *files]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == []


def test_a_wrong_file_leaves_nothing_behind(litert, detector, tmp_path, monkeypatch):
    def convert(fault, *arguments):
        if arguments[:2] == ("-m", "bit_keras.detection.export.convert"):
            for name in ("float32.tflite", "float16.tflite"):
                shutil.copy(litert[0] / "float16.tflite", arguments[4] / name)

    monkeypatch.setattr(edge, "run_python", convert)
    with pytest.raises(RuntimeError, match=r"float32\.tflite differs from the detector:\n0/heads/class: differs by"):
        edge.export_detector_edge(detector, tmp_path / "out", "litert")
    assert not list(tmp_path.iterdir())


def test_arguments_are_refused(detector, tmp_path):
    with pytest.raises(ValueError, match="kind must be one of onnx, litert, got 'tflite'"):
        edge.export_detector_edge(detector, tmp_path / "out", "tflite")
    with pytest.raises(ValueError, match="resolution must be 1 or more, got 0"):
        edge.export_detector_edge(detector, tmp_path / "out", "onnx", 0)
    with pytest.raises(FileExistsError, match="output must not exist yet"):
        edge.export_detector_edge(detector, tmp_path, "onnx")
    half = bit_keras.detection.Detector("R17x0.5", 3, width=32, depth=1, dtype="mixed_bfloat16")
    half.resolution = 64
    with pytest.raises(ValueError, match=r"the detector must be in float32, .* got mixed_bfloat16"):
        edge.export_detector_edge(half, tmp_path / "out", "onnx")
    assert not list(tmp_path.iterdir())
