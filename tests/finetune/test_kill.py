"""A run that is killed at any moment and resumed is bit-identical to an uninterrupted one."""

import contextlib
import csv
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import bit_keras

ROOT = Path(bit_keras.__file__).parents[1]
KILLS = {"tensorflow": 10, "jax": 2, "torch": 2}[keras.backend.backend()]
SETTINGS = {
    "model": "tiny",  # of finetune_forks.py
    "steps": 24,
    "batch_size": 16,
    "resolution": 16,
    "eval_every": 8,
    "checkpoint_every": 3,
    "deterministic": True,
}
CLOCKS = ("seconds", "images_per_second")


class _Forks:
    """One process that has imported everything, and forks for each run."""

    def __init__(self, log: Path, dataset: Path):
        self._log = log
        self._settings = {**SETTINGS, "dataset": str(dataset)}
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, ROOT / "tests" / "consumers" / "finetune_forks.py"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                bufsize=1,
            )

    def run(self, workdir: Path, kill_after: float | None = None) -> int:
        """Returns the exit status of a run, -9 if it was killed."""
        self._process.stdin.write(json.dumps({**self._settings, "workdir": str(workdir)}) + "\n")
        child = int(self._process.stdout.readline())
        if kill_after is not None and not select.select([self._process.stdout], [], [], kill_after)[0]:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(child, signal.SIGKILL)
        status = int(self._process.stdout.readline())
        assert status in (0, -signal.SIGKILL), self._log.read_text()[-5000:]
        return status

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def forks(tmp_path):
    pixels = np.random.default_rng(0)
    for label in "left", "right":
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(20):
            image = pixels.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / "images" / label / f"{number}.png")
    forks = _Forks(tmp_path / "log.txt", tmp_path / "images")
    yield forks
    forks.close()


def _result(workdir: Path) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    """Returns the bytes of the last and the best weights, and all metrics except times."""
    weights = {}
    for file in ("weights.npz", "best.npz"):
        with np.load(workdir / file) as archive:
            weights.update({f"{file}/{name}": archive[name].tobytes() for name in archive.files})
    with open(workdir / "metrics.csv", newline="") as file:
        return weights, [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


@pytest.mark.any_backend
def test_killed_at_random_points(tmp_path, forks):
    start = time.monotonic()
    assert forks.run(tmp_path / "whole") == 0
    duration = time.monotonic() - start
    expected = _result(tmp_path / "whole")
    assert len(expected[1]) == 3

    clock, kills, ends = random.Random(0), 0, 0
    while kills < KILLS:
        start, is_resumed = time.monotonic(), (tmp_path / "killed").exists()
        status = forks.run(tmp_path / "killed", kill_after=clock.uniform(0, duration))
        kills += status != 0
        if status == 0:
            if not is_resumed:  # only a run from the start tells the duration
                duration = min(duration, time.monotonic() - start)  # the machine may have been busy before
            assert _result(tmp_path / "killed") == expected
            shutil.rmtree(tmp_path / "killed")
            ends += 1
    assert forks.run(tmp_path / "killed") == 0
    assert _result(tmp_path / "killed") == expected
    print(f"{kills} kills over {ends + 1} runs of {duration:.1f} s")
