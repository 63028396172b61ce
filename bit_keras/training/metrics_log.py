"""The metrics of all epochs, as a CSV file."""

import csv
import os
from pathlib import Path

import keras

from bit_keras.system.files import whole


class MetricsLog(keras.callbacks.Callback):
    """Keeps one row per epoch and rewrites the whole file after every epoch.

    `keras.callbacks.CSVLogger` appends: a training that is killed leaves an incomplete row or a duplicate one.

    Args:
        path: the file, None to write none.

    Attributes:
        rows: {name of a metric: value} per epoch, including "epoch".

    Example:
        >>> from bit_keras.training import MetricsLog
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, kernel_initializer="zeros")])
        >>> model.compile(keras.optimizers.SGD(0.0), "mse")
        >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 2)), epochs=2, verbose=0, callbacks=[MetricsLog("metrics.csv")])
        >>> with open("metrics.csv") as file:
        ...     print(file.read().strip())
        epoch,loss
        0,1.0
        1,1.0
    """

    def __init__(self, path: str | os.PathLike | None):
        super().__init__()
        self.path = None if path is None else Path(path)
        self.rows: list[dict[str, float]] = []

    def restore(self, rows: list[dict[str, float]]) -> None:
        """Replaces all rows, and writes them to the file.

        Args:
            rows: of the epochs before a restart, in order.
        """
        self.rows = rows
        self._write()

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch, **{name: float(value) for name, value in (logs or {}).items()}})
        self._write()

    def _write(self) -> None:
        if self.path is None:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with whole(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)
