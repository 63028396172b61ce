"""The sweep: its table, its plot, and a small one to its end."""

import json

import numpy as np
import pytest

from bit_keras import few_shot


def _records():
    accuracies = {("R17x0.5", "fine-tuned"): (0.2, 0.3, 0.1), ("zoo/weights.npz", "linear probe"): (0.5, 0.9, 0.6)}
    return [
        {"model": model, "dataset": "a/digits.npz", "method": method, "shots": shots, "seed": seed, "test_accuracy": x}
        for (model, method), values in accuracies.items()
        for shots in (1, 5)
        for seed, x in enumerate(np.array(values) * (1 if shots == 1 else 1.1))
    ]


def test_the_table_has_median_and_range():
    assert few_shot.table(_records()).splitlines() == [
        "| task | weights | method | 1 a class | 5 a class |",
        "|---|---|---|---|---|",
        "| digits | random R17x0.5 | fine-tuned | 20.0 (10.0 to 30.0) | 22.0 (11.0 to 33.0) |",
        "| digits | weights | linear probe | 60.0 (50.0 to 90.0) | 66.0 (55.0 to 99.0) |",
    ]


def test_the_plot_has_a_line_for_each_row_of_the_table():
    (axes,) = few_shot.plot(_records()).axes
    assert axes.get_title() == "digits"
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["random R17x0.5, fine-tuned"], [0.2, 0.22])
    np.testing.assert_allclose(lines["weights, linear probe"], [0.6, 0.66])
    assert len(axes.collections) == 2  # the ranges


def test_the_penalty_of_the_probe_follows_the_scale_of_the_features():
    random = np.random.default_rng(0)
    labels = np.arange(30) % 3
    features = random.normal(size=(30, 5)) + 2 * np.eye(5)[labels]
    scores = few_shot.ridge(features, labels, 3).predict(features)
    np.testing.assert_allclose(few_shot.ridge(1_000 * features, labels, 3).predict(1_000 * features), scores, rtol=1e-6)
    assert (scores.argmax(axis=1) == labels).mean() > 0.9


def test_a_sweep_goes_on_where_it_was(golden_npz, tmp_path, monkeypatch):
    options = {"steps": 5, "batch_size": 8, "resolution": 16, "eval_every": 5}
    sweep = {"models": [str(golden_npz)], "datasets": ["digits"], "workdir": tmp_path, "shots": [1, 2]}
    calls = []
    for name in ("finetune", "_features"):
        function = getattr(few_shot, name)
        monkeypatch.setattr(
            few_shot, name, lambda *args, f=function, n=name, **kwargs: calls.append(n) or f(*args, **kwargs)
        )
    records = few_shot.sweep(**sweep, seeds=1, **options)
    assert len(records) == 4
    assert sorted(calls) == ["_features"] * 3 + ["finetune"] * 2  # the test images once
    assert all(0 <= record["test_accuracy"] <= 1 for record in records)
    assert json.loads((tmp_path / "few_shot.json").read_text())["runs"] == records
    assert few_shot.sweep(**sweep, seeds=1, **options) == records
    assert len(calls) == 5
    assert (tmp_path / "few_shot.md").read_text() == few_shot.table(records)
    assert (tmp_path / "few_shot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileExistsError, match="steps"):
        few_shot.sweep(**sweep, seeds=1, **{**options, "steps": 6})
