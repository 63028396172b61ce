"""The result of a training."""

import dataclasses
from pathlib import Path

from bit_keras.network.model import BiT


@dataclasses.dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Attributes:
        model: the trained network, on one device.
        summary: content of `report/summary.json`.
        workdir: folder of the run; `BiT.from_preset` takes the `weights.npz` in it.
    """

    model: BiT
    summary: dict
    workdir: Path

    @property
    def test_accuracy(self) -> float:
        """Fraction of test examples that are classified correctly, in [0, 1]; precision at 1 in multi-label data."""
        return self.summary["test_accuracy"]
