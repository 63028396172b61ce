"""The worst mistakes, curves and bars, on a toy task whose mistakes are known."""

import csv
import dataclasses

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image

from bit_keras.data.examples import Examples
from bit_keras.detection.data.annotations import Annotated, Boxes, DetectionSource
from bit_keras.detection.evaluation import curves, mistake_pictures, mistakes, report
from bit_keras.detection.evaluation.coco import Evaluator
from bit_keras.detection.evaluation.mistake_pictures import FOUND, TRUE, cut_out
from bit_keras.figures import drawing

pytestmark = pytest.mark.any_backend
NAMES = ("$a_b$", "鳥", "c")
# Of each image: (class, top, left, bottom, right, ignored).
TRUTH = [
    [(0, 10, 10, 60, 60, False), (1, 100, 100, 180, 180, False)],
    [(1, 20, 20, 40, 40, False), (0, 100, 0, 200, 200, True)],
    [],
]
# (class, top, left, bottom, right, score).
DETECTIONS = [
    [
        (0, 10, 10, 60, 58, 0.9),  # right
        (0, 12, 10, 60, 60, 0.85),  # the same object once more: none of the mistakes here
        (0, 100, 100, 180, 180, 0.8),  # where there is class 1
        (1, 100, 100, 180, 180, 0.2),  # right, but with a low score
    ],
    [
        (0, 110, 10, 130, 30, 0.95),  # in the ignored box: neither right nor wrong
        (1, 20, 20, 29, 40, 0.7),  # IoU 0.45
    ],
    [(2, 150, 250, 190, 290, 0.4)],  # nothing there
]


def _source(truth=TRUTH, names=NAMES, size=(200, 300)) -> DetectionSource:
    boxes = []
    for rows in truth:
        corners = np.array([row[1:5] for row in rows], np.float32).reshape(-1, 4)
        labels, ignored = (np.array([row[k] for row in rows], kind) for k, kind in ((0, np.int32), (5, bool)))
        areas = (corners[:, 2:] - corners[:, :2]).prod(-1).astype(np.float64)
        boxes.append(Boxes(corners, labels, ignored, areas))
    count = len(truth)
    images = Examples(np.full((count, *size, 3), 50, np.uint8), np.zeros(count, np.int64))
    split = Annotated(images, tuple(boxes), tuple(f"{k}/$x$.png" for k in range(count)), np.array([size] * count))
    attributes = {"name": "toy", "class_names": names, "image_size": size, "train": split, "test": split}
    return DetectionSource(**attributes, identity={}, category_ids=tuple(range(1, len(names) + 1)))


def _evaluator(found=DETECTIONS, source=None) -> Evaluator:
    evaluator = Evaluator(source or _source())
    for index, rows in enumerate(found):
        boxes = np.array([row[1:5] for row in rows], np.float64).reshape(-1, 4)
        evaluator.add(index, boxes, np.array([row[5] for row in rows], float), np.array([row[0] for row in rows], int))
    return evaluator


def test_false_alarms():
    found = mistakes.false_alarms(_evaluator(), 10)
    assert [(each.index, each.label, each.score, each.other) for each in found] == [
        (0, 0, 0.8, 1),
        (1, 1, 0.7, None),
        (2, 2, 0.4, None),
    ]
    np.testing.assert_array_equal(found[0].box, [100, 100, 180, 180])
    assert [each.score for each in mistakes.false_alarms(_evaluator(), 2)] == [0.8, 0.7]


def test_misses():
    found = mistakes.misses(_evaluator(), 10, 0.3)
    assert [(each.index, each.label, each.score, each.other) for each in found] == [(0, 1, None, 0), (1, 1, None, None)]
    np.testing.assert_array_equal(found[0].box, [100, 100, 180, 180])
    assert [each.index for each in mistakes.misses(_evaluator(), 10, 0.1)] == [1], "then it is found"
    assert [each.index for each in mistakes.misses(_evaluator(), 1, 0.3)] == [0], "the largest"
    assert len(mistakes.misses(_evaluator([[], [], []]), 10, 0)) == 3, "all but the ignored one"


def test_overlaps_are_those_of_coco():
    boxes, truth = np.array([[0, 0, 10, 10]], np.float32), np.array([[0, 0, 10, 20], [5, 5, 15, 15]], np.float32)
    np.testing.assert_allclose(mistakes.overlap(boxes, truth, np.array([False, False])), [[0.5, 25 / 175]])
    np.testing.assert_allclose(mistakes.overlap(boxes, truth, np.array([True, True])), [[1, 0.25]])
    assert mistakes.overlap(boxes, truth[:0], np.zeros(0, bool)).shape == (1, 0)


def _texts(figure) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_pictures_of_mistakes():
    alarms = mistake_pictures.false_alarms(_evaluator())
    assert _texts(alarms).split("\n") == [
        *("$a_b$ 0.80", "in truth 鳥", "image $x$.png"),
        *("鳥 0.70", "no object there", "image $x$.png"),
        *("c 0.40", "no object there", "image $x$.png"),
    ]
    misses = mistake_pictures.worst_misses(_evaluator())
    assert _texts(misses).split("\n") == [
        *("鳥 80x80 pixels", "found as $a_b$", "image $x$.png"),
        *("鳥 20x20 pixels", "not found", "image $x$.png"),
    ]
    assert not any(text.get_parse_math() for axes in misses.axes for text in axes.texts)
    # The second miss, of 20 pixels, in a part of 96 pixels that is drawn with 440: a thick blue frame around it, and
    # the detection in it in orange.
    picture = misses.axes[0].images[1].get_array()
    assert picture.shape == (440, 440, 3)
    scale = 440 / 96
    np.testing.assert_array_equal(picture[round(30 * scale), round(20 * scale) - 4], TRUE)
    np.testing.assert_array_equal(picture[round(29 * scale) + 3, round(30 * scale)], FOUND)
    np.testing.assert_array_equal(picture[round(35 * scale), round(30 * scale)], [50] * 3)


def test_pictures_name_files_rather_than_ids(tmp_path):
    source = _source()
    files = np.array([str(tmp_path / f"{name}.png") for name in "abc"], object)
    for file, image in zip(files, source.test.images.images, strict=True):
        Image.fromarray(image).save(file)
    images = Examples(files, source.test.images.labels, in_files=True)
    split = dataclasses.replace(source.test, images=images, ids=(17, 4, 33))
    alarms = mistake_pictures.false_alarms(_evaluator(source=dataclasses.replace(source, test=split)))
    assert _texts(alarms).split("\n")[2::3] == ["image a.png", "image b.png", "image c.png"]


def test_parts_of_images():
    image = np.arange(200 * 300, dtype=np.uint32).reshape(200, 300, 1).astype(np.uint8).repeat(3, -1)
    part, (top, left) = cut_out(image, np.array([100, 150, 120, 160], np.float32))
    assert part.shape == (96, 96, 3)
    assert (top, left) == (110 - 48, 155 - 48)
    np.testing.assert_array_equal(part, image[62:158, 107:203])
    part, place = cut_out(image, np.array([180, 280, 200, 300], np.float32))
    assert place == (104, 204), "at the border it is moved into the image"
    part, place = cut_out(image, np.array([0, 0, 150, 150], np.float32))
    assert part.shape == (300, 300, 3)
    assert place == (0, 0)
    assert (part[200:] == 200).all(), "grey beyond the image"
    np.testing.assert_array_equal(part[:200], image)


def test_without_mistakes_a_sentence_says_so(tmp_path):
    right = [[(*row[:5], 0.9) for row in rows if not row[5]] for rows in TRUTH]
    evaluator = _evaluator(right)
    figures = report.of_detections(evaluator, evaluator.measures())
    assert figures["false_alarms"]().get_suptitle() == "no false alarms"
    assert figures["worst_misses"]().get_suptitle() == "all objects are found with a score above 0.3"
    nothing = _evaluator([[], []], _source([[], []]))
    figures = report.of_detections(nothing, nothing.measures())
    for name in ("precision_recall", "class_ap"):
        assert figures[name]().get_suptitle() == "no boxes in the test images"
    assert drawing.save_all(tmp_path, figures) == []


def test_curves_and_bars():
    measures = _evaluator().measures()
    figure = curves.precision_recall(measures)
    for axes, threshold in zip(figure.axes, (0, 5), strict=True):
        *of_classes, mean = (line.get_ydata() for line in axes.lines)
        np.testing.assert_array_equal(of_classes, measures.precision[threshold][:, [1, 0]].T)  # the most boxes first
        np.testing.assert_allclose(mean, measures.precision[threshold][:, :2].mean(1))
    assert figure.axes[0].get_title() == f"IoU 0.50: average precision {measures.numbers['AP50']:.3f}"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["all classes", "$a_b$", "鳥"]
    assert not any(text.get_parse_math() for text in figure.legends[0].get_texts())
    bars = curves.class_ap(measures)
    assert [text.get_text() for text in bars.axes[0].get_yticklabels()] == ["鳥 (2)", "$a_b$ (1)"]
    widths = [patch.get_width() for patch in bars.axes[0].patches]
    rows = {row["class"]: row for row in measures.per_class}
    assert widths == [rows[name][column] for column in ("AP50", "AP") for name in ("鳥", "$a_b$")]


def test_many_classes():
    """Of 50 classes the worst 40 have a bar; the first ones are found worst. Ten have a curve."""
    names = tuple(f"class {k}" for k in range(50))
    truth = [[(k, 0, 0, 100, 100, False)] * (1 + (k == 7)) for k in range(50)]
    found = [[(k, 0, 0, 100, 50 + k, 0.9)] for k in range(50)]
    measures = _evaluator(found, _source(truth, names)).measures()
    figure = curves.class_ap(measures)
    assert figure.axes[0].get_title() == "the worst 40 of 50 classes"
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) == 40
    assert "class 7 (2)" in labels
    assert "class 49 (1)" not in labels
    figure = curves.precision_recall(measures)
    assert len(figure.axes[0].lines) == 11
    assert figure.axes[0].lines[0].get_label() == "class 7"
    assert figure.legends[0].get_title().get_text() == "10 classes\nwith most boxes"


def test_files_of_a_report(tmp_path):
    evaluator = _evaluator()
    measures = evaluator.measures()
    report.write_classes(tmp_path / "classes.csv", measures)
    with open(tmp_path / "classes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(NAMES)
    assert [(row["boxes"], row["ignored"]) for row in rows] == [("1", "1"), ("2", "0"), ("0", "0")]
    assert float(rows[0]["AP50"]) == measures.per_class[0]["AP50"]
    assert rows[2]["AP"] == ""
    assert drawing.save_all(tmp_path, report.of_detections(evaluator, measures)) == []
    for name in ("precision_recall", "class_ap", "worst_misses", "false_alarms"):
        assert np.std(imread(tmp_path / f"{name}.png")) > 0.01


def test_detections_of_an_image_that_was_not_evaluated():
    evaluator = _evaluator()
    boxes, scores, _ = evaluator.found(0)
    assert len(boxes) == 4
    assert (np.diff(scores) <= 0).all()
    with pytest.raises(ValueError, match="image 1 of the test images was not evaluated"):
        Evaluator(dataclasses.replace(_source())).found(1)
