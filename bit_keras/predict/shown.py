"""Predictions as a notebook shows them."""

import html

from bit_keras.inference.prediction import Prediction

_MOST = 50  # images
_CLASSES = 3  # the most likely ones of an image


class ShownPredictions(list[Prediction]):
    """A list of predictions that a notebook shows as a table: file, and most likely classes or error."""

    def _repr_html_(self) -> str:
        rows = [[row.file, *_texts(row)] for row in self[:_MOST]]
        if len(self) > _MOST:
            rows.append([f"... and {len(self) - _MOST:,} more"])
        cells = ("".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows)
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _texts(row: Prediction) -> list[str]:
    if row.error is not None:
        return [f"cannot be read: {row.error}"]
    return [f"{name} {share:.1%}" for name, share in zip(row.names[:_CLASSES], row.probabilities)]
