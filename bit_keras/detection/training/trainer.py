"""The training of a detector, top to bottom: data, schedule, network, fit, evaluate, report, export."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from bit_keras.detection.data.annotations import DetectionSource
from bit_keras.detection.data.loading import open_dataset
from bit_keras.detection.data.scan import check_max_boxes
from bit_keras.detection.evaluation import report
from bit_keras.detection.network.detector import DEPTH, WIDTH, Detector
from bit_keras.detection.training import plan
from bit_keras.detection.training.config import TrainConfig
from bit_keras.detection.training.run import DetectionRun
from bit_keras.distribution import check_batch, count_devices
from bit_keras.figures import drawing
from bit_keras.network.freezing import count_trainable, freeze
from bit_keras.rules import optimizers
from bit_keras.rules.schedules import Schedule
from bit_keras.runs.opening import check_callbacks, held_out, load_data, make_config, start, unreadable_list
from bit_keras.runs.workdir import check
from bit_keras.system.logs import OUTCOME, doing, logger
from bit_keras.system.optional import require
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, repr=False)
class DetectionResult:
    """Result of the training of a detector.

    Attributes:
        model: the trained `Detector`, on one device.
        summary: content of `report/summary.json`: "test_AP" and the other numbers of `evaluation.NUMBERS`, in [0, 1].
        workdir: folder of the run; `Detector.from_preset` takes the `weights.npz` in it.
        history: one row per evaluation, {column of metrics.csv: value}.

    Example:
        >>> result  # of the example of `train`
        DetectionResult(test_ap=..., steps=5, workdir='runs/boxes')
        >>> detection.Detector.from_preset("runs/boxes").class_names
        ('square',)
    """

    model: Detector
    summary: dict
    workdir: Path
    history: list[dict[str, float]]

    @property
    def test_ap(self) -> float | None:
        """Average precision on the test images, IoU 0.50 to 0.95, in [0, 1]; None if they have no boxes."""
        return self.summary["test_AP"]

    def plot(self) -> "Figure":
        """Returns the learning curve; `savefig` writes it to a file."""
        return report.learning_curve(self.history)

    def __repr__(self) -> str:
        ap = "undefined" if self.test_ap is None else f"{self.test_ap:.4f}"
        return f"DetectionResult(test_ap={ap}, steps={self.summary['steps']}, workdir={str(self.workdir)!r})"


def run(
    model: str | os.PathLike,
    dataset: str | os.PathLike | DetectionSource,
    workdir: str | os.PathLike,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    **options,
) -> DetectionResult:
    """See `bit_keras.detection.train`."""
    callbacks = check_callbacks(callbacks)
    _require_packages()
    config = make_config(TrainConfig, model, dataset, workdir, options)
    distribution = start(config)
    source, schedule = distribution.everywhere(lambda: _task(config, dataset))
    identity = distribution.everywhere(lambda: config.identity(source))
    run = DetectionRun(config, schedule, distribution, identity, source)
    run.log_plan()
    run.check()  # early: loading the weights may take long
    faults = []

    def export(network: Detector) -> None:
        if config.export_dir:
            from bit_keras.detection.export import export_detector

            with drawing.reported(f"the SavedModel {config.export_dir}", faults):
                export_detector(network, config.export_dir)

    with run.claimed() as folder:
        with distribution.scope():
            network = _open_network(config, source)
            freeze(network, config.freeze)
            optimizer = optimizers.pretraining_optimizer(
                schedule, config.weight_decay, config.accumulate, config.clip_norm
            )
            network.compile(optimizer)
        logger.info("%s of %s weights are trained", f"{count_trainable(network):,}", f"{network.count_params():,}")
        log = run.fit(network, workdir=folder, callbacks=callbacks)
        network, summary = run.conclude(network, log, export, workdir=folder)
    if faults:
        raise RuntimeError(f"{faults[0]}\nThe training is complete, with its weights in {run.folder}")
    if config.export_dir:
        logger.log(OUTCOME, "SavedModel in %s", config.export_dir)
    return DetectionResult(network, summary, run.folder, log.rows)


def dry_run(
    model: str | os.PathLike, dataset: str | os.PathLike | DetectionSource, workdir: str | os.PathLike, **options
) -> str:
    """Returns a text that describes what `run` would do: model, data, schedule, memory.

    Writes nothing, and raises what `run` raises before the training, apart from faults of weights to download.
    """
    _require_packages()
    config = make_config(TrainConfig, model, dataset, workdir, options)
    num_devices = count_devices(config.distribute)
    if num_devices:
        check_batch(config.distribute, num_devices, config.batch_size, config.accumulate)
    source, schedule = _task(config, dataset)
    check(config.workdir, config.identity(source))
    row, *sizes = _planned_network(config, source)
    return plan.describe(config, source, schedule, row, sizes, num_devices)


def _require_packages() -> None:
    require("the training of a detector", "pycocotools", "grain")  # the extra of the first has the other


def _task(config: TrainConfig, dataset: str | os.PathLike | DetectionSource) -> tuple[DetectionSource, Schedule]:
    """Returns the data and the schedule of a run."""
    source = dataset
    if not isinstance(dataset, DetectionSource):
        source = load_data(config.dataset, unreadable_list(config), open_dataset, **config.loading)
    source.check_trainable()
    check_max_boxes(source.train, config.max_boxes)
    source = held_out(config, source.with_content())
    return source, config.schedule(source.num_train)


def _planned_network(config: TrainConfig, source: DetectionSource) -> tuple[Variant, int, int]:
    """Returns backbone, width and depth of the detector that a run would start from."""
    if preset := PRESETS.get(config.model):  # its weights would have to be downloaded
        return VARIANTS[preset.variant], config.width or WIDTH, config.depth or DEPTH
    network = _open_network(config, source)
    return network.variant, network.width, network.depth


def _open_network(config: TrainConfig, source: DetectionSource) -> Detector:
    """Returns the detector that the run starts from.

    Raises:
        ValueError: the weights are those of a detector of other classes.
    """
    sizes = {"width": config.width, "depth": config.depth}
    kind = {"dtype": config.precision, "remat": config.remat}
    if config.model in VARIANTS:
        logger.warning("%s starts from random weights, not from pre-trained ones", config.model)
        sizes = {"width": config.width or WIDTH, "depth": config.depth or DEPTH}
        return Detector(config.model, source.num_classes, **sizes, **kind)
    with doing(f"loading the weights of {config.model}"):
        network = Detector.from_preset(config.model, source.num_classes, **sizes, **kind)
    network.check_classes(source.class_names, source.name)
    return network
