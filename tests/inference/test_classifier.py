import ast
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from bit_keras.checkpoints import CheckpointError
from bit_keras.inference.classifier import SavedModelClassifier, open_classifier
from bit_keras.network.layers import StandardizedConv2D
from tests.conftest import ROOT


class Means(tf.Module):
    """Its logits are the mean of each channel, negated in training mode."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([], tf.bool)])
    def __call__(self, inputs, training):
        logits = tf.reduce_mean(inputs, (1, 2))
        return tf.cond(training, lambda: -logits, lambda: logits)


class Maps(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([], tf.bool)])
    def __call__(self, inputs, training):
        return inputs


class Uncallable(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def serve(self, images):
        return images


def test_a_saved_model_gets_images_in_0_1_in_inference_mode(tmp_path):
    tf.saved_model.save(Means(), tmp_path / "saved")
    classifier = open_classifier(tmp_path / "saved")
    assert isinstance(classifier, SavedModelClassifier)
    assert classifier.output_shape == (None, 3)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 5, 4, 3)).astype("float32")
    np.testing.assert_allclose(classifier.predict_on_batch(images), ((images + 1) / 2).mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "message"), [(Maps, r"logits \[N, K\], got shape \[1, 64, 64, 3\]"), (Uncallable, "not callable")]
)
def test_other_saved_models_are_refused(tmp_path, module, message):
    tf.saved_model.save(module(), tmp_path / "saved")
    with pytest.raises(CheckpointError, match=message):
        open_classifier(tmp_path / "saved")


def test_a_damaged_saved_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"not a protocol buffer")
    with pytest.raises(CheckpointError, match="must be a SavedModel that is called"):
        open_classifier(tmp_path)


def test_damaged_graphs_run_or_are_refused_and_abort_nothing(tmp_path):
    """In one process of its own, which an abort or another error would end."""
    tf.saved_model.save(Means(), tmp_path / "saved")
    program = ROOT / "tests" / "consumers" / "damaged_graphs.py"
    command = [sys.executable, program, tmp_path / "saved", tmp_path / "damaged", "40"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = ast.literal_eval(done.stdout.splitlines()[-1])
    assert outcomes["ran"] + outcomes["refused"] == 40
    assert min(outcomes.values()) > 3


@pytest.mark.parametrize("options", [{"variant": "R50x1"}, {"precision": "mixed_bfloat16"}])
def test_a_saved_model_has_its_own_variant_and_precision(tmp_path, options):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ValueError, match="a SavedModel runs as it was written"):
        open_classifier(tmp_path, **options)


@pytest.mark.any_backend
def test_weights_make_a_bit(golden_npz):
    model = open_classifier(golden_npz, precision="mixed_bfloat16")
    assert model.output_shape == (None, 10)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.dtype_policy.name for layer in convolutions} == {"mixed_bfloat16"}
    assert not [layer for layer in model.layers if isinstance(layer, StandardizedConv2D)]  # folded
    with pytest.raises(CheckpointError, match="R50x1"):
        open_classifier(golden_npz, variant="R50x1")
