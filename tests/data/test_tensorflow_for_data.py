"""TensorFlow leaves the GPUs to jax and torch where it only loads data."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.data import tensorflow_for_data

pytestmark = pytest.mark.any_backend
ROOT = Path(__file__).parents[2]
IS_TENSORFLOW = keras.backend.backend() == "tensorflow"


def test_gpus_are_hidden_before_tensorflow_is_first_used(tiny, record_folder, tfds_dir, tmp_path):
    weights = tmp_path / "weights.npz"
    bit_keras.save_npz(bit_keras.BiT("tiny", 3), weights)
    done = subprocess.run(
        [sys.executable, ROOT / "tests/consumers/tensorflow_first_use.py", weights, record_folder, tfds_dir],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    hidings = [] if IS_TENSORFLOW else [[[], "GPU", False]]  # TensorFlow had not been used
    assert list(found) == ["train", "evaluate_records", "predict", "read_records", "read_tfds"]
    assert all(case == [hidings, True] for case in found.values()), found


@pytest.mark.parametrize("is_started", [False, True])
def test_a_process_in_which_tensorflow_uses_gpus_is_left_alone_with_a_warning(is_started, monkeypatch, caplog):
    calls = []

    def set_visible_devices(devices, kind):
        calls.append((devices, kind))
        if is_started:
            raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", set_visible_devices)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    with caplog.at_level(logging.INFO, "bit_keras"):
        tensorflow_for_data.hide_gpus()
    assert calls == ([] if IS_TENSORFLOW else [([], "GPU")])
    lines = [record.getMessage() for record in caplog.records]
    if is_started and not IS_TENSORFLOW:
        (line,) = lines
        assert f"may have taken most of the GPU memory that {keras.backend.backend()} needs" in line
        assert caplog.records[0].levelno == logging.WARNING
    else:
        assert lines == []
