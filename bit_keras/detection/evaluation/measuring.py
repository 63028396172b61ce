"""Detections in all test images of a task, and their average precision during a training."""

import keras
import numpy as np

from bit_keras.data.errors import shortened
from bit_keras.detection.data.annotations import DetectionSource
from bit_keras.detection.data.batches import test_batches
from bit_keras.detection.evaluation.coco import Evaluator
from bit_keras.detection.network.decoding import detect
from bit_keras.system.logs import logger
from bit_keras.system.texts import counted


def detections(predictor, source: DetectionSource, *, batch_size: int, size: int) -> Evaluator:
    """Returns the detections in every test image, for `Evaluator.measures`.

    Args:
        predictor: a `Detector`, its folded network, or another object with its `predict_on_batch`.
        source: the task; every image counts once, also those without boxes.
        batch_size: images per batch.
        size: side in pixels of the squares that images are resized into.

    Raises:
        DataError: an image cannot be read any more.
    """
    evaluator, names, faulty = Evaluator(source), source.test.names, []
    for images, places in test_batches(source, batch_size=batch_size, size=size):
        outputs = {name: np.asarray(output) for name, output in predictor.predict_on_batch(images).items()}
        is_finite = np.all([np.isfinite(output).all((1, 2)) for output in outputs.values()], axis=0)
        faulty += [names[index] for index in places["index"][~is_finite]]
        evaluator.add_batch(places, *detect(outputs, (size, size), places["content"]))
    if faulty:
        logger.warning(
            "the network's outputs are NaN or infinite for %s, in which it finds nothing: %s",
            counted(len(faulty), "image"),
            ", ".join(shortened(faulty)),
        )
    return evaluator


class AveragePrecision(keras.callbacks.Callback):
    """Evaluates after every epoch and adds "val_ap", "val_ap50" and "val_ap75" to the logs; 0 where they are undefined.

    Args:
        predictor, source, batch_size, size: as in `detections`.
    """

    def __init__(self, predictor, source: DetectionSource, *, batch_size: int, size: int):
        super().__init__()
        self.predictor = predictor
        self.source = source
        self.settings = {"batch_size": batch_size, "size": size}

    def on_epoch_end(self, epoch, logs=None):
        numbers = detections(self.predictor, self.source, **self.settings).measures().numbers
        if logs is not None:
            logs.update({f"val_{name.lower()}": numbers[name] or 0.0 for name in ("AP", "AP50", "AP75")})
