import concurrent.futures
import errno
import json
import os
import shutil
import time

import keras
import numpy as np
import pytest

from bit_keras import data
from bit_keras.finetune import FinetuneConfig
from bit_keras.runs import config, workdir
from bit_keras.runs.workdir import check_joined, check_start, claim, reserve, share, shared
from bit_keras.system import locks

CONFIG = {"seed": 0, "data": {"name": "digits", "sizes": (8, 8)}}


def test_a_new_folder_holds_its_configuration(tmp_path):
    folder = claim(tmp_path / "runs" / "a", CONFIG)
    assert json.loads((folder / "config.json").read_text()) == {"seed": 0, "data": {"name": "digits", "sizes": [8, 8]}}


def test_the_same_run_is_let_in_again(tmp_path):
    claim(tmp_path, CONFIG)
    (tmp_path / "metrics.csv").write_text("kept")
    claim(tmp_path, CONFIG)
    assert (tmp_path / "metrics.csv").read_text() == "kept"


def test_another_configuration_is_refused_by_name(tmp_path):
    claim(tmp_path, CONFIG)
    with pytest.raises(FileExistsError, match="seed: 0 there, 1 asked for"):
        claim(tmp_path, {**CONFIG, "seed": 1})
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


def test_what_a_killed_start_left_is_no_other_run(tmp_path):
    (tmp_path / ".config.json.abc.unfinished").mkdir()
    folder = claim(tmp_path, CONFIG)
    assert sorted(os.listdir(folder)) == [".lock", "config.json"]
    folder.close()
    assert os.listdir(folder) == ["config.json"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="must be a new or empty folder"):
        claim(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_worker_joins_the_folder_of_the_same_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="all workers must share workdir"):
        check_joined(tmp_path, CONFIG)
    folder = shared(tmp_path)
    with pytest.raises(FileNotFoundError, match="was removed"):
        folder.check()
    claim(tmp_path, CONFIG)
    check_joined(tmp_path, CONFIG)
    folder.check()
    with pytest.raises(FileExistsError, match="seed: 0 there, 1 asked for"):
        check_joined(tmp_path, {**CONFIG, "seed": 1})


@pytest.fixture
def birds(tmp_path, monkeypatch):
    """A folder of class folders in the current working directory."""
    random = np.random.default_rng(0)
    for name in ("crow", "owl"):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for k in range(5):
            keras.utils.save_img(tmp_path / "birds" / name / f"{k}.png", random.integers(0, 256, (12, 10, 3)))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "birds"


def _identity(dataset, **settings) -> dict:
    config = FinetuneConfig(model="R17x0.5", dataset=str(dataset), workdir="w", **settings)
    return config.identity(data.load(config.dataset))


def test_a_run_resumes_wherever_its_data_lie_and_however_they_are_called(tmp_path, birds):
    claim(tmp_path / "run", _identity("birds"))
    claim(tmp_path / "run", _identity("./birds", data_dir="/one/disk", manual_dir="/archives"))
    moved = birds.rename(tmp_path / "moved")
    claim(tmp_path / "run", _identity(moved, data_dir="/other/disk"))
    (moved / "owl" / "4.png").unlink()
    with pytest.raises(FileExistsError, match=r"data: \{'name': 'birds', .*'name': 'moved', .*fingerprint"):
        claim(tmp_path / "run", _identity(moved))


def test_a_run_of_an_earlier_version_resumes(tmp_path, birds):
    identity = _identity("birds")
    assert not {"dataset", "data_dir", "manual_dir"} & set(identity)
    before = {"dataset": "/some/where/birds", "data_dir": "/one/disk", **identity}
    folder = tmp_path / "run"
    claim(folder, before)
    claim(folder, identity)
    check_joined(folder, identity)
    check_start(folder, identity)
    assert json.loads((folder / "config.json").read_text()) == before
    with pytest.raises(FileExistsError, match="seed: 0 there, 1 asked for") as refused:
        claim(folder, {**identity, "seed": 1})
    assert "disk" not in str(refused.value)


def test_without_a_description_of_the_data_their_name_tells_runs_apart(tmp_path):
    claim(tmp_path, {"dataset": "digits"})
    with pytest.raises(FileExistsError, match="dataset: 'digits' there, 'cifar10' asked for"):
        claim(tmp_path, {"dataset": "cifar10"})


@pytest.mark.parametrize("content", [b"", b"[]", b'{"seed": ', b"\xff\xfe", b"7"])
def test_a_damaged_record_is_named_with_the_way_out(tmp_path, content):
    claim(tmp_path, CONFIG)
    (tmp_path / "config.json").write_bytes(content)
    for function in (claim, check_joined, check_start):
        with pytest.raises(ValueError, match=r"config\.json must hold the settings of a run.*choose another workdir"):
            function(tmp_path, CONFIG)
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_refused_start_changes_nothing(tmp_path):
    foreign = tmp_path / "runs" / "other" / ".last.weights.h5.abcdefgh.unfinished"
    foreign.mkdir(parents=True)
    with pytest.raises(FileExistsError, match="is something else"):
        claim(tmp_path / "runs", CONFIG)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        *("runs", "runs/other", f"runs/other/{foreign.name}")
    ]
    with pytest.raises(ValueError, match="got the address gs://bucket/run"):
        claim("gs://bucket/run", CONFIG)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        claim(tmp_path / "file" / "run", CONFIG)
    assert sorted(os.listdir(tmp_path)) == ["file", "runs"]


def test_a_reserved_folder_is_nobody_elses_and_holds_nothing(tmp_path):
    with reserve(tmp_path / "runs" / "a", CONFIG) as held:
        assert os.listdir(held) == [".lock"]
        for refused in (claim, reserve, check_start):
            with pytest.raises(BlockingIOError, match="is in use by process"):
                refused(held.path, CONFIG)
        assert os.listdir(held) == [".lock"]
    assert not os.listdir(tmp_path)
    with reserve(tmp_path / "run", CONFIG) as held:
        held.record(CONFIG)
    assert os.listdir(tmp_path / "run") == ["config.json"]


def test_other_settings_are_refused_without_the_data(tmp_path):
    check_start(tmp_path / "new", {"seed": 1})
    assert not os.listdir(tmp_path)
    claim(tmp_path, {**CONFIG, "weights": {"model": "1"}}).close()
    check_start(tmp_path, {"seed": 0})
    with pytest.raises(FileExistsError, match=r"same settings:\n  seed: 0 there, 1 asked for$"):
        check_start(tmp_path, {"seed": 1})
    with pytest.raises(FileExistsError, match=r"same settings:\n  fit: None there, 'pad' asked for$"):
        check_start(tmp_path, {"seed": 0, "fit": "pad"})
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_start_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workdir, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        claim(tmp_path / "runs" / "deep" / "a", CONFIG)
    assert not os.listdir(tmp_path)


def test_a_folder_in_use_is_refused_with_the_name_of_its_user(tmp_path):
    with claim(tmp_path, CONFIG) as held:
        before = sorted((path.name, path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir())
        with pytest.raises(
            BlockingIOError, match=rf"is in use by process {os.getpid()} on .*, since 20.*another workdir"
        ):
            claim(tmp_path, CONFIG)
        after = sorted((path.name, path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir())
        assert after == before
        claim(held / "inner", {"seed": 1}).close()  # as few_shot and finetune
    claim(tmp_path, CONFIG)


def test_of_simultaneous_starts_one_wins(tmp_path):
    """Each of two processes claims a new folder at the same time, and holds it until both have tried."""
    for number in range(6):
        folder, (begin, go), (out, said) = tmp_path / str(number), os.pipe(), os.pipe()
        children = []
        for _ in range(2):
            child = os.fork()
            if not child:
                os.close(go)
                os.read(begin, 1)  # ends when the parent closes it
                try:
                    held = claim(folder, CONFIG)
                    os.write(said, f"won {os.getpid()}\n".encode())
                    time.sleep(0.2)
                    assert held.path == folder
                    os._exit(0)
                except BaseException as error:
                    os.write(said, f"{type(error).__name__} {error}\n".encode())
                os._exit(1)
            children.append(child)
        for descriptor in (begin, said, go):
            os.close(descriptor)
        with os.fdopen(out) as read:
            lines = read.read().splitlines()
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert sorted(statuses) == [0, 1], lines
        (winner,) = [line.split()[1] for line in lines if line.startswith("won")]
        (loser,) = [line for line in lines if not line.startswith("won")]
        assert loser.startswith(f"BlockingIOError {folder} is in use by process {winner} on "), loser
        with claim(folder, CONFIG):  # the winner has ended without releasing it
            assert sorted(os.listdir(folder)) == [".lock", "config.json"]


def test_a_removed_folder_is_noticed(tmp_path):
    with claim(tmp_path / "run", CONFIG) as held:
        held.check()
        shutil.rmtree(held)
        with pytest.raises(FileNotFoundError, match="was removed or replaced while a run was writing to it"):
            held.check()
        with claim(tmp_path / "run", CONFIG), pytest.raises(FileNotFoundError):
            held.check()
    assert os.listdir(tmp_path / "run") == ["config.json"]


def test_without_locks_a_run_goes_on_with_a_warning(tmp_path, monkeypatch, caplog):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with claim(tmp_path, CONFIG) as held:
        held.check()
    assert "No locks available: make sure that no other process uses" in caplog.text
    assert os.listdir(tmp_path) == ["config.json"]


def test_content_that_an_earlier_version_did_not_record_is_not_compared(tmp_path):
    before = {"model": "a.npz", "data": {"fingerprint": "1"}}
    now = {**before, "weights": {"model": "x"}, "data": {"fingerprint": "1", "content": "2"}}
    claim(tmp_path / "old", before)
    claim(tmp_path / "old", now)
    claim(tmp_path / "new", now)
    for change in ({"weights": {"model": "y"}}, {"data": {"fingerprint": "1", "content": "3"}}):
        with pytest.raises(FileExistsError, match=f"{next(iter(change))}: .* there, .* asked for"):
            claim(tmp_path / "new", {**now, **change})


def test_weights_at_an_address_are_identified_by_their_content(tmp_path, monkeypatch):
    source = data.load("digits")
    monkeypatch.setattr(config, "locate", lambda name: (tmp_path / "cached.npz", None))
    settings = FinetuneConfig(model="https://host/weights.npz", dataset="digits", workdir="w")
    identities = []
    for content in (b"a", b"b"):
        (tmp_path / "cached.npz").write_bytes(content)
        identities.append(settings.identity(source))
    claim(tmp_path / "run", identities[0])
    with pytest.raises(FileExistsError, match=r"weights: .* there, .* asked for"):
        claim(tmp_path / "run", identities[1])


def test_processes_that_start_together_share_a_folder(tmp_path):
    """Many make it at the same time; each finds it new, or that of the same series."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for number in range(20):
            folder = tmp_path / str(number)
            assert list(pool.map(lambda _, folder=folder: share(folder, CONFIG), range(16))) == [folder] * 16
            assert [path.name for path in folder.iterdir()] == ["config.json"]
    with pytest.raises(FileExistsError, match="seed: 0 there, 1 asked for"):
        share(folder, {**CONFIG, "seed": 1})
