"""Table of accuracies without training, beside the published ones."""

from collections.abc import Mapping, Sequence

from bit_keras.zoo.evaluation_sets import find_set
from bit_keras.zoo.results import MEASURES, RESULTS, SOURCES, Result

# {measure: name in the records}
NUMBERS = dict(
    zip(
        MEASURES,
        ("top1_accuracy", "top5_accuracy", "competing_top1_accuracy", "competing_top5_accuracy"),
        strict=True,
    )
)
_HEADER = ("weights", "data", "images", "prepared as", "measure", "measured", "published", "difference", "source")


def table(records: Sequence[dict], models: Sequence[str], datasets: Sequence[str], names: Mapping[str, str]) -> str:
    """Returns a Markdown table in percent, a row for each number and each source that states it, and the sources.

    A number that was not measured, or that nobody has published, is "-".

    Args:
        records: of `bit_keras.protocols.evaluation.evaluation`.
        models, datasets: what to show, in this order.
        names: {model or data: name to show}.
    """
    found = {(record["model"], record["dataset"]): record for record in records}
    lines, used = [_line(_HEADER), _line(["---"] * len(_HEADER))], []
    for model in models:
        for dataset in datasets:
            record = found.get((model, dataset), {})
            known = published(model, dataset)
            used += [row.source for row in known]
            for measure, number in NUMBERS.items():
                stated = [row for row in known if row.measure == measure]
                if record.get(number) is not None or stated or measure == MEASURES[0]:
                    first = [names[model], names[dataset], *_conditions(record), measure]
                    lines += [_line([*first, *_numbers(record.get(number), row)]) for row in stated or [None]]
    sources = [f"{name}: {SOURCES[name]}." for name in dict.fromkeys(used)]
    return "\n".join([*lines, "", *sources]).rstrip() + "\n"


def published(model: str, dataset: str) -> list[Result]:
    """Returns the published numbers of weights as they are, without training, on an evaluation set."""
    row, _ = find_set(dataset)
    wanted = (model, dataset if row is None else row.name)
    return [result for result in RESULTS if result.is_of_preset and (result.model, result.dataset) == wanted]


def _conditions(record: dict) -> tuple[str, str]:
    if not record:
        return "-", "-"
    return f"{record['examples']:,}", f"{record['resolution']} pixels, {record['fit']}"


def _numbers(measured: float | None, row: Result | None) -> tuple[str, str, str, str]:
    shown = "-" if measured is None else f"{100 * measured:.2f}"
    if row is None:
        return shown, "-", "-", "-"
    difference = "-" if measured is None else f"{100 * measured - row.accuracy:+.2f}"
    return shown, f"{row.accuracy:.2f}", difference, "; ".join(filter(None, (row.source, row.note)))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
