"""Program: the share of suppression, of overlapping boxes per class, in the time of a served detector.

Exports a detector with random weights, and calls its signatures "heads" (the network alone) and "serving_default" (with
suppression) in turns. The biases of the classes are raised, so that many boxes pass the threshold, as a trained network
has in crowded images.

Example:
    python -m benchmarks.detection_served --rounds=5
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import contest, frame

_NUM_CLASSES = 80


def _define_flags() -> None:
    flags.DEFINE_string("variant", "R50x1", "Architecture of the backbone.")
    flags.DEFINE_integer("side", 512, "Side of the images in pixels.", lower_bound=64)
    flags.DEFINE_integer("batch_size", 1, "Images per call.", lower_bound=1)
    flags.DEFINE_float("boxes", 0.001, "Fraction of all scores that pass the threshold.", 0, 1)
    flags.DEFINE_integer("rounds", 5, "Calls of each signature.", lower_bound=1)


def main() -> None:
    import tensorflow as tf

    given = flags.FLAGS
    images = np.random.default_rng(0).uniform(size=(given.batch_size, given.side, given.side, 3)).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        loaded = tf.saved_model.load(_export(Path(folder, "detector"), images))
        calls = {name: _call(loaded.signatures[name], images) for name in ("heads", "serving_default")}
        seconds = {name: [] for name in calls}
        for round_number in range(given.rounds + 1):
            for name, call in calls.items():
                begun = time.perf_counter()
                found = call()
                if round_number:  # the first traces and allocates
                    seconds[name].append(time.perf_counter() - begun)
    share = [1 - heads / both for heads, both in zip(seconds["heads"], seconds["serving_default"], strict=True)]
    print(contest.processor())
    for name, values in seconds.items():
        print(f"{name:<16} {contest.milliseconds(values)} ms")
    print(f"boxes per image  {float(np.mean(found['num'])):.0f}")
    print(f"suppression      {statistics.median(share):.1%} ({min(share):.1%} to {max(share):.1%}) of the time")


def _export(path: Path, images: np.ndarray) -> str:
    """Writes the detector, with class biases for the share of scores above the threshold; returns the path."""
    from bit_keras.detection import Detector
    from bit_keras.detection.export import export_detector
    from bit_keras.detection.network.decoding import SCORE

    detector = Detector(flags.FLAGS.variant, _NUM_CLASSES)
    head = next(layer for layer in detector.layers if layer.name.startswith("class_head_prediction"))
    logits = np.asarray(detector.predict_on_batch(2 * images - 1)["class"])
    shift = np.log(SCORE / (1 - SCORE)) - np.quantile(logits, 1 - flags.FLAGS.boxes)
    head.bias.assign(head.bias + shift)
    return str(
        export_detector(detector, path, [f"class {k}" for k in range(_NUM_CLASSES)], resolution=flags.FLAGS.side)
    )


def _call(signature, images: np.ndarray) -> Callable[[], dict[str, np.ndarray]]:
    def call() -> dict[str, np.ndarray]:
        return {name: output.numpy() for name, output in signature(images=images).items()}

    return call


if __name__ == "__main__":
    _define_flags()
    frame.run(main)
