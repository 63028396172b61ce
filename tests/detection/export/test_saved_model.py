"""Detectors as SavedModels for TF Serving: what the signatures find, compared with the Keras model and NumPy."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

import bit_keras
from bit_keras.checkpoints.formats import read_card
from bit_keras.data.loaders.preprocessing import corner
from bit_keras.detection import Detector, save_npz
from bit_keras.detection.data.augmentation import test_image as letterbox
from bit_keras.detection.data.augmentation import to_image
from bit_keras.detection.export import comparison
from bit_keras.detection.export import saved_model as export
from bit_keras.detection.export.options import ServingOptions
from bit_keras.detection.network.decoding import detect
from bit_keras.saved_models import tf_serving, warmup
from tests.detection.exported import NAMES, RESOLUTION, encode, photo, random_detector, random_images
from tests.signatures import load

CLIENT = Path(__file__).parents[2] / "consumers" / "serving_client.c"
SCORE, IOU, LIMIT, MAX_ROWS, MAX_PIXELS = 0.95, 0.4, 70, 9, 40_000
SETTINGS = {"score": SCORE, "iou": IOU, "limit": LIMIT}
OUTPUTS = {"boxes", "scores", "classes", "class_ids", "num"}


@pytest.fixture(scope="module")
def detector() -> Detector:
    return random_detector()


@pytest.fixture(scope="module")
def program(run_program, detector, tmp_path_factory) -> tuple[Path, str]:
    """The directory that the program wrote, and its output."""
    folder = tmp_path_factory.mktemp("published")
    save_npz(detector, folder / "weights.npz")
    settings = {**SETTINGS, "max_rows": MAX_ROWS, "max_pixels": MAX_PIXELS, "name": "birds", "version": 2}
    settings |= {"model": folder / "weights.npz", "output": folder / "models"}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    result = run_program("bit_keras.detection", "export", *flags)
    assert result.returncode == 0, result.stderr
    assert "boxes compared" in result.stderr
    return folder / "models", result.stdout


@pytest.fixture(scope="module")
def path(program) -> Path:
    return program[0] / "birds" / "2"


@pytest.fixture(scope="module")
def signatures(path) -> dict:
    return load(path)


def found_by_keras(detector: Detector, images: np.ndarray, sizes=None, **settings):
    """Returns what NumPy's suppression finds in images in [-1, 1]."""
    outputs = detector.predict_on_batch(images)
    return detect(outputs, images.shape[1:3], sizes, **{**SETTINGS, **settings})


def compare(found: dict, expected, rows=slice(None)) -> None:
    """Compares the outputs of a signature with boxes, scores, classes and num; nearly equal scores have no order."""
    ours = [found[name][rows] for name in ("boxes", "scores", "class_ids", "num")]
    assert [array.shape for array in ours] == [array.shape for array in expected]
    assert ours[-1].tolist() == expected[-1].tolist()
    for boxes, scores, classes, other_boxes, other_scores, other_classes in zip(*ours[:3], *expected[:3], strict=True):
        is_near = (np.abs(boxes[:, np.newaxis] - other_boxes) <= 1e-3).all(-1)
        is_near &= np.abs(scores[:, np.newaxis] - other_scores) <= 1e-5
        is_near &= classes[:, np.newaxis] == other_classes
        assert is_near.any(1).all()
        assert is_near.any(0).all()
    assert (np.diff(ours[1], axis=1) <= 0).all()
    is_found = np.arange(LIMIT) < ours[-1][:, np.newaxis]
    assert not ours[0][~is_found].any()
    assert not ours[1][~is_found].any()
    assert (ours[2][~is_found] == -1).all()
    names = [["" if label < 0 else NAMES[label] for label in row] for row in ours[2]]
    assert [[name.decode() for name in row] for row in found["classes"][rows]] == names


# Files


def test_layout_and_output(program):
    models, output = program
    paths = {str(file.relative_to(models)) for file in models.rglob("*") if file.is_file()}
    version = ["saved_model.pb", "fingerprint.pb", "variables/variables.index", str(warmup.PATH)]
    version += ["variables/variables.data-00000-of-00001", "assets/bit_keras_card.json", "assets/class_names.txt"]
    assert paths == {
        *tf_serving.CONFIGURATION_FILES,
        *("models.config", "birds/summary.json"),
        *(f"birds/2/{name}" for name in version),
    }
    (entry,) = text_format.Parse((models / "models.config").read_text(), ModelServerConfig()).model_config_list.config
    assert (entry.name, entry.base_path) == ("birds", "/models/birds")
    (row,) = json.loads((models / "birds" / "summary.json").read_text())["artefacts"]
    assert row["max_difference"] <= 1e-5
    assert row["images_per_second"].keys() == {"1"}
    heading, line, where, docker, server = output.splitlines()
    assert heading.split()[:2] == ["artefact", "bytes"]
    assert line.startswith(f"detector, float32  {row['bytes']:,}  ")
    assert where == f"model in {models / 'birds' / '2'}, configuration of a server in {models}"
    assert f"cd {models} && docker compose --profile cpu up" in docker
    assert server.endswith(
        f"tensorflow_model_server --rest_api_port=8501 --model_name=birds --model_base_path={models / 'birds'}"
    )


def test_assets_and_variables(path, detector):
    assert (path / "assets" / "class_names.txt").read_text(encoding="utf-8").splitlines() == list(NAMES)
    card = read_card(path)
    assert (card.task, card.variant, card.class_names, card.resolution) == ("detection", "R17x0.5", NAMES, RESOLUTION)
    stored = sum(file.stat().st_size for file in (path / "variables").iterdir())
    assert 1 <= stored / (4 * detector.count_params()) <= 1.05  # once


def test_warm_up(path, signatures):
    records = tf.data.TFRecordDataset(str(path / warmup.PATH)).as_numpy_iterator()
    requests = [PredictionLog.FromString(record).predict_log.request for record in records]
    shapes = {}
    for request in requests:
        assert request.model_spec.name == "birds"
        ((_, tensor),) = request.inputs.items()
        shapes[request.model_spec.signature_name] = tf.make_ndarray(tensor).shape
    assert shapes == {"serving_default": (1, RESOLUTION, RESOLUTION, 3), "serve_bytes": (1,)}


def test_graph(path):
    (graph,) = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    nodes = [node for function in graph.graph_def.library.function for node in function.node_def]
    assert not [node.name for node in nodes if "_gradient_op_type" in node.attr]
    assert not [node.name for node in nodes if node.op in ("PyFunc", "EagerPyFunc", "IdentityN")]
    assert not any(
        "_XlaMustCompile" in f.attr and f.attr["_XlaMustCompile"].b for f in graph.graph_def.library.function
    )
    datasets = [node for node in nodes if "Dataset" in node.op]
    assert datasets
    assert {node.device for node in datasets} == {"/device:CPU:0"}
    assert [node.op for node in nodes].count("CombinedNonMaxSuppression") == 2
    assert {node.device for node in nodes if node.op == "Conv2D"} == {""}
    assert set(graph.signature_def) - {"__saved_model_init_op"} == {"serving_default", "serve_bytes", "heads"}


# Answers


@pytest.mark.parametrize("shape", [(2, 64, 64), (1, 100, 150), (3, 33, 90), (1, 1, 1)])
def test_float_images(detector, signatures, shape):
    images = random_images(*shape)
    found = signatures["serving_default"](images)
    assert set(found) == OUTPUTS
    compare(found, found_by_keras(detector, 2 * images - 1))
    heads = signatures["heads"](images)
    expected = detector.predict_on_batch(2 * images - 1)
    for name in ("class", "box"):
        np.testing.assert_allclose(heads[name], expected[name], rtol=0, atol=1e-5 * np.abs(expected[name]).max())


def test_some_images_have_fewer_boxes_than_the_limit(detector):
    """Without this, the comparisons would not see a wrong score threshold."""
    images = random_images(2, 64, 64)
    num = found_by_keras(detector, 2 * images - 1).num
    assert 10 < num.min() <= num.max() < LIMIT
    assert (found_by_keras(detector, 2 * images - 1, score=SCORE - 0.05).num > num).all()
    assert (found_by_keras(detector, 2 * images - 1, iou=IOU + 0.1).num > num).all()


def test_files(detector, signatures):
    """Files of several sizes and orientations, and such that are no images, in one request."""
    images = [photo(60, 80), photo(150, 61), photo(192, 192), photo(9, 200)]
    jpeg = encode(images[0], "JPEG")
    files = {
        jpeg: tf.io.decode_jpeg(jpeg).numpy(),
        jpeg[: len(jpeg) // 2]: "the image is damaged",
        encode(images[1], "PNG"): images[1],
        b"": "the image is empty",
        encode(np.rot90(images[1]), "PNG", orientation=6): images[1],
        b"text": "the image is not JPEG, PNG, GIF or BMP",
        encode(images[2], "BMP"): images[2],
        encode(photo(201, 200), "PNG"): f"the image has more than {MAX_PIXELS} pixels",
        encode(images[3], "PNG"): images[3],
    }
    found = signatures["serve_bytes"](list(files))
    assert set(found) == OUTPUTS | {"valid", "error"}
    reasons = ["" if isinstance(pixels, np.ndarray) else pixels for pixels in files.values()]
    assert [error.decode() for error in found["error"]] == reasons
    assert found["valid"].tolist() == [not reason for reason in reasons]
    for row, pixels in enumerate(files.values()):
        if isinstance(pixels, str):
            nothing = [np.zeros((1, LIMIT, 4)), np.zeros((1, LIMIT)), np.full((1, LIMIT), -1), np.zeros(1, int)]
            compare(found, nothing, [row])
            continue
        image, content = (tensor.numpy() for tensor in corner(tf.constant(pixels), RESOLUTION))
        as_evaluated = letterbox(pixels, size=RESOLUTION)
        np.testing.assert_allclose(image, as_evaluated[0], rtol=0, atol=1e-5)
        assert content.tolist() == as_evaluated[1].tolist()
        boxes, *others = found_by_keras(detector, image[np.newaxis], [content])
        assert others[-1][0] > 3
        compare(found, (to_image(boxes, content, np.array(pixels.shape[:2])), *others), [row])
        limits = np.tile(pixels.shape[:2], 2)
        assert (found["boxes"][row] <= limits).all()
        assert (found["boxes"][row] >= 0).all()
    # Upright or turned by EXIF: the same image, the same boxes.
    np.testing.assert_array_equal(found["boxes"][2], found["boxes"][4])


def test_nothing_but_invalid_files(signatures):
    found = signatures["serve_bytes"]([b"", b"text"])
    assert found["valid"].tolist() == [False, False]
    assert found["num"].tolist() == [0, 0]
    assert (found["class_ids"] == -1).all()


def test_no_rows(signatures):
    shapes = {"boxes": (0, LIMIT, 4), "num": (0,), "classes": (0, LIMIT)}
    for name, nothing in (("serving_default", np.zeros((0, 64, 64, 3))), ("serve_bytes", [])):
        found = signatures[name](nothing)
        assert {output: found[output].shape for output in shapes} == shapes
    assert signatures["heads"](np.zeros((0, 8, 8, 3)))["class"].shape == (0, 45, 3)


def test_requests_that_fail_as_a_whole(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"at most {MAX_ROWS} image files"):
        signatures["serve_bytes"]([b""] * (MAX_ROWS + 1))
    with pytest.raises(tf.errors.InvalidArgumentError, match="images must have one pixel or more"):
        signatures["serving_default"](np.zeros((1, 0, 5, 3)))


def compile_client(folder: Path) -> None:
    """Compiles the client, and links it to a library of nothing but the names that it uses: TensorFlow's takes 20 s."""
    compiler = ["cc", "-std=c11", "-isystem", tf.sysconfig.get_include()]
    subprocess.run([*compiler, "-c", CLIENT, "-o", folder / "client.o"], check=True)
    symbols = subprocess.run(["nm", "-u", folder / "client.o"], capture_output=True, text=True, check=True).stdout
    names = [name for name in symbols.split() if name.startswith("TF_")]
    (folder / "names.c").write_text("".join(f"void {name}(void) {{}}\n" for name in names))
    name = "libtensorflow_cc.so.2"
    stand_in = ["-shared", "-fPIC", f"-Wl,-soname,{name}", folder / "names.c", "-o", folder / name]
    subprocess.run(["cc", *stand_in], check=True)
    objects = [folder / "client.o", folder / name, f"-Wl,-rpath,{tf.sysconfig.get_lib()}"]
    subprocess.run(["cc", *objects, "-o", folder / "client"], check=True)
    (folder / name).unlink()  # TensorFlow's is loaded


def test_c_program(detector, path, tmp_path):
    """Uses the C++ loader of SavedModels, as the server does; no Python, and nothing of this library."""
    compile_client(tmp_path)

    def call(signature: str, *arguments) -> np.ndarray:
        command = [tmp_path / "client", path, signature, "boxes", tmp_path / "result", *arguments]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return np.fromfile(tmp_path / "result", np.float32).reshape(-1, LIMIT, 4)

    images = random_images(2, 48, 80)
    images.tofile(tmp_path / "images")
    found = call("serving_default", "images", tmp_path / "images", *images.shape[:3])
    np.testing.assert_allclose(found, found_by_keras(detector, 2 * images - 1).boxes, rtol=0, atol=1e-3)

    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "photo.png").write_bytes(encode(photo(150, 61), "PNG"))
    nothing, found = call("serve_bytes", "image_bytes", tmp_path / "notes.txt", tmp_path / "photo.png")
    image, content = letterbox(photo(150, 61), size=RESOLUTION)
    boxes = to_image(found_by_keras(detector, image[np.newaxis], [content]).boxes[0], content, np.array([150, 61]))
    np.testing.assert_allclose(found, boxes, rtol=0, atol=1e-3)
    assert not nothing.any()


# The public function, its checks and its errors


@pytest.fixture(scope="module")
def answers(detector, path) -> dict:
    """What the SavedModel answers when it is run."""
    options = ServingOptions(RESOLUTION, **SETTINGS, max_rows=MAX_ROWS, max_pixels=MAX_PIXELS)
    inputs = comparison.Comparison(detector, NAMES, options).inputs(export._CHECK_SIZES)
    return dict(export.run_exported(path, inputs))


@pytest.fixture
def recorded(answers, path, monkeypatch) -> dict:
    """Makes an export copy the SavedModel instead of writing it, and returns the answers that it compares."""
    result = dict(answers)
    monkeypatch.setattr(export, "_write", lambda _, written, *rest: shutil.copytree(path, written))
    monkeypatch.setattr(export, "run_exported", lambda *_: result)
    return result


def test_the_public_function(detector, recorded, tmp_path):
    written = bit_keras.export_saved_model(detector, tmp_path / "saved_model", "serving", **SETTINGS)
    assert written == tmp_path / "saved_model"
    assert (written / "saved_model.pb").exists()


# {answer: (how it is changed, the fault that is reported)}
_FAULTS = {
    "0/boxes": (
        lambda boxes: boxes + 0.01,
        r"0/serving_default: \d+ boxes are not as suppression leaves them, \d+ were found",
    ),
    "low/1/boxes": (
        lambda boxes: boxes + 0.01,
        r"1/serving_default: \d+ boxes are not as suppression leaves them, \d+ were found",
    ),
    "low/files/num": (
        lambda num: num // 2,
        r"serve_bytes: \d+ boxes are not as suppression leaves them, \d+ were found",
    ),
    "1/classes": (lambda names: np.roll(names, 1), r"1/serving_default: classes are not the names of class_ids"),
    "1/heads/class": (
        lambda logits: logits * 1.001,
        r"1/heads/class: differs by 0\.001 of its scale, allowed is 1e-05",
    ),
    "files/valid": (
        lambda valid: ~valid,
        r"serve_bytes: valid must be \[True, False, True, False, True\], got \[False, True, False, True, False\]",
    ),
    "variable_bytes": (lambda _: np.array(100_000), r"variables/ takes \d+ bytes .*: some are stored twice"),
}


def test_every_mismatch_is_reported_and_leaves_nothing_behind(detector, recorded, tmp_path):
    for answer, (change, _) in _FAULTS.items():
        recorded[answer] = change(recorded[answer])
    with pytest.raises(RuntimeError) as error:
        export.export_detector(detector, tmp_path / "saved_model", **SETTINGS)
    first, *faults = str(error.value).splitlines()
    assert first == "the SavedModel differs from the detector:"
    assert len(faults) == len(_FAULTS)
    for _, fault in _FAULTS.values():
        assert any(re.fullmatch(fault, line) for line in faults), (fault, faults)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "reusable"}, "kind must be \"serving\" for a Detector, got 'reusable'"),
        ({"class_names": ["a"]}, "got 1 names for 3 outputs"),
        ({"score": 1.5}, r"score must be in \[0, 1\], got 1\.5"),
        ({"iou": -1.0}, r"iou must be in \[0, 1\], got -1\.0"),
        ({"limit": 0}, "limit must be 1 or more, got 0"),
        ({"precision": "int8"}, "precision must be one of float32, bfloat16, got 'int8'"),
        ({"resolution": 0}, "resolution must be 1 or more, got 0"),
    ],
)
def test_arguments_are_refused(detector, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        bit_keras.export_saved_model(detector, tmp_path / "saved_model", **{"kind": "serving", **arguments})
    assert not list(tmp_path.iterdir())


def test_options_of_the_other_networks_are_refused(detector, tmp_path):
    with pytest.raises(TypeError, match=r"ServingOptions\(\) has no argument 'top'"):
        bit_keras.export_saved_model(detector, tmp_path / "saved_model", "serving", top=1)
    with pytest.raises(TypeError, match=r"ServingOptions\(\) has no argument 'score'"):
        bit_keras.export_saved_model(bit_keras.BiT("R17x0.5", 2), tmp_path / "saved_model", "serving", score=0.1)


def test_an_unknown_resolution_and_a_path_that_exists_are_refused(tmp_path):
    detector = random_detector()
    detector.resolution = None
    with pytest.raises(ValueError, match="resolution must be given: the card of the detector does not state"):
        export.export_detector(detector, tmp_path / "saved_model")
    with pytest.raises(FileExistsError, match="path must not exist yet"):
        export.export_detector(detector, tmp_path, resolution=64)


def test_another_resolution_is_a_warning(detector, caplog):
    assert export.check_resolution(detector, 128) == 128
    assert "128 pixels were asked for, but the weights are for 96" in caplog.text


def test_boxes_that_contradict_suppression_are_counted():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 5, 5], [1, 1, 2, 2]], float)
    scores, classes = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 0, 1, 0])
    candidates = boxes, scores, classes
    options = ServingOptions(RESOLUTION, limit=3)
    found = tuple(array[[0, 2, 3]] for array in candidates)
    assert comparison.count_wrong(found, candidates, options) == 0
    assert comparison.count_wrong(tuple(array[[0, 3, 2]] for array in candidates), candidates, options) == 0
    assert comparison.count_wrong(tuple(array[:3] for array in candidates), candidates, options) == 1  # 1 overlaps 0
    assert comparison.count_wrong(tuple(array[2:] for array in candidates), candidates, options) == 2  # 0 and 1
    assert comparison.count_wrong(tuple(array[[0, 2]] for array in candidates), candidates, options) == 1  # 3
    assert comparison.count_wrong((found[0] + 0.002, *found[1:]), candidates, options) == 3
    assert comparison.count_wrong((*found[:2], found[2] + 2), candidates, options) == 3 + 3  # 0, 1, 2
    assert comparison.count_wrong((found[0], found[1] + 0.01, found[2]), candidates, options) == 3
    nothing = boxes[:0], scores[:0], classes[:0]
    assert comparison.count_wrong(nothing, nothing, options) == 0
    assert comparison.count_wrong(nothing, candidates, options) == 4
    assert comparison.count_wrong(found, nothing, options) == 3
    few = ServingOptions(RESOLUTION, candidates=2)  # what else is found cannot be judged
    first = tuple(array[:1] for array in candidates)
    assert comparison.count_wrong(first, tuple(array[:2] for array in candidates), few) == 0


def test_a_score_or_an_iou_at_its_threshold_may_fall_on_either_side():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], float)  # IoU 0.5
    scores, classes = np.array([0.9, 0.05 + 1e-7]), np.zeros(2, int)
    options = ServingOptions(RESOLUTION, iou=0.5 + 1e-7)
    for rows in ([0, 1], [0]):
        found = tuple(array[rows] for array in (boxes, scores, classes))
        assert comparison.count_wrong(found, (boxes, scores, classes), options) == 0
    only_the_other = tuple(array[[1]] for array in (boxes, scores, classes))
    assert comparison.count_wrong(only_the_other, (boxes, scores, classes), options) == 1


def test_the_program_refuses_before_it_reads_weights(run_program, tmp_path):
    flags = [f"--model={tmp_path / 'none.npz'}", f"--output={tmp_path / 'out'}"]
    result = run_program("bit_keras.detection", "export", *flags, "--version=0")
    assert (result.returncode, "version must be 1 or more" in result.stderr) == (1, True)
    result = run_program("bit_keras.detection", "export", *flags, "--kind=onnx", "--score=0.5")
    assert (result.returncode, "--score is for --kind=serving" in result.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


def test_bfloat16(detector, tmp_path):
    """The export itself compares boxes with a suppression of the SavedModel's own raw outputs."""
    path = bit_keras.export_saved_model(detector, tmp_path / "half", "serving", precision="bfloat16", **SETTINGS)
    stored = sum(file.stat().st_size for file in (path / "variables").iterdir())
    assert 0.48 < stored / (4 * detector.count_params()) < 0.54
    images = random_images(2, 64, 64)
    heads, expected = load(path)["heads"](images), detector.predict_on_batch(2 * images - 1)
    for name in ("class", "box"):
        difference = np.abs(heads[name] - expected[name]).max() / np.abs(expected[name]).max()
        assert 1e-4 < difference < 0.15  # 0.04 was measured
