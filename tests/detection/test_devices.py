"""A detector on several devices of tf.distribute."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_two_devices_learn_as_fast_as_one():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-W", "ignore", ROOT / "tests" / "consumers" / "detector_devices.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = map(json.loads, done.stdout.splitlines()[-2:])
    # Each device divides by its own matched anchors plus one, hence not exactly.
    assert two["loss"] == pytest.approx(one["loss"], rel=0.1)
    assert two["change"] == pytest.approx(one["change"], rel=0.1)
