"""A training, from its plan to its report. Only the recipe, the network and the loss differ between trainings."""

import contextlib
import dataclasses
import functools
import json
import math
import statistics
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import keras

from bit_keras import data, training
from bit_keras.checkpoints import provenance
from bit_keras.checkpoints.card import Card, origin
from bit_keras.data import unreadable
from bit_keras.data.errors import shortened
from bit_keras.distribution import Distribution
from bit_keras.figures import report
from bit_keras.metrics import Predictions, classification, predict
from bit_keras.network.model import BiT, save_npz
from bit_keras.rules import rule_callbacks, steps_made
from bit_keras.rules.schedules import CosineSchedule, Schedule
from bit_keras.runs.config import RunConfig
from bit_keras.runs.workdir import Workdir, check, check_joined, comparable, is_of, reserve, shared
from bit_keras.system.files import write_lines
from bit_keras.system.logs import OUTCOME, doing, logger
from bit_keras.system.optional import install_command, is_installed
from bit_keras.system.texts import counted
from bit_keras.zoo.variants import VARIANTS


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run; made by `open_run`.

    Attributes:
        config: settings.
        source: data.
        schedule: of the learning rate, in updates.
        distribution: the devices that train.
        crop: side of the images in pixels, in training and evaluation.
        augmentation: further arguments of `bit_keras.data.train_batches`.
        mixup_alpha: of MixUp's Beta distribution; 0 for none.
        identity: everything that affects the results of the run; JSON-able.
    """

    config: RunConfig
    source: data.Source
    schedule: Schedule | CosineSchedule
    distribution: Distribution
    crop: int
    augmentation: Mapping
    mixup_alpha: float
    identity: dict

    @property
    def folder(self) -> Path:
        """Folder of everything that the run writes."""
        return Path(self.config.workdir)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[Workdir]:
        """Reserves the folder for the block, which loads the network and trains it; `fit` is the first to write there.

        Raises:
            FileExistsError, BlockingIOError, ValueError: as `workdir.reserve`.
            DistributionError: one of the workers has failed.
        """
        with contextlib.ExitStack() as stack:
            yield self.distribution.in_turn(
                lambda: stack.enter_context(reserve(self.folder, self.identity)), lambda: shared(self.folder)
            )

    def _record(self, workdir: Workdir) -> None:
        workdir.record(self.identity)
        provenance.write_task(self.folder, self.crop, self.source.class_names)

    @functools.cached_property
    def validation_batches(self) -> Iterable:
        """All examples that choose the best weights, those of the test split if there is no validation split.

        Every evaluation during training reads them again.
        """
        source = self.source if self.source.validation is None else self.source.tested_on("validation")
        return data.test_batches(source, crop=self.crop, **self._reading)

    @property
    def test_batches(self) -> Iterable:
        """All test examples."""
        if self.source.validation is None:
            return self.validation_batches
        return data.test_batches(self.source, crop=self.crop, **{**self._reading, "keep": False})  # read only once

    def train_batches(self, start_step: int, shard: tuple[int, int]) -> Iterable:
        """Returns the batches from `start_step` on; see `bit_keras.data.train_batches`."""
        settings = {"seed": self.config.seed, "flip": self.config.flip, **self.augmentation, **self._reading}
        return data.train_batches(self.source, crop=self.crop, start_step=start_step, shard=shard, **settings)

    @property
    def _reading(self) -> dict:
        # With op determinism TensorFlow serializes table lookups; caching is then slower than decoding.
        keep = not self.config.deterministic
        config = self.config
        return {"batch_size": config.micro_batch_size, "fit": config.fit, "keep": keep, "loader": config.loader}

    def fit(
        self,
        network: keras.Model,
        *,
        workdir: Workdir,
        best_of: BiT | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> training.MetricsLog:
        """Fits a compiled network over the whole schedule; resumes from the checkpoint of an interrupted one.

        Writes config.json, task.json, checkpoint/, metrics.csv, tensorboard/ and, for a BiT, best.npz to the folder.

        Args:
            network: a classifier, compiled under `distribution.scope()` with an optimizer of the schedule.
            workdir: the folder, as claimed.
            best_of: the submodel whose best weights are written; None for the network itself, if it is a BiT.
            callbacks: of the user; see `docs/finetuning.md`.

        Returns:
            The metrics of all evaluations.

        Raises:
            FileNotFoundError: the folder was removed.
            ValueError: the checkpoint is damaged.
            TrainingInterrupted: a signal arrived; the state is saved.
            DataError: an image cannot be read any more; the message names it.
            TrainingDiverged: the loss is NaN, infinite or too high; the images of the batch are in diverged.txt.
            DistributionError: the workers do not share the folder, or one has failed.
        """
        join = functools.partial(check_joined, self.folder, self.identity)
        self.distribution.in_turn(lambda: self._record(workdir), join)
        (best_of or network).card = self._card(best_of or network)
        config, total, accumulate = self.config, self.schedule.total_steps, self.config.accumulate
        checkpoint = self._checkpoint()
        with self.distribution.scope():
            start = checkpoint.restore(network)
        self.distribution.check_equal(start, "share workdir; their checkpoints are of different steps")
        self._log_start(start // accumulate)

        progress = training.Progress(total, config.batch_size, accumulate)
        stop_on_signal = training.StopOnSignal(checkpoint, self.distribution.maximum)
        own = self._callbacks(network, best_of or network, progress, checkpoint)
        callbacks = [_StopWhenRemoved(workdir), *own, *callbacks, stop_on_signal]
        eval_every = min(config.eval_every or -(-total // 10), total)
        with (
            contextlib.closing(progress),
            doing(progress.describe),
            stop_on_signal,
            unreadable.named(self.source),
            self.distribution.scope(),
        ):
            for epochs in training.split_into_epochs(start, eval_every * accumulate, total * accumulate):
                make = functools.partial(self.train_batches, steps_made(network))
                network.fit(
                    self.distribution.feed(make, config.micro_batch_size),
                    **epochs,
                    callbacks=callbacks,
                    shuffle=False,  # `train_batches` has shuffled the examples
                    verbose=0,
                )
                if network.stop_training:  # by the schedule at its end, or earlier by a callback of the user
                    break
        return checkpoint.log

    def conclude(
        self,
        network: BiT,
        log: training.MetricsLog,
        export: Callable[[BiT], None] = lambda network: None,
        *,
        workdir: Workdir,
    ) -> tuple[BiT, dict]:
        """Evaluates a trained network on all test examples and writes weights.npz and report/.

        A picture that cannot be drawn is a warning: nothing but an error of the disk can cost the result here.

        Args:
            network: as trained by `fit`.
            log: as returned by `fit`.
            export: called with the network at the end, only by the chief.
            workdir: the folder, as claimed.

        Returns:
            The network, on one device, and the content of `report/summary.json`; "test_accuracy" is precision at 1 in
            multi-label data.
        """
        source, distribution = self.source, self.distribution
        with doing(f"evaluating on {source.num_test:,} test examples"), unreadable.named(source):
            predictor = distribution.predictor(network)
            predictions = predict(predictor, self.test_batches, multi_label=source.multi_label)
        network = distribution.plain(network)
        tested = f"{source.describe_test()} of {source.name}"
        network.card = dataclasses.replace(self._card(network), accuracy=predictions.accuracy, accuracy_on=tested)
        chosen_on, examples = self._chosen_on
        rates = [row["images_per_second"] for row in log.rows if math.isfinite(row["images_per_second"])]
        best_row = training.best_row(log.rows)
        summary = {
            "test_accuracy": predictions.accuracy,
            "test_loss": predictions.loss,
            **({} if source.multi_label else {"mean_per_class_accuracy": self._mean_per_class(predictions)}),
            "test_examples": source.num_test,
            "train_examples": source.num_train,
            **({} if source.validation is None else {"validation_examples": source.num_validation}),
            f"best_{chosen_on}_accuracy": best_row["val_accuracy"],
            "best_step": best_row["step"],
            "best_chosen_on": examples,
            "steps": int(log.rows[-1]["step"]),
            "seconds": round(sum(row["seconds"] for row in log.rows), 1),
            "images_per_second": round(statistics.median(rates), 1) if rates else None,
            "backend": keras.backend.backend(),
            "parameters": network.count_params(),
        }

        faults = []

        def write() -> None:
            workdir.check()
            with doing("writing weights and report"):
                save_npz(network, self.folder / "weights.npz")
                written = self.folder / "report", log.rows, self.schedule, predictions, source.class_names, summary
                report.write(*written, chosen_on, data.test_names(source), faults)
            export(network)

        distribution.in_turn(write)
        logger.log(OUTCOME, "best.npz of update %d, chosen on %s", best_row["step"], examples)
        logger.log(OUTCOME, "test accuracy %.4f on %s examples", predictions.accuracy, f"{source.num_test:,}")
        logger.log(OUTCOME, "weights in %s", self.folder / "weights.npz")
        logger.log(OUTCOME, "report in %s", self.folder / "report")
        for fault in faults:  # once more, where they are seen
            logger.warning("%s", fault)
        return network, summary

    def _mean_per_class(self, predictions: Predictions) -> float:
        rows = classification.per_class(predictions.labels, predictions.classes, self.source.class_names)
        return classification.mean_per_class_accuracy(rows)

    @property
    def _chosen_on(self) -> tuple[str, str]:
        """The split that chooses the best weights, and a text with its number of examples."""
        source = self.source
        if source.validation is None:
            return "test", f"the same {source.describe_test()} that test_accuracy is measured on"
        return "validation", counted(source.num_validation, "validation example")

    def _write_best(self, network: BiT, log: training.MetricsLog) -> None:
        if self.source.validation is not None:
            on = f"{self._chosen_on[1]} of {self.source.name}, which chose these weights"
            accuracy = log.rows[-1]["val_accuracy"]
            network.card = dataclasses.replace(self._card(network), accuracy=accuracy, accuracy_on=on)
        save_npz(network, self.folder / "best.npz")

    def _card(self, network: keras.Model) -> Card:
        """Returns the card of a network that this run trains."""
        return Card(
            variant=getattr(network, "variant_name", None),
            class_names=tuple(self.source.class_names),
            resolution=self.crop,
            training_resolution=self.crop,
            resize=self.config.fit,
            weights=None if self.config.model in VARIANTS else origin(self.config.model),
            data={**self.source.describe(), "name": origin(self.source.name)},
        )

    def _checkpoint(self) -> training.Checkpoint:
        """Returns the callback that writes checkpoint/, with the log that writes metrics.csv."""
        is_chief, every = self.distribution.is_chief, self.config.checkpoint_every
        log = training.MetricsLog(self.folder / "metrics.csv" if is_chief else None)
        path = self.folder / "checkpoint" / "last.weights.h5"
        return training.Checkpoint(path, log, every and every * self.config.accumulate, writes=is_chief)

    def _callbacks(
        self,
        network: keras.Model,
        best_of: keras.Model,
        progress: training.Progress,
        checkpoint: training.Checkpoint,
    ) -> list[keras.callbacks.Callback]:
        source, schedule, distribution, config = self.source, self.schedule, self.distribution, self.config
        log, only_on_chief = checkpoint.log, []
        if distribution.is_chief:
            only_on_chief += _tensorboard(self.folder / "tensorboard")
            if isinstance(best_of, BiT):
                only_on_chief.append(training.BestWeights(log, lambda: self._write_best(best_of, log)))
        # The order matters: for each event Keras calls the callbacks in this order.
        # - Validation, schedule and progress add their values to the logs before the log writes its row.
        # - A diverged loss raises before the state is saved, so that the last good checkpoint remains.
        # - The best weights read the log's last row and are written before the checkpoint: a training that is killed
        #   between the two repeats the epoch and writes the same weights again.
        # - The checkpoint saves the log's rows. Callbacks of the user follow, so that they see all values and files of
        #   an evaluation; only then a signal ends the training.
        return [
            training.Validation(distribution.predictor(network), self.validation_batches, source.multi_label),
            *rule_callbacks(schedule, self.mixup_alpha, config.seed),
            training.StopOnDivergence(source.num_classes, schedule, config.accumulate, self._name_batch),
            progress,
            log,
            *only_on_chief,
            checkpoint,
        ]

    def _log_plan(self) -> None:
        source, config = self.source, self.config
        logger.info("%s: %s of %s classes", source.name, source.describe_splits(), f"{source.num_classes:,}")
        logger.info("best.npz will be chosen on %s", self._chosen_on[1])
        mixup = f"MixUp {self.mixup_alpha:g}" if self.mixup_alpha else "no MixUp"
        logger.info("%s", self.schedule)
        logger.info(
            "batches of %d images at %d pixels, %s, loaded by %s", config.batch_size, self.crop, mixup, config.loader
        )

    def _log_start(self, start: int) -> None:
        total = self.schedule.total_steps
        if start >= total:
            made = f"all {total:,} updates were made"
            logger.info("this run was finished before: %s; evaluation and report are repeated", made)
            return
        if start:
            logger.info("resuming %s after update %s of %s", self.folder, f"{start:,}", f"{total:,}")
        logger.info("compiling the first update ...")

    def _name_batch(self, step: int) -> str:
        """Returns a text that names images in the batch of a step; the chief lists all of them in a file."""
        config, size = self.config, self.config.micro_batch_size
        names = data.train_names(self.source, batch_size=size, seed=config.seed, step=step, loader=config.loader)
        if not names:
            return f"Its batch held the images {step * size} to {(step + 1) * size - 1} of all that were read"
        listing = self.folder / "diverged.txt" if self.distribution.is_chief else None
        if listing is not None:
            write_lines(listing, names)
        return f"Its batch, listed in {listing or 'the workdir'}: {', '.join(shortened(names))}"


class _StopWhenRemoved(keras.callbacks.Callback):
    """Ends the training, before the next file is written, if the workdir was removed: the files would be no run."""

    def __init__(self, workdir: Workdir):
        super().__init__()
        self.workdir = workdir

    def on_train_batch_end(self, batch, logs=None):
        self.workdir.check()

    def on_epoch_end(self, epoch, logs=None):
        self.workdir.check()


def open_run(
    config: RunConfig,
    source: data.Source,
    schedule: Schedule | CosineSchedule,
    distribution: Distribution,
    *,
    crop: int,
    mixup_alpha: float = 0,
    identity: Mapping | None = None,
    **augmentation,
) -> Run:
    """Logs what a run will do and checks that all workers agree on it; writes nothing yet.

    Args:
        config, source, schedule, distribution, crop, mixup_alpha, augmentation: see `Run`.
        identity: what else affects the results of the run, besides settings and data; JSON-able.

    Raises:
        DistributionError: the workers have different settings or data.
        FileExistsError, BlockingIOError, ValueError: as `workdir.check`.
    """
    parts = distribution.mixup_parts if mixup_alpha else 1
    source, settings = distribution.everywhere(lambda: identify(config, source, parts))
    identity = {**(identity or {}), **settings}
    run = Run(config, source, schedule, distribution, crop, augmentation, mixup_alpha, identity)
    run._log_plan()
    fingerprint = zlib.crc32(json.dumps(comparable(identity), sort_keys=True).encode()) >> 1  # fits into int32
    distribution.check_equal(fingerprint, "have the same settings and data")
    distribution.in_turn(lambda: check(run.folder, identity))  # early: loading the weights may take long
    return run


def identify(config: RunConfig, source: data.Source, mixup_parts: int = 1) -> tuple[data.Source, dict]:
    """Returns the data of a run and everything that affects its results, `RunConfig.identity`.

    A run that an earlier version has begun, which used no validation split beside a test split, continues without it.
    """
    without = source.without_validation()
    if source.validation is not None and is_of(config.workdir, without.describe()):
        logger.info("%s was begun without the validation split, and continues without it", config.workdir)
        source = without
    return source, config.identity(source, mixup_parts)


def _tensorboard(folder: Path) -> list[keras.callbacks.Callback]:
    if is_installed("tensorflow") and is_installed("tensorboard"):
        return [keras.callbacks.TensorBoard(folder, write_graph=False)]
    logger.info(
        "no TensorBoard log is written, metrics.csv has the same values; for one: %s", install_command("tensorboard")
    )
    return []
