"""Average precision and recall as COCO measures them, by pycocotools."""

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Iterator, Mapping

import numpy as np

from bit_keras.detection.data.annotations import DetectionSource
from bit_keras.detection.data.batches import to_original
from bit_keras.system.files import whole
from bit_keras.system.logs import doing
from bit_keras.system.optional import require
from bit_keras.system.texts import counted

MAX_DETECTIONS = 100  # per image, those with the highest scores; COCO counts no more
# {name: what it means}, in the order of pycocotools
NUMBERS = {
    "AP": "average precision, IoU 0.50 to 0.95",
    "AP50": "average precision, IoU 0.50",
    "AP75": "average precision, IoU 0.75",
    "AP_small": "average precision of objects below 32x32 pixels",
    "AP_medium": "average precision of objects between 32x32 and 96x96 pixels",
    "AP_large": "average precision of objects above 96x96 pixels",
    "AR_1": "average recall of 1 detection per image",
    "AR_10": "average recall of 10 detections per image",
    "AR_100": "average recall of 100 detections per image",
    "AR_small": "average recall of objects below 32x32 pixels",
    "AR_medium": "average recall of objects between 32x32 and 96x96 pixels",
    "AR_large": "average recall of objects above 96x96 pixels",
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Measures:
    """Results of an evaluation of K classes, in [0, 1]; None or NaN where no object defines them.

    Attributes:
        numbers: {name in `NUMBERS`: value}, means over the classes that have objects.
        per_class: for each class {"class": its name, "boxes": number of its boxes, "ignored": number of ignored ones,
            "AP", "AP50", "AP75", "AR_100"}.
        iou_thresholds: float64 [10], 0.50 to 0.95.
        recalls: float64 [101], 0 to 1.
        precision: float64 [10, 101, K], the precision at each IoU threshold and recall, of 100 detections per image
            and objects of any size; 0 for recalls that are not reached.
        scores: float64 [10, 101, K], the score above which detections have this recall.
    """

    numbers: dict[str, float | None]
    per_class: list[dict]
    iou_thresholds: np.ndarray
    recalls: np.ndarray
    precision: np.ndarray
    scores: np.ndarray

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_formatted(self.numbers[name])}" for name in ("AP", "AP50", "AP75"))
        return f"Measures({shown})"

    def lines(self) -> dict[str, str]:
        """Returns {description: formatted value} of the numbers."""
        return {text: _formatted(self.numbers[name]) for name, text in NUMBERS.items()}


class Evaluator:
    """Collects the detections in the test images of a task, and compares them with their boxes.

    Per image only the detections are kept, 28 bytes each. Ignored boxes count neither as found nor as missed, and what
    finds them not as wrong: where most of a detection lies in an ignored box of its class (COCO's rule for crowds).
    Sizes of objects are `Boxes.areas`, in pixels of the original images.

    Args:
        source: the task.

    Attributes:
        source: the task.

    Raises:
        ImportError: pycocotools is not installed.
    """

    def __init__(self, source: DetectionSource):
        require("average precision", "pycocotools")
        self.source = source
        self._found = {}

    def add(self, index: int, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> None:
        """Adds the D detections of an image.

        Args:
            index: of the image in `source.test`.
            boxes: [D, 4], [top, left, bottom, right] in pixels of the original image.
            scores: [D]; only their order counts.
            classes: integers [D] in [0, K).

        Raises:
            ValueError: an argument has another shape or range, a number is NaN or infinite, or the image has
                detections already.
        """
        boxes, scores, classes = np.asarray(boxes, np.float64), np.asarray(scores, np.float64), np.asarray(classes)
        index, count, num_classes = int(index), len(scores), self.source.num_classes
        if boxes.shape != (count, 4) or scores.shape != (count,) or classes.shape != (count,):
            raise ValueError(
                f"boxes, scores and classes must have the shapes [D, 4], [D] and [D], got {list(boxes.shape)}, "
                f"{list(scores.shape)} and {list(classes.shape)}"
            )
        if not 0 <= index < self.source.num_test:
            raise ValueError(f"index must lie in [0, {self.source.num_test}), got {index}")
        if index in self._found:
            raise ValueError(f"image {self.source.test.ids[index]!r} must be evaluated once, got it again")
        if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
            raise ValueError(f"boxes and scores must be finite, got NaN or infinity in image {index}")
        if (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError(f"boxes must be [top, left, bottom, right], got one that ends before it begins: {boxes}")
        if count and not (
            np.issubdtype(classes.dtype, np.integer) and 0 <= classes.min() <= classes.max() < num_classes
        ):
            raise ValueError(f"classes must be integers in [0, {num_classes}), got {classes.dtype} {classes}")
        best = np.argsort(-scores, kind="stable")[:MAX_DETECTIONS]
        columns = (boxes[best].astype(np.float32), scores[best], classes[best].astype(np.int32))
        self._found[index] = columns

    def add_batch(
        self,
        places: Mapping[str, np.ndarray],
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        num: np.ndarray,
    ) -> None:
        """Adds the detections of a batch of `batches.test_batches`.

        Args:
            places: the second element of the batch, of N images.
            boxes: [N, D, 4], [top, left, bottom, right] in pixels of the batch's images.
            scores: [N, D].
            classes: integers [N, D].
            num: integers [N], number of detections of each image; what follows them is padding.

        Raises:
            ValueError: as `add`.
        """
        originals = to_original(places, boxes)
        for row, (index, count) in enumerate(zip(np.asarray(places["index"]), np.asarray(num), strict=True)):
            columns = (np.asarray(column[row])[:count] for column in (originals, scores, classes))
            self.add(int(index), *columns)

    def found(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the detections in an image, by falling score.

        Args:
            index: of the image in `source.test`.

        Returns:
            boxes float32 [D, 4], [top, left, bottom, right] in pixels of the original image;
            scores float64 [D];
            classes int32 [D].

        Raises:
            ValueError: the image was not evaluated.
        """
        if index not in self._found:
            raise ValueError(f"image {index} of the test images was not evaluated")
        return self._found[index]

    def measures(self) -> Measures:
        """Returns the measures of all images.

        Raises:
            ValueError: an image was not evaluated.
        """
        self._check_complete()
        with doing(f"comparing the detections in {counted(self.source.num_test, 'image')}"), _silent():
            from pycocotools.cocoeval import COCOeval

            evaluation = COCOeval(self._truth(), self._detections(), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        stats, found, params = evaluation.stats, evaluation.eval, evaluation.params
        # Of IoU thresholds, recalls, classes, [all areas, ...], [..., 100 detections].
        precision, scores = (
            np.where(found["precision"] < 0, np.nan, found[n])[..., 0, -1] for n in ("precision", "scores")
        )
        recall = np.where(found["recall"] < 0, np.nan, found["recall"])[:, :, 0, -1]
        return Measures(
            {name: _number(value) for name, value in zip(NUMBERS, stats, strict=True)},
            self._per_class(precision, recall),
            np.array(params.iouThrs),
            np.array(params.recThrs),
            precision,
            scores,
        )

    def official(self) -> list[dict]:
        """Returns the detections in COCO's form of results, https://cocodataset.org/#format-results.

        Image and category ids are those of the data; boxes are [x, y, width, height].

        Raises:
            ValueError: an image was not evaluated.
        """
        self._check_complete()
        ids, categories = self.source.test.ids, self.source.category_ids
        return [
            {"image_id": ids[index], "category_id": categories[label], "bbox": box, "score": score}
            for index, label, box, score in self._rows()
        ]

    def write_official(self, path: str | os.PathLike) -> None:
        """Writes `official` to a JSON file, as COCO's server and pycocotools read it."""
        with whole(path) as temporary:
            temporary.write_text(json.dumps(self.official()))

    def _check_complete(self) -> None:
        missing = self.source.num_test - len(self._found)
        if missing:
            raise ValueError(
                f"all {counted(self.source.num_test, 'test image')} must be evaluated, also those without boxes or "
                f"detections; {missing:,} were not"
            )

    def _rows(self) -> Iterator[tuple[int, int, list[float], float]]:
        """Yields (index of the image, class, [x, y, width, height], score) of each detection."""
        for index in range(self.source.num_test):
            for corners, score, label in zip(*(column.tolist() for column in self._found[index]), strict=True):
                yield index, label, _xywh(corners), score

    def _truth(self):
        rows = []
        for index, boxes in enumerate(self.source.test.boxes):
            columns = (boxes.corners, boxes.labels, boxes.ignored, boxes.areas)
            for corners, label, ignored, area in zip(*(column.tolist() for column in columns), strict=True):
                rows.append(self._row(len(rows), index, label, _xywh(corners), area=area, iscrowd=int(ignored)))
        return self._coco(rows)

    def _detections(self):
        """Returns the detections as pycocotools's `loadRes` does, which fails if there are none."""
        rows = []
        for index, label, box, score in self._rows():
            rows.append(self._row(len(rows), index, label, box, area=box[2] * box[3], iscrowd=0, score=score))
        return self._coco(rows)

    def _row(self, number: int, index: int, label: int, box: list[float], **others) -> dict:
        # Ids from 1 on: pycocotools takes a match with the id 0 for none.
        return {"id": number + 1, "image_id": index + 1, "category_id": label + 1, "bbox": box, **others}

    def _coco(self, rows: list[dict]):
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset = {
            "images": [{"id": index + 1} for index in range(self.source.num_test)],
            "categories": [{"id": label + 1} for label in range(self.source.num_classes)],
            "annotations": rows,
        }
        coco.createIndex()
        return coco

    def _per_class(self, precision: np.ndarray, recall: np.ndarray) -> list[dict]:
        counts = np.zeros((self.source.num_classes, 2), np.int64)
        for boxes in self.source.test.boxes:
            np.add.at(counts, (boxes.labels, boxes.ignored.astype(int)), 1)
        return [
            {
                "class": name,
                "boxes": int(counts[k, 0]),
                "ignored": int(counts[k, 1]),
                "AP": _number(precision[:, :, k].mean()),
                "AP50": _number(precision[0, :, k].mean()),
                "AP75": _number(precision[5, :, k].mean()),
                "AR_100": _number(recall[:, k].mean()),
            }
            for k, name in enumerate(self.source.class_names)
        ]


def _xywh(corners: list[float]) -> list[float]:
    top, left, bottom, right = corners
    return [left, top, right - left, bottom - top]


def _number(value: float) -> float | None:
    """Returns a measure, None for what pycocotools marks as undefined by -1, or is NaN here."""
    return float(value) if value >= 0 else None


def _formatted(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _silent() -> contextlib.AbstractContextManager:
    """Hides what pycocotools prints."""
    return contextlib.redirect_stdout(io.StringIO())
