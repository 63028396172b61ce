"""The result of a fine-tuning."""

import dataclasses

from bit_keras.runs.result import RunResult


@dataclasses.dataclass(frozen=True, repr=False)
class FinetuneResult(RunResult):
    """Result of a fine-tuning: what `RunResult` has."""


class ExportFailed(RuntimeError):
    """A training is complete, but its SavedModel could not be written.

    Attributes:
        result: of the training.
    """

    def __init__(self, message: str, result: FinetuneResult):
        super().__init__(message)
        self.result = result
