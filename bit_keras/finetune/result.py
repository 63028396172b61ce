"""The result of a fine-tuning."""

import dataclasses

from bit_keras.runs.result import RunResult


@dataclasses.dataclass(frozen=True, repr=False)
class FinetuneResult(RunResult):
    """Result of a fine-tuning: what `RunResult` has."""
