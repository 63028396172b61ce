"""When the head of earlier weights is kept."""

import json

import numpy as np
import pytest

from bit_keras import data
from bit_keras.checkpoints import provenance
from bit_keras.network.model import BiT, save_npz
from bit_keras.runs.network import choose_head, open_network

NAMES = ("cat", "dog", "owl")


def source(class_names=None, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (6, 8, 8, 3), np.uint8)
    return data.from_arrays(images, np.arange(6) % 3, images, np.arange(6) % 3, class_names=class_names)


@pytest.fixture
def weights(tmp_path):
    """Returns a function that records a run on a source and returns the path of its weights, which do not exist."""

    def make(of: data.Source, with_task: bool = True) -> str:
        (tmp_path / "config.json").write_text(json.dumps({"data": of.describe(), "backend": "jax"}))
        if with_task:
            provenance.write_task(tmp_path, 64, of.class_names)
        return str(tmp_path / "weights.npz")

    return make


def test_same_names_in_the_same_order_are_the_same_classes(weights):
    assert choose_head(weights(source(NAMES)), source(NAMES, seed=1))


@pytest.mark.parametrize("names", [("dog", "cat", "owl"), ("cat", "dog", "emu"), ("Cat", "dog", "owl"), None])
def test_other_names_or_another_order_are_other_classes(weights, names, caplog):
    caplog.set_level("INFO", "bit_keras")
    path = weights(source(NAMES))
    assert not choose_head(path, source(names, seed=1))
    assert f"a new head of 3 classes; the head of {path} had 3: cat, dog, owl" in caplog.text


def test_numbers_are_no_names(weights):
    path = weights(source())
    assert not choose_head(path, source(seed=1))
    assert choose_head(path, source()), "the same data"
    assert choose_head(path, source().few_shot(1, seed=3)), "a draw of the same data"


def test_the_record_of_an_earlier_version_has_no_names(weights, caplog):
    caplog.set_level("INFO", "bit_keras")
    path = weights(source(NAMES), with_task=False)
    assert not choose_head(path, source(NAMES, seed=1))
    assert f"the classes of the head of {path} are not known" in caplog.text
    assert choose_head(path, source(NAMES)), "the same data"


@pytest.mark.parametrize("model", ["R17x0.5", "BiT-mini-R17x0.5", "elsewhere/weights.npz", "https://a.com/weights.npz"])
def test_weights_of_no_run_get_a_new_head(model, caplog):
    caplog.set_level("INFO", "bit_keras")
    assert not choose_head(model, source(NAMES))
    assert "a new head of 3 classes" in caplog.text


def test_a_new_head_may_be_asked_for(weights):
    assert not choose_head(weights(source(NAMES)), source(NAMES), new_head=True)


def test_a_head_that_is_not_what_its_run_recorded_is_refused(tmp_path):
    save_npz(BiT("R17x0.5", 4), tmp_path / "weights.npz")
    with pytest.raises(ValueError, match="must have the 3 outputs that its run recorded, got 4"):
        open_network(str(tmp_path / "weights.npz"), 3, keep_head=True)
