"""Tables and plots of accuracies by task, group and model, beside the published ones."""

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bit_keras.figures import drawing, spread
from bit_keras.runs.names import display_names
from bit_keras.system.files import write_lines
from bit_keras.system.texts import cell
from bit_keras.zoo.results import SOURCES, published
from bit_keras.zoo.tasks import TASKS, VTAB, VTAB_GROUPS

_TOTAL = "vtab"


def accuracies(records: Iterable[dict]) -> dict[tuple[str, str], list[float]]:
    """Returns {(model, task): accuracies of the runs, in the order of their seeds}."""
    found = {}
    for record in sorted(records, key=lambda record: record["seed"]):
        found.setdefault((record["model"], record["task"]), []).append(record["test_accuracy"])
    return found


def means(cells: Mapping[tuple[str, str], Sequence[float]], model: str, tasks: Sequence[str]) -> list[float]:
    """Returns the mean over tasks of each run; [] unless all tasks have the same number of runs, at least one."""
    runs = [cells.get((model, task), []) for task in tasks]
    complete = len({len(each) for each in runs}) == 1 and runs[0]
    return np.mean(runs, axis=0).tolist() if complete else []


def table(records: Sequence[dict], models: Sequence[str], tasks: Sequence[str], names: Mapping[str, str]) -> str:
    """Returns a Markdown table in percent: a row for each task, for each group of VTAB and for all of VTAB.

    A cell is the median of the runs, with the minimum and the maximum in parentheses; a score of several tasks is the
    mean over tasks of each run. It is "-" where a run is missing. Published numbers follow in rows of their own.

    Args:
        records: of `bit_keras.protocols.vtab.vtab`.
        models, tasks: the columns and rows.
        names: {model or task: name to show}.
    """
    cells = accuracies(records)
    rows = [(names[task], [cells.get((model, task), []) for model in models]) for task in tasks]
    if any(task in TASKS for task in tasks):
        for name, members in _groups().items():
            rows.append((f"mean of {name}", [means(cells, model, members) for model in models]))
    elif len(tasks) > 1:
        rows.append(("mean", [means(cells, model, tasks) for model in models]))
    lines = [_line(["task", *(names[model] for model in models)]), _line(["---"] * (len(models) + 1))]
    lines += [_line([name, *(spread.in_percent(runs) if runs else "-" for runs in row)]) for name, row in rows]
    for score in (_TOTAL, *(f"{_TOTAL}/{group}" for group in VTAB_GROUPS)):
        lines += _published(models, score)
    return "\n".join(lines) + "\n"


def minima(
    records: Sequence[dict], key: str, models: Sequence[str], tasks: Sequence[str], names: Mapping[str, str]
) -> str:
    """Returns a Markdown table in percent of the minimum over the runs of `key`, a row for each task."""
    lines = [_line(["task", *(names[model] for model in models)]), _line(["---"] * (len(models) + 1))]
    for task in tasks:
        found = [
            [record[key] for record in records if (record["model"], record["task"]) == (model, task)]
            for model in models
        ]
        lines.append(_line([names[task], *(f"{100 * min(runs):.1f}" if runs else "-" for runs in found)]))
    return "\n".join(lines) + "\n"


def comparison(
    records: Sequence[dict], models: Sequence[str], datasets: Sequence[str], names: Mapping[str, str], metric: str
) -> str:
    """Returns a Markdown table in percent: a row for each data set and model, with the published accuracies.

    Median and standard deviation are those of the runs; a difference is measured minus published.

    Args:
        records: of runs, with "model", "task", "seed" and "test_accuracy".
        models, datasets: the rows, unless there are no records of them.
        names: {model or data set: name to show}.
        metric: what the accuracies are; only those called "accuracy" are compared with the published ones.
    """
    sources = ("paper", "official README")
    header = ["data", "weights", "runs", f"median {metric.replace('_', ' ')}", "standard deviation"]
    header += [text for source in sources for text in (source, "difference")]
    lines, used = [_line(header), _line(["---"] * len(header))], {}
    cells = accuracies(records)
    for dataset, model in itertools.product(datasets, models):
        runs = [100 * accuracy for accuracy in cells.get((model, dataset), [])]
        if not runs:
            continue
        median = statistics.median(runs)
        row = [names[dataset], names[model], str(len(runs)), f"{median:.2f}"]
        row.append(f"{statistics.stdev(runs):.2f}" if len(runs) > 1 else "-")
        rows = published(model, dataset.partition("[")[0]) if metric == "accuracy" else []
        found = {result.source: result.accuracy for result in rows if not result.is_of_preset}
        for source in sources:
            used |= {source: None} if source in found else {}
            row += [f"{found[source]:.2f}", f"{median - found[source]:+.2f}"] if source in found else ["-", "-"]
        lines.append(_line(row))
    return "\n".join([*lines, *(f"\n{source}: {SOURCES[source]}" for source in used)]) + "\n"


def plot(
    records: Sequence[dict],
    models: Sequence[str],
    tasks: Sequence[str],
    names: Mapping[str, str],
    label: str = "test accuracy",
) -> Figure:
    """Draws the accuracies of all runs, a row for each task; a line connects minimum and maximum."""
    cells = accuracies(records)
    figure = Figure(figsize=(7, 1.2 + 0.35 * len(tasks) * max(1, len(models) / 2)), layout="constrained")
    axes = figure.subplots()
    for number, model in enumerate(models):
        for row, task in enumerate(tasks):
            runs = cells.get((model, task), [])
            place = row + 0.6 * (number + 0.5) / len(models) - 0.3
            model_name = names[model] if row == 0 else None
            axes.plot(runs, [place] * len(runs), "o-", ms=4, color=f"C{number}", label=model_name)
    axes.set_yticks(range(len(tasks)), [names[task] for task in tasks])
    axes.invert_yaxis()
    axes.set(xlabel=label, xlim=(0, 1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=max(1, len(models)), fontsize=8)
    return figure


def _groups() -> dict[str, list[str]]:
    """Returns {name: tasks} of the groups of VTAB and of all of it."""
    groups = {group: [task.name for task in VTAB if task.group == group] for group in VTAB_GROUPS}
    return {**groups, f"all {len(VTAB)} tasks": [task.name for task in VTAB]}


def write(
    folder: Path,
    name: str,
    shown: Sequence[str],
    describe: Callable[[Mapping[str, str]], str],
    draw: Callable[[Mapping[str, str]], Figure],
) -> None:
    """Writes NAME.md and NAME.png to a folder.

    Args:
        folder, name: where to, and how the files are called.
        shown: models and tasks in the files.
        describe, draw: make text and figure from {model or task: name to show}.
    """
    write_lines(folder / f"{name}.md", describe(display_names(shown, cell)).splitlines())
    names = display_names(shown, drawing.drawn)
    drawing.save_all(folder, {name: lambda: draw(names)})


def _published(models: Sequence[str], score: str) -> list[str]:
    """Returns a row for each source that states a score of one of the models."""
    found = {model: {row.source: row.accuracy for row in published(model, score)} for model in models}
    sources = dict.fromkeys(source for row in found.values() for source in row)
    return [
        _line(
            [
                f"{score}, {source}",
                *(f"{found[model][source]:.2f}" if source in found[model] else "-" for model in models),
            ]
        )
        for source in sources
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
