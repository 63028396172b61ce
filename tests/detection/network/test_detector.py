"""The detector, compared with torch and torchvision, its training and its files.

Networks and images are small; all are compiled for the same few shapes.
"""

import dataclasses
import zipfile

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.checkpoints import CheckpointError, read_npz
from bit_keras.checkpoints.formats import read_card
from bit_keras.detection.network.anchors import anchor_boxes, anchor_count
from bit_keras.detection.network.detector import Detector, load_weights, save_npz
from bit_keras.network.base import frozen_names
from bit_keras.network.freezing import freeze
from tests import torchvision_operators  # noqa: F401  before torchvision

pytestmark = [pytest.mark.any_backend, pytest.mark.usefixtures("three_blocks")]

SIZES = {"width": 32, "depth": 1}
H, W = 100, 150
TARGETS = {
    "boxes": np.array(
        [[[10, 20, 60, 80], [30, 100, 90, 140]], [[5, 5, 11, 9], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 2], "float32"
    ),
    "labels": np.array([[1, 2], [0, -1], [-1, -1]], "int32"),
}


def _images(*size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (*size, 3)).astype("float32")


def _with_random_weights(detector: Detector) -> Detector:
    """Sets weights with which no output is nearly constant."""
    random = np.random.default_rng(0)
    for layer in detector.layers:
        if layer.name.endswith("prediction_conv2d"):
            layer.set_weights([random.normal(mean, 0.05, w.shape) for mean, w in zip((0, -1), layer.get_weights())])
        elif layer.weights and layer.name.startswith(("pyramid", "class", "box")):
            layer.set_weights([w + random.normal(0, 0.1, w.shape) for w in layer.get_weights()])
    return detector


@pytest.fixture(scope="module")
def detector(three_blocks) -> Detector:
    """A shared detector, which tests must not change."""
    keras.utils.set_random_seed(0)
    detector = _with_random_weights(Detector("three_blocks", 3, **SIZES))
    detector.card = dataclasses.replace(detector.card, class_names=("a", "b", "c"), weights="BiT-M-R50x1")
    detector.compile(keras.optimizers.SGD(0.0))
    return detector


def _copy(detector: Detector, **changes) -> Detector:
    copy = Detector.from_config(detector.get_config() | changes)
    copy.set_weights(detector.get_weights())
    return copy


@pytest.fixture(scope="module")
def stages_and_outputs(detector) -> dict:
    """{"block2": ..., "class": ..., "box": ...} for the images of the tests."""
    network = keras.Model(detector.input, {**detector.backbone.normalized_outputs, **detector.output})
    return network.predict_on_batch(_images(3, H, W))


def _of_torch(detector: Detector, stages: dict) -> dict:
    """The network above the backbone, written in torch."""
    import torch
    from torch.nn import functional

    arrays = checkpoints_of(detector)

    def conv(x, path, **options):
        kernel = torch.from_numpy(arrays[f"resnet/{path}/conv2d/kernel"].transpose(3, 2, 0, 1).copy())
        bias = arrays.get(f"resnet/{path}/conv2d/bias")
        options = {"padding": kernel.shape[-1] // 2} | options
        return functional.conv2d(x, kernel, None if bias is None else torch.from_numpy(bias), **options)

    def norm(x, path):
        scale, shift = (torch.from_numpy(arrays[f"resnet/{path}/group_norm/{name}"]) for name in ("gamma", "beta"))
        return functional.group_norm(x, 32, scale, shift, eps=1e-5)

    maps, above = {}, None
    for level in (5, 4, 3):
        x = conv(
            torch.from_numpy(stages[f"block{level - 1}"].transpose(0, 3, 1, 2).copy()), f"pyramid/level{level}/lateral"
        )
        if above is not None:
            x = x + functional.interpolate(above, scale_factor=2, mode="nearest")[:, :, : x.shape[2], : x.shape[3]]
        above = x
        maps[level] = conv(x, f"pyramid/level{level}")
    maps[6] = conv(maps[5], "pyramid/level6", stride=2, padding=1)
    maps[7] = conv(maps[6].relu(), "pyramid/level7", stride=2, padding=1)
    outputs = {}
    for name, size in (("class", detector.num_classes), ("box", 4)):
        of_levels = []
        for level in (3, 4, 5, 6, 7):
            x = norm(maps[level], f"pyramid/level{level}")
            for index in range(1, detector.depth + 1):
                path = f"{name}_head/conv{index}"
                x = norm(conv(x, path), f"{path}/level{level}").relu()
            x = conv(x, f"{name}_head/prediction")
            of_levels.append(x.permute(0, 2, 3, 1).reshape(len(x), -1, size))
        outputs[name] = torch.cat(of_levels, dim=1).numpy()
    return outputs


def checkpoints_of(detector: Detector) -> dict:
    from bit_keras.detection.network.detector import _variables

    return {key: keras.ops.convert_to_numpy(variable) for key, variable in _variables(detector).items()}


def test_outputs_are_those_of_the_network_in_torch(detector, stages_and_outputs):
    expected = _of_torch(detector, stages_and_outputs)
    for name, values in expected.items():
        received = stages_and_outputs[name]
        assert received.shape == (3, anchor_count(H, W), {"class": 3, "box": 4}[name]) == values.shape
        assert received.std() > 0.1
        np.testing.assert_allclose(received, values, atol=1e-4 * np.abs(values).max())


def _losses_of_torch(outputs: dict, targets: dict) -> tuple[float, float]:
    """Class and box loss of a batch by torchvision's parts; no box may have two equally good anchors."""
    import torch
    from torchvision.models.detection._utils import BoxCoder, Matcher
    from torchvision.ops import box_iou, sigmoid_focal_loss

    swap = [1, 0, 3, 2]  # x first there
    anchors = torch.from_numpy(keras.ops.convert_to_numpy(anchor_boxes(H, W))[:, swap]).double()
    matcher, coder = Matcher(0.5, 0.4, allow_low_quality_matches=True), BoxCoder((1.0, 1.0, 1.0, 1.0))
    class_sum = box_sum = positives = 0
    for image, labels in enumerate(targets["labels"]):
        logits, deltas = (torch.from_numpy(outputs[name][image]).double() for name in ("class", "box"))
        is_box = labels >= 0
        boxes = torch.from_numpy(targets["boxes"][image][is_box][:, swap]).double()
        found = torch.full((len(anchors),), -1)
        if is_box.any():
            found = matcher(box_iou(boxes, anchors))
        wanted = torch.zeros_like(logits)
        of_box = torch.where(found >= 0)[0]
        wanted[of_box, torch.from_numpy(labels[is_box]).long()[found[of_box]]] = 1
        focal = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2)
        class_sum += float(focal[found != Matcher.BETWEEN_THRESHOLDS].sum())
        if len(of_box):
            codes = coder.encode_single(boxes[found[of_box]], anchors[of_box])[:, swap]
            box_sum += float(torch.nn.functional.huber_loss(deltas[of_box], codes, reduction="sum", delta=0.1))
        positives += len(of_box)
    return class_sum / (positives + 1), 50 * box_sum / (4 * (positives + 1))


# The boxes of the first image, whose best anchors are unique, beside an image without boxes.
UNIQUE = {name: values[[0, 2, 0]] for name, values in TARGETS.items()}
NO_BOXES = {name: values[[2, 2, 2]] for name, values in TARGETS.items()}


def test_losses_are_those_of_torchvision(detector, stages_and_outputs):
    for targets in (UNIQUE, NO_BOXES):
        found = detector.evaluate(_images(3, H, W), targets, batch_size=3, verbose=0, return_dict=True)
        class_loss, box_loss = _losses_of_torch(stages_and_outputs, targets)
        assert class_loss > 0.1
        expected = {"loss": class_loss + box_loss, "class_loss": class_loss, "box_loss": box_loss}
        assert {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()} == found
        assert (box_loss == 0) == (targets is NO_BOXES)


def test_training_with_a_frozen_root_and_rematerialization(detector):
    before, losses, changes = checkpoints_of(detector), [], []
    images, targets = _images(3, 40, 56), {**TARGETS, "boxes": TARGETS["boxes"] * 0.4}
    for remat in (False, True):
        network = _copy(detector, remat=remat)
        freeze(network, "root_block")
        assert frozen_names(Detector.from_config(network.get_config()).layers) == ["root_block_standardized_conv2d"]
        network.compile(keras.optimizers.SGD(0.02, momentum=0.9))
        history = network.fit(images, targets, batch_size=3, epochs=3, shuffle=False, verbose=0).history
        assert history["loss"][-1] < 0.95 * history["loss"][0]
        np.testing.assert_allclose(history["loss"], np.add(history["class_loss"], history["box_loss"]), rtol=1e-5)
        losses.append(history["loss"])
        changes.append({key: value - before[key] for key, value in checkpoints_of(network).items()})
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    for key, expected in changes[0].items():
        if "level6" in key or "level7" in key:
            continue  # one cell at this size and one channel per group: a norm of one value is 0, without a gradient
        if not key.startswith("resnet/box_head/"):  # of whose levels only those with matched anchors have a gradient
            assert (expected == 0).all() == (key == "resnet/root_block/standardized_conv2d/kernel"), key
        # Relative to the weights: what cancels in a norm has gradients of nothing but rounding.
        assert np.abs(changes[1][key] - expected).max() <= 1e-2 * np.abs(expected).max() + 1e-6, key


def test_a_label_without_an_output(detector):
    wrong = {**TARGETS, "labels": TARGETS["labels"] + 1}
    for run in (detector.fit, detector.evaluate):
        with pytest.raises(ValueError, match="labels must be less than num_classes=3, got 3"):
            run(_images(3, H, W), wrong, verbose=0)
    # Batches of an iterator are not looked at, so that no step waits for it.
    assert np.isnan(detector.test_on_batch(_images(3, H, W), wrong, return_dict=True)["loss"])
    with pytest.raises(ValueError, match="sample_weight must be None"):
        detector.test_on_batch(_images(3, H, W), TARGETS, sample_weight=np.ones(3))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_in_mixed_precision(detector, stages_and_outputs, dtype):
    mixed = _copy(detector, dtype=dtype)
    assert {value.dtype for value in mixed.output.values()} == {"float32"}
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    assert mixed.get_layer("pyramid_level3_conv2d").compute_dtype == dtype.removeprefix("mixed_")
    if keras.backend.backend() != "tensorflow" and dtype == "mixed_float16":
        return  # jax compiles for long, and torch's half precision is slow on CPUs
    for name, value in mixed.predict_on_batch(_images(3, H, W)).items():
        assert value.dtype == "float32"
        assert 0 < np.abs(value - stages_and_outputs[name]).mean() < 0.2 * stages_and_outputs[name].std()


def test_files(detector, stages_and_outputs, tmp_path):
    detector.save(tmp_path / "detector.keras")
    save_npz(detector, tmp_path / "detector.npz")
    with np.load(tmp_path / "detector.npz") as archive:
        assert set(archive) == {*checkpoints_of(detector), "bit_keras_card"}
    loaded = keras.saving.load_model(tmp_path / "detector.keras")
    assert loaded.get_config() == detector.get_config()
    networks = [loaded, *(Detector.from_preset(tmp_path / f"detector.{kind}") for kind in ("keras", "npz"))]
    for network in networks:
        assert network.card == detector.card
        assert (network.class_names, network.card.task) == (("a", "b", "c"), "detection")
        assert (network.variant_name, network.num_classes, network.width, network.depth) == ("three_blocks", 3, 32, 1)
        for received, expected in zip(network.get_weights(), detector.get_weights(), strict=True):
            np.testing.assert_array_equal(received, expected)
    # What a file holds is in the file, not in its name.
    assert read_card(tmp_path / "detector.npz").task == read_card(tmp_path / "detector.keras").task == "detection"
    for read in (bit_keras.BiT.from_preset, lambda path: bit_keras.BiT.from_preset(path, num_classes=3)):
        with pytest.raises(CheckpointError, match=r"holds a detector: bit_keras.detection.Detector.from_preset loads"):
            read(tmp_path / "detector.npz")
    for name, value in {"num_classes": 4, "width": 64, "depth": 2}.items():
        with pytest.raises(CheckpointError, match=rf"holds a detector with {name}=\d+, not {value}"):
            Detector.from_preset(tmp_path / "detector.npz", **{name: value})
    with pytest.raises(CheckpointError, match=r"holds a detector with num_classes=3, not 4"):
        load_weights(Detector("three_blocks", 4, **SIZES), tmp_path / "detector.npz")


def test_a_file_with_another_layer_is_refused(detector, tmp_path):
    save_npz(detector, tmp_path / "detector.npz")
    left_out = "resnet/pyramid/level7/group_norm/beta"
    with zipfile.ZipFile(tmp_path / "detector.npz") as old, zipfile.ZipFile(tmp_path / "less.npz", "w") as new:
        for name in old.namelist():
            if name != f"{left_out}.npy":
                new.writestr(name, old.read(name))
    before = detector.get_weights()
    with pytest.raises(CheckpointError, match=rf"do not fit a detector on three_blocks .*\n- {left_out} \(32,\)"):
        load_weights(detector, tmp_path / "less.npz")
    assert all(np.array_equal(*pair) for pair in zip(before, detector.get_weights(), strict=True))


def test_the_backbone_of_a_classifier(golden_npz):
    detector = Detector.from_preset(golden_npz, num_classes=3, **SIZES)
    official = read_npz(golden_npz)
    received = checkpoints_of(detector)
    assert {key for key in received if key not in official} == {
        key for key in received if key.startswith(("resnet/pyramid/", "resnet/class_head/", "resnet/box_head/"))
    }
    assert {key for key in official if key not in received} == {"resnet/head/conv2d/kernel", "resnet/head/conv2d/bias"}
    for key in official.keys() & received.keys():
        np.testing.assert_array_equal(received[key], official[key])
    assert (detector.card.weights, detector.card.class_names) == (golden_npz.name, None)
    with pytest.raises(ValueError, match=r"num_classes must be given: .* holds a classifier"):
        Detector.from_preset(golden_npz)
    with pytest.raises(CheckpointError, match=r"golden_r_small.npz holds R17x0.5, not R50x1"):
        Detector.from_preset(golden_npz, num_classes=3, variant="R50x1")
    with pytest.raises(CheckpointError, match=r"golden_r_small.npz holds R17x0.5, not three_blocks"):
        load_weights(Detector("three_blocks", 3, **SIZES), golden_npz)


def test_the_normalized_stages_are_those_of_the_network(golden_npz, golden_activations):
    model = bit_keras.BiT.from_preset(golden_npz)
    backbone = model.backbone
    norms = {f"block{k}": backbone.get_layer(f"block{k + 1}_unit01_a_group_norm").output for k in (1, 2, 3)}
    norms["block4"] = backbone.get_layer("group_norm").output
    assert backbone.normalized_outputs == norms
    if keras.backend.backend() == "jax":
        return  # compiles for long
    last = keras.Model(backbone.input, norms).predict_on_batch(golden_activations["image"])["block4"]
    np.testing.assert_allclose(last.mean((1, 2)), golden_activations["features"], atol=1e-4)


def test_folded(detector, stages_and_outputs):
    network = bit_keras.folded(detector)
    assert not any(isinstance(layer, type(detector.layers[2])) for layer in network.layers if layer.weights)
    for name, values in network.predict_on_batch(_images(3, H, W)).items():
        np.testing.assert_allclose(values, stages_and_outputs[name], atol=1e-4)


def test_the_start_of_training():
    detector = Detector("three_blocks", 7, **SIZES)
    kernel, bias = detector.get_layer("class_head_prediction_conv2d").get_weights()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), 0.01, rtol=1e-5)
    assert 0.009 < kernel.std() < 0.011
    kernel, bias = detector.get_layer("box_head_prediction_conv2d").get_weights()
    assert 0.009 < kernel.std() < 0.011
    assert not bias.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be 1 or more, got 0"),
        ({"num_classes": float("nan")}, "num_classes must be an integer, 1 or more, got nan"),
        ({"num_classes": "80"}, "num_classes must be an integer, 1 or more, got '80'"),
        ({"num_classes": None}, "num_classes must be an integer, 1 or more, got None"),
        ({"width": 100}, "width must be a multiple of the 32 groups of the norms, got 100; the nearest are 96 or 128"),
        ({"width": 16}, "width must be a multiple of the 32 groups of the norms, got 16; the nearest is 32"),
        ({"depth": 0}, "depth must be 1 or more, got 0"),
        ({"depth": 17}, "depth must be 16 or less, got 17"),
        ({"dtype": "float17"}, "dtype must be a dtype policy or its name"),
        ({"remat": 1}, "remat must be True or False"),
        ({"variant": "R50"}, "unknown variant 'R50'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Detector(**{"variant": "three_blocks", "num_classes": 3} | arguments)


def test_a_variant_without_the_stages_and_an_unknown_argument(tiny):
    with pytest.raises(ValueError, match="a detector reads block2, block3, block4; tiny has no block2, block3"):
        Detector("tiny", 3)
    with pytest.raises(TypeError, match=r"Detector\(\) has no argument 'widht'; did you mean width\?"):
        Detector("three_blocks", 3, widht=32)


def test_class_names_are_as_many_as_classes(detector):
    with pytest.raises(ValueError, match="class_names must be the 3 classes of the detector, got 2 names"):
        detector.card = dataclasses.replace(detector.card, class_names=("a", "b"))
    assert detector.class_names == ("a", "b", "c")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="jax always compiles, and torch never with XLA")
def test_a_step_that_xla_compiles(detector):
    images, targets = _images(2, 33, 40), {name: values[:2] for name, values in TARGETS.items()}
    losses = []
    for jit_compile in (False, True):
        network = _copy(detector)
        network.compile(keras.optimizers.SGD(0.01), jit_compile=jit_compile)
        losses.append([network.train_on_batch(images, targets) for _ in range(2)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    assert losses[0][1] < losses[0][0]
