"""Cells that several processes complete together; a sweep of real trainings is in tests/test_few_shot.py."""

import collections
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import bit_keras
from bit_keras.runs.cells import Cell, complete
from bit_keras.system import leases

ROOT = Path(bit_keras.__file__).parents[1]


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.02)
    monkeypatch.setattr(leases, "PATIENCE", 1.0)


def _group(folder, measures):
    return lambda: [(Cell(folder / name / "cell.json", {"name": name}), measure) for name, measure in measures.items()]


def _complete(*groups, **options):
    return complete(groups, lambda cell, results: None, **options)


@pytest.mark.parametrize("together", [False, True])
def test_results_stand_in_the_order_of_the_cells_and_are_measured_once(tmp_path, together):
    calls = []
    group = _group(tmp_path, {name: lambda name=name: calls.append(name) or {"name": name} for name in "cab"})
    for _ in range(2):
        assert _complete(group, _group(tmp_path, {}), together=together) == [{"name": name} for name in "cab"]
    assert calls == ["c", "a", "b"]
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["cell.json"] * 3


@pytest.mark.usefixtures("fast")
def test_a_failure_releases_its_cell_and_costs_no_other(tmp_path):
    failures = []

    def fail():
        raise ValueError("NaN")

    group = _group(tmp_path, {"a": fail, "b": lambda: {"x": 1}})
    with pytest.raises(ValueError, match="NaN"):
        _complete(group)
    assert _complete(group, failed=lambda *each: failures.append(each), faults=(ValueError,)) == [{"x": 1}]
    ((cell, error),) = failures
    assert (cell.name, str(error)) == ("a", "NaN")
    assert _complete(_group(tmp_path, {"a": lambda: {"x": 2}})) == [{"x": 2}]


@pytest.mark.usefixtures("fast")
def test_an_interruption_releases_its_cell(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _complete(_group(tmp_path, {"a": interrupt}))
    assert leases.Watch().is_free(tmp_path / "a")


@pytest.mark.usefixtures("fast")
def test_a_process_waits_for_the_cells_of_others(tmp_path):
    lease = leases.Watch().take(tmp_path / "a")

    def end() -> None:
        time.sleep(1.5 * leases.PATIENCE)
        (tmp_path / "a" / "cell.json").write_text(json.dumps({"x": 1, "identity": {"name": "a"}}))
        lease.remove()

    thread = threading.Thread(target=end)
    thread.start()
    opened = []
    group = _group(tmp_path, {"a": pytest.fail, "b": lambda: {"x": 2}})
    assert _complete(lambda: opened.append(1) or group()) == [{"x": 1}, {"x": 2}]
    assert len(opened) == 1
    thread.join()


@pytest.mark.usefixtures("fast")
def test_results_of_a_slow_worker_do_not_replace_those_of_its_heir(tmp_path):
    """The worker stops renewing its lease, as a frozen machine does, and ends after another has taken its cell."""

    def measure():
        frozen.set()
        assert ended.wait(20)
        return {"by": "slow"}

    frozen, ended, results = threading.Event(), threading.Event(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases.Lease, "_renew", lambda lease: None)
        thread = threading.Thread(target=lambda: results.extend(_complete(_group(tmp_path, {"a": measure}))))
        thread.start()
        assert frozen.wait(20)
    assert _complete(_group(tmp_path, {"a": lambda: {"by": "heir"}})) == [{"by": "heir"}]
    ended.set()
    thread.join()
    assert results == [{"by": "heir"}]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cell.json"]


@pytest.mark.usefixtures("fast")
def test_a_folder_that_its_dead_worker_still_uses_is_tried_again(tmp_path, caplog):
    attempts = []

    def measure():
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            raise BlockingIOError("in use by process 1")
        return {"x": 1}

    assert _complete(_group(tmp_path, {"a": measure})) == [{"x": 1}]
    assert "a: in use by process 1" in caplog.text
    assert attempts[1] - attempts[0] >= leases.PATIENCE


def test_sweep_with_killed_workers(tmp_path):
    """Twenty workers are killed at random; the results are those of one process, and no completed cell is repeated."""
    count, kills = 160, 20
    command = [sys.executable, ROOT / "tests" / "consumers" / "cell_forks.py", tmp_path, count, 4, kills]
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5_000:]
    answer = json.loads(done.stdout)
    assert answer["killed"] == kills, "some workers ended before they were killed: make more cells"
    assert answer["results"] == [[{"value": random.Random(number).random()} for number in range(count)]] * 4

    log = [line.split() for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert {what for what, _ in log} == {"begin"}, "a completed cell was repeated, or two workers were at one cell"
    begins = collections.Counter(number for _, number in log)
    assert len(begins) == count
    assert count < len(log) <= count + kills, "cells are repeated where their worker was killed, and only there"
    print(f"{len(log) - count} of {count} cells were taken over after {kills} kills")
