"""Predictions as text: a table for people, JSON lines, and CSV."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from bit_keras.inference.prediction import Prediction
from bit_keras.system.texts import one_line


def table(rows: Sequence[Prediction]) -> list[str]:
    """Returns one aligned line per image: its file, and each class with its probability in percent, or the error."""
    cells = [[one_line(row.file), *_classes(row)] for row in rows]
    count = max(map(len, cells), default=0)
    filled = [line + [""] * (count - len(line)) for line in cells]
    widths = [max(map(len, column)) for column in zip(*filled)]
    lines = []
    for row, line in zip(rows, filled):
        parts = [f"{line[0]:<{widths[0]}}"]
        if row.error is None:
            parts += [f"{text:<{width}}" for text, width in zip(line[1:], widths[1:])]
        else:
            parts.append(f"error: {one_line(row.error)}")
        lines.append("  ".join(parts).rstrip())
    return lines


def _classes(row: Prediction) -> list[str]:
    return [f"{share:6.1%} {one_line(name)}" for name, share in zip(row.names, row.probabilities)]


def json_line(row: Prediction) -> str:
    """Returns a line of JSON; see `Prediction.to_dict`."""
    return json.dumps(row.to_dict())


class CsvWriter:
    """Writes a CSV file with the columns file, class_1, ..., probability_1, ... and error.

    Args:
        file: opened with newline="".
        top: number of classes per image.
    """

    def __init__(self, file: TextIO, top: int):
        self._writer, self._top = csv.writer(file), top
        ranks = range(1, top + 1)
        header = ("file", *(f"class_{k}" for k in ranks), *(f"probability_{k}" for k in ranks), "error")
        self._writer.writerow(header)

    def write(self, row: Prediction) -> None:
        names = _filled(row.names, self._top)
        shares = _filled((f"{share:.6g}" for share in row.probabilities), self._top)
        self._writer.writerow([row.file, *names, *shares, row.error or ""])


def _filled(values: Iterable[str], count: int) -> Iterator[str]:
    values = list(values)
    return [*values, *[""] * (count - len(values))]
