"""Evaluations without training: true networks on small sets of the true form."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras import data
from bit_keras.checkpoints.card import Card
from bit_keras.evaluate import matching
from bit_keras.protocols import evaluation as module
from bit_keras.protocols.evaluation import evaluation
from bit_keras.protocols.sweep import Failed
from bit_keras.zoo.presets import LABELS
from tests.data.sources.test_imagenet import write_image
from tests.data.sources.test_objectnet import SETS, objectnet_files, unpack

pytestmark = pytest.mark.usefixtures("tiny")
SETTINGS = {"resolution": 32, "batch_size": 4, "verbose": False}


def save(folder, num_outputs: int, labels: str | None):
    """Writes a network with a random head and the card of published weights; returns (file, network)."""
    keras.utils.set_random_seed(1)
    model = bit_keras.BiT("tiny", num_outputs)
    head, random = model.get_layer("head"), np.random.default_rng(0)
    head.set_weights([random.normal(0, 1, weight.shape) for weight in head.weights])
    model.card = dataclasses.replace(Card(), labels=labels)
    path = folder / f"{labels}.npz"
    bit_keras.save_npz(model, path)
    return path, model


@pytest.fixture(scope="module")
def weights(tiny, tmp_path_factory):
    return save(tmp_path_factory.mktemp("weights"), LABELS["ilsvrc2012"], "ilsvrc2012")


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, str]:
    """{kind of set: its name with a path}."""
    root = tmp_path_factory.mktemp("sets")
    unpack(root / "objectnet", objectnet_files())
    random = np.random.default_rng(0)
    for number in (0, 2, 10, 999):
        write_image(root / "v2" / str(number) / "0.jpeg", int(random.integers(256)))
    for number in range(1, 5):
        write_image(root / "val" / f"ILSVRC2012_val_{number:08}.JPEG", int(random.integers(256)))
    (root / "real.json").write_text(json.dumps([[7], [], [0, 5, *range(300, 700)], [999]]))
    kinds = {"v2": "imagenet_v2", "real": "imagenet2012_real", "objectnet": "objectnet"}
    return {kind: f"{name}:{root / ('val' if kind == 'real' else kind)}" for kind, name in kinds.items()}


def logits(model, name: str) -> np.ndarray:
    """Logits of the images of a set."""
    source = data.load(name)
    images = [np.asarray(batch) for batch, _ in data.test_batches(source, batch_size=4, crop=32)]
    return keras.ops.convert_to_numpy(model(np.concatenate(images)))


def accuracy(scores: np.ndarray, sets: list[list[int]], top: int) -> float:
    best = np.argsort(-scores, axis=1)[:, :top]
    return float(np.mean([bool(set(row) & set(labels)) for row, labels in zip(best.tolist(), sets, strict=True)]))


def test_accuracies_are_those_of_the_protocols(weights, sets, tmp_path):
    path, model = weights
    records = evaluation([path], tmp_path / "out", [sets["v2"], sets["real"], sets["objectnet"]], **SETTINGS)
    found = {record["dataset"].partition(":")[0]: record for record in records}

    scores, labels = logits(model, sets["v2"]), [[0], [2], [10], [999]]
    assert found["imagenet_v2"]["top1_accuracy"] == accuracy(scores, labels, 1)
    assert found["imagenet_v2"]["top5_accuracy"] == accuracy(scores, labels, 5)

    scores, labels = logits(model, sets["real"]), [[7], [0, 5, *range(300, 700)], [999]]
    assert found["imagenet2012_real"]["examples"] == 3  # an image has no label
    assert found["imagenet2012_real"]["top1_accuracy"] == accuracy(scores, labels, 1)

    scores, labels = logits(model, sets["objectnet"]), [SETS[folder] for folder in sorted(SETS) for _ in range(2)]
    record, competing = found["objectnet"], sorted({number for numbers in SETS.values() for number in numbers})
    assert record["top1_accuracy"] == accuracy(scores, labels, 1)
    assert record["top5_accuracy"] == accuracy(scores, labels, 5)
    alone = np.full_like(scores, -np.inf)
    alone[:, competing] = scores[:, competing]
    assert record["competing_top1_accuracy"] == accuracy(alone, labels, 1) > record["top1_accuracy"]
    assert record["competing_top5_accuracy"] == accuracy(alone, labels, 5)
    assert record["competing_classes"] == 6

    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert "| ilsvrc2012 | objectnet | 6 | 32 pixels, squash | top-1 among the classes of the data |" in text


def test_finished_evaluations_are_not_repeated(weights, sets, tmp_path, monkeypatch):
    path, _ = weights
    made = []
    evaluate = module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda *of, **options: made.append(of[1].name) or evaluate(*of, **options))
    first = evaluation([path], tmp_path, [sets["v2"]], **SETTINGS)
    assert evaluation([path], tmp_path, [sets["v2"], sets["real"]], **{**SETTINGS, "batch_size": 2})[:1] == first
    assert made == ["imagenet_v2/matched-frequency", "imagenet2012_real"]
    assert json.loads((tmp_path / "evaluation.json").read_text())["runs"][:1] == first
    with pytest.raises(FileExistsError, match="resolution"):
        evaluation([path], tmp_path, [sets["v2"]], **{**SETTINGS, "resolution": 64})


def test_a_failure_costs_no_other_evaluation(weights, sets, tmp_path, tiny_npz):
    path, _ = weights
    with pytest.raises(Failed) as caught:
        evaluation([path, tiny_npz], tmp_path / "out", [f"objectnet:{tmp_path}/no.zip", sets["v2"]], **SETTINGS)
    first, missing, *others = str(caught.value).splitlines()
    assert first.startswith("2 evaluations failed")
    assert missing == f"objectnet:{tmp_path}/no.zip: objectnet: no such file or folder: {tmp_path}/no.zip"
    (other,) = others
    assert other.startswith(f"{tiny_npz} on {sets['v2']}: it must be known which class each output stands for")
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert "| ilsvrc2012 | imagenet_v2/matched-frequency | 4 |" in text
    assert "| ilsvrc2012 | objectnet | - | - | top-1 | - | - | - | - |" in text


def test_the_head_of_imagenet_21k(sets, tmp_path, monkeypatch):
    """The lists have the form of the official ones: sorted ids, of which the teddy bear is missing in the larger."""
    ilsvrc = [f"n{10 * k:08}" for k in range(LABELS["ilsvrc2012"])]
    others = [f"n{10 * k + 5:08}" for k in range(LABELS["imagenet21k"] - 999)]
    lists = {"ilsvrc2012": ilsvrc, "imagenet21k": sorted([*ilsvrc[:850], *ilsvrc[851:], *others])}
    assert {name: len(ids) for name, ids in lists.items()} == LABELS
    monkeypatch.setattr(matching, "wordnet_ids", lists.get)
    path, model = save(tmp_path, LABELS["imagenet21k"], "imagenet21k")
    (record,) = evaluation([path], tmp_path / "out", [sets["objectnet"]], **SETTINGS)
    scores = np.full((6, 1_000), -np.inf)
    known = [k for k in range(1_000) if k != 850]
    scores[:, known] = logits(model, sets["objectnet"])[:, [lists["imagenet21k"].index(ilsvrc[k]) for k in known]]
    labels = [SETS[folder] for folder in sorted(SETS) for _ in range(2)]
    assert record["top5_accuracy"] == accuracy(scores, labels, 5)
    competing = np.full_like(scores, -np.inf)
    columns = sorted({number for numbers in SETS.values() for number in numbers})
    competing[:, columns] = scores[:, columns]
    assert record["competing_top1_accuracy"] == accuracy(competing, labels, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": []}, "models must be a list"),
        ({"models": ["R50x1"]}, "models must be weights, got the variant R50x1"),
        ({"models": ["missing.npz"]}, r"missing\.npz"),
        ({"datasets": "objectnet"}, "datasets must be a list"),
        ({"loader": "torch"}, "loader must be one of"),
        ({"lr": 1}, "lr"),
    ],
)
def test_settings_are_checked_before_anything_is_written(weights, sets, tmp_path, change, message):
    settings = {"models": [weights[0]], "workdir": tmp_path / "out", "datasets": [sets["v2"]], **SETTINGS, **change}
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        evaluation(**settings)
    assert not (tmp_path / "out").exists()


def test_results_are_not_written_into_the_data(weights, sets):
    folder = sets["v2"].partition(":")[2]
    with pytest.raises(ValueError, match="workdir must not be in the data"):
        evaluation([weights[0]], f"{folder}/out", [sets["v2"]], **SETTINGS)


def test_the_program(run_program, sets, tmp_path):
    flags = ["--models=BiT-mini-R17x0.5", f"--workdir={tmp_path}", "--resolution=32"]
    done = run_program("bit_keras.protocols", "evaluate", *flags, "--datasets=digits,objectnet,out_of_context:/missing")
    assert done.returncode == 1
    assert "3 evaluations failed; the same command repeats only what has failed:" in done.stderr
    assert "objectnet: objectnet must be given as objectnet:PATH" in done.stderr
    assert "out_of_context:/missing: out_of_context: the path must lead to a folder of class folders" in done.stderr
    assert "BiT-mini-R17x0.5 on digits: the classes of the data must be among the 360 of the weights" in done.stderr
    assert f"results in {tmp_path}: evaluation.json, evaluation.md" in done.stdout
    for name in (sets["objectnet"], "imagenet_v2"):
        train = ["--model=BiT-mini-R17x0.5", f"--dataset={name}", f"--workdir={tmp_path / 'run'}", "--steps=5"]
        done = run_program("bit_keras.finetune", *train)
        assert done.returncode == 1
        assert "must not be used for training: it" in done.stderr
        assert not (tmp_path / "run").exists()
