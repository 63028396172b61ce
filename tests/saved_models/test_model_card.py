"""Model cards for hubs: read back by PyYAML and by huggingface_hub, compared with the card that they are made of."""

import json
import re

import pytest

from bit_keras.checkpoints.card import Card
from bit_keras.checkpoints.remote.addresses import is_url, request_for
from bit_keras.saved_models.model_card import LICENCES, Described, huggingface_texts, kaggle_texts

ODD = ('a|b"c\n</td>', ": - {yes}", "日本 ${PATH} \u202e 😀", "", "'", "- x: 1 # no", "\ud800")
CARD = Card(
    variant="R50x1",
    class_names=ODD,
    resolution=160,
    training_resolution=128,
    weights="BiT-M-R50x1",
    data={"name": "my photos: [x] # 1", "num_train": 1_437, "num_test": 24},
    accuracy=0.948,
    accuracy_on="24 test images of 'my: photos' # 1",
    licence="MIT",
)
SAVED_MODEL = ("assets/class_names.txt", "saved_model.pb", "variables/variables.index")


def described(card: Card | None = CARD, files=("weights.npz",), handle="me/bit", licence="MIT", kind=None) -> Described:
    return Described(handle, 2, files, card, licence, kind)


def read(described: Described) -> tuple[dict, str]:
    """Returns the YAML header, as a dict, and the text of a README.md."""
    yaml = pytest.importorskip("yaml")
    header, text = re.fullmatch(r"---\n(.*?\n)---\n(.*)", huggingface_texts(described)["README.md"], re.DOTALL).groups()
    return yaml.safe_load(header), text


def kaggle(described: Described) -> tuple[dict, dict]:
    of_model, of_variation = map(json.loads, kaggle_texts(described).values())
    return of_model, of_variation


def on_kaggle(card: Card | None = CARD, **values) -> Described:
    return described(card, handle="me/bit/keras/birds", **values)


def test_the_header_of_hugging_face():
    header, _ = read(described(files=("weights.npz", "model.onnx")))
    assert header == {
        "license": "mit",
        "library_name": "bit-keras",
        "pipeline_tag": "image-classification",
        "tags": ["bit", "big-transfer", "onnx"],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": "bit",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"type": "my-photos-x-1", "name": CARD.accuracy_on},
                        "metrics": [{"type": "accuracy", "name": "top-1 accuracy", "value": 0.948}],
                    }
                ],
            }
        ],
    }


def test_hugging_faces_own_library_reads_it():
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(huggingface_texts(described())["README.md"])
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.948, CARD.accuracy_on)
    assert card.data.license == "mit"
    assert card.text.strip().startswith("# bit\n")


def test_a_card_without_numbers_gives_a_text_without():
    card = Card(variant="R50x1", data={"name": "cifar10"}, version="1.2.3")
    header, text = read(described(card, licence=None))
    assert header == {"library_name": "bit-keras", "tags": ["bit", "big-transfer"], "datasets": ["uoft-cs/cifar10"]}
    assert "accuracy" not in text
    assert "%" not in text
    assert "| licence of the weights | not stated |" in text
    of_model, of_variation = kaggle(on_kaggle(card, licence=None))
    assert of_variation["licenseName"] == ""
    assert "accuracy" not in json.dumps([of_model, of_variation])


def test_files_without_a_card_say_so():
    header, text = read(described(None, files=SAVED_MODEL, kind="reusable"))
    assert header == {"license": "mit", "library_name": "bit-keras", "tags": ["bit", "big-transfer", "tensorflow"]}
    assert "carry no card" in text
    _, of_variation = kaggle(on_kaggle(None, files=SAVED_MODEL, kind="reusable"))
    assert "carry no card" in of_variation["overview"]
    assert of_variation["trainingData"] == []


def test_odd_names_of_classes_stay_in_their_cells():
    for text in (read(described())[1], kaggle(on_kaggle())[1]["usage"]):
        section = text.partition("## Classes\n\n")[2].partition("\n\n")[0]
        rows = section.splitlines()[2:]
        assert len(rows) == len(ODD)
        assert all(re.fullmatch(rf"\| {index} \| ((?!(?<!\\)\|).)*\|", row) for index, row in enumerate(rows))
        assert not re.search(r"[<>\u202e\ud800]", section)
        assert "日本" in rows[2]
        text.encode()
    assert "${" not in kaggle(on_kaggle())[1]["usage"]
    assert "${PATH}" in read(described())[1]


def test_of_many_classes_the_first_are_listed():
    names = tuple(f"class {index}" for index in range(1000))
    _, text = read(described(Card(variant="R50x1", class_names=names)))
    assert "| 99 | class 99 |\n\nand 900 more" in text
    assert "class 100 |" not in text
    assert "tells 1,000 classes apart" in text


def test_the_texts_state_the_card():
    _, text = read(described())
    for row in (
        "architecture | R50x1",
        "values of images, for the weights | [-1, 1]",
        "side of images in pixels | 160",
        "side of images in training | 128",
        "training started from | BiT-M-R50x1",
        "training data | my photos: [x] # 1: 1,437 training, 24 test images",
        "top-1 accuracy | 94.80%",
        f"accuracy measured on | {CARD.accuracy_on}",
        "licence of the weights | MIT",
    ):
        assert f"| {row} |" in text
    assert "1912.11370" in text


def test_kaggles_metadata():
    of_model, of_variation = kaggle(on_kaggle())
    assert of_model.keys() == {
        *("ownerSlug", "title", "slug", "subtitle", "isPrivate", "description", "publishTime", "provenanceSources")
    }
    assert (of_model["ownerSlug"], of_model["slug"], of_model["title"], of_model["isPrivate"]) == (
        "me",
        "bit",
        "bit",
        True,
    )
    assert "94.80" not in of_model["description"], "the model may have other variations"
    instance = [of_variation[name] for name in ("ownerSlug", "modelSlug", "instanceSlug", "framework", "licenseName")]
    assert instance == ["me", "bit", "birds", "keras", "MIT"]
    assert of_variation["fineTunable"] is True
    assert of_variation["trainingData"] == ["my photos: [x] # 1"]
    assert 'kagglehub.model_download("me/bit/keras/birds/2", path="weights.npz")' in of_variation["usage"]


@pytest.mark.parametrize(
    ("files", "kind", "fine_tunable", "code"),
    [
        (("weights.npz",), None, True, "bit_keras.BiT.from_preset("),
        (SAVED_MODEL, "reusable", True, "outputs = module(images)"),
        (SAVED_MODEL, "serving", False, 'module.signatures["serve_bytes"](image_bytes=files)'),
        (SAVED_MODEL, None, False, "print(module.signatures)"),
        (("3/saved_model.pb",), "serving", False, '+ "/3")'),
        (("float32.tflite", "model.onnx"), None, False, "`float32.tflite`, `model.onnx`: images in [0, 1]"),
    ],
)
def test_how_to_use_each_kind_of_files(files, kind, fine_tunable, code):
    _, of_variation = kaggle(on_kaggle(files=files, kind=kind))
    assert of_variation["fineTunable"] is fine_tunable
    _, text = read(described(files=files, kind=kind))
    for page in (of_variation["usage"], text):
        assert code in page
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            compile(block, "usage", "exec")


def test_the_address_of_weights_on_hugging_face_is_one_that_is_read(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    _, text = read(described())
    address = re.search(r'from_preset\("([^"]+)"\)', text)[1]
    assert is_url(address)
    assert request_for(address)[0] == "https://huggingface.co/me/bit/resolve/v2/weights.npz"


def test_a_detector():
    card = Card(variant="R50x1", task="detection", class_names=("bird",))
    header, text = read(described(card))
    assert header["pipeline_tag"] == "object-detection"
    assert "finds objects of 1 class in photographs" in text
    assert "detection.Detector.from_preset(" in text


def test_licences():
    for licence, (of_hugging_face, of_kaggle) in LICENCES.items():
        assert read(described(licence=licence))[0]["license"] == of_hugging_face
        assert kaggle(on_kaggle(licence=licence))[1]["licenseName"] == of_kaggle
    header, _ = read(described(licence="Mine: all"))
    assert (header["license"], header["license_name"]) == ("other", "Mine: all")
    with pytest.raises(ValueError, match=r"one that Kaggle has, Apache-2.0, .* got 'Mine: all'"):
        kaggle_texts(on_kaggle(licence="Mine: all"))
