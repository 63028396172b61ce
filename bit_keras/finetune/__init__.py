"""Fine-tuning with the BiT-HyperRule, as a function and as a program (`python -m bit_keras.finetune`)."""

import inspect
import sys
import types

from bit_keras.finetune.config import FinetuneConfig
from bit_keras.finetune.result import FinetuneResult
from bit_keras.system.logs import shows_messages

__all__ = ["FinetuneConfig", "FinetuneResult", "finetune"]


@shows_messages
def finetune(model: str, dataset, workdir: str, *, verbose: bool = True, **options) -> FinetuneResult:
    """Fine-tunes a BiT on a data set, with the hyper-parameters of the BiT-HyperRule.

    Loads the weights, trains, evaluates on every test example, writes `workdir/report/` and, where asked to, a
    SavedModel. A run that was cut off and is started again with the same settings goes on from its last checkpoint.

    Args:
        model: preset, npz file or address with `variant=`, or the name of a variant for random weights. The head is a
            new one of zeros, unless the weights are those of an earlier run for the same classes: then its head is
            kept, and the first update begins with what it has learned. `new_head=True` never keeps it.
        dataset: "digits", a TFDS name, a folder of class folders, or a source that `bit_keras.data` made, for
            example `bit_keras.data.from_arrays(...)`.
        workdir: folder of the run.
        verbose: False shows only warnings; else data, schedule, progress and the places of the results are shown, as
            the program shows them.
        **options: the other fields of `FinetuneConfig`.

    Returns:
        model, test_accuracy, summary and workdir of the run.

    Raises:
        ValueError: a setting is out of its range, or the data are faulty (`bit_keras.data.DataError`).
        TypeError: there is no such option, or an argument is of another type.
        ImportError: a setting needs a package that is not installed.
        FileExistsError: `workdir` belongs to another run, or `export_dir` exists.
        ConnectionError: weights or data cannot be downloaded.
        bit_keras.distribution.DistributionError: devices or workers do not come together.
        bit_keras.training.TrainingInterrupted: SIGTERM or Ctrl-C came; the state is saved.
        bit_keras.training.TrainingDiverged: the loss is NaN, or far above that of guessing.
        RuntimeError: the exported SavedModel does not give the network's numbers.
    """
    from bit_keras.finetune import finetuner

    return finetuner.run(model, dataset, workdir, **options)


class _CallableModule(types.ModuleType):
    """`bit_keras.finetune` is a function and a package: a call of the module is a call of the function."""

    __call__ = staticmethod(finetune)


sys.modules[__name__].__class__ = _CallableModule
__signature__ = inspect.signature(finetune)  # for help() and notebooks
