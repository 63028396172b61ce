"""Images to named classes, by a stub of a network and by golden weights."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

import bit_keras
from bit_keras import data
from bit_keras.checkpoints.card import Card
from bit_keras.evaluate import evaluator
from bit_keras.evaluate.evaluator import evaluate
from bit_keras.inference import predictor as module
from bit_keras.inference.predictor import Predictor
from bit_keras.network import class_names


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve files of two formats in two classes, some of them turned by EXIF."""
    root, random = tmp_path_factory.mktemp("data") / "birds", np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, k in itertools.product(("ant", "emu"), range(6)):
        (root / kind).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(random.integers(0, 256, (20, 30 + k, 3), np.uint8))
        image.save(root / kind / f"{k}.{'jpg' if k % 2 else 'png'}", **({"exif": exif} if k > 2 else {}))
    return root


CARD = Card(class_names=("ant", "emu", "owl"), resolution=8)


class Stub:
    """Its logits are the mean of each channel in the upper left quarter; it records the shapes of its batches."""

    output_shape = (None, 3)
    name = "stub"

    def __init__(self, card=CARD):
        self.shapes, self.card, self.scale = [], card, 5.0

    def predict_on_batch(self, images):
        self.shapes.append(images.shape)
        size = images.shape[1] // 2
        return self.scale * images[:, :size, :size].mean(axis=(1, 2))


def softmax(logits):
    shares = np.exp(logits.astype("float64") - logits.max())
    return shares / shares.sum()


@pytest.mark.parametrize("loader", data.LOADERS)
def test_the_same_classes_as_the_evaluation_of_the_folder(folder, loader, monkeypatch):
    stub = Stub(Card(class_names=("ant", "emu", "owl")))
    monkeypatch.setattr(evaluator, "open_classifier", lambda *given: stub)
    monkeypatch.setattr(evaluator.provenance, "read_card", lambda path: stub.card)
    evaluation = evaluate("any", folder, split="all", loader=loader, resolution=8)
    best, probabilities = evaluation.predictions.top_classes, evaluation.predictions.top_probabilities
    expected = dict(zip(evaluation.files, zip(best, probabilities), strict=True))
    found = list(Predictor(stub, loader=loader, resolution=8, batch_size=5).iterate(folder))
    assert [row.file for row in found] == sorted(expected)
    for row in found:
        classes, probabilities = expected[row.file]
        assert row.indices == tuple(classes)
        np.testing.assert_allclose(row.probabilities, probabilities, rtol=1e-5)
        assert row.names == tuple(stub.card.class_names[k] for k in row.indices)
        assert (row.name, row.probability) == (row.names[0], row.probabilities[0])


@pytest.mark.any_backend
def test_golden_weights_by_their_file(golden_npz, folder):
    predictor = Predictor(golden_npz, resolution=32, loader="grain", class_names=[f"digit {k}" for k in range(10)])
    (row,) = predictor.iterate(folder / "emu" / "4.png")
    upright = np.rot90(np.asarray(Image.open(folder / "emu" / "4.png")), -1)
    image = data.single.preprocessing_numpy.test_image(upright, crop=32)[None]
    logits = np.asarray(bit_keras.BiT.from_preset(golden_npz).predict_on_batch(image))[0]
    best = np.argsort(-logits)[:5]
    assert row.indices == tuple(best)
    np.testing.assert_allclose(row.probabilities, softmax(logits)[best], rtol=1e-4)
    assert row.name == f"digit {best[0]}"
    json.dumps(row.to_dict())


def test_batches_have_one_shape_and_keep_their_order(folder):
    stub = Stub()
    files = sorted(folder.rglob("*.*"))
    mixed = [*files[:3], "no.jpg", *files[3:5], "no.png", *files[5:], np.zeros((4, 4, 3), "uint8")]
    rows = list(Predictor(stub, batch_size=4).iterate(mixed))
    assert [row.file for row in rows] == [*map(str, mixed[:-1]), "image 14"]
    assert [row.error for row in rows] == ["no such file" if str(each).startswith("no.") else None for each in mixed]
    assert [row.name is None for row in rows] == [row.error is not None for row in rows]
    assert stub.shapes == [(4, 8, 8, 3)] * 4
    one_by_one = [next(Predictor(Stub(), batch_size=1).iterate([each])) for each in mixed]
    for one, row in zip(one_by_one, rows):
        assert one.indices == row.indices
        np.testing.assert_allclose(one.probabilities, row.probabilities)


def test_a_single_image_is_not_padded_to_a_batch():
    stub = Stub()
    predictor = Predictor(stub, batch_size=32)
    list(predictor.iterate(np.zeros((4, 4, 3), "uint8")))
    list(predictor.iterate(np.zeros((3, 4, 4, 3), "uint8")))
    list(predictor.iterate(np.zeros((2, 4, 4, 3), "uint8")))
    assert [shape[0] for shape in stub.shapes] == [1, 3, 3]


def test_an_endless_iterable_is_read_two_batches_ahead(folder):
    read = []
    paths = itertools.cycle(sorted(folder.rglob("*.png")))
    rows = Predictor(Stub(), batch_size=2).iterate(read.append(path) or path for path in paths)
    for _ in range(10):
        assert next(rows).error is None
    assert len(read) <= 14
    rows.close()


def test_the_same_image_in_every_form(folder):
    path = folder / "emu" / "4.png"  # turned
    pixels = np.rot90(np.asarray(Image.open(path)), -1)
    predictor = Predictor(Stub(), loader="grain")
    expected = next(predictor.iterate(path)).probabilities
    for image in (Image.open(path), pixels):
        np.testing.assert_allclose(next(predictor.iterate(image)).probabilities, expected, rtol=1e-5)
    for value_range in ((0, 1), (0, 255), (-1, 1)):
        floats = pixels / 255 * (value_range[1] - value_range[0]) + value_range[0]
        (row,) = predictor.iterate(floats, value_range=value_range)
        np.testing.assert_allclose(row.probabilities, expected, rtol=1e-4)


def test_outputs_that_are_not_finite_are_an_error_of_the_image(folder):
    stub = Stub()
    stub.scale = np.array([1, np.nan, 1])
    (row,) = Predictor(stub).iterate(folder / "emu" / "4.png")
    assert row.error == "the network's outputs for it are NaN or infinite"


@pytest.mark.parametrize("resolution", [16, 64])
def test_thumbnails_show_what_the_network_sees(folder, resolution):
    path = folder / "ant" / "0.png"
    (row,) = Predictor(Stub(), resolution=resolution, loader="grain").iterate(path, thumbnails=32)
    assert (row.thumbnail.shape, row.thumbnail.dtype) == ((32, 32, 3), np.uint8)
    small = np.asarray(Image.open(path).resize((4, 4), Image.Resampling.BOX), float)
    mine = np.asarray(Image.fromarray(row.thumbnail).resize((4, 4), Image.Resampling.BOX), float)
    assert np.abs(small - mine).mean() < 20


def test_names_of_the_card_a_list_a_file_or_none(tmp_path, caplog):
    assert Predictor(Stub()).names == ("ant", "emu", "owl")
    assert Predictor(Stub(), class_names=["a", "b", "c"]).names == ("a", "b", "c")
    path = tmp_path / "names.txt"
    path.write_text("\ufeffgröße\nb\nc\n", encoding="utf-8")
    assert Predictor(Stub(), class_names=path).names == ("größe", "b", "c")
    assert not caplog.records
    assert Predictor(Stub(Card())).names == ("class 0", "class 1", "class 2")
    (record,) = caplog.records
    assert "--class_names=FILE" in record.getMessage()
    with pytest.raises(ValueError, match="must be a name for each output of the network, got 2 for 3"):
        Predictor(Stub(), class_names=["a", "b"])
    with pytest.raises(FileNotFoundError, match=r"must be a file or one of ilsvrc2012, imagenet21k; no such file: no"):
        Predictor(Stub(), class_names="no")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="must be a text file in UTF-8"):
        Predictor(Stub(), class_names=path)


def test_published_names_and_scores(monkeypatch, caplog):
    def published(labels):
        return tuple(
            (f"n{k:08}", f"thing {k}, object") for k in range({"ilsvrc2012": 1000, "imagenet21k": 21843}[labels])
        )

    monkeypatch.setattr(module.published, "class_names", published)
    stub = Stub(Card(labels="imagenet21k", resolution=8))
    stub.output_shape = (None, 21843)
    stub.predict_on_batch = lambda images: np.tile(np.arange(21843.0)[::-1] / 1000 - 20, (len(images), 1))
    (row,) = Predictor(stub, top=2).iterate(np.zeros((4, 4, 3), "uint8"))
    assert row.names == ("thing_0", "thing_1")
    np.testing.assert_allclose(row.probabilities, 1 / (1 + np.exp(-(np.array([21.842, 21.841]) - 20))), rtol=1e-6)

    def offline(labels):
        raise ConnectionError("no network")

    monkeypatch.setattr(module.published, "class_names", offline)
    assert Predictor(stub).names[17] == "class 17"
    assert "cannot be downloaded (no network)" in caplog.text
    assert "--class_names=imagenet21k" in caplog.text


def test_the_resolution(golden_npz, caplog):
    caplog.set_level("INFO", "bit_keras")
    assert Predictor(Stub()).resolution == 8
    assert Predictor(Stub(), resolution=10).resolution == 10
    assert Predictor(Stub(Card())).resolution == 224
    assert "images at 224 pixels: model.resolution is not known" in caplog.text


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (None, {}, TypeError, "model must be a preset, .* got a value of type NoneType"),
        (np.zeros(3), {}, TypeError, "model must be a preset"),
        (Stub(), {"top": 0}, ValueError, "top must be 1 or more"),
        (Stub(), {"batch_size": 0}, ValueError, "batch_size must be 1 or more"),
        (Stub(), {"resolution": 0}, ValueError, "resolution must be 1 or more"),
        (Stub(), {"precision": "mixed_bfloat16"}, ValueError, "has its own precision"),
        (Stub(), {"loader": "x"}, ValueError, "loader must be one of"),
        ("no-such-model", {}, ValueError, "no file is called"),
    ],
)
def test_refusals(model, options, error, message):
    with pytest.raises(error, match=message):
        Predictor(model, **options)


def test_a_card_with_too_many_names_is_not_used(caplog):
    assert Predictor(Stub(Card(class_names=("a", "b")))).names == ("class 0", "class 1", "class 2")
    assert "names 2 classes, but its head has 3 outputs" in caplog.text


def test_first_lemma():
    assert class_names.first_lemma("grey whale, devilfish") == "grey_whale"
