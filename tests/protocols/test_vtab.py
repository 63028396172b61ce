"""The evaluation in miniature: small images in the form of VTAB, a random network, real trainings."""

import concurrent.futures
import hashlib
import json
import time

import keras
import numpy as np
import pytest

from bit_keras import data
from bit_keras.protocols import settings
from bit_keras.protocols import vtab as module
from bit_keras.protocols.sweep import Failed
from bit_keras.protocols.vtab import vtab
from bit_keras.system import leases

pytestmark = pytest.mark.usefixtures("tiny")
SETTINGS = {"runs": 2, "steps": 5, "batch_size": 4, "resolution": 32, "eval_every": 5, "verbose": False}


@pytest.fixture
def trained(monkeypatch) -> list[tuple]:
    """The runs that were made; each takes its accuracy from its model, its task and its seed."""
    runs = []

    def finetune(model, source, workdir, *, seed, **options):
        if source.name == "c" and model == "R17x0.5":
            raise ValueError("the loss is NaN")
        runs.append((model, source.name, seed, source.num_train))
        accuracy = len(runs) / 100
        return type("Result", (), {"summary": {"test_accuracy": accuracy}})

    monkeypatch.setattr(settings, "finetune", finetune)
    return runs


@pytest.fixture
def tasks(tmp_path) -> list[str]:
    random, paths = np.random.default_rng(0), []
    for name, count in (("a", 20), ("b", 1_100), ("c", 20)):
        paths.append(str(tmp_path / f"{name}.npz"))
        images, labels = random.integers(0, 256, (count, 4, 4, 3), np.uint8), np.arange(count) % 2
        np.savez(paths[-1], train_images=images, train_labels=labels, test_images=images[:6], test_labels=labels[:6])
    return paths


def test_runs_resume_and_are_divided_among_machines(tasks, trained, tmp_path):
    options = {**SETTINGS, "tasks": tasks[:2]}
    first = vtab(["tiny"], tmp_path / "vtab", shard=(0, 2), **options)
    assert [(row["task"], row["seed"]) for row in first] == [(tasks[0], 0), (tasks[1], 0)]
    both = vtab(["tiny"], tmp_path / "vtab", shard=(1, 2), **options)
    assert [(row["task"], row["seed"]) for row in both] == [(task, seed) for task in tasks[:2] for seed in range(2)]
    assert len(trained) == 4  # none twice
    assert {count for *_, count in trained} == {20, 1_000}  # 1,000 of 1,100
    again = vtab(["tiny"], tmp_path / "vtab", **options)
    assert again == both
    assert len(trained) == 4
    assert json.loads((tmp_path / "vtab" / "vtab.json").read_text())["runs"] == both
    table = (tmp_path / "vtab" / "vtab.md").read_text()
    assert "| a | 2.0 (1.0 to 3.0) |" in table
    assert (tmp_path / "vtab" / "vtab.png").stat().st_size > 1_000


def test_workers_take_runs_one_by_one_and_have_the_same_table(tasks, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.05)
    finetune = settings.finetune
    monkeypatch.setattr(settings, "finetune", lambda *given, **options: time.sleep(0.2) or finetune(*given, **options))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        tables = list(pool.map(lambda _: vtab(["tiny"], tmp_path / "vtab", tasks[:2], **SETTINGS), range(3)))
    assert tables[0] == tables[1] == tables[2]
    assert len(tables[0]) == len(trained) == 4, "none twice"


def test_the_record_of_an_earlier_version_is_found(tasks, trained, tmp_path):
    identity = {"model": "tiny", "task": tasks[0], "seed": 0, "weights": None, "data": data.load(tasks[0]).describe()}
    options = {"steps": 5, "batch_size": 4, "resolution": 32, "eval_every": 5}
    identity |= {"options": options, "backend": keras.backend.backend()}
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    place = tmp_path / "vtab" / "runs" / f"tiny-a-0-{name}"
    place.mkdir(parents=True)
    (tmp_path / "vtab" / "config.json").write_text(json.dumps({"options": options}))
    record = {"model": "tiny", "task": tasks[0], "seed": 0, "test_accuracy": 0.7, "identity": identity}
    (place / "vtab.json").write_text(json.dumps(record))
    assert vtab(["tiny"], tmp_path / "vtab", tasks[:1], **{**SETTINGS, "runs": 1}) == [record]
    assert not trained


def test_of_two_records_of_a_run_the_latest_is_shown(tasks, trained, tmp_path):
    settings = {**SETTINGS, "runs": 1}
    vtab(["tiny"], tmp_path / "vtab", tasks[:1], **settings)
    for _ in range(4):  # other data under the same name
        with np.load(tasks[0]) as archive:
            arrays = dict(archive)
        arrays["train_images"] = arrays["train_images"] + np.uint8(1)
        np.savez(tasks[0], **arrays)
        (record,) = vtab(["tiny"], tmp_path / "vtab", tasks[:1], **settings)
        assert record["test_accuracy"] == len(trained) / 100
    assert len(trained) == 5


def test_the_same_thousand_images_for_every_run(tasks):
    source = data.load(tasks[1])
    chosen, again = (module._in_the_form_of_vtab(source) for _ in range(2))
    np.testing.assert_array_equal(chosen.train.images, again.train.images)
    assert chosen.identity != source.identity
    assert chosen.num_test == source.num_test


def test_a_failure_costs_no_other_run(tasks, trained, tmp_path):
    missing = str(tmp_path / "missing.npz")
    with pytest.raises(Failed) as caught:
        vtab(["tiny", "R17x0.5"], tmp_path / "vtab", [missing, tasks[2]], **SETTINGS)
    first, *reasons = str(caught.value).splitlines()
    assert first.startswith("6 runs failed")
    assert sum("missing.npz" in reason for reason in reasons) == 4
    assert sum("the loss is NaN" in reason for reason in reasons) == 2
    assert [run[0] for run in trained] == ["tiny", "tiny"]
    assert "| c | 1.5 (1.0 to 2.0) | - |" in (tmp_path / "vtab" / "vtab.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shard": (2, 2)}, "shard must be"),
        ({"runs": 0}, "runs must be"),
        ({"models": []}, "models must be a list"),
        ({"models": ["BiT-M-R50x9"]}, "BiT-M-R50x9"),
        ({"tasks": "vtab/dtd"}, "tasks must be a list"),
        ({"steps": -1}, "steps must be"),
        ({"learning_rate": 0.1}, "learning_rate"),
    ],
)
def test_settings_are_checked_before_anything_is_written(change, message, tasks, trained, tmp_path):
    settings = {"models": ["tiny"], "workdir": tmp_path / "vtab", "tasks": tasks, **SETTINGS, **change}
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        vtab(**settings)
    assert not (tmp_path / "vtab").exists()
    assert not trained


def test_a_real_training(tasks, tmp_path):
    (record,) = vtab(["tiny"], tmp_path / "vtab", tasks[:1], **{**SETTINGS, "runs": 1})
    (place,) = (tmp_path / "vtab" / "runs").iterdir()
    summary = json.loads((place / "run" / "report" / "summary.json").read_text())
    assert record["test_accuracy"] == summary["test_accuracy"]


def test_the_program(run_program, tmp_path):
    flags = ["--models=R17x0.5", "--tasks=digits", f"--workdir={tmp_path / 'vtab'}"]
    done = run_program("bit_keras.protocols", "vtab", *flags, "--shard=3")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith('shard must be "INDEX/COUNT", such as "0/8", got \'3\'')
    done = run_program("bit_keras.protocols", "vtab", *flags, "--tasks=/missing.csv", "--steps=5")
    assert done.returncode == 1
    assert "3 runs failed; the same command repeats only what has failed:\n/missing.csv: " in done.stderr
