"""Distillation: long training of a student on a teacher's predictions for the same views, with strong MixUp.

Source: "Knowledge distillation: A good teacher is patient and consistent" (arXiv 2106.05237), section 3.

Example:
    python -m bit_keras.distill --teacher=BiT-M-R152x2-ILSVRC2012 --model=R50x1 --dataset=imagenet2012 \\
        --workdir=/tmp/distilled
"""

import dataclasses
import os
from collections.abc import Iterable

import keras
from keras import ops

from bit_keras import data
from bit_keras.network.model import BiT
from bit_keras.rules import optimizers
from bit_keras.rules.schedules import CosineSchedule
from bit_keras.runs import program
from bit_keras.runs.config import option
from bit_keras.runs.inception import InceptionConfig
from bit_keras.runs.network import choose_head, open_network
from bit_keras.runs.opening import check_callbacks, make_config, open_source, start
from bit_keras.runs.result import RunResult
from bit_keras.runs.run import open_run
from bit_keras.system.checks import checked_types
from bit_keras.system.logs import shows_messages

LABELS = "labels"  # in place of a teacher: trains on the labels


@keras.saving.register_keras_serializable(package="bit_keras")
class Distiller(keras.Model):
    """A student that is trained on a teacher's predictions for exactly the same images, after augmentation and MixUp.

    The loss is the Kullback-Leibler divergence KL(teacher || student) of the two softmaxes at temperature t, in nats,
    times t squared. Labels are used only for metrics.

    Args:
        student: maps images to logits [N, K]; is trained.
        teacher: maps images to logits [N, K]; is frozen and in inference mode. None trains the student on the labels,
            with cross-entropy: the baseline for distillation.
        temperature: t, more than 0.

    Raises:
        ValueError: teacher and student differ in K, or the temperature is not more than 0.
    """

    def __init__(self, student: BiT, teacher: keras.Model | None, temperature: float = 1.0, **kwargs):
        if teacher is not None and student.output_shape[-1] != teacher.output_shape[-1]:
            raise ValueError(
                "teacher and student must have the same classes, got "
                f"{teacher.output_shape[-1]} and {student.output_shape[-1]}"
            )
        if not temperature > 0:
            raise ValueError(f"temperature must be more than 0, got {temperature}")
        super().__init__(**kwargs)
        self.student = student
        self.teacher = teacher
        self.temperature = temperature
        if teacher is not None:
            teacher.trainable = False

    @property
    def output_shape(self) -> tuple:
        """Output shape of the student."""
        return self.student.output_shape

    def call(self, images, training=None):
        return self.student(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.teacher is None:
            return ops.mean(ops.categorical_crossentropy(y, y_pred, from_logits=True))
        t = self.temperature
        target = ops.log_softmax(ops.cast(self.teacher(x, training=False), "float32") / t)
        predicted = ops.log_softmax(ops.cast(y_pred, "float32") / t)
        return ops.mean(ops.sum(ops.exp(target) * (target - predicted), axis=-1)) * t**2


@dataclasses.dataclass(frozen=True)
class DistillConfig(InceptionConfig):
    """Settings of one run; each field is a flag of `python -m bit_keras.distill`, its text the flag's help.

    Raises:
        ValueError: a setting is out of its range.
        TypeError: a setting has the wrong type.

    Example:
        >>> from bit_keras.distill import DistillConfig
        >>> config = DistillConfig(model="R50x1", teacher="BiT-M-R152x2-ILSVRC2012", dataset="digits", workdir="runs/s")
        >>> config.epochs, config.temperature, config.mixup_alpha
        (300.0, 1.0, 1.0)
    """

    model: str = option("", "The student: variant for random weights, preset or weight file.")
    teacher: str = option("", f"Preset or weight file for the same classes, or {LABELS} to train on the labels.")
    temperature: float = option(1.0, "Temperature of both softmaxes, more than 0.")
    epochs: float = option(300.0, "Passes over the training images.")
    base_lr: float = option(0.001, "Learning rate of Adam after the warm-up; then it follows half a cosine.")
    weight_decay: float = option(3e-4, "Fraction by which an update at the highest learning rate shrinks the weights.")
    mixup_alpha: float = option(1.0, "Parameter of MixUp's Beta distribution; 0 for no MixUp.")

    def __post_init__(self):
        super().__post_init__()
        if not self.teacher:
            raise ValueError("teacher must be given")
        for name in ("temperature", "base_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        if self.mixup_alpha < 0:
            raise ValueError(f"mixup_alpha must be 0 or more, got {self.mixup_alpha}")

    def weights(self) -> dict[str, str]:
        """Returns {setting: its value} of the settings that name weights."""
        return super().weights() | ({} if self.teacher == LABELS else {"teacher": self.teacher})


@dataclasses.dataclass(frozen=True, repr=False)
class DistillResult(RunResult):
    """Result of a distillation.

    Example:
        >>> result  # of the example of `distill`
        DistillResult(test_accuracy=..., steps=..., workdir='runs/student')
        >>> result.student.num_classes, result.student is result.model
        (10, True)
    """

    @property
    def student(self) -> BiT:
        """The trained student; the same as `model`."""
        return self.model


@checked_types("dataset", "workdir")
@shows_messages
def distill(
    student: str,
    teacher: str,
    dataset: str | data.Source,
    workdir: str | os.PathLike,
    *,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    verbose: bool = True,
    **options,
) -> DistillResult:
    """Trains a student to predict what a teacher predicts for the same images.

    Adam with decoupled weight decay, gradients clipped to a norm of 1, warm-up over 1/60 of the training and half a
    cosine. Writes the same files as `bit_keras.finetune`, and resumes in the same way after an interruption.

    Args:
        student: variant for random weights, preset or weight file.
        teacher: preset or weight file whose head has the classes of the data, or "labels" for the same training on the
            labels, without a teacher.
        dataset: as in `bit_keras.finetune`.
        workdir: folder of the run.
        callbacks: as in `bit_keras.finetune`.
        verbose: False shows only warnings and no progress.
        **options: the other fields of `DistillConfig`.

    Returns:
        student, test_accuracy, summary, history and workdir of the run.

    Raises:
        ValueError: a setting is out of its range, the teacher has different classes, or the data are invalid
            (`bit_keras.data.DataError`).
        FileNotFoundError, bit_keras.checkpoints.CheckpointError: as `bit_keras.BiT.from_preset`.
        TypeError: an option does not exist, or an argument has the wrong type.
        ImportError: a setting needs a package that is not installed.
        FileExistsError: `workdir` belongs to another run.
        ConnectionError: weights or data cannot be downloaded.
        bit_keras.distribution.DistributionError: devices or workers cannot train together.
        bit_keras.training.TrainingInterrupted: SIGTERM or Ctrl-C arrived; the state is saved.
        bit_keras.training.TrainingDiverged: the loss is NaN or infinite, or far above that of random guessing.

    Example:
        >>> from bit_keras.distill import distill
        >>> bit_keras.save_npz(bit_keras.BiT.from_preset("BiT-mini-R17x0.5", num_classes=10), "teacher.npz")
        >>> less = {"epochs": 0.05, "eval_every": 5, "batch_size": 16, "resolution": 32}  # than in the paper
        >>> result = distill("R17x0.5", "teacher.npz", "digits", "runs/student", verbose=False, **less)
        >>> result.summary["test_examples"]
        360
    """
    callbacks = check_callbacks(callbacks)
    config = make_config(DistillConfig, student, dataset, workdir, {"teacher": teacher, **options})
    distribution = start(config)
    source = distribution.everywhere(lambda: open_source(config, dataset))
    source.check_one_label("distillation")
    steps = config.total_steps(source)
    schedule = CosineSchedule(config.base_lr, max(1, round(steps / 60)), steps)
    run = open_run(config, source, schedule, distribution, mixup_alpha=config.mixup_alpha, **config.images)

    with run.claimed() as folder:
        choose_head(config.model, source, new_head=True)
        with distribution.scope():
            network = Distiller(
                open_network(config.model, source.num_classes, dtype=config.precision, remat=config.remat),
                None if config.teacher == LABELS else BiT.from_preset(config.teacher, dtype=config.precision),
                config.temperature,
            )
            network.build((None, config.resolution, config.resolution, 3))
            network.compile(
                optimizers.distillation_optimizer(schedule, config.weight_decay, config.accumulate),
                metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
            )
        log = run.fit(network, workdir=folder, best_of=network.student, callbacks=callbacks)
        trained, summary = run.conclude(network.student, log, workdir=folder)
    return DistillResult(trained, summary, run.folder, log.rows)


def main() -> None:
    settings = program.values(DistillConfig)
    distill(settings.pop("model"), **settings)


def run() -> None:
    """Entry point of the console script `bit-distill`."""
    program.define_flags(DistillConfig)
    program.run("bit_keras.distill", main)


if __name__ == "__main__":
    run()
