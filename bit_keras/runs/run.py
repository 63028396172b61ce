"""The training of a classifier, from its plan to its report. Only recipe, network and loss differ between trainings."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras

from bit_keras import data, training
from bit_keras.checkpoints import provenance
from bit_keras.checkpoints.card import Card, origin
from bit_keras.data import unreadable
from bit_keras.distribution import Distribution
from bit_keras.figures import report
from bit_keras.metrics import Predictions, classification, predict
from bit_keras.network.model import BiT, save_npz
from bit_keras.rules import rule_callbacks
from bit_keras.rules.schedules import CosineSchedule, Schedule
from bit_keras.runs.config import RunConfig
from bit_keras.runs.training_run import TrainingRun
from bit_keras.runs.workdir import Workdir, is_of
from bit_keras.system.logs import doing, logger
from bit_keras.system.texts import counted
from bit_keras.zoo.variants import VARIANTS


@dataclasses.dataclass(frozen=True)
class Run(TrainingRun):
    """The training run of a classifier; made by `open_run`.

    Attributes:
        source: data.
        crop: side of the images in pixels, in training and evaluation.
        augmentation: further arguments of `bit_keras.data.train_batches`.
        mixup_alpha: of MixUp's Beta distribution; 0 for none.
    """

    source: data.Source
    crop: int
    augmentation: Mapping
    mixup_alpha: float

    def _record(self, workdir: Workdir) -> None:
        super()._record(workdir)
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
        source, best_of = self.source, best_of or network
        best_of.card = self._card(best_of)
        with unreadable.named(source):
            return self._fit(
                network,
                workdir=workdir,
                evaluation=training.Validation(
                    self.distribution.predictor(network), self.validation_batches, source.multi_label
                ),
                rule=rule_callbacks(self.schedule, self.mixup_alpha, self.config.seed),
                max_loss=training.max_loss(source.num_classes),
                best=functools.partial(self._best_weights, best_of) if isinstance(best_of, BiT) else None,
                callbacks=callbacks,
            )

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
            **self._summary(network, log),
        }

        def write(faults: list[str]) -> None:
            save_npz(network, self.folder / "weights.npz")
            written = self.folder / "report", log.rows, self.schedule, predictions, source.class_names, summary
            report.write(*written, chosen_on, data.test_names(source), faults)

        outcome = (
            f"best.npz of update {best_row['step']:.0f}, chosen on {examples}",
            f"test accuracy {predictions.accuracy:.4f} on {source.num_test:,} examples",
        )
        self._finish(write, lambda: export(network), outcome, workdir)
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

    def _best_weights(self, network: BiT, log: training.MetricsLog) -> training.BestWeights:
        return training.BestWeights(log, lambda: self._write_best(network, log))

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

    def _log_plan(self) -> None:
        source, config = self.source, self.config
        logger.info("%s: %s of %s classes", source.name, source.describe_splits(), f"{source.num_classes:,}")
        logger.info("best.npz will be chosen on %s", self._chosen_on[1])
        mixup = f"MixUp {self.mixup_alpha:g}" if self.mixup_alpha else "no MixUp"
        logger.info("%s", self.schedule)
        logger.info(
            "batches of %d images at %d pixels, %s, loaded by %s", config.batch_size, self.crop, mixup, config.loader
        )

    def _names(self, step: int) -> list[str]:
        config, size = self.config, self.config.micro_batch_size
        return data.train_names(self.source, batch_size=size, seed=config.seed, step=step, loader=config.loader)


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
    run = Run(config, schedule, distribution, identity, source, crop, augmentation, mixup_alpha)
    run._log_plan()
    run.check()  # early: loading the weights may take long
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
