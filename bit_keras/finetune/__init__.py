"""Fine-tuning with the BiT-HyperRule, as a function and as a program (`python -m bit_keras.finetune`)."""

import os
from collections.abc import Iterable

from bit_keras.finetune.config import FinetuneConfig
from bit_keras.finetune.result import ExportFailed, FinetuneResult
from bit_keras.system.callable_module import make_callable
from bit_keras.system.checks import checked_types
from bit_keras.system.logs import shows_messages

__all__ = ["ExportFailed", "FinetuneConfig", "FinetuneResult", "finetune"]


@checked_types("model", "workdir")
@shows_messages
def finetune(
    model: str | os.PathLike,
    dataset,
    workdir: str | os.PathLike,
    *,
    callbacks: Iterable = (),
    verbose: bool = True,
    **options,
) -> FinetuneResult:
    """Fine-tunes a BiT on a data set, with the hyper-parameters of the BiT-HyperRule.

    Loads the weights, trains, evaluates on all test examples, and writes `workdir/report/` and, with `export_dir`, a
    SavedModel. An interrupted run resumes from its last checkpoint when it is started again with the same settings.

    Args:
        model: preset, npz file or address with `variant=`, or the name of a variant for random weights. The head is a
            new one of zeros, unless the weights are those of an earlier run for the same classes, whose head is kept.
            `new_head=True` never keeps it.
        dataset: "digits", a TFDS name, a folder of class folders, or a source made by `bit_keras.data`, for example
            `bit_keras.data.from_arrays(...)`.
        workdir: folder of the run.
        callbacks: Keras callbacks. An epoch is the span between two evaluations; the logs of `on_epoch_end` are a row
            of metrics.csv. A callback may end the training (`self.model.stop_training = True`). They do not belong to
            the settings of the run, and must be given again to a run that resumes.
        verbose: False shows only warnings; True also shows data, schedule, progress and the paths of the results, as
            the program does.
        **options: the other fields of `FinetuneConfig`.

    Returns:
        model, test_accuracy, summary, history and workdir of the run; a notebook shows it with its learning curve.

    Raises:
        ValueError: a setting is out of its range, or the data are invalid (`bit_keras.data.DataError`).
        TypeError: an option does not exist, or an argument has the wrong type.
        ImportError: a setting needs a package that is not installed.
        FileExistsError: `workdir` belongs to another run, or `export_dir` exists.
        ConnectionError: weights or data cannot be downloaded.
        FileNotFoundError, bit_keras.checkpoints.CheckpointError: as `bit_keras.BiT.from_preset`.
        bit_keras.distribution.DistributionError: devices or workers cannot train together.
        bit_keras.training.TrainingInterrupted: SIGTERM or Ctrl-C arrived; the state is saved.
        bit_keras.training.TrainingDiverged: the loss is NaN or infinite, or far above that of random guessing.
        ExportFailed: the SavedModel could not be written, or does not reproduce the network's outputs. The error has
            the `result` of the training, whose files are complete.

    Example:
        >>> options = {"steps": 5, "batch_size": 8, "resolution": 32, "verbose": False}  # less than the rule says
        >>> result = bit_keras.finetune("BiT-mini-R17x0.5", "birds", "runs/birds", **options)
        >>> result.model.card.class_names
        ('robin', 'wren')
        >>> 0 <= result.test_accuracy <= 1
        True
    """
    from bit_keras.finetune import finetuner

    return finetuner.run(model, dataset, workdir, callbacks=callbacks, **options)


make_callable(__name__, finetune)
