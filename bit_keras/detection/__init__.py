"""Object detection: a RetinaNet on any BiT, its training on images with boxes, and the measures of COCO.

Source: "Focal Loss for Dense Object Detection", arXiv 1708.02002; BiT's paper, arXiv 1912.11370, section 3.7.

Boxes are [top, left, bottom, right] in pixels; pixel i covers the interval from i to i + 1.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras.detection.data.annotations import DetectionSource
from bit_keras.detection.data.loading import open_dataset
from bit_keras.detection.network.detector import Detector, load_weights, save_npz
from bit_keras.saved_models.export import register
from bit_keras.system.checks import checked_types
from bit_keras.system.logs import shows_messages

if TYPE_CHECKING:
    from bit_keras.detection.inference.found import Found
    from bit_keras.detection.training.trainer import DetectionResult

__all__ = ["DetectionSource", "Detector", "load_weights", "open_dataset", "predict", "save_npz", "train"]


@checked_types("model", "dataset", "workdir")
@shows_messages
def train(
    model: str | os.PathLike,
    dataset: str | os.PathLike | DetectionSource,
    workdir: str | os.PathLike,
    *,
    callbacks: Iterable = (),
    verbose: bool = True,
    **options,
) -> "DetectionResult":
    """Trains a RetinaNet on a BiT, evaluates it as COCO does, and writes weights and report.

    Writes config.json, task.json, checkpoint/, metrics.csv, tensorboard/, best.npz, weights.npz and report/ to the
    folder. An interrupted run resumes from its last checkpoint when it is started again with the same settings.

    Source: arXiv 1912.11370, section 3.7 and appendix E; see `TrainConfig` for what is not stated there.

    Args:
        model: preset or weight file of a classifier or detector, or a variant for random weights.
        dataset: as in `open_dataset`, or what that returns.
        workdir: folder of the run.
        callbacks: as in `bit_keras.finetune`.
        verbose: False shows only warnings and no progress.
        **options: the other fields of `bit_keras.detection.training.config.TrainConfig`.

    Returns:
        model, test_ap, summary, history and workdir of the run.

    Raises:
        ValueError: a setting is out of its range, or the data are invalid (`bit_keras.data.DataError`).
        TypeError: an option does not exist, or an argument has the wrong type.
        ImportError: pycocotools or grain is not installed.
        FileExistsError, BlockingIOError: `workdir` belongs to another run, or is in use.
        FileNotFoundError, ConnectionError, bit_keras.checkpoints.CheckpointError: as `bit_keras.BiT.from_preset`.
        bit_keras.distribution.DistributionError: devices or workers cannot train together.
        bit_keras.training.TrainingInterrupted: SIGTERM or Ctrl-C arrived; the state is saved.
        bit_keras.training.TrainingDiverged: the loss is NaN or infinite, or far above that of random guessing.

    Example:
        >>> less = {"steps": 5, "eval_every": 5, "batch_size": 2, "resolution": 64, "width": 32, "depth": 1}
        >>> result = detection.train("BiT-mini-R17x0.5", "coco:boxes", "runs/boxes", verbose=False, **less)
        >>> 0 <= result.test_ap <= 1
        True
    """
    from bit_keras.detection.training import trainer

    return trainer.run(model, dataset, workdir, callbacks, **options)


@checked_types("model", "images")
@shows_messages
def predict(
    model,
    images,
    *,
    value_range: tuple[float, float] | None = None,
    with_content: bool = False,
    verbose: bool = True,
    **options,
) -> "list[Found]":
    """Finds objects in images, which are prepared as in evaluation.

    An image that cannot be read is a result with an `error`, not an exception. To load the detector once for several
    calls, or for more images than fit into memory, use `bit_keras.detection.inference.DetectionPredictor`.

    Args:
        model: weight file of a detector or its address, or the folder of its run (best.npz, or else weights.npz); or a
            `Detector`.
        images, value_range: as in `bit_keras.predict`.
        with_content: True gives the results their `pixels`, for `bit_keras.detection.inference.pictures.picture`.
        verbose: False shows only warnings.
        **options: score, resolution, batch_size, iou and limit, as in `DetectionPredictor`.

    Returns:
        One `Found` per image, in order, with `file`, `boxes` in pixels of the upright image, `scores`, `names`,
        `classes`, `size` and `error`.

    Raises:
        TypeError: an argument does not exist, or has the wrong type.
        ValueError: an argument is out of its range, or an array has another shape, dtype or range of values.
        FileNotFoundError, ConnectionError, ImportError, bit_keras.checkpoints.CheckpointError: as
            `bit_keras.BiT.from_preset`; or the weights are those of a classifier.

    Example:
        >>> detector = detection.Detector.from_preset("BiT-mini-R17x0.5", num_classes=2, width=32, depth=1)
        >>> for row in detection.predict(detector, ["robin.jpg", "photos/"], score=0.5, resolution=64, verbose=False):
        ...     print(row.file, row.names, row.boxes.shape)
        robin.jpg () (0, 4)
        photos/0.jpg () (0, 4)
        photos/1.jpg () (0, 4)
    """
    from bit_keras.detection.inference import DetectionPredictor
    from bit_keras.inference.watched import watched

    rows = DetectionPredictor(model, **options).iterate(images, value_range=value_range, with_content=with_content)
    with watched(rows) as rows:
        return list(rows)


def _export(model: Detector, path: str | os.PathLike, class_names: Sequence[str] | None, **options) -> Path:
    from bit_keras.detection.export import export_detector

    return export_detector(model, path, class_names, **options)


register(Detector, _export)
