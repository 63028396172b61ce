"""The result of a fine-tuning."""

import dataclasses

from bit_keras.runs.result import RunResult


@dataclasses.dataclass(frozen=True)
class FinetuneResult(RunResult):
    """Result of a fine-tuning: `model`, `test_accuracy`, `summary` and `workdir`, as in `RunResult`."""
