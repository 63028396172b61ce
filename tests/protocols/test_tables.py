"""Scores of tasks, groups and all of VTAB, compared with numbers computed here."""

import io

import numpy as np

from bit_keras.protocols import tables
from bit_keras.zoo.results import RESULTS, SOURCES, published
from bit_keras.zoo.tasks import VTAB

MODELS = {"BiT-M-R152x4": "BiT-M-R152x4", "a/weights.npz": "weights"}
NAMES = {**MODELS, **{task.name: task.name for task in VTAB}}


def records(tasks=VTAB, runs=3):
    random = np.random.default_rng(0)
    return [
        {"model": model, "task": task.name, "seed": seed, "test_accuracy": random.uniform()}
        for model in MODELS
        for task in tasks
        for seed in range(runs)
    ]


def table(found):
    tasks = list(dict.fromkeys(row["task"] for row in found))
    return tables.table(found, list(MODELS), tasks, {**MODELS, **{task: task for task in tasks}})


def rows(text):
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert header == ["task", *MODELS.values()]
    return {name: cells for name, *cells in lines}


def test_every_score_is_the_mean_over_tasks_of_each_run():
    found, all_records = rows(table(records())), records()
    groups = {"all 19 tasks": VTAB} | {
        group: [task for task in VTAB if task.group == group] for group in ("natural", "specialized", "structured")
    }
    for column, model in enumerate(MODELS):
        accuracy = {(row["task"], row["seed"]): row["test_accuracy"] for row in all_records if row["model"] == model}
        for name, tasks in groups.items():
            scores = [100 * np.mean([accuracy[task.name, seed] for task in tasks]) for seed in range(3)]
            expected = f"{np.median(scores):.1f} ({min(scores):.1f} to {max(scores):.1f})"
            assert found[f"mean of {name}"][column] == expected
        scores = [100 * accuracy["vtab/dtd", seed] for seed in range(3)]
        assert found["vtab/dtd"][column] == f"{np.median(scores):.1f} ({min(scores):.1f} to {max(scores):.1f})"


def test_published_scores_stand_beside_the_measured_ones():
    found = rows(table(records()))
    assert found["vtab, paper"] == ["70.64", "-"]
    assert found["vtab, official README"] == ["73.51", "-"]
    assert found["vtab/structured, official README"] == ["61.08", "-"]


def test_a_score_of_which_a_run_is_missing_is_not_stated():
    incomplete = [row for row in records() if (row["task"], row["seed"]) != ("vtab/dmlab", 2)]
    found = rows(table(incomplete))
    assert found["mean of structured"] == found["mean of all 19 tasks"] == ["-", "-"]
    assert "-" not in found["mean of natural"]
    few = rows(table(records(VTAB[:2])))
    assert few["mean of natural"] == ["-", "-"]


def test_data_that_are_no_tasks_of_the_benchmark_have_a_mean_of_their_own():
    own = [{**row, "task": row["task"].removeprefix("vtab/")} for row in records(VTAB[:2])]
    found = rows(table(own))
    scores = [
        [row["test_accuracy"] for row in own if row["model"] == "a/weights.npz" and row["seed"] == k] for k in range(3)
    ]
    means = [100 * np.mean(each) for each in scores]
    assert found["mean"][1] == f"{np.median(means):.1f} ({min(means):.1f} to {max(means):.1f})"


def test_the_plot_has_a_row_for_each_task():
    figure = tables.plot(records(VTAB[:3]), list(MODELS), list(NAMES)[2:5], NAMES)
    figure.savefig(io.BytesIO())
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [task.name for task in VTAB[:3]]
    assert len(axes.lines) == 6
    for line in axes.lines:
        assert len(line.get_xdata()) == 3


def test_published_results_have_sources_and_are_the_papers():
    assert {row.source for row in RESULTS} == set(SOURCES)
    assert [row.accuracy for row in published("BiT-L-R152x4", "cifar10")] == [99.37]
    assert {row.source: row.accuracy for row in published("BiT-M-R50x1-ILSVRC2012", "imagenet2012")} == {
        "timm": 80.386,
        "testbed": 80.402,
    }
    assert [row.deviation for row in published("BiT-L-R152x4", "vtab")] == [1.7]
    few = {count: published("BiT-M-R101x3", "cifar100", count)[0].accuracy for count in (1, 5)}
    assert few == {1: 35.7, 5: 70.4}
    of_r101x3 = {row.source for row in published("BiT-M-R101x3", "imagenet2012")}
    assert of_r101x3 == {"testbed"}  # "WIP" in the README
    # The total of the official README is the mean over tasks of its groups.
    for model in ("BiT-M-R152x4", "BiT-M-R101x3"):
        scores = {row.dataset: row.accuracy for row in RESULTS if (row.model, row.source) == (model, "official README")}
        weighted = 7 * scores["vtab/natural"] + 4 * scores["vtab/specialized"] + 8 * scores["vtab/structured"]
        assert abs(weighted / 19 - scores["vtab"]) < 0.02
