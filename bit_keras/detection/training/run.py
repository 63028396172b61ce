"""The training of a detector, from its plan to its report."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import keras

from bit_keras import training
from bit_keras.checkpoints import provenance
from bit_keras.checkpoints.card import Card, origin
from bit_keras.detection.data.annotations import DetectionSource
from bit_keras.detection.data.batches import train_batches, train_names
from bit_keras.detection.evaluation import report
from bit_keras.detection.evaluation.measuring import AveragePrecision, detections
from bit_keras.detection.network.detector import TASK, Detector, save_npz
from bit_keras.detection.training.config import TrainConfig
from bit_keras.rules import rule_callbacks
from bit_keras.runs.training_run import TrainingRun
from bit_keras.runs.workdir import Workdir
from bit_keras.system.logs import doing, logger
from bit_keras.system.texts import counted
from bit_keras.zoo.variants import VARIANTS

METRIC = "val_ap"  # chooses the best weights
# Of the running loss. A detector that finds nothing has about 2; the losses have no upper bound.
_MAX_LOSS = 1_000.0


@dataclasses.dataclass(frozen=True)
class DetectionRun(TrainingRun):
    """The training run of a detector.

    Attributes:
        config: settings.
        source: data.
    """

    config: TrainConfig
    source: DetectionSource

    def _record(self, workdir: Workdir) -> None:
        super()._record(workdir)
        provenance.write_task(self.folder, self.config.resolution, self.source.class_names)

    def train_batches(self, start_step: int, shard: tuple[int, int]) -> Iterable:
        """Returns the batches from `start_step` on; see `batches.train_batches`."""
        config = self.config
        batches = train_batches(
            self.source,
            batch_size=config.micro_batch_size,
            size=config.resolution,
            seed=config.seed,
            start_step=start_step,
            shard=shard,
            max_boxes=config.max_boxes,
            scales=config.scales,
            flip=config.flip,
        )
        return self._for_engine(batches)

    def _for_engine(self, batches: Iterable) -> Iterable:
        if self.distribution.num_devices == 1 or keras.backend.backend() != "tensorflow":
            return batches
        from bit_keras.detection.data.batches_tf import dataset

        return dataset(batches, self.config.resolution, self.config.max_boxes)

    @functools.cached_property
    def validation(self) -> DetectionSource:
        """The images that choose the best weights as test images: those of the validation split if there is one."""
        return self.source if self.source.validation is None else self.source.tested_on("validation")

    @property
    def _reading(self) -> dict:
        return {"batch_size": self.config.micro_batch_size, "size": self.config.resolution}

    def fit(
        self, network: Detector, *, workdir: Workdir, callbacks: Sequence[keras.callbacks.Callback] = ()
    ) -> training.MetricsLog:
        """Fits a compiled detector over the whole schedule; see `bit_keras.runs.run.Run.fit`."""
        network.card = self._card(network)
        return self._fit(
            network,
            workdir=workdir,
            evaluation=AveragePrecision(self.distribution.predictor(network), self.validation, **self._reading),
            rule=rule_callbacks(self.schedule, 0, self.config.seed),
            max_loss=_MAX_LOSS,
            best=lambda log: training.BestWeights(log, lambda: self._write_best(network, log), METRIC),
            callbacks=callbacks,
        )

    def conclude(
        self,
        network: Detector,
        log: training.MetricsLog,
        export: Callable[[Detector], None],
        *,
        workdir: Workdir,
    ) -> tuple[Detector, dict]:
        """Evaluates a trained detector on all test images and writes weights.npz and report/.

        Args:
            network: as trained by `fit`.
            log: as returned by `fit`.
            export: called with the detector at the end, only by the chief.
            workdir: the folder, as claimed.

        Returns:
            The detector, on one device, and the content of `report/summary.json`.
        """
        source = self.source
        with doing(f"evaluating on {counted(source.num_test, 'test image')}"):
            evaluator = detections(self.distribution.predictor(network), source, **self._reading)
            measures = evaluator.measures()
        network = self.distribution.plain(network)
        tested = f"{source.describe_test()} of {source.name} (AP)"
        network.card = dataclasses.replace(self._card(network), accuracy=measures.numbers["AP"], accuracy_on=tested)
        best_row = training.best_row(log.rows, METRIC)
        split = self.validation.describe_test()
        summary = {
            **{f"test_{name}": value for name, value in measures.numbers.items()},
            "test_images": source.num_test,
            "test_boxes": source.test.num_boxes,
            "train_images": source.num_train,
            "train_boxes": source.train.num_boxes,
            "best_AP": best_row[METRIC],
            "best_step": best_row["step"],
            "best_chosen_on": split,
            **self._summary(network, log),
        }

        def write(faults: list[str]) -> None:
            save_npz(network, self.folder / "weights.npz")
            report.write(self.folder / "report", log.rows, self.schedule, evaluator, measures, summary, faults)

        numbers = (f"{text:<60} {value}" for text, value in measures.lines().items())
        outcome = (f"best.npz of update {best_row['step']:.0f}, chosen on {split}", *numbers)
        self._finish(write, lambda: export(network), outcome, workdir)
        return network, summary

    def _write_best(self, network: Detector, log: training.MetricsLog) -> None:
        if self.source.validation is not None:
            on = f"{self.validation.describe_test()} of {self.source.name} (AP), which chose these weights"
            network.card = dataclasses.replace(self._card(network), accuracy=log.rows[-1][METRIC], accuracy_on=on)
        save_npz(network, self.folder / "best.npz")

    def _card(self, network: Detector) -> Card:
        """Returns the card of the detector that this run trains."""
        config, source = self.config, self.source
        return Card(
            variant=network.variant_name,
            task=TASK,
            class_names=tuple(source.class_names),
            resolution=config.resolution,
            training_resolution=config.resolution,
            weights=None if config.model in VARIANTS else origin(config.model),
            data={**source.describe(), "name": origin(source.name)},
        )

    def _names(self, step: int) -> list[str]:
        size, seed = self.config.micro_batch_size, self.config.seed
        return train_names(self.source, batch_size=size, seed=seed, step=step)

    def log_plan(self) -> None:
        """Logs what the run will do."""
        source, config = self.source, self.config
        logger.info("%s: %s of %s classes", source.name, source.describe_splits(), f"{source.num_classes:,}")
        logger.info("%s to train on", counted(source.train.num_boxes, "box", "boxes"))
        logger.info("best.npz will be chosen on %s", self.validation.describe_test())
        logger.info("%s", self.schedule)
        logger.info("batches of %d images in squares of %d pixels", config.batch_size, config.resolution)
