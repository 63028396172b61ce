"""The comparison of students with and without a teacher: its table, its plot, and a complete series."""

import functools
import json

import numpy as np
import pytest

from benchmarks import distillation
from bit_keras import data
from bit_keras.checkpoints import provenance
from bit_keras.runs import run

pytestmark = pytest.mark.usefixtures("tiny")


def _results():
    accuracies = {"alone": (0.5, 0.4, 0.6), "distilled": (0.7, 0.9, 0.8)}
    runs = [
        {"student": student, "epochs": epochs, "seed": seed, "test_accuracy": x + epochs / 1_000}
        for epochs in (10.0, 100.0)
        for student, values in accuracies.items()
        for seed, x in enumerate(values)
    ]
    return {"teacher": 0.95, "runs": runs}


def test_table():
    assert distillation.table(_results()).splitlines() == [
        "| student | 10 epochs | 100 epochs |",
        "|---|---|---|",
        "| alone | 51.0 (41.0 to 61.0) | 60.0 (50.0 to 70.0) |",
        "| distilled | 81.0 (71.0 to 91.0) | 90.0 (80.0 to 100.0) |",
        "",
        "The teacher: 95.0",
    ]


def test_plot():
    (axes,) = distillation.plot(_results()).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["alone"], [51, 60])
    np.testing.assert_allclose(lines["distilled"], [81, 90])
    np.testing.assert_allclose(lines["teacher"], 95)
    assert len(axes.collections) == 2  # the ranges


def test_a_series_to_its_end(tiny_npz, tmp_path, monkeypatch):
    images, labels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8), np.arange(20) % 10
    source = data.from_arrays(images, labels, images, labels, class_names=list("0123456789"))
    monkeypatch.setattr(data, "load", lambda name: source)
    monkeypatch.setattr(run.report, "write", lambda *arguments: None)  # figures of the runs, which are slow
    for name in ("finetune", "distill"):  # evaluated once, at the end
        monkeypatch.setattr(distillation, name, functools.partial(getattr(distillation, name), eval_every=100))
    settings = {"epochs": [3.0], "seeds": 1, "examples_per_class": 1, "teacher_steps": 5, "model": "tiny"}
    settings |= {"batch_size": 5, "resolution": 16, "flip": False}
    results = distillation.compare(str(tiny_npz), "digits", tmp_path, **settings)
    assert [each["student"] for each in results["runs"]] == ["alone", "distilled"]
    assert json.loads((tmp_path / "distillation.json").read_text()) == results
    assert (tmp_path / "distillation.md").read_text() == distillation.table(results)
    assert (tmp_path / "distillation.png").read_bytes().startswith(b"\x89PNG")
    configs = [json.loads((tmp_path / "runs" / f"{s}-3-0" / "config.json").read_text()) for s in distillation.STUDENTS]
    assert configs[0].pop("teacher") == "labels"
    assert configs[1].pop("teacher") == str(tmp_path / "teacher" / "weights.npz")
    teacher = provenance.fingerprint(tmp_path / "teacher" / "weights.npz")
    assert configs[1].pop("weights") == {"teacher": teacher}
    assert configs[0] == configs[1]  # all other settings are the same
    assert configs[0]["data"]["num_train"] == 10

    # A second start must write byte-identical weights of the teacher, because they identify the students' runs.
    assert distillation.compare(str(tiny_npz), "digits", tmp_path, **settings) == results
