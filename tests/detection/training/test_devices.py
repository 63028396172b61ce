"""A detector on several devices of tf.distribute."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_two_devices_learn_what_one_does():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-W", "ignore", ROOT / "tests" / "consumers" / "detector_devices.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = map(json.loads, done.stdout.splitlines()[-2:])
    assert one.keys() == two.keys() == {"loss", "class_loss", "box_loss", "change"}
    assert one["loss"] > one["class_loss"] + one["box_loss"] + 0.01  # with the regularizer
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-4), name
