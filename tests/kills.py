"""Runs trainings that are killed at random moments and resumed; their results are those of an uninterrupted one."""

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

import numpy as np

import bit_keras

ROOT = Path(bit_keras.__file__).parents[1]
CONSUMERS = ROOT / "tests" / "consumers"
CLOCKS = ("seconds", "images_per_second")


class Forks:
    """One process that has imported everything, and forks for each run.

    Args:
        training: as in tests/consumers/training_forks.py.
        variant: program in tests/consumers/ that adds a small variant.
        log: file of what the runs write to stderr.
        settings: of all runs, without the workdir.
    """

    def __init__(self, training: str, variant: str, log: Path, settings: dict):
        self._log, self._settings = log, settings
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, CONSUMERS / "training_forks.py", training, CONSUMERS / variant],
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

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *exception) -> None:
        self._process.communicate()


def result(workdir: Path) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    """Returns the bytes of the last and the best weights, and all metrics except times."""
    weights = {}
    for file in ("weights.npz", "best.npz"):
        with np.load(workdir / file) as archive:
            weights.update({f"{file}/{name}": archive[name].tobytes() for name in archive.files})
    with open(workdir / "metrics.csv", newline="") as file:
        return weights, [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


def survive_kills(forks: Forks, folder: Path, count: int, rows: int) -> None:
    """Kills a run `count` times in all, and compares each run that ends with an uninterrupted one.

    Args:
        forks: of the training.
        folder: empty.
        count: of kills.
        rows: of metrics that a whole run writes.
    """
    start = time.monotonic()
    assert forks.run(folder / "whole") == 0
    duration = time.monotonic() - start
    expected = result(folder / "whole")
    assert len(expected[1]) == rows

    clock, kills, ends = random.Random(0), 0, 0
    while kills < count:
        start, is_resumed = time.monotonic(), (folder / "killed").exists()
        status = forks.run(folder / "killed", kill_after=clock.uniform(0, duration))
        kills += status != 0
        if status == 0:
            if not is_resumed:  # only a run from the start tells the duration
                duration = min(duration, time.monotonic() - start)  # the machine may have been busy before
            assert result(folder / "killed") == expected
            shutil.rmtree(folder / "killed")
            ends += 1
    assert forks.run(folder / "killed") == 0
    assert result(folder / "killed") == expected
    print(f"{kills} kills over {ends + 1} runs of {duration:.1f} s")
