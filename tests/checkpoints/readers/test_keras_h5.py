"""Whole models in Keras 3's `.h5` format, read by this library and by Keras."""

import h5py
import keras
import numpy as np
import pytest

from bit_keras import BiT, checkpoints
from bit_keras.checkpoints import CheckpointError
from bit_keras.checkpoints.card import Card


@pytest.fixture(scope="module")
def model(tiny, tiny_npz) -> BiT:
    model = BiT.from_preset(tiny_npz)
    model.backbone.get_layer("group_norm").trainable = False
    model.card = Card(variant="tiny", class_names=tuple(map(str, range(10))), resolution=48)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("h5") / "best.h5"
    callback = keras.callbacks.ModelCheckpoint(path)
    callback.set_model(model)
    callback.on_epoch_end(0, {})
    return path


def _same(a: BiT, b: BiT) -> bool:
    first, second = checkpoints.collect_weights(a), checkpoints.collect_weights(b)
    return set(first) == set(second) and all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.any_backend
def test_weights_and_card_are_read(model, path):
    read = BiT.from_preset(path)
    assert _same(read, model)
    assert (read.class_names, read.resolution) == (model.class_names, 48)
    assert BiT.from_preset(path, num_classes=3).num_classes == 3


@pytest.mark.any_backend
def test_keras_loads_it_without_custom_objects(model, path):
    loaded = keras.models.load_model(path)
    assert _same(loaded, model)
    assert not loaded.backbone.get_layer("group_norm").trainable


def _copy(path, tmp_path, edit):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "a") as file:
        edit(file)
    return copy


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda f: f.move("model_weights/head/head", "model_weights/head/dense"),
            "head/dense/kernel is not a weight of a BiT",
        ),
        (
            lambda f: f["model_weights/head/head"].create_dataset("lora_kernel_a", data=np.ones(2)),
            "does not merge LoRA",
        ),
        (lambda f: f["model_weights/head/head"].create_dataset("kernel_scale", data=np.ones(2)), "no float weights"),
        (
            lambda f: f["model_weights"].create_dataset("other/head/bias", data=np.ones(10)),
            "two arrays are resnet/head/conv2d/bias",
        ),
    ],
)
def test_what_no_bit_has(path, tmp_path, edit, words):
    with pytest.raises(CheckpointError, match=words):
        checkpoints.read_weights(_copy(path, tmp_path, edit))


def test_bfloat16(tiny, tmp_path):
    BiT("tiny", 10, dtype="bfloat16").save(tmp_path / "half.h5")
    with pytest.raises(CheckpointError, match=r"kernel is in bfloat16, which this format cannot hold, nor Keras load"):
        checkpoints.read_weights(tmp_path / "half.h5")


def test_without_a_configuration(path, tmp_path):
    copy = _copy(path, tmp_path, lambda f: f.attrs.pop("model_config"))
    assert BiT.from_preset(copy).class_names is None
