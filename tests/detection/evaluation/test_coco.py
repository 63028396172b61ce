"""Average precision, compared with numbers by hand and with pycocotools on files in COCO's form."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bit_keras.data.examples import Examples
from bit_keras.detection.data import batches
from bit_keras.detection.data.annotations import Annotated, Boxes, DetectionSource
from bit_keras.detection.evaluation.coco import NUMBERS, Evaluator
from bit_keras.detection.evaluation.measuring import detections
from bit_keras.detection.network.anchors import anchor_count

pytestmark = pytest.mark.any_backend


def _source(images: list[list[tuple]], names=("a", "b", "c"), size=(200, 300), **changes) -> DetectionSource:
    """Returns a source of black images with boxes (label, top, left, bottom, right[, ignored[, area]])."""
    boxes = []
    for rows in images:
        rows = [(*row, *(False, None)[len(row) - 5 :]) for row in rows]
        corners = np.array([row[1:5] for row in rows], np.float32).reshape(-1, 4)
        areas = [(row[3] - row[1]) * (row[4] - row[2]) if row[6] is None else row[6] for row in rows]
        labels = np.array([row[0] for row in rows], np.int32)
        boxes.append(Boxes(corners, labels, np.array([row[5] for row in rows], bool), np.array(areas, np.float64)))
    count = len(images)
    pixels = np.zeros((count, *size, 3), np.uint8)
    split = Annotated(
        Examples(pixels, np.zeros(count, np.int64)),
        tuple(boxes),
        tuple(range(70, 70 + count)),
        np.array([size] * count),
    )
    return DetectionSource(
        name="toy",
        class_names=names,
        image_size=size,
        train=split,
        test=split,
        identity={"kind": "toy"},
        category_ids=(4, 9, 23)[: len(names)],
        **changes,
    )


def _measures(source: DetectionSource, found: list[list[tuple]]):
    """Evaluates detections (label, top, left, bottom, right, score) of each image."""
    evaluator = Evaluator(source)
    for index, rows in enumerate(found):
        boxes = np.array([row[1:5] for row in rows], np.float64).reshape(-1, 4)
        evaluator.add(index, boxes, np.array([row[5] for row in rows], float), np.array([row[0] for row in rows], int))
    return evaluator.measures()


def test_by_hand():
    """Class a: right, wrong, right of three boxes. Precision 1 up to recall 1/3, 2/3 up to 2/3, then 0.

    Of the recalls 0, 0.01, ... 1 the first 34 are up to 1/3, the next 33 up to 2/3. Class b is found with an IoU of
    0.6, 60 of 100 columns: at the thresholds 0.5, 0.55 and 0.6. Class c has no box.
    """
    source = _source([[(0, 0, 0, 50, 50), (0, 100, 100, 150, 150)], [(0, 10, 10, 60, 90), (1, 100, 0, 150, 100)], []])
    found = [
        [(0, 0, 0, 50, 50, 0.9), (0, 0, 200, 50, 250, 0.8)],
        [(0, 10, 10, 60, 90, 0.7), (1, 100, 0, 150, 60, 0.6)],
        [],
    ]
    measures = _measures(source, found)
    of_a = (34 * 1 + 33 * 2 / 3) / 101
    assert measures.per_class[0]["AP"] == pytest.approx(of_a)
    assert measures.per_class[0]["AR_100"] == pytest.approx(2 / 3)
    assert measures.per_class[1]["AP50"] == pytest.approx(1)
    assert measures.per_class[1]["AP"] == pytest.approx(3 / 10)
    assert measures.per_class[1]["AP75"] == 0
    assert [measures.per_class[2][name] for name in ("AP", "AP50", "AP75", "AR_100", "boxes")] == [None] * 4 + [0]
    assert measures.numbers["AP"] == pytest.approx((of_a + 0.3) / 2)
    assert measures.numbers["AP50"] == pytest.approx((of_a + 1) / 2)
    assert measures.numbers["AP75"] == pytest.approx(of_a / 2)
    assert measures.numbers["AR_1"] == pytest.approx((2 / 3 + 3 / 10) / 2)
    assert measures.numbers["AP_small"] is None
    assert measures.numbers["AP_large"] is None, "50x50, 50x80 and 50x100 pixels are medium, up to 96x96"
    assert measures.numbers["AP_medium"] == pytest.approx(measures.numbers["AP"])
    assert measures.precision.shape == (10, 101, 3)
    np.testing.assert_allclose(measures.precision[5, :, 0], [1] * 34 + [2 / 3] * 33 + [0] * 34)
    assert np.isnan(measures.precision[:, :, 2]).all()
    np.testing.assert_allclose(measures.scores[0, [0, 40, 80], 0], [0.9, 0.7, 0])
    assert measures.lines()["average precision, IoU 0.75"] == f"{of_a / 2:.4f}"
    assert measures.lines()["average precision of objects above 96x96 pixels"] == "undefined"
    assert list(measures.numbers) == list(NUMBERS)


def test_ignored_boxes_count_neither_as_found_nor_as_missed():
    rows = [(0, 0, 0, 50, 50), (0, 100, 100, 180, 280, True)]
    inside = (0, 110, 110, 150, 150, 0.95)  # in the ignored box, of which it is a small part
    source = _source([rows])
    assert _measures(source, [[(0, 0, 0, 50, 50, 0.9), inside, inside]]).numbers["AP"] == pytest.approx(1)
    assert _measures(source, [[(0, 0, 0, 50, 50, 0.9)]]).numbers["AP"] == pytest.approx(1)
    assert _measures(_source([rows[:1]]), [[(0, 0, 0, 50, 50, 0.9), inside]]).numbers["AP"] == pytest.approx(0.5)
    assert _measures(source, [[inside]]).per_class[0] == {
        "class": "a", "boxes": 1, "ignored": 1, "AP": 0, "AP50": 0, "AP75": 0, "AR_100": 0
    }  # fmt: skip


def test_sizes_are_those_of_the_areas():
    source = _source([[(0, 0, 0, 50, 50, False, 1000), (1, 0, 100, 20, 120), (2, 0, 0, 200, 300)]])
    numbers = _measures(source, [[(0, 0, 0, 50, 50, 0.9), (2, 0, 0, 200, 300, 0.3)]]).numbers
    assert numbers["AR_small"] == pytest.approx(1 / 2)
    assert numbers["AR_medium"] is None
    assert numbers["AP_large"] == pytest.approx(1)


@pytest.mark.parametrize("rows", [[], [(0, 0, 0, 50, 50)], [(0, 0, 0, 50, 50, True)]])
def test_no_detections_and_no_boxes_are_defined(rows, capsys):
    source = _source([rows, []])
    numbers = _measures(source, [[], []]).numbers
    assert numbers["AP"] == (0 if rows == [(0, 0, 0, 50, 50)] else None)
    assert _measures(source, [[], [(1, 0, 0, 9, 9, 0.5)]]).numbers["AP"] == numbers["AP"]
    assert capsys.readouterr().out == ""


def test_official_files_give_the_same_numbers(tmp_path):
    random = np.random.default_rng(0)
    truth, found = [], []
    for _ in range(12):
        corner = random.integers(0, [100, 150], (random.integers(0, 6), 2))
        boxes = np.concatenate([corner, corner + random.integers(4, [100, 150], corner.shape)], axis=1)
        labels = random.integers(0, 3, len(boxes))
        ignored = random.random(len(boxes)) < 0.15
        truth.append([(label, *box, bool(skip)) for label, box, skip in zip(labels.tolist(), boxes.tolist(), ignored)])
        moved = boxes + random.normal(0, 4, boxes.shape)
        moved = np.concatenate([moved[:, :2], np.maximum(moved[:, 2:], moved[:, :2] + 1)], axis=1)
        moved = np.concatenate([moved, moved[: len(moved) // 2] + 30])
        guessed = np.concatenate([labels, labels[: len(labels) // 2]])
        found.append([(label, *box, random.random()) for label, box in zip(guessed.tolist(), moved.tolist())])
    source = _source(truth)
    evaluator = Evaluator(source)
    for index, rows in enumerate(found):
        columns = np.array(rows).reshape(-1, 6)
        evaluator.add(index, columns[:, 1:5], columns[:, 5], columns[:, 0].astype(int))
    measures = evaluator.measures()
    evaluator.write_official(tmp_path / "results.json")

    annotations = [
        {
            "id": number + 1,
            "image_id": 70 + index,
            "category_id": source.category_ids[label],
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": int(ignored),
        }
        for number, (index, (label, top, left, bottom, right, ignored)) in enumerate(
            (index, row) for index, rows in enumerate(truth) for row in rows
        )
    ]
    content = {
        "images": [{"id": 70 + index} for index in range(12)],
        "categories": [{"id": number, "name": name} for number, name in zip(source.category_ids, "abc")],
        "annotations": annotations,
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO(str(tmp_path / "truth.json"))
        official = COCOeval(expected, expected.loadRes(str(tmp_path / "results.json")), "bbox")
        official.evaluate()
        official.accumulate()
        official.summarize()
    ours = [-1 if value is None else value for value in measures.numbers.values()]
    np.testing.assert_allclose(ours, official.stats, atol=1e-9)
    assert 0.1 < measures.numbers["AP"] < 0.9


def test_batches_are_mapped_to_the_original_images():
    source = _source([[(0, 20, 30, 110, 240)], [(1, 5, 5, 150, 200)], []])
    evaluator = Evaluator(source)
    for images, places in batches.test_batches(source, batch_size=2, size=64):
        truth = [source.test.boxes[index] for index in places["index"]]
        detected = np.zeros((len(images), 4, 4))
        num = np.array([len(boxes) for boxes in truth])
        for row, boxes in enumerate(truth):
            detected[row, : num[row]] = boxes.corners * np.tile(places["scale"][row], 2)
            detected[row, num[row] :] = np.nan  # padding is not read
        classes = np.array([[*boxes.labels, *[77] * (4 - len(boxes))] for boxes in truth])
        evaluator.add_batch(places, detected, np.ones((len(images), 4)), classes, num)
    assert evaluator.measures().numbers["AP"] == pytest.approx(1)


def test_images_whose_outputs_are_nan_are_named(caplog):
    source = _source([[(0, 20, 30, 110, 240)], [(1, 5, 5, 150, 200)], []])
    anchors = anchor_count(64, 64)

    class Faulty:
        calls = 0

        def predict_on_batch(self, images):
            outputs = {"class": np.full((len(images), anchors, 2), -9.0), "box": np.zeros((len(images), anchors, 4))}
            outputs["box" if self.calls else "class"][-1, 7] = np.nan
            self.calls += 1
            return outputs

    detections(Faulty(), source, batch_size=2, size=64)
    named = ", ".join(str(source.test.ids[index]) for index in (1, 2))
    assert f"NaN or infinite for 2 images, in which it finds nothing: {named}" in caplog.text


def test_only_the_best_hundred_count():
    source = _source([[(0, 0, 0, 50, 50)]])
    rows = [(0, 100, 100, 150, 150, 0.5)] * 100 + [(0, 0, 0, 50, 50, 0.4)]
    assert _measures(source, [rows]).numbers["AP"] == 0
    assert _measures(source, [rows[1:]]).numbers["AP"] == pytest.approx(0.01)


def test_errors():
    evaluator, box = Evaluator(_source([[(0, 0, 0, 50, 50)], []])), np.array([[0, 0, 5, 5.0]])
    faults = {
        r"shapes \[D, 4\]": (0, np.zeros((1, 5)), [1.0], [0]),
        r"index must lie in \[0, 2\), got 2": (2, box, [1.0], [0]),
        "must be finite, got NaN or infinity in image 1": (1, box, [np.nan], [0]),
        "ends before it begins": (1, box[:, ::-1] + [[0, 9, 0, 0]], [1.0], [0]),
        r"classes must be integers in \[0, 3\), got int64 \[3\]": (1, box, [1.0], [3]),
        "classes must be integers": (1, box, [1.0], [0.5]),
    }
    for message, arguments in faults.items():
        with pytest.raises(ValueError, match=message):
            evaluator.add(*arguments)
    evaluator.add(0, box, [1.0], [0])
    with pytest.raises(ValueError, match="image 70 must be evaluated once"):
        evaluator.add(0, box, [1.0], [0])
    for method in (evaluator.measures, evaluator.official):
        with pytest.raises(ValueError, match=r"all 2 test images must be evaluated, .*; 1 were not"):
            method()
