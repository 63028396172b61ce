"""Pre-training of a BiT from random weights, as a function and as a program.

Source: arXiv 1912.11370, section 3.2.

Example:
    python -m bit_keras.pretrain --model=R50x1 --dataset=imagenet2012 --workdir=/tmp/bit_s_r50x1
"""

import dataclasses
import math
import os
from collections.abc import Iterable

import keras
from keras import ops

from bit_keras import data
from bit_keras.network.model import BiT
from bit_keras.rules import optimizers
from bit_keras.rules.schedules import upstream_schedule
from bit_keras.runs import program
from bit_keras.runs.config import option
from bit_keras.runs.inception import InceptionConfig
from bit_keras.runs.opening import check_callbacks, make_config, open_source, start
from bit_keras.runs.result import RunResult
from bit_keras.runs.run import open_run
from bit_keras.system.checks import check_choice, checked_types
from bit_keras.system.logs import shows_messages
from bit_keras.zoo.variants import VARIANTS


@dataclasses.dataclass(frozen=True)
class PretrainConfig(InceptionConfig):
    """Settings of one run; each field is a flag of `python -m bit_keras.pretrain`, its text the flag's help.

    Raises:
        ValueError: a setting is out of its range.
        TypeError: a setting has the wrong type.

    Example:
        >>> from bit_keras.pretrain import PretrainConfig
        >>> config = PretrainConfig(model="R50x1", dataset="imagenet2012", workdir="runs/bit_s", accumulate=16)
        >>> config.epochs, config.batch_size, config.micro_batch_size
        (90.0, 4096, 256)
    """

    model: str = option("", "Variant, for example R50x1.")
    loss: str = option("softmax", '"softmax" as for BiT-S, or "sigmoid" as for BiT-M.')
    epochs: float = option(90.0, "Passes over the training images; the rate drops after 30, 60 and 80 ninetieths.")
    batch_size: int = option(4096, "Images per update; the learning rate is 0.03 * batch_size / 256.")
    weight_decay: float = option(1e-4, "L2 penalty on the kernels, in the gradient.")

    def __post_init__(self):
        super().__post_init__()
        check_choice("model", self.model, tuple(VARIANTS))
        check_choice("loss", self.loss, ("softmax", "sigmoid"))


@dataclasses.dataclass(frozen=True, repr=False)
class PretrainResult(RunResult):
    """Result of a pre-training; `model` has its upstream head.

    Example:
        >>> result  # of the example of `pretrain`
        PretrainResult(test_accuracy=..., steps=..., workdir='runs/upstream')
        >>> result.model.num_classes
        10
    """


@checked_types("model", "dataset", "workdir")
@shows_messages
def pretrain(
    model: str,
    dataset: str | data.Source,
    workdir: str | os.PathLike,
    *,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    verbose: bool = True,
    **options,
) -> PretrainResult:
    """Trains a BiT from random weights as in the paper: SGD with L2 penalty, warm-up, three drops of the learning rate.

    Writes the same files as `bit_keras.finetune`. An interrupted run resumes from its last checkpoint when it is
    started again with the same settings.

    Args:
        model: name of a variant.
        dataset: as in `bit_keras.finetune`; multi-label data need the loss "sigmoid".
        workdir: folder of the run.
        callbacks: as in `bit_keras.finetune`.
        verbose: False shows only warnings and no progress.
        **options: the other fields of `PretrainConfig`.

    Returns:
        model, with its upstream head, test_accuracy, summary, history and workdir of the run.

    Raises:
        ValueError: a setting is out of its range, or the data are invalid (`bit_keras.data.DataError`).
        TypeError: an option does not exist, or an argument has the wrong type.
        ImportError: a setting needs a package that is not installed.
        FileExistsError: `workdir` belongs to another run.
        ConnectionError: data cannot be downloaded.
        bit_keras.distribution.DistributionError: devices or workers cannot train together.
        bit_keras.training.TrainingInterrupted: SIGTERM or Ctrl-C arrived; the state is saved.
        bit_keras.training.TrainingDiverged: the loss is NaN or infinite, or far above that of random guessing.

    Example:
        >>> from bit_keras.pretrain import pretrain
        >>> less = {"epochs": 0.05, "eval_every": 5, "batch_size": 16, "resolution": 32}  # than in the paper
        >>> result = pretrain("R17x0.5", "digits", "runs/upstream", verbose=False, **less)
        >>> result.summary["test_examples"]
        360
    """
    callbacks = check_callbacks(callbacks)
    config = make_config(PretrainConfig, model, dataset, workdir, options)
    distribution = start(config)
    source = distribution.everywhere(lambda: open_source(config, dataset))
    if config.loss == "softmax":
        source.check_one_label("loss softmax")
    schedule = upstream_schedule(config.total_steps(source), config.batch_size)
    run = open_run(config, source, schedule, distribution, **config.images)

    with run.claimed() as folder:
        with distribution.scope():
            network = BiT(config.model, source.num_classes, dtype=config.precision, remat=config.remat)
            network.compile(
                optimizers.pretraining_optimizer(schedule, config.weight_decay, config.accumulate),
                _loss(config.loss, network),
                metrics=[_accuracy(source.multi_label)],
            )
        log = run.fit(network, workdir=folder, callbacks=callbacks)
        network, summary = run.conclude(network, log, workdir=folder)
    return PretrainResult(network, summary, run.folder, log.rows)


def _accuracy(multi_label: bool) -> keras.metrics.Metric:
    if multi_label:
        return keras.metrics.MeanMetricWrapper(precision_at_1, "accuracy")
    return keras.metrics.CategoricalAccuracy("accuracy")


@keras.saving.register_keras_serializable(package="bit_keras")
def precision_at_1(y_true, y_pred):
    """Returns 1 where the class of the largest logit is a true one, else 0, [N]; `y_true` [N, K] is multi-hot."""
    best = ops.expand_dims(ops.argmax(y_pred, axis=-1), -1)
    return ops.squeeze(ops.take_along_axis(y_true, best, axis=-1), -1)


def _loss(name: str, network: BiT) -> keras.losses.Loss:
    """Returns the loss; for "sigmoid" also sets the head's bias to -log(K): training starts at odds of 1 to K."""
    if name == "softmax":
        return keras.losses.CategoricalCrossentropy(from_logits=True)
    head = network.layers[-1]
    head.bias.assign(ops.full(head.bias.shape, -math.log(network.num_classes)))
    return SigmoidCrossEntropy()


@keras.saving.register_keras_serializable(package="bit_keras")
class SigmoidCrossEntropy(keras.losses.Loss):
    """Binary cross-entropy of logits, summed over the classes; for multi-label data."""

    def call(self, y_true, y_pred):
        losses = ops.relu(y_pred) - y_pred * y_true + ops.softplus(-ops.abs(y_pred))
        return ops.sum(losses, axis=-1)


def main() -> None:
    pretrain(**program.values(PretrainConfig))


def run() -> None:
    """Entry point of the console script `bit-pretrain`."""
    program.define_flags(PretrainConfig)
    program.run("bit_keras.pretrain", main)


if __name__ == "__main__":
    run()
