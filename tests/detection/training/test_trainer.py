"""The training of a detector: from data to report, resumed, on several devices, and what is refused before it."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from bit_keras import data, detection
from bit_keras.detection.network.memory import estimate_detector_memory
from bit_keras.detection.training import trainer
from bit_keras.detection.training.config import TrainConfig
from bit_keras.zoo.variants import VARIANTS, get_variant

pytestmark = [pytest.mark.any_backend, pytest.mark.usefixtures("three_blocks")]
SETTINGS = {
    "width": 32,
    "depth": 1,
    "resolution": 64,
    "batch_size": 2,
    "steps": 6,
    "eval_every": 3,
    "base_lr": 0.01,
    "clip_norm": 1.0,
    "max_boxes": 4,
    "deterministic": True,
}


class _Kill(keras.callbacks.Callback):
    """Ends the process of a training, as far as it can see, after a number of updates."""

    def __init__(self, after: int):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise ZeroDivisionError("killed")


def _weights(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "weights.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if "card" not in name}


def test_a_run_from_data_to_report_which_resumes_bit_identically(write_coco, tmp_path):
    dataset = f"coco:{write_coco()}"
    result = detection.train("three_blocks", dataset, tmp_path / "whole", verbose=False, **SETTINGS)
    folder = tmp_path / "whole"
    assert {path.name for path in folder.iterdir()} >= {"config.json", "metrics.csv", "best.npz", "weights.npz"}
    assert {path.name for path in (folder / "report").iterdir()} >= {"summary.json", "classes.json"}
    assert [row["step"] for row in result.history] == [3, 6]
    for row in result.history:
        assert {"loss", "class_loss", "box_loss", "val_ap", "val_ap50", "val_ap75", "learning_rate"} <= row.keys()
        assert row["loss"] == pytest.approx(row["class_loss"] + row["box_loss"], rel=1e-4)
    assert json.loads((folder / "report" / "summary.json").read_text()) == result.summary
    assert result.summary["test_AP"] == result.test_ap
    assert set(result.model.class_names) == {"cat", "dog", "cow"}
    again = detection.Detector.from_preset(folder / "weights.npz")
    assert again.resolution == 64
    assert again.class_names == result.model.class_names
    kill, settings = [_Kill(5)], {**SETTINGS, "checkpoint_every": 1}
    with pytest.raises(ZeroDivisionError):
        detection.train("three_blocks", dataset, tmp_path / "killed", callbacks=kill, verbose=False, **settings)
    detection.train("three_blocks", dataset, tmp_path / "killed", verbose=False, **settings)
    whole, killed = _weights(folder), _weights(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, killed[name], err_msg=name)


def test_settings_change_the_training(write_coco, tmp_path):
    change = {"accumulate": 2, "remat": True, "precision": "mixed_bfloat16", "freeze": "block1", "flip": False}
    settings = {**SETTINGS, **change, "clip_norm": None, "steps": 5, "eval_every": 5}
    result = detection.train("three_blocks", f"coco:{write_coco()}", tmp_path / "run", verbose=False, **settings)
    (row,) = result.history
    assert 0 < row["loss"] < 20
    assert result.model.dtype_policy.name == "mixed_bfloat16"
    trained = {layer.name.partition("_")[0] for layer in result.model.layers if layer.trainable_variables}
    assert "root" not in trained
    assert {"block2", "block3", "block4"} <= trained


def test_further_training_of_a_detector_keeps_its_heads_and_refuses_other_classes(write_coco, scenes, tmp_path):
    first = detection.train("three_blocks", f"coco:{write_coco()}", tmp_path / "first", verbose=False, **SETTINGS)
    frozen = {**SETTINGS, "base_lr": 1e-12, "weight_decay": 0.0, "width": None, "depth": None}
    weights = tmp_path / "first" / "weights.npz"
    second = detection.train(weights, f"coco:{tmp_path / 'boxes.json'}", tmp_path / "second", verbose=False, **frozen)
    for one, other in zip(first.model.weights, second.model.weights, strict=True):
        np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (one, other)), atol=1e-6)
    names = scenes.coco_content()
    names["categories"][0]["name"] = "horse"
    other = write_coco(names, "other.json")
    with pytest.raises(ValueError, match=r"must have the classes of .*, got 'dog' where the data have 'horse'"):
        detection.train(weights, f"coco:{other}", tmp_path / "third", verbose=False, **frozen)
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be more than 0"),
        ({"base_lr": float("nan")}, ValueError, "base_lr must be a finite number"),
        ({"max_boxes": 0}, ValueError, "max_boxes must be 1 or more"),
        ({"steps": 3}, ValueError, "must have 4 updates or more, for a warm-up"),
        ({"steps": None, "epochs": 1.0}, ValueError, "got [12]: 1 epochs of [2-4] images, 2 at a time"),
        ({"max_scale": 0.5}, ValueError, "at most 10, the least first; got 0.8 and 0.5"),
        ({"max_scale": 11.0}, ValueError, "at most 10, the least first; got 0.8 and 11.0"),
        ({"depth": 40}, ValueError, "depth must be"),
        ({"resolution": 1}, ValueError, "resolution must be 2 or more"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay must be 0 or more"),
        ({"freeze": "head_only"}, ValueError, "freeze must be one of none, root_block"),
        ({"box_columns": "a,b"}, ValueError, "box_columns must be one name or four"),
        ({"max_boxes": 1}, data.DataError, "boxes"),
        ({"width": 40}, ValueError, "width must be a multiple"),
        ({"resolution": "64"}, TypeError, "resolution must be an integer"),
        ({"accumulate": 3}, ValueError, "accumulate must divide"),
        ({"nosuch": 1}, TypeError, "no argument 'nosuch'"),
        ({"loader": "grain"}, TypeError, "no argument 'loader'"),
    ],
)
def test_bad_settings_are_refused_before_the_folder_is_claimed(change, error, message, write_coco, tmp_path):
    settings = {**SETTINGS, **change}
    with pytest.raises(error, match=message):
        detection.train("three_blocks", f"coco:{write_coco()}", tmp_path / "run", verbose=False, **settings)
    assert not (tmp_path / "run").exists()


def test_settings_are_checked_before_the_data_are_read(tmp_path):
    for change in ({"width": 33}, {"depth": 40}, {"min_scale": 0.0}, {"resolution": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(change))}|scales"):
            trainer.dry_run("three_blocks", "coco:no_data", tmp_path / "run", **change)
    for function in (trainer.dry_run, detection.train):
        with pytest.raises(ValueError, match=r"no file is called 'no_weights\.npz'"):
            function("no_weights.npz", "coco:no_data", tmp_path / "run")


def test_the_recipe_of_the_paper():
    config = TrainConfig(model="R101x3", dataset="coco/2017", workdir="w")
    schedule = config.schedule(118_287)
    assert (config.batch_size, config.epochs, config.resolution, config.weight_decay) == (256, 30, 1024, 1e-4)
    assert schedule.total_steps == 13_862  # 30 * 118,287 / 256, rounded up
    assert (schedule.base_lr, schedule.drop_steps) == (0.08, (7_393, 10_165))  # after 16 and 22 of 30 epochs
    assert schedule.warmup_steps == 462  # one epoch
    assert TrainConfig(model="R101x3", dataset="d", workdir="w", batch_size=64).schedule(1_000).base_lr == 0.02


def test_a_dry_run_states_the_plan_and_writes_nothing(write_coco, tmp_path, scenes):
    content = scenes.coco_content()
    for number in (0, 4):  # the first boxes of two images, of which one or both are for training
        content["annotations"][number]["iscrowd"] = 1
    dataset = f"coco:{write_coco(content)}"
    boxes = detection.open_dataset(dataset).train.boxes
    trained = [index for each in boxes for index in np.flatnonzero(~each.ignored)]
    assert len(trained) < sum(map(len, boxes))
    text = trainer.dry_run("three_blocks", dataset, tmp_path / "run", **SETTINGS)
    lines = dict(line.split(maxsplit=1) for line in text.splitlines() if not line.startswith(" "))
    assert lines["model"] == "three_blocks: RetinaNet on three_blocks, 1 x 32 channels in each head, 3 classes"
    assert lines["data"].endswith(f", {len(trained)} training boxes"), "without crowds"
    assert lines["length"].startswith("6 updates, ")
    assert not (tmp_path / "run").exists()


def test_the_plan_of_further_training_has_the_sizes_of_the_weights(write_coco, tmp_path):
    detector = detection.Detector("three_blocks", 3, width=64, depth=2)
    detector.card = dataclasses.replace(detector.card, class_names=("cat", "dog", "cow"))
    detection.save_npz(detector, tmp_path / "weights.npz")
    frozen = {**SETTINGS, "width": None, "depth": None}
    text = trainer.dry_run(tmp_path / "weights.npz", f"coco:{write_coco()}", tmp_path / "run", **frozen)
    assert "RetinaNet on three_blocks, 2 x 64 channels in each head, 3 classes" in text


def test_the_memory_estimate_counts_the_weights_above_the_backbone():
    row = get_variant("three_blocks")
    memory = estimate_detector_memory(row, 3, 2, 64, width=32, depth=1)
    detector = detection.Detector("three_blocks", 3, width=32, depth=1)
    assert memory.weights == pytest.approx(3 * 4 * detector.count_params(), rel=0.02)
    sizes = [estimate_detector_memory(row, 3, count, 64, width=32, depth=1).activations for count in (2, 4, 6)]
    assert 0 < sizes[1] - sizes[0] == pytest.approx(sizes[2] - sizes[1], rel=0.2)
    huge = estimate_detector_memory(VARIANTS["R101x3"], 80, 256, 1024)
    assert huge.activations / 256 > 4e9  # bytes an image
