"""What a training returns."""

import dataclasses
from pathlib import Path

from bit_keras.network.model import BiT


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run made.

    Attributes:
        model: the trained network, on one device.
        summary: what `report/summary.json` holds.
        workdir: folder of the run; `weights.npz` there is what `BiT.from_preset` takes.
    """

    model: BiT
    summary: dict
    workdir: Path

    @property
    def test_accuracy(self) -> float:
        """Share of the test examples that the model gets right, in [0, 1]; of several labels, precision at 1."""
        return self.summary["test_accuracy"]
