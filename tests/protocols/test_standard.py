"""The standard benchmarks: splits, resolutions and table, with trainings that are replaced but for one."""

import json
import statistics

import numpy as np
import pytest

from bit_keras import data
from bit_keras.figures import drawing
from bit_keras.protocols import settings
from bit_keras.protocols.standard import DATASETS, standard
from bit_keras.protocols.sweep import Failed

pytestmark = pytest.mark.usefixtures("tiny")


def arrays(side: int = 4) -> dict[str, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (20, side, side, 3), np.uint8)
    labels = np.array([0, 0, 0, 1] * 5)
    return {"train_images": images, "train_labels": labels, "test_images": images[:8], "test_labels": labels[:8]}


@pytest.fixture
def task(tmp_path) -> str:
    np.savez(tmp_path / "task.npz", **arrays())
    return str(tmp_path / "task.npz")


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Names of the data sets that were opened; those of CIFAR have small images, the others large ones."""
    names = []

    def load(name, **options):
        names.append(name)
        if name == "broken":
            raise data.DataError("broken: no such data")
        return data.from_arrays(**arrays(32 if name.startswith("cifar") else 120), name=name)

    monkeypatch.setattr(data, "load", load)
    return names


@pytest.fixture
def trained(monkeypatch) -> list[tuple]:
    """(model, data, settings) of the runs that were made; the first one has the accuracy 0.9, the next one 0.91."""
    runs = []

    def finetune(model, source, workdir, *, seed, new_head, **options):
        runs.append((model, source.name, options))
        accuracy = 0.89 + 0.01 * len(runs)
        return type("Result", (), {"summary": {"test_accuracy": accuracy, "mean_per_class_accuracy": accuracy / 2}})

    monkeypatch.setattr(settings, "finetune", finetune)
    monkeypatch.setattr(drawing, "save_all", lambda *_: None)  # the slowest step where nothing is trained
    return runs


def test_the_splits_of_the_official_code_and_of_the_paper(opened, trained, tmp_path):
    standard(["tiny"], tmp_path / "official", [*DATASETS, "cifar10[:50%]"], runs=1, verbose=False)
    large = ["oxford_iiit_pet", "oxford_flowers102"]
    assert opened == ["imagenet2012[:99%]", "cifar10[:98%]", "cifar100[:98%]", *large, "cifar10[:50%]"]
    opened.clear()
    standard(["tiny"], tmp_path / "paper", runs=1, splits="paper", verbose=False)
    assert opened == ["imagenet2012", "cifar10", "cifar100", *large]
    with pytest.raises(FileExistsError, match="options"):
        standard(["tiny"], tmp_path / "paper", runs=1, verbose=False)


@pytest.mark.parametrize(
    ("name", "sizes", "official", "num_test"),
    [
        ("cifar100", {"train": 50_000, "test": 10_000}, 49_000, 10_000),
        ("imagenet2012", {"train": 1_281_167, "validation": 50_000}, 1_268_355, 50_000),
        ("oxford_flowers102", {"train": 1_020, "validation": 1_020, "test": 6_149}, 1_020, 6_149),
    ],
)
def test_the_numbers_of_images(name, sizes, official, num_test, mock_tfds, trained, tmp_path, monkeypatch):
    sources = []
    finetune = settings.finetune
    monkeypatch.setattr(
        settings, "finetune", lambda *args, **given: sources.append(args[1]) or finetune(*args, **given)
    )
    with mock_tfds(name, sizes, num_examples=4):
        for splits in ("official", "paper"):
            standard(["tiny"], tmp_path / splits, [name], runs=1, splits=splits, verbose=False)
    assert [source.num_train for source in sources] == [official, sizes["train"]]
    assert {source.num_test for source in sources} == {num_test}
    assert {source.validation for source in sources} == {None}


def test_the_resolutions_of_the_official_code_and_of_the_paper(opened, trained, tmp_path):
    settings = {"datasets": ["cifar10", "oxford_iiit_pet"], "runs": 1, "verbose": False}
    standard(["BiT-S-R50x1"], tmp_path / "official", **settings)
    standard(["BiT-S-R50x1", "R152x4"], tmp_path / "paper", resolution_rule="paper", steps=7, **settings)
    assert [(model, name.partition("[")[0], options) for model, name, options in trained] == [
        ("BiT-S-R50x1", "cifar10", {}),
        ("BiT-S-R50x1", "oxford_iiit_pet", {}),
        ("BiT-S-R50x1", "cifar10", {"steps": 7}),
        ("R152x4", "cifar10", {"steps": 7}),
        ("BiT-S-R50x1", "oxford_iiit_pet", {"steps": 7, "resolution": 384, "resize": 448}),
        ("R152x4", "oxford_iiit_pet", {"steps": 7}),
    ]


def test_median_deviation_and_differences(opened, trained, tmp_path):
    records = standard(["BiT-M-R50x1", "tiny"], tmp_path / "s", ["cifar10", "oxford_iiit_pet"], verbose=False)
    table = (tmp_path / "s" / "standard.md").read_text()
    rows = {
        tuple(row[:2]): row[2:]
        for row in ([c.strip() for c in line.split("|")[1:-1]] for line in table.split("\n"))
        if row
    }
    for (name, model), row in list(rows.items())[2:]:
        found = [100 * r["test_accuracy"] for r in records if (r["task"], r["model"]) == (name, model.split()[-1])]
        assert row[:3] == ["3", f"{np.median(found):.2f}", f"{np.std(found, ddof=1):.2f}"]
    assert rows["cifar10", "BiT-M-R50x1"][3:] == ["-", "-", "97.20", "-6.20"]  # 91.00 of 90, 91 and 92
    assert rows["cifar10", "random tiny"][3:] == ["-", "-", "-", "-"]
    assert "official README: google-research/big_transfer" in table
    assert "measured with splits=official, resolution_rule=official" in table
    standard(["BiT-M-R50x1"], tmp_path / "s", ["cifar10"], runs=1, metric="mean_per_class_accuracy", verbose=False)
    table = (tmp_path / "s" / "standard.md").read_text()
    assert "median mean per class accuracy" in table
    assert "| cifar10 | BiT-M-R50x1 | 1 | 45.00 | - | - | - | - | - |" in table
    assert len(trained) == 12, "the metric makes no other run"


def test_runs_resume_are_divided_and_fail_alone(opened, trained, tmp_path):
    names = ["cifar10", "broken"]
    assert (
        standard(["tiny"], tmp_path / "s", ["cifar10"], runs=2, shard=(1, 2), remat=True, verbose=False)[0]["seed"] == 1
    )
    for _ in range(2):
        with pytest.raises(
            Failed, match="1 run failed; the same command repeats only what has failed:\nbroken: no such"
        ):
            standard(["tiny"], tmp_path / "s", names, runs=1, verbose=False)
    assert len(trained) == 2
    both = standard(["tiny"], tmp_path / "s", ["cifar10"], runs=2, verbose=False)
    assert [record["seed"] for record in both] == [0, 1]
    assert len(trained) == 2, "rematerialization makes no other run"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": "all"}, "splits must be one of official, paper; got 'all'"),
        ({"metric": "top5"}, "metric must be one of accuracy, mean_per_class_accuracy; got 'top5'"),
        ({"resolution_rule": "384"}, "resolution_rule must be one of official, paper; got '384'"),
        ({"resolution_rule": "paper", "resolution": 64}, "give either it or them"),
        ({"datasets": ()}, "datasets must be a list"),
        ({"steps": 0}, "steps must be"),
        ({"validation": 0.1}, "validation"),
    ],
)
def test_settings_are_checked_before_anything_is_written(change, message, trained, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        standard(**{"models": ["tiny"], "workdir": tmp_path / "s", "verbose": False, **change})
    assert not (tmp_path / "s").exists()


def test_a_real_training(task, tmp_path):
    settings = {"steps": 5, "batch_size": 4, "resolution": 32, "eval_every": 5}
    (record,) = standard(["tiny"], tmp_path / "s", [task], runs=1, verbose=False, **settings)
    (place,) = (tmp_path / "s" / "runs").iterdir()
    summary = json.loads((place / "run" / "report" / "summary.json").read_text())
    assert (record["test_accuracy"], record["mean_per_class_accuracy"]) == (
        summary["test_accuracy"],
        summary["mean_per_class_accuracy"],
    )
    # Six test images of the first class and two of the second.
    right = summary["test_accuracy"] * 8
    means = {statistics.mean((a / 6, b / 2)) for a in range(7) for b in range(3) if a + b == round(right)}
    assert any(record["mean_per_class_accuracy"] == pytest.approx(mean) for mean in means)
    assert (
        f"| task | random tiny | 1 | {100 * summary['test_accuracy']:.2f} | - |"
        in (tmp_path / "s" / "standard.md").read_text()
    )


def test_the_program(run_program, tmp_path):
    done = run_program("bit_keras.protocols", "standard", "--help")
    for words in (
        "(default: imagenet2012,cifar10,cifar100",
        "--splits=official|paper",
        "--resolution_rule=official|paper",
    ):
        assert words in done.stdout
    done = run_program("bit_keras.protocols", "standard", "--models=R17x0.5", f"--workdir={tmp_path}", "--shard=2/2")
    assert done.returncode == 1
    assert "shard must be (index, count)" in done.stderr
