"""What a fine-tuning returns."""

import dataclasses

from bit_keras.runs.result import RunResult


@dataclasses.dataclass(frozen=True)
class FinetuneResult(RunResult):
    """What a fine-tuning made: `model`, `test_accuracy`, `summary` and `workdir`, as `RunResult` has them."""
