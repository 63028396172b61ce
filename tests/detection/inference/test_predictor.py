"""Objects found in images of all kinds, in pixels of the upright image; the program and its results."""

import contextlib
import io
import json

import keras
import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image
from pycocotools.coco import COCO

from bit_keras import detection
from bit_keras.checkpoints import CheckpointError
from bit_keras.checkpoints.card import Card
from bit_keras.data.errors import DataError
from bit_keras.detection.evaluation.measuring import detections
from bit_keras.detection.inference import predictor as inference
from bit_keras.detection.inference import results
from bit_keras.detection.inference.found import Found
from bit_keras.detection.inference.opening import open_detector
from bit_keras.detection.inference.predictor import DetectionPredictor
from bit_keras.detection.inference.results import CocoIds
from bit_keras.detection.network.anchors import anchor_boxes
from bit_keras.detection.network.detector import TASK, Detector, save_npz

pytestmark = [pytest.mark.any_backend, pytest.mark.usefixtures("three_blocks")]
SIZE = 64
NAMES = ("cat", "dog", "cow")
RECTANGLE = [8, 30, 24, 50]


def _detector(variant: str = "three_blocks", class_names=NAMES) -> Detector:
    """Returns a detector with random weights that finds many boxes."""
    keras.utils.set_random_seed(0)
    detector = Detector(variant, 3, width=32, depth=1)
    (bias,) = (weight for weight in detector.weights if weight.path == "class_head_prediction_conv2d/bias")
    bias.assign(np.linspace(-2, 2, bias.shape[0]))
    detector.card = Card(variant=variant, task=TASK, class_names=class_names, resolution=SIZE)
    return detector


@pytest.fixture(scope="module")
def detector(three_blocks):
    return _detector()


class _Seeing:
    """A network whose only box is exactly around all dark pixels, of class 1 and score 0.88.

    What the real one sees is as random as its weights.
    """

    def predict_on_batch(self, images):
        anchors = np.asarray(keras.ops.convert_to_numpy(anchor_boxes(*images.shape[1:3])))
        logits = np.full((len(images), len(anchors), 3), -20, np.float32)
        deltas = np.zeros((len(images), len(anchors), 4), np.float32)
        for number, image in enumerate(images):
            rows, columns = (np.flatnonzero((image[..., 0] < -0.01).any(axis)) for axis in (1, 0))
            if np.isnan(image).any():
                logits[number] = np.nan
            elif rows.size:
                box = np.array([[rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]], np.float32)
                encoded = keras.utils.bounding_boxes.encode_box_to_deltas(anchors[:1], box, "yxyx", "yxyx")
                deltas[number, 0] = keras.ops.convert_to_numpy(encoded)[0]
                logits[number, 0, 1] = 2
        return {"class": logits, "box": deltas}


@pytest.fixture
def seeing(detector, monkeypatch):
    """A predictor that sees the rectangle of `_scene`, which is darker than the padding and everything else."""
    monkeypatch.setattr(inference, "folded", lambda model: _Seeing())
    return DetectionPredictor(detector, batch_size=4)


def _scene() -> np.ndarray:
    """A grey rectangle on white, 40 x 60 pixels."""
    image = np.full((40, 60, 3), 255, np.uint8)
    top, left, bottom, right = RECTANGLE
    image[top:bottom, left:right] = 100
    return image


def test_boxes_are_in_pixels_of_the_upright_image(seeing, tmp_path):
    scene = _scene()
    Image.fromarray(scene).save(tmp_path / "0.png")
    for orientation, turned in {3: scene[::-1, ::-1], 6: np.rot90(scene), 5: scene.transpose(1, 0, 2)}.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(turned)).save(tmp_path / f"{orientation}.jpg", exif=exif, quality=100)
    Image.fromarray(scene).convert("L").save(tmp_path / "7.png")
    Image.fromarray(np.repeat(np.repeat(scene, 5, 0), 5, 1)).save(tmp_path / "8.png")
    rows = list(seeing.iterate([tmp_path, scene, Image.fromarray(scene)]))
    files = ("0.png", "3.jpg", "5.jpg", "6.jpg", "7.png", "8.png")
    assert [row.file for row in rows[:-2]] == [str(tmp_path / name) for name in files]
    for row in rows:
        times = 5 if row.file.endswith("8.png") else 1
        assert row.error is None
        assert row.size == (40 * times, 60 * times)
        assert (row.names, row.classes) == (("dog",), (1,))
        assert row.scores == pytest.approx([1 / (1 + np.exp(-2))])
        assert row.boxes.dtype == np.float32
        np.testing.assert_allclose(row.boxes, [np.array(RECTANGLE) * times], atol=2 * times)  # 60 pixels became 64


def test_what_cannot_be_read_is_a_row_with_the_reason(seeing, tmp_path):
    Image.fromarray(np.full((1, 1, 3), 255, np.uint8)).save(tmp_path / "1x1.png")
    Image.fromarray(np.full((1, 900, 3), 255, np.uint8)).save(tmp_path / "thin.png")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").touch()
    named = [tmp_path / name for name in ("text.jpg", "1x1.png", "empty.png", "thin.png", "no.png")]
    rows = list(seeing.iterate([*named, tmp_path / "*.tif"]))
    assert [row.error is None for row in rows] == [False, True, False, True, False, False]
    assert [rows[k].size for k in (1, 3)] == [(1, 1), (1, 900)]
    assert rows[4].error == "no such file"
    assert rows[5].error == "no file matches this pattern"
    for row in rows:
        assert len(row) == 0
        assert row.boxes.shape == (0, 4)
        assert json.loads(json.dumps(row.to_dict()))["objects"] == []


def test_values_that_are_not_finite_are_errors(seeing):
    values = np.stack([_scene(), _scene()]).astype(np.float32)
    bad = np.full((40, 60, 3), np.inf, np.float32)
    with pytest.raises(ValueError, match="must be in value_range"):
        list(seeing.iterate(bad, value_range=(0, 255)))

    class Half(_Seeing):
        def predict_on_batch(self, images):
            outputs = super().predict_on_batch(images)
            outputs["box"][1, 5] = np.nan
            return outputs

    seeing._network = Half()
    good, wrong = seeing.iterate(values, value_range=(0, 255))
    assert good.error is None
    assert len(good) == 1
    assert wrong.error == "the network's outputs for it are NaN or infinite"


def test_the_function(seeing, detector, tmp_path):
    Image.fromarray(_scene()).save(tmp_path / "$a.png")
    (tmp_path / "b.png").touch()
    good, bad = detection.predict(detector, tmp_path, batch_size=3, with_content=True, verbose=False)
    assert (good.file, good.names, len(good)) == (str(tmp_path / "$a.png"), ("dog",), 1)
    np.testing.assert_array_equal(good.pixels(), _scene())
    assert bad.error is not None
    (row,) = detection.predict(detector, [_scene()], score=0.89, verbose=False)
    assert (len(row), row.error) == (0, None), "its score is 0.88"


def test_it_finds_what_the_evaluation_finds(detector, write_coco):
    source = detection.open_dataset(f"coco:{write_coco()}", divide=False)
    predictor = DetectionPredictor(detector, score=0.05, batch_size=5)
    evaluator = detections(predictor._network, source, batch_size=5, size=SIZE)
    folder = write_coco().parent
    rows = list(predictor.iterate(folder))
    assert [row.file for row in rows] == [str(folder / f"{name}.png") for name in "abcde"]
    for index, number in enumerate(source.test.ids):
        row = rows[number - 100]
        boxes, scores, classes = evaluator.found(index)
        assert len(row) == len(scores) > 3
        np.testing.assert_allclose(row.boxes, boxes, atol=1e-3)
        np.testing.assert_allclose(row.scores, scores, atol=1e-5)
        np.testing.assert_array_equal(row.classes, classes)
        assert row.names == tuple(NAMES[k] for k in classes)
        assert row.size == tuple(source.test.sizes[index])


def test_weights_of_a_detector_and_nothing_else(seeing, detector, tmp_path, tiny_npz, caplog):
    save_npz(detector, tmp_path / "weights.npz")
    predictor = DetectionPredictor(tmp_path, resolution=96)
    assert (predictor.names, predictor.resolution) == (NAMES, 96)
    assert "96 pixels were asked for, but the weights are for 64" in caplog.text
    with pytest.raises(CheckpointError, match=r"tiny.npz must hold a detector, got a classifier"):
        open_detector(tiny_npz)
    with pytest.raises(TypeError, match="model must be the weight file of a detector"):
        DetectionPredictor(None)
    with pytest.raises(ValueError, match=r"score must be in \[0, 1\], got 2"):
        DetectionPredictor(detector, score=2.0)
    with pytest.raises(TypeError, match="scores"):
        detection.predict(detector, [], scores=0.5)
    card = detector.card
    detector.card = Card(variant=card.variant, task=TASK)
    with pytest.raises(ValueError, match="resolution must be given"):
        DetectionPredictor(detector)
    assert DetectionPredictor(detector, resolution=32).names == ("class 0", "class 1", "class 2")
    assert 'called "class 0" to "class 2"' in caplog.text
    detector.card = card


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with run/, of a detector of three classes, a/ and b/ with images of the same name, and ids.json."""
    root = tmp_path_factory.mktemp("place")
    save_npz(_detector("R17x0.5", ("$cat$", "鳥", "cow")), root / "run" / "weights.npz")
    (root / "run" / "config.json").write_text("{}")
    random = np.random.default_rng(0)
    for name in ("a/x.png", "b/x.jpg", "b/y.png", "b/$x$ 鳥.png"):
        (root / name).parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (30, 50, 3), np.uint8)).save(root / name)
    images = [{"id": 7 + k, "file_name": name} for k, name in enumerate(("a/x.png", "x.jpg", "$x$ 鳥.png", "y.png"))]
    categories = [{"id": number, "name": name} for number, name in ((90, "鳥"), (3, "cow"), (12, "$cat$"), (1, "more"))]
    content = {"images": images, "categories": categories, "annotations": []}
    (root / "ids.json").write_text(json.dumps(content))
    return root


def test_the_program(place, run_program):
    arguments = ("--model=run", "a", "no.png", "b", "--json=new/found.json", "--pictures=new/pictures", "--score=0.5")
    done = run_program("bit_keras.detection", "predict", *arguments, "--limit=3", folder=place)
    assert done.returncode == 0, done.stderr
    assert "warning: 1 of 5 images cannot be read" in done.stderr
    assert "detections in new/found.json" in done.stderr
    assert "pictures in new/pictures" in done.stderr
    found = json.loads((place / "new" / "found.json").read_text())
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[3] == ["no.png", "error:", "no", "such", "file"]
    assert len(lines) - 1 == len(found) == 4 * 3
    assert {entry["file_name"] for entry in found} == {"a/x.png", "b/y.png", "b/x.jpg", "b/$x$ 鳥.png"}
    for entry, line in zip(found, lines[:3] + lines[4:], strict=True):
        assert entry["image_id"] == entry["file_name"]
        assert " ".join(line).startswith(f"{entry['file_name']} {entry['category_name']} {entry['score']:.3f} left")
        assert entry["category_id"] == 1 + ["$cat$", "鳥", "cow"].index(entry["category_name"])
        left, top, width, height = entry["bbox"]
        assert line[-8:] == [
            *("left", f"{left:.0f}", "top", f"{top:.0f}"),
            *("right", f"{left + width:.0f}", "bottom", f"{top + height:.0f}"),
        ]
    pictures = {path.name: imread(path) for path in (place / "new" / "pictures").iterdir()}
    assert set(pictures) == {"x.png", "x-2.png", "y.png", "$x$_鳥.png"}
    assert {picture.shape for picture in pictures.values()} == {(30 * 11, 50 * 11, 3)}

    again = run_program("bit_keras.detection", "predict", *arguments, folder=place)
    assert again.returncode == 1
    assert "pictures must be a new or empty folder, got new/pictures" in again.stderr


def test_evaluation_on_boxes_of_some_classes(place, run_program):
    (place / "boxes.csv").write_text("image,label,xmin,ymin,xmax,ymax\na/x.png,cow,1,2,20,25\nb/y.png,cow,5,5,40,28\n")
    arguments = ("--model=run", "--dataset=boxes.csv", "--split=train", "--output=measures.json")
    done = run_program("bit_keras.detection", "evaluate", *arguments, folder=place)
    assert done.returncode == 0, done.stderr
    measures = json.loads((place / "measures.json").read_text())
    assert [row["class"] for row in measures["classes"]] == ["$cat$", "鳥", "cow"]
    assert measures["numbers"]["AP"] is not None
    done = run_program("bit_keras.detection", "evaluate", "--model=none.npz", "--dataset=no.csv", folder=place)
    assert (done.returncode, "no file is called 'none.npz'" in done.stderr) == (1, True), done.stderr


def test_ids_of_a_data_set(place, run_program):
    arguments = ("--model=run", "b/*x*", "a", "--json=ids/found.json", "--ids=ids.json", "--limit=2", "--score=0.1")
    done = run_program("bit_keras.detection", "predict", *arguments, folder=place)
    assert done.returncode == 0, done.stderr
    with contextlib.redirect_stdout(io.StringIO()):
        results = COCO(place / "ids.json").loadRes(str(place / "ids" / "found.json"))
    rows = results.dataset["annotations"]
    assert {row["file_name"]: row["image_id"] for row in rows} == {"a/x.png": 7, "b/x.jpg": 8, "b/$x$ 鳥.png": 9}
    assert {(row["category_name"], row["category_id"]) for row in rows} <= {("鳥", 90), ("cow", 3), ("$cat$", 12)}
    assert results.getImgIds() == [7, 8, 9, 10]


def test_ids_are_read_from_files_of_other_systems(tmp_path):
    content = {"images": [{"id": 5.0, "file_name": "train\\a.jpg"}], "categories": [{"id": 4, "name": "cow"}]}
    path = tmp_path / "ids.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    ids = CocoIds(path, ["cow"])
    assert json.dumps([ids.of_image("photos/train/a.jpg"), *ids.of_classes]) == "[5, 4]"


@pytest.mark.parametrize("what", ["images", "categories"])
def test_ids_must_be_of_one_image_or_class(what, tmp_path):
    twin = {"images": {"id": 6, "file_name": "a.jpg"}, "categories": {"id": 6, "name": "cow"}}
    content = {"images": [{"id": 5, "file_name": "a.jpg"}], "categories": [{"id": 4, "name": "cow"}]}
    content[what].append(twin[what])
    path = tmp_path / "ids.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"must name {what} once, got more than once: "):
        CocoIds(path, ["cow"])


def test_small_boxes_are_not_printed_as_empty():
    row = Found("a.png", np.array([[0, 0.5, 1, 1], [0, 10.4, 30, 20.6]], np.float32), (0.9, 0.8), ("a", "b"), (0, 1))
    small, large = results.lines([row])
    assert small.endswith("left 0.50  top 0.00  right 1.00  bottom 1.00")
    assert large.endswith("left 10  top 0  right 21  bottom 30")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--model=run"], 2, "name images: files, folders, patterns, addresses, or - for a list of them"),
        (["--model=run", "no.png", "--json=out.json"], 1, "error: none of the images can be read"),
        (["--model=run", "a", "--json=b"], 1, "a file is written, but b is a folder"),
        (["--model=run", "a", "--ids=ids.json"], 2, "--ids is for --json, which is not given"),
        (["--model=run", "run", "--json=out.json", "--ids=ids.json"], 1, "ids.json has no image run"),
        (["--model=a", "a"], 1, "a is a folder without weights: it must hold best.npz or weights.npz"),
        (["--model=run", "a", "--scores=1"], 2, "unknown flag --scores; did you mean score?"),
    ],
)
def test_errors_of_the_program(place, run_program, arguments, status, words):
    done = run_program("bit_keras.detection", "predict", *arguments, folder=place)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert (place / "out.json").exists() == ("no.png" in arguments)
    if "no.png" in arguments:
        assert json.loads((place / "out.json").read_text()) == []
    (place / "out.json").unlink(missing_ok=True)
