"""Exports are loaded by consumers in separate processes without the library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import bit_keras
from bit_keras.checkpoints.formats import read_card
from bit_keras.saved_models import reusable, writer
from bit_keras.saved_models.check import relative_difference
from bit_keras.saved_models.export import export_saved_model
from bit_keras.system import processes

pytestmark = pytest.mark.usefixtures("tiny")

CONSUMERS = Path(__file__).parents[1] / "consumers"
CLASS_NAMES = [f"digit {k}" for k in range(10)]


@pytest.fixture(scope="module")
def model(regularized) -> bit_keras.BiT:
    return regularized()


@pytest.fixture(scope="module")
def consumed(model, reusable_saved_model, tmp_path_factory) -> tuple[dict[str, dict], str, Path]:
    """Results of three consumers of the SavedModel, which run one after the other in one process.

    {name: facts} of two; what saved_model_cli shows, and the folder with its "images.npy" and "logits.npy".
    """
    folder = tmp_path_factory.mktemp("data")
    data = {f"images_{k}": random_images(*shape) for k, shape in enumerate([(1, 32, 32), (3, 57, 90), (2, 128, 65)])}
    data |= {name.replace("images", "logits"): logits_of(model, images) for name, images in data.items()}
    np.savez(folder / "loaders.npz", **data)
    digits = load_digits()
    images = np.repeat(np.repeat(digits.images[:32] / 16, 5, axis=1), 5, axis=2)[..., np.newaxis]
    images = np.tile(images, 3).astype(np.float32)  # [32, 40, 40, 3]
    labels, logits = digits.target[:32], logits_of(model, images)
    np.savez(folder / "hub_keras_layer.npz", images=images, labels=labels, logits=logits)
    np.save(folder / "images.npy", random_images(2, 48, 40))
    signature = ["--dir", str(reusable_saved_model), "--tag_set", "serve", "--signature_def", "serving_default"]
    inputs = ["--inputs", f"images={folder / 'images.npy'}", "--outdir", str(folder)]
    commands = [["show", *signature], ["run", *signature, *inputs]]

    names = ("loaders", "hub_keras_layer")
    programs = [[f"{CONSUMERS / name}.py", str(reusable_saved_model), f"{folder / name}.npz"] for name in names]
    # Last: it changes settings of TensorFlow.
    programs.append([f"{CONSUMERS / 'serving_cli'}.py", json.dumps(commands)])
    output = run([sys.executable, "-c", _RUN_ALL, json.dumps(programs)])
    *found, shown, _ = output.split(_SEPARATOR)
    facts = {name: json.loads(each.splitlines()[-1]) for name, each in zip(names, found, strict=True)}
    return facts, shown, folder


@pytest.fixture(scope="module")
def facts(consumed) -> dict[str, dict]:
    return consumed[0]


_SEPARATOR = "=== next consumer ===\n"
_RUN_ALL = f"""
import json, runpy, sys

for sys.argv in json.loads(sys.argv[1]):
    runpy.run_path(sys.argv[0], run_name="__main__")
    print({_SEPARATOR!r}, end="")
"""


def small_model(channels: int = 3, outputs: int = 1) -> keras.Model:
    """A network with state that a call in training mode changes: moving averages and a seed."""
    images = keras.Input((None, None, channels))
    x = keras.layers.Conv2D(8, 3, strides=2)(images)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, [keras.layers.Dense(2)(x) for _ in range(outputs)])


def load(path: Path):
    import tensorflow as tf  # not at the top: this file is collected on every backend, but runs on one

    return tf.saved_model.load(path)


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(*shape, 3)).astype(np.float32)


def logits_of(model, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(2 * images - 1))


def run(command: list, **environment: str) -> str:
    """Runs a program in a fresh process and returns its standard output."""
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment}
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=variables, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def _check_in_this_process(check_here):
    with check_here():
        yield


def test_hub_keras_layer_fine_tunes(model, facts):
    facts = facts["hub_keras_layer"]
    assert facts["logits"] < 1e-5, facts
    assert facts["output_shape"] == [None, 10]
    assert facts["trainable_weights"] == len(model.trainable_variables) == 15
    assert facts["non_trainable_weights"] == 0
    assert facts["regularization_losses"] == 2
    assert facts["regularization_loss"] == pytest.approx(float(sum(model.losses)), rel=1e-5)
    assert facts["regularization_loss"] > 0.01
    assert facts["gradients_missing"] == facts["gradients_zero"] == facts["weights_not_moved"] == 0
    first, *_, last = facts["losses"]
    assert first == pytest.approx(facts["loss_without_regularization"] + facts["regularization_loss"], rel=1e-4)
    assert last < 0.8 * first, facts
    assert not facts["library_imported"]


def test_loads_without_keras(model, facts):
    assert facts["loaders"].keys() == {"hub.load", "tf.saved_model.load"}
    for loaded in facts["loaders"].values():
        assert len(loaded["differences"]) == 12
        assert max(loaded["differences"].values()) < 1e-5, loaded
        assert loaded["variables"] == loaded["trainable_variables"] == 15
        assert loaded["regularization_loss"] == pytest.approx(float(sum(model.losses)), rel=1e-5)
        assert loaded["class_names"] == CLASS_NAMES
        assert not loaded["library_imported"]


def test_serving_signature_in_saved_model_cli(model, consumed):
    _, shown, folder = consumed
    assert "inputs['images'] tensor_info:\n      dtype: DT_FLOAT\n      shape: (-1, -1, -1, 3)" in shown
    assert "outputs['logits'] tensor_info:\n      dtype: DT_FLOAT\n      shape: (-1, 10)" in shown
    images = np.load(folder / "images.npy")
    difference = relative_difference(logits_of(model, images), np.load(folder / "logits.npy"))
    assert difference < 1e-5, difference


def test_variables_are_stored_once(model, reusable_saved_model):
    stored = sum(path.stat().st_size for path in (reusable_saved_model / "variables").iterdir())
    assert 1.0 <= stored / (4 * model.count_params()) <= 1.05


def test_nothing_compiles_with_xla(reusable_saved_model):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    (graph,) = SavedModel.FromString((reusable_saved_model / "saved_model.pb").read_bytes()).meta_graphs
    functions = graph.graph_def.library.function
    assert len(functions) > 1
    assert not any(f.attr["_XlaMustCompile"].b for f in functions if "_XlaMustCompile" in f.attr)


@pytest.mark.usefixtures("_check_in_this_process")
def test_backbone_in_mixed_precision(tmp_path, tiny_npz, monkeypatch):
    monkeypatch.setattr(writer, "_CHECK_SIZES", ((1, 32, 32),))  # bfloat16 is slow on a CPU
    model = bit_keras.BiT("tiny", 10, dtype="mixed_bfloat16")
    bit_keras.load_weights(model, tiny_npz)
    path = export_saved_model(model.backbone, tmp_path / "backbone")
    assert sorted(os.listdir(path / "assets")) == []
    images = random_images(2, 64, 64)

    (served,) = load(path).signatures["serving_default"](images=images).items()

    assert served[0] == "features"
    assert served[1].dtype == "float32"
    # Eager mode and graphs round bfloat16 differently.
    difference = relative_difference(logits_of(model.backbone, images), served[1].numpy())
    assert difference < 0.02, difference


@pytest.mark.usefixtures("_check_in_this_process")
def test_state_is_exported_and_left_alone(tmp_path):
    model = small_model()
    model.layers[1].trainable = False
    before = [variable.numpy() for variable in model.variables]

    loaded = load(export_saved_model(model, tmp_path / "saved_model"))

    assert len(loaded.variables) == 9  # two kernels, two biases, four of the normalization, the seed
    assert len(loaded.trainable_variables) == len(model.trainable_variables) == 4
    for variable, value, exported_variable in zip(model.variables, before, loaded.variables):
        np.testing.assert_array_equal(variable.numpy(), value)
        np.testing.assert_array_equal(exported_variable.numpy(), value)


def test_exports_from_jax(tmp_path, golden_npz):
    model = bit_keras.BiT.from_preset(golden_npz)
    images = random_images(2, 64, 64)
    expected = logits_of(model, images)

    run(
        [sys.executable, CONSUMERS / "export_elsewhere.py", golden_npz, tmp_path],
        KERAS_BACKEND="jax",
        PYTHONPATH=os.pathsep.join(sys.path),
        XLA_FLAGS="--xla_backend_optimization_level=0",  # compiles ten times faster
    )

    assert sorted(os.listdir(tmp_path)) == ["reusable", "serving"]
    loaded = load(tmp_path / "reusable")
    assert relative_difference(expected, loaded(images).numpy()) < 1e-5
    assert len(loaded.trainable_variables) == 2  # the backbone is frozen
    names = (tmp_path / "reusable" / "assets" / "class_names.txt").read_text()
    assert names.startswith("class 0\nclass 1\n")
    for kind in ("reusable", "serving"):
        assert read_card(tmp_path / kind).class_names == tuple(names.splitlines())
    serving = load(tmp_path / "serving")
    served = serving.signatures["serving_default"](images=images)
    assert relative_difference(expected, served["logits"].numpy()) < 1e-5
    assert [name.decode() for name in served["classes"].numpy()[:, 0]] == [
        f"class {k}" for k in expected.argmax(axis=1)
    ]


def test_a_mismatch_leaves_nothing_behind(tmp_path, monkeypatch):
    def wrong(*arguments):
        expected = writer._expected_of_reusable(*arguments)
        expected["1/True/logits"] += 1
        return expected

    monkeypatch.setitem(writer._EXPECTED, "reusable", wrong)
    with pytest.raises(RuntimeError, match=r"1/True/call: differs by .* of its scale, allowed is 1e-05\n") as error:
        export_saved_model(small_model(), tmp_path / "saved_model")
    assert str(error.value).count("differs by") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("_check_in_this_process")
def test_a_variable_that_is_stored_twice_is_refused(tmp_path, monkeypatch):
    def write(model, path, *rest):
        writer._write_reusable(model, path, *rest)
        (path / "variables" / "again").write_bytes(bytes(300_000))

    monkeypatch.setitem(writer._WRITERS, "reusable", write)
    with pytest.raises(RuntimeError, match=r"variables/ takes \d+ bytes for \d+ bytes of variables") as error:
        export_saved_model(small_model(), tmp_path / "saved_model")
    assert "differs by" not in str(error.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("_check_in_this_process")
def test_a_variable_that_no_gradient_reaches_is_refused(tmp_path, monkeypatch):
    def network(*arguments):
        output, compute = original(*arguments)
        return output, lambda *inputs: keras.tree.map_structure(keras.ops.stop_gradient, compute(*inputs))

    original = reusable._network
    monkeypatch.setattr(reusable, "_network", network)
    with pytest.raises(RuntimeError, match=r"no gradient reaches .*kernel:0, .*bias:0") as error:
        export_saved_model(small_model(), tmp_path / "saved_model")
    assert "differs by" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_fault_in_a_fresh_process_is_reported():
    with pytest.raises(RuntimeError, match=r"it failed \(exit status 1\):\n(.|\n)*no number"):
        processes.run_python("it failed", "-c", "raise ValueError('no number')")


def test_an_existing_path_is_refused(tmp_path):
    with pytest.raises(FileExistsError, match=f"that does not exist yet, got {tmp_path}"):
        export_saved_model(small_model(), tmp_path)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError, match="that does not exist yet"):
        export_saved_model(small_model(), tmp_path / "link")
    assert os.listdir(tmp_path) == ["link"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "frozen"}, "kind must be one of reusable, serving, got 'frozen'"),
        ({"class_names": ["a"]}, "got 1 names for 2 outputs"),
        ({"class_names": ["a", "b\nc"]}, r"one line that is not empty, got \['b\\nc'\]"),
        ({"class_names": ["", "b"]}, r"one line that is not empty, got \[''\]"),
    ],
)
def test_arguments_are_refused(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_saved_model(small_model(), tmp_path / "saved_model", **arguments)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("make_model", "message"),
    [
        (lambda: small_model(channels=1), r"one input \[None, None, None, 3\], got \(None, None, None, 1\)"),
        (lambda: small_model(outputs=2), r"one output \[None, K\], got \[\(None, 2\), \(None, 2\)\]"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), r"one input \[None, None, None, 3\], got None"),
    ],
)
def test_models_are_refused(make_model, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_saved_model(make_model(), tmp_path / "saved_model")
    assert os.listdir(tmp_path) == []


def test_needs_tensorflow(tmp_path, monkeypatch):
    model = small_model()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"pip install 'bit-keras\[tensorflow\]'"):
        export_saved_model(model, tmp_path / "saved_model")
    assert os.listdir(tmp_path) == []
