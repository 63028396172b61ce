"""A run that is killed at any moment and resumed is bit-identical to an uninterrupted one."""

import keras
import numpy as np
import pytest
from PIL import Image

from tests.kills import Forks, survive_kills

KILLS = {"tensorflow": 10, "jax": 2, "torch": 2}[keras.backend.backend()]
SETTINGS = {
    "model": "tiny",
    "steps": 24,
    "batch_size": 16,
    "resolution": 16,
    "eval_every": 8,
    "checkpoint_every": 3,
    "deterministic": True,
}


@pytest.mark.any_backend
def test_killed_at_random_points(tmp_path):
    pixels = np.random.default_rng(0)
    for label in "left", "right":
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(20):
            image = pixels.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / "images" / label / f"{number}.png")
    settings = {**SETTINGS, "dataset": str(tmp_path / "images")}
    with Forks("finetune", "tiny.py", tmp_path / "log.txt", settings) as forks:
        survive_kills(forks, tmp_path, KILLS, rows=3)
