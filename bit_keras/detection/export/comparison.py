"""Compares exported detectors with the Keras model: raw outputs by their scale, boxes one by one."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bit_keras.detection.data.augmentation import to_image
from bit_keras.detection.export.decode_numpy import anchor_boxes, best_boxes, clipped
from bit_keras.detection.network.detector import Detector
from bit_keras.detection.network.nms import iou_matrix
from bit_keras.saved_models.check import relative_difference
from bit_keras.system.logs import logger
from bit_keras.system.texts import counted

if TYPE_CHECKING:
    from bit_keras.detection.export.options import ServingOptions

# Largest difference of a side of a box, in pixels of the image, of a score and of an IoU.
_PIXELS, _SCORE, _IOU = 1e-3, 1e-5, 1e-3
# Candidates of an image that the lowered threshold of scores leaves. Images of noise may have none above the other one.
_COMPARED = 300
# The files of variables also contain an index and the object graph.
_OVERHEAD, _OVERHEAD_BYTES = 1.02, 500_000
OUTPUTS = ("class", "box")
# Boxes, scores and classes of an invalid file.
_NOTHING = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)


class Comparison:
    """Comparison of a SavedModel with a detector.

    Raw outputs must be those of the detector, and boxes those of a suppression of the detector's outputs. Where
    rounding differs by more than boxes may (on jax and torch, and in bfloat16), they must be those of a suppression of
    the SavedModel's own raw outputs. Boxes are compared at the threshold of scores and at a lower one, which the images
    of the check certainly exceed.

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
        self.rounds_alike = self.tolerance <= 1e-5
        self.arrays, self.sizes, self.expected = {}, {}, {}

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
        self.expected = expected_heads(self.reference, self.arrays)
        lowest = min(_lowered(array, _COMPARED) for name, array in self.expected.items() if name.endswith("/class"))
        self.arrays["score"] = np.float32(min(lowest, self.options.score))
        return self.arrays

    def check(self, result: dict[str, np.ndarray], path: Path) -> float:
        """Returns the largest difference of raw outputs relative to their scale.

        Args:
            result: as `run_exported.py` returns it for `inputs`.
            path: the SavedModel.

        Raises:
            RuntimeError: the SavedModel returns other values, or stores variables twice.
        """
        largest, faults = compare_heads(self.expected, result, self.tolerance)
        heads = self.expected if self.rounds_alike else result
        lowered = dataclasses.replace(self.options, score=float(self.arrays["score"]))
        for at, options in (("", self.options), ("low/", lowered)):
            faults += self._faults_of_images(heads, result, at, options)
            faults += self._faults_of_files(heads, result, at, options)
        stored, needed = _size(path / "variables"), int(result["variable_bytes"])
        if stored > _OVERHEAD * needed + _OVERHEAD_BYTES:
            faults.append(f"variables/ takes {stored} bytes for {needed} bytes of variables: some are stored twice")
        if faults:
            raise RuntimeError("the SavedModel differs from the detector:\n" + "\n".join(faults))
        total = sum(int(array.sum()) for name, array in result.items() if name.endswith("/num"))
        logger.info("%s compared, at scores from %.2g on", counted(total, "box", "boxes"), lowered.score)
        return largest

    def _faults_of_images(self, heads: dict, result: dict, at: str, options: "ServingOptions") -> Iterator[str]:
        for name, images in self.arrays.items():
            prefix = name.removesuffix("/images")
            if name.endswith("/images") and not name.startswith("file"):
                size = np.array(images.shape[1:3])
                candidates = [_candidates(heads, prefix, row, options, size, size, size) for row in range(len(images))]
                yield from self._faults(f"{prefix}/serving_default", result, f"{at}{prefix}", candidates, options)

    def _faults_of_files(self, heads: dict, result: dict, at: str, options: "ServingOptions") -> Iterator[str]:
        valid = np.array([sizes is not None for sizes in self.sizes.values()])
        found, errors = (result[f"{at}files/{name}"] for name in ("valid", "error"))
        if not np.array_equal(found, valid) or not np.array_equal(errors == b"", valid):
            yield f"serve_bytes: valid must be {valid.tolist()}, got {found.tolist()}"
            return
        if options.precision != "float32":
            return  # another rounding of the pixels changes the outputs by more than could be compared
        square = np.array([options.resolution] * 2)
        candidates = [
            _NOTHING if sizes is None else _candidates(heads, f"file {k}", 0, options, square, *sizes)
            for k, sizes in self.sizes.items()
        ]
        yield from self._faults("serve_bytes", result, f"{at}files", candidates, options)

    def _faults(
        self, what: str, result: dict, prefix: str, candidates: Sequence, options: "ServingOptions"
    ) -> Iterator[str]:
        boxes, scores, classes, num = (result[f"{prefix}/{name}"] for name in ("boxes", "scores", "class_ids", "num"))
        limit = options.limit
        shapes = [(len(candidates), limit, 4), *[(len(candidates), limit)] * 2, (len(candidates),)]
        if wrong := [a.shape for a, shape in zip((boxes, scores, classes, num), shapes) if a.shape != shape]:
            yield f"{what}: outputs of the wrong shapes {wrong}"
            return
        wrong = 0
        for row, of_image in enumerate(candidates):
            n = num[row]
            wrong += count_wrong((boxes[row, :n], scores[row, :n], classes[row, :n]), of_image, options)
            wrong += int(boxes[row, n:].any() or scores[row, n:].any() or (classes[row, n:] != -1).any())
        if wrong:
            yield f"{what}: {wrong} boxes are not as suppression leaves them, {num.sum()} were found"
        if not np.array_equal(result[f"{prefix}/classes"], self.names[classes]):
            yield f"{what}: classes are not the names of class_ids"


def _candidates(heads, prefix: str, row: int, options, input_size, content, size) -> tuple[np.ndarray, ...]:
    """Returns boxes, scores and classes of an image before suppression, by falling score, in pixels of its size."""
    logits, deltas = (heads[f"{prefix}/heads/{name}"][row] for name in OUTPUTS)
    found = best_boxes(logits, deltas, anchor_boxes(*input_size), options.score, options.candidates)
    boxes, scores, classes = clipped(*found, np.tile(content, 2).astype(np.float32))
    return to_image(boxes, content, size), scores, classes


def _lowered(logits: np.ndarray, count: int) -> float:
    """Returns a score that `count` pairs of anchor and class exceed in each image, or all if there are fewer."""
    flat = np.sort(logits.reshape(len(logits), -1), axis=1)[:, ::-1][:, :count]
    return float(0.999 / (1 + np.exp(-flat[:, -1].min().astype(np.float64))))


def random_images(sizes: Sequence[tuple[int, int, int]]) -> dict[str, np.ndarray]:
    """Returns {"k/images": images in [0, 1]} of these sizes [N, H, W]."""
    random = np.random.default_rng(0)
    return {f"{k}/images": random.uniform(size=(*size, 3)).astype(np.float32) for k, size in enumerate(sizes)}


def expected_heads(reference, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the raw outputs of a detector, {"k/heads/class": array, "k/heads/box": array}.

    Args:
        reference: function from images in [-1, 1] to the raw outputs.
        inputs: as in `run_exported.py`.
    """
    expected = {}
    for key, images in inputs.items():
        if key.endswith("/images"):
            outputs = reference(2 * images - 1)
            expected |= {f"{key.removesuffix('/images')}/heads/{name}": outputs[name] for name in OUTPUTS}
    return expected


def compare_heads(
    expected: dict[str, np.ndarray], result: dict[str, np.ndarray], tolerance: float
) -> tuple[float, list[str]]:
    """Compares raw outputs; returns the largest difference relative to their scale, and the faults.

    Args:
        expected: as `expected_heads` returns it.
        result: as in `run_exported.py`.
        tolerance: largest relative difference allowed.
    """
    differences = {key: relative_difference(array, result[key]) for key, array in expected.items()}
    return max(differences.values()), [
        f"{key}: differs by {difference:.3g} of its scale, allowed is {tolerance}"
        for key, difference in differences.items()
        if difference > tolerance
    ]


def count_wrong(found: Sequence[np.ndarray], candidates: Sequence[np.ndarray], options: "ServingOptions") -> int:
    """Returns how many boxes contradict a suppression of the candidates by more than rounding can.

    Rounding may move a score or an IoU over its threshold, which changes what is suppressed afterwards. Whether a box
    is in its place is therefore judged from the boxes that were found, not from another suppression.

    Args:
        found: boxes [n, 4], scores [n] and classes [n] of one image.
        candidates: the same before suppression, by falling score.
        options: threshold of scores, IoU, limit and number of candidates.

    Returns:
        The sum of the boxes found that are no candidates, of those found although a better one of their class overlaps
        them, and of the candidates that are missing though nothing suppresses them.
    """
    boxes, scores, classes = found
    other_boxes, other_scores, other_classes = candidates
    is_rival = classes[:, np.newaxis] == other_classes
    is_close = (np.abs(boxes[:, np.newaxis] - other_boxes) <= _PIXELS).all(-1)
    is_same = is_rival & is_close & (np.abs(scores[:, np.newaxis] - other_scores) <= _SCORE)

    has_all = len(other_scores) < options.candidates
    least = options.score if has_all else other_scores[-1]
    invented = ~is_same.any(1) & (scores > least + _SCORE)

    overlap = np.triu(iou_matrix(boxes, boxes), 1)
    kept_twice = ((overlap > options.iou + _IOU) & (classes[:, np.newaxis] == classes)).any(0)

    is_suppressed = is_rival & (iou_matrix(boxes, other_boxes) >= options.iou - _IOU)
    is_suppressed &= scores[:, np.newaxis] >= other_scores - _SCORE
    floor = scores.min() if len(scores) == options.limit else least
    missing = ~is_same.any(0) & ~is_suppressed.any(0) & (other_scores > floor + _SCORE)
    return int(invented.sum() + kept_twice.sum() + missing.sum())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
