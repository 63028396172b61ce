"""The training of a detector that is killed at any moment and resumed is bit-identical to an uninterrupted one."""

import keras
import pytest

from tests.kills import Forks, survive_kills

KILLS = {"tensorflow": 2, "jax": 1, "torch": 1}[keras.backend.backend()]
SETTINGS = {
    "model": "three_blocks",
    "width": 32,
    "depth": 1,
    "resolution": 64,
    "batch_size": 2,
    "steps": 4,
    "eval_every": 2,
    "checkpoint_every": 1,
    "base_lr": 0.01,
    "max_boxes": 4,
    "deterministic": True,
}


@pytest.mark.any_backend
def test_killed_at_random_points(write_coco, tmp_path):
    settings = {**SETTINGS, "dataset": f"coco:{write_coco()}"}
    with Forks("detect", "three_blocks.py", tmp_path / "log.txt", settings) as forks:
        survive_kills(forks, tmp_path, KILLS, rows=2)
