"""The result of a fine-tuning."""

import dataclasses

from bit_keras.runs.result import RunResult


@dataclasses.dataclass(frozen=True, repr=False)
class FinetuneResult(RunResult):
    """Result of a fine-tuning; the last line of a notebook cell shows it with its learning curve and its errors.

    Example:
        >>> result  # of the example of `bit_keras.finetune`
        FinetuneResult(test_accuracy=..., steps=5, workdir='runs/birds')
        >>> result.summary["test_examples"], list(result.history[-1])[:3]
        (4, ['epoch', 'accuracy', 'loss'])
        >>> result.plot().savefig("learning_curve.png")
    """


class ExportFailed(RuntimeError):
    """A training is complete, but its SavedModel could not be written.

    Attributes:
        result: of the training.

    Example:
        >>> from bit_keras.finetune import ExportFailed
        >>> def trained(*arguments, **settings):
        ...     try:
        ...         return bit_keras.finetune(*arguments, **settings)
        ...     except ExportFailed as error:  # for example because the disk of `export_dir` is full
        ...         return error.result
    """

    def __init__(self, message: str, result: FinetuneResult):
        super().__init__(message)
        self.result = result
