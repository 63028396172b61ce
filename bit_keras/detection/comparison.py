"""Compares exported detectors with the Keras model: raw outputs by their scale, boxes one by one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bit_keras.detection.augmentation import to_image
from bit_keras.detection.decode_numpy import decode_numpy
from bit_keras.detection.detector import Detector
from bit_keras.saved_models.check import relative_difference
from bit_keras.system.logs import logger
from bit_keras.system.texts import counted

if TYPE_CHECKING:
    from bit_keras.detection.options import ServingOptions

# Largest difference of a side of a box, in pixels of the image, and of a score.
_PIXELS, _SCORE = 1e-3, 1e-5
# Part of the boxes that may have no counterpart: rounding moves an IoU or a score over its threshold.
_UNMATCHED = 0.01
# The files of variables also contain an index and the object graph.
_OVERHEAD, _OVERHEAD_BYTES = 1.02, 500_000
OUTPUTS = ("class", "box")


class Comparison:
    """Comparison of a SavedModel with a detector.

    Raw outputs are those of the detector. Boxes are those that `decode_numpy` makes of the raw outputs of the
    SavedModel itself: after small differences, suppression may choose others.

    Args:
        detector: the Keras model.
        class_names: of the SavedModel.
        options: of the SavedModel.
    """

    def __init__(self, detector: Detector, class_names: Sequence[str] | None, options: "ServingOptions"):
        from bit_keras.saved_models.serving import reference
        from bit_keras.saved_models.writer import tolerance

        self.detector, self.options = detector, options
        names = class_names or [str(k) for k in range(detector.num_classes)]
        self.names = np.array([*(name.encode() for name in names), b""])  # the last one for class -1
        self.tolerance = tolerance(detector, "serving", {"precision": options.precision})
        self.reference = reference(detector)
        self.arrays, self.sizes = {}, {}

    def inputs(self, sizes: Sequence[tuple[int, int, int]]) -> dict[str, np.ndarray]:
        """Returns images of these sizes [N, H, W], and files, as `run_exported.py` takes them."""
        import tensorflow as tf

        from bit_keras.data.loaders.preprocessing import corner
        from bit_keras.saved_models.serving import check_files

        self.arrays, self.sizes = random_images(sizes), {}
        for k, (data, pixels) in enumerate(check_files()):
            self.arrays[f"file {k}/bytes"] = np.frombuffer(data, np.uint8)
            self.sizes[k] = None
            if pixels is not None:
                image, content = corner(tf.constant(pixels), self.options.resolution)
                self.arrays[f"file {k}/images"] = (image.numpy()[np.newaxis] + 1) / 2
                self.sizes[k] = (content.numpy(), np.array(pixels.shape[:2]))
        return self.arrays

    def check(self, result: dict[str, np.ndarray], path: Path) -> float:
        """Returns the largest difference of raw outputs relative to their scale.

        Args:
            result: as `run_exported.py` returns it for `inputs`.
            path: the SavedModel.

        Raises:
            RuntimeError: the SavedModel returns other values, or stores variables twice.
        """
        largest, faults = compare_heads(self.reference, self.arrays, result, self.tolerance)
        faults += [*self._faults_of_images(result), *self._faults_of_files(result)]
        stored, needed = _size(path / "variables"), int(result["variable_bytes"])
        if stored > _OVERHEAD * needed + _OVERHEAD_BYTES:
            faults.append(f"variables/ takes {stored} bytes for {needed} bytes of variables: some are stored twice")
        if faults:
            raise RuntimeError("the SavedModel differs from the detector:\n" + "\n".join(faults))
        total = sum(int(array.sum()) for name, array in result.items() if name.endswith("/num"))
        logger.info("%s compared", counted(total, "box", "boxes"))
        return largest

    def _faults_of_images(self, result: dict[str, np.ndarray]) -> Iterator[str]:
        for name, images in self.arrays.items():
            prefix = name.removesuffix("/images")
            if name.endswith("/images") and not name.startswith("file"):
                expected = self._decoded(result, prefix, images)
                yield from self._faults(f"{prefix}/serving_default", result, prefix, expected)

    def _faults_of_files(self, result: dict[str, np.ndarray]) -> Iterator[str]:
        valid = np.array([sizes is not None for sizes in self.sizes.values()])
        if not np.array_equal(result["files/valid"], valid) or not np.array_equal(result["files/error"] == b"", valid):
            yield f"serve_bytes: valid must be {valid.tolist()}, got {result['files/valid'].tolist()}"
            return
        if self.options.precision != "float32":
            return  # another rounding of the pixels changes the outputs by more than could be compared
        rows = []
        for k, sizes in self.sizes.items():
            if sizes is None:
                rows.append(None)
                continue
            content, size = sizes
            images = self.arrays[f"file {k}/images"]
            boxes, *others = self._decoded(result, f"file {k}", images, content[np.newaxis])
            rows.append((to_image(boxes, content, size), *others))
        limit = self.options.limit
        nothing = np.zeros((1, limit, 4)), np.zeros((1, limit)), np.full((1, limit), -1), np.zeros(1, int)
        expected = [np.concatenate(column) for column in zip(*(nothing if row is None else row for row in rows))]
        yield from self._faults("serve_bytes", result, "files", expected)

    def _decoded(self, result, prefix: str, images: np.ndarray, content: np.ndarray | None = None) -> tuple:
        options, heads = self.options, [result[f"{prefix}/heads/{name}"] for name in OUTPUTS]
        settings = {name: getattr(options, name) for name in ("score", "iou", "limit", "candidates")}
        return decode_numpy(*heads, *images.shape[1:3], content, **settings)

    def _faults(self, what: str, result: dict[str, np.ndarray], prefix: str, expected: Sequence) -> Iterator[str]:
        found = [result[f"{prefix}/{name}"] for name in ("boxes", "scores", "class_ids", "num")]
        if wrong := [array.shape for array, other in zip(found, expected) if array.shape != other.shape]:
            yield f"{what}: outputs of the wrong shapes {wrong}"
            return
        if unmatched := count_unmatched(found, expected):
            total = int(np.sum(found[-1]) + np.sum(expected[-1]))
            if unmatched > _UNMATCHED * total:
                yield f"{what}: {unmatched} of {total} boxes have no counterpart"
        if not np.array_equal(result[f"{prefix}/classes"], self.names[found[2]]):
            yield f"{what}: classes are not the names of class_ids"


def random_images(sizes: Sequence[tuple[int, int, int]]) -> dict[str, np.ndarray]:
    """Returns {"k/images": images in [0, 1]} of these sizes [N, H, W]."""
    random = np.random.default_rng(0)
    return {f"{k}/images": random.uniform(size=(*size, 3)).astype(np.float32) for k, size in enumerate(sizes)}


def compare_heads(
    reference, inputs: dict[str, np.ndarray], result: dict[str, np.ndarray], tolerance: float
) -> tuple[float, list[str]]:
    """Compares raw outputs; returns the largest difference relative to their scale, and the faults.

    Args:
        reference: function from images in [-1, 1] to the expected outputs.
        inputs, result: as in `run_exported.py`.
        tolerance: largest relative difference allowed.
    """
    largest, faults = 0.0, []
    for key, images in inputs.items():
        if not key.endswith("/images"):
            continue
        expected = reference(2 * images - 1)
        for name in OUTPUTS:
            found_key = f"{key.removesuffix('/images')}/heads/{name}"
            difference = relative_difference(expected[name], result[found_key])
            largest = max(largest, difference)
            if difference > tolerance:
                faults.append(f"{found_key}: differs by {difference:.3g} of its scale, allowed is {tolerance}")
    return largest, faults


def count_unmatched(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> int:
    """Returns how many boxes of either side have no counterpart of the same class, place and score on the other.

    Args:
        found, expected: boxes [N, limit, 4], scores [N, limit], classes [N, limit] and num [N].
    """
    unmatched = 0
    for image, (ours, theirs) in enumerate(zip(found[-1], expected[-1], strict=True)):
        boxes, scores, classes = (array[image, :ours] for array in found[:3])
        free = np.ones(theirs, bool)
        other_boxes, other_scores, other_classes = (array[image, :theirs] for array in expected[:3])
        for box, score, label in zip(boxes, scores, classes, strict=True):
            is_same = (np.abs(other_boxes - box) <= _PIXELS).all(-1) & (np.abs(other_scores - score) <= _SCORE)
            matches = np.flatnonzero(free & is_same & (other_classes == label))
            free[matches[:1]] = False
            unmatched += not matches.size
        unmatched += int(free.sum())
    return unmatched


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
