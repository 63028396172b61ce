"""Loss scaling with float16 on two devices of tf.distribute, one of which overflows."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from bit_keras.rules import SGD, skip_on_all_devices

CONSUMERS = Path(__file__).parents[1] / "consumers"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("float16") / "runs.npz"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", CONSUMERS / "mirrored_float16.py", path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(CONSUMERS.parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as archive:
        return dict(archive)


def test_two_devices_train_as_one(runs):
    for step in range(4):
        for name in ("weights", "momentum"):
            one, two = (runs[f"{run}/{step}/{name}"] for run in ("one", "two"))
            assert np.isfinite(one).all()
            assert np.linalg.norm(two - one) < 1e-3 * np.linalg.norm(one)
        np.testing.assert_array_equal(runs[f"two/{step}/state"], runs[f"one/{step}/state"])


@pytest.mark.parametrize("run", ["one", "two"])
def test_an_overflow_on_one_device_skips_the_update_on_all(run, runs):
    for name in ("weights", "momentum"):
        before, skipped, after = (runs[f"{run}/{step}/{name}"] for step in range(3))
        np.testing.assert_array_equal(skipped, before)
        assert np.linalg.norm(after - skipped) > 1e-6 * np.linalg.norm(after)
    # Updates, the loss scale, and updates since that changed: a skipped update does not count, and halves the scale.
    states = [runs[f"{run}/{step}/state"].tolist() for step in range(4)]
    assert states == [[1, 2**15, 1], [1, 2**14, 0], [2, 2**14, 1], [3, 2**14, 2]]


@pytest.mark.any_backend
def test_one_device_and_optimizers_without_loss_scaling_stay_as_they_are():
    optimizer = SGD(0.1)
    for each in (optimizer, None):
        skip_on_all_devices(each)
    assert "check_finite" not in vars(optimizer)
    scaled = keras.optimizers.LossScaleOptimizer(optimizer)
    for _ in range(2):  # the second time changes nothing
        skip_on_all_devices(scaled)
    for value, is_finite in ((1.0, True), (np.inf, False), (np.nan, False)):
        gradients = [keras.ops.ones((2,)), None, keras.ops.convert_to_tensor([0.0, value])]
        assert bool(scaled.check_finite(gradients)) == is_finite
