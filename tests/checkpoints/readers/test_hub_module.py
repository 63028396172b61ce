"""SavedModel directories as published on TF Hub, with an object graph (TF2) and without one (TF1)."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bit_keras import BiT, export_saved_model
from bit_keras.checkpoints import CheckpointError, read_npz, read_weights
from bit_keras.checkpoints.readers import tensor_bundle
from bit_keras.checkpoints.readers.hub_module import check_variables, read_saved_model
from tests.checkpoints.official import random_arrays

pytestmark = pytest.mark.usefixtures("tiny")

GAMMA = "resnet/group_norm/gamma"


def _write_tf2(arrays: dict[str, np.ndarray], path: Path, prefix: str = "") -> None:
    """Writes a reusable SavedModel: variables with official names, and a step counter of training."""
    root = tf.train.Checkpoint()
    root.variables = [tf.Variable(array, name=f"{prefix}{name}") for name, array in arrays.items()]
    root.step = tf.Variable(3, name="global_step")
    tf.saved_model.save(root, str(path))


def _write_tf1(arrays: dict[str, np.ndarray], path: Path, prefix: str = "") -> None:
    """Writes the files of a TF1 module, where the names of variables are the checkpoint keys."""
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"never read")
    (path / "tfhub_module.pb").write_bytes(b"never read")
    names = [f"{prefix}{name}" for name in arrays]
    tf.raw_ops.SaveV2(
        prefix=str(path / "variables" / "variables"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(array) for array in arrays.values()],
    )


def _same(a: dict, b: dict) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in b)


@pytest.mark.parametrize("write", [_write_tf1, _write_tf2])
@pytest.mark.parametrize("prefix", ["", "module/", "outer/scope/"])
@pytest.mark.parametrize("num_classes", [3, None])
def test_official_names_below_any_scope(tmp_path, write, prefix, num_classes):
    arrays = random_arrays(num_classes=num_classes)
    write(arrays, tmp_path / "module", prefix)
    assert _same(read_weights(tmp_path / "module"), arrays)


@pytest.mark.parametrize("write", [_write_tf1, _write_tf2])
def test_numbers_on_layer_names_are_taken_off(tmp_path, write):
    kernel = np.ones((1, 1, 2, 3), "float32")
    write({"resnet/block1/unit01/a/standardized_conv2d_17/kernel": kernel}, tmp_path / "module")
    assert list(read_weights(tmp_path / "module")) == ["resnet/block1/unit01/a/standardized_conv2d/kernel"]


def test_our_own_export(tiny_npz, tmp_path):
    model = BiT.from_preset(tiny_npz)
    export_saved_model(model, tmp_path / "exported")
    assert _same(read_weights(tmp_path / "exported"), read_npz(tiny_npz))
    assert BiT.from_preset(tmp_path / "exported").num_classes == 10


@pytest.mark.parametrize("write", [_write_tf1, _write_tf2])
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"dense/kernel": np.ones((2, 3), "float32")}, "dense/kernel is not a variable of a BiT"),
        ({GAMMA: np.full(3, np.inf, "float32")}, "must be finite"),
        ({GAMMA: np.ones(3, "int32")}, "must hold floats, got int32"),
        ({"again/resnet/group_norm/gamma": np.ones(32, "float32")}, f"two variables have the official key {GAMMA}"),
        ({GAMMA: np.array(["text"])}, "must hold floats|no readable"),
    ],
    ids=["unknown", "infinite", "integers", "twice", "text"],
)
def test_what_is_wrong_is_named(tmp_path, write, edit, words):
    write(random_arrays() | edit, tmp_path / "module")
    with pytest.raises(CheckpointError, match=words):
        read_weights(tmp_path / "module")


def test_other_directories(tmp_path):
    with pytest.raises(FileNotFoundError, match="no SavedModel directory"):
        read_saved_model(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(CheckpointError, match="has no readable variables"):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["variables.index", "variables.data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_damaged_variables(tmp_path, name, damage):
    _write_tf2(random_arrays(), tmp_path / "module")
    path = tmp_path / "module" / "variables" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.unlink()
    if damage != "missing":
        path.write_bytes(content if damage == "changed" else content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="has no readable variables"):
        read_weights(tmp_path / "module")


def test_without_tensorflow(tmp_path, monkeypatch):
    _write_tf1(random_arrays(), tmp_path / "module")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert _same(read_weights(tmp_path / "module"), random_arrays())


def test_the_index_is_checked_before_tensorflow_loads_it(tmp_path):
    _write_tf1(random_arrays(), tmp_path / "module")
    check_variables(tmp_path / "module")
    path = tmp_path / "module" / "variables" / "variables.index"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="module has no readable variables: its index does not end as"):
        check_variables(tmp_path / "module")
    path.unlink()
    with pytest.raises(CheckpointError, match="module has no readable variables: no such file"):
        check_variables(tmp_path / "module")
    check_variables(tmp_path)  # a SavedModel without variables


def test_a_variable_that_is_in_the_graph_alone(tmp_path, monkeypatch):
    _write_tf2(random_arrays(), tmp_path / "module")
    read = tensor_bundle.read_index

    def without_one(prefix):
        entries = read(prefix)
        del entries[next(key for key in entries if key.startswith("variables/"))]
        return entries

    monkeypatch.setattr(tensor_bundle, "read_index", without_one)
    with pytest.raises(CheckpointError, match=r"no readable variables: resnet/.* is missing in its index"):
        read_weights(tmp_path / "module")


def test_lora_of_the_head_is_merged(tiny_npz, check_here, tmp_path):
    model, random = BiT.from_preset(tiny_npz), np.random.default_rng(0)
    head = model.get_layer("head")
    head.enable_lora(2, lora_alpha=5)
    head.lora_kernel_b.assign(random.normal(size=(2, 10)))
    with check_here():
        export_saved_model(model, tmp_path / "exported")
    found, images = BiT.from_preset(tmp_path / "exported"), random.uniform(-1, 1, (2, 32, 32, 3))
    np.testing.assert_allclose(found(images), model(images), rtol=1e-4, atol=1e-4)
    kernel = np.asarray(head._kernel) + 2.5 * np.asarray(head.lora_kernel_a) @ np.asarray(head.lora_kernel_b)
    np.testing.assert_allclose(found.get_layer("head").kernel, kernel, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_scale": None}, r"its scale, lora_alpha / rank, is not recorded, .* export the model again"),
        ({"lora_kernel_a": None}, "must have lora_kernel_a, lora_kernel_b, lora_scale that fit the kernel"),
        ({"lora_kernel_b": (3, 10)}, "that fit the kernel"),
        ({"lora_scale": (1,)}, "that fit the kernel"),
        ({"kernel": None}, "that fit the kernel"),
    ],
)
def test_lora_that_cannot_be_merged_is_refused(tmp_path, change, message):
    shapes = {"kernel": (1, 1, 6, 10), "lora_kernel_a": (6, 2), "lora_kernel_b": (2, 10), "lora_scale": (), **change}
    arrays = {
        f"resnet/head/conv2d/{name}": np.ones(shape, "float32") for name, shape in shapes.items() if shape is not None
    }
    _write_tf1(arrays, tmp_path / "module")
    with pytest.raises(CheckpointError, match=message):
        read_saved_model(tmp_path / "module")
