"""What a run would do."""

import re

import numpy as np
import pytest

from bit_keras import data
from bit_keras.finetune import finetuner
from bit_keras.finetune.plan import Memory, estimate_memory
from bit_keras.network import arithmetic
from bit_keras.zoo.variants import VARIANTS


@pytest.fixture
def cifar() -> data.Source:
    """As large as CIFAR-10's images, and with as many classes; few of them."""
    labels = np.arange(40) % 10
    images = np.zeros((40, 32, 32, 3), np.uint8)
    return data.from_arrays(images, labels, images[:10], labels[:10], class_names=tuple("abcdefghij"))


def test_a_published_network_is_described_without_its_file(cifar, tmp_path):
    text = finetuner.dry_run("BiT-M-R101x3", cifar, tmp_path / "run", accumulate=4, precision="mixed_bfloat16")
    lines = text.splitlines()
    assert lines[0] == "model      BiT-M-R101x3: R101x3, 381,851,338 weights with a head of 10 classes"
    assert "40 training and 10 test examples, 32x32 pixels" in text
    assert "images     resized to 160, cropped to 128; evaluated at 128" in lines
    assert "batch      512 images in 4 parts" in lines
    assert "length     500 updates, 256,000 images" in lines
    rates = [
        line.split(maxsplit=1)[1] if line.startswith("rate") else line.strip() for line in lines if "updates " in line
    ]
    assert [rate for rate in rates if ":" in rate] == [
        "updates 0 to 99: rises from 0 to 0.003",
        "updates 100 to 200: 0.003",
        "updates 201 to 300: 0.0003",
        "updates 301 to 400: 3e-05",
        "updates 401 to 499: 3e-06",
    ]
    assert "about 6.1 GB for weights, gradients and momentum" in text
    assert not (tmp_path / "run").exists()


def test_the_page_of_cifar10(mock_tfds, tmp_path):
    with mock_tfds("cifar10", {"train": 50_000, "test": 10_000}, num_examples=10):
        text = finetuner.dry_run("BiT-M-R101x3", "cifar10", tmp_path / "run")
    for line in (
        "model      BiT-M-R101x3: R101x3, 381,851,338 weights with a head of 10 classes",
        "data       cifar10: 50,000 training and 10,000 test examples, 32x32 pixels",
        "images     resized to 160, cropped to 128; evaluated at 128",
        "batch      512 images",
        "MixUp      0.1",
        "length     10,000 updates, 5,120,000 images",
        "rate       updates 0 to 499: rises from 0 to 0.003",
        "           updates 500 to 3,000: 0.003",
        "           updates 3,001 to 6,000: 0.0003",
        "           updates 6,001 to 9,000: 3e-05",
        "           updates 9,001 to 9,999: 3e-06",
    ):
        assert line in text.splitlines()


def test_a_file_is_described_by_its_shapes(cifar, golden_npz, tmp_path):
    text = finetuner.dry_run(str(golden_npz), cifar, tmp_path, schedule="upstream", steps=100, freeze="block2")
    assert f"{golden_npz}: R17x0.5, 2,087,978 weights" in text
    assert "trained    block2" in text
    assert "MixUp      none" in text


def _small(**options) -> Memory:
    return estimate_memory(VARIANTS["R17x0.5"], 10, **{"batch_size": 1, "crop": 8, **options})


# Of R17x0.5 for an image of 8 pixels, counted by hand, from the stem to the last norm: outputs of ReLU, of convolutions
# and paddings within a unit, and of the unit.
NORMALIZED = [0, 384, 832, 384, 512, 1024, 1024]
CONVOLVED = [1740, 256, 1344, 128, 1408, 2816, 0]
OUTPUTS = [128, 512, 256, 256, 512, 1024, 0]
PARAMETERS = 2_087_978
HEAD = 10 * 1025


@pytest.mark.parametrize("steps", [5, 6, 7, 8])
def test_the_shortest_schedules(steps, tmp_path):
    text = finetuner.dry_run("R17x0.5", "digits", tmp_path / "run", steps=steps)
    spans = [tuple(map(int, span)) for span in re.findall(r"updates (\d+) to (\d+): ", text)]
    assert [begin for begin, _ in spans] == [0, *(end + 1 for _, end in spans[:-1])]
    assert spans[-1][1] == steps - 1


def test_memory_is_as_counted_by_hand():
    of_an_image = sum(NORMALIZED) + sum(CONVOLVED) + sum(OUTPUTS)
    assert _small() == Memory(3 * 4 * PARAMETERS, 4 * of_an_image + 8 * PARAMETERS)
    assert _small(batch_size=64).activations == 64 * 4 * of_an_image + 8 * PARAMETERS
    for precision in ("mixed_bfloat16", "mixed_float16"):
        assert _small(precision=precision) == Memory(3 * 4 * PARAMETERS, 2 * of_an_image + 4 * PARAMETERS)


def test_large_outputs_of_relu_are_not_kept():
    batch_size = arithmetic.LARGE  # so that every map is large
    of_an_image = sum(CONVOLVED) + sum(OUTPUTS)
    assert _small(batch_size=batch_size).activations == batch_size * 4 * of_an_image + 8 * PARAMETERS


def test_memory_of_rematerialization_is_that_of_outputs_and_one_unit():
    block4 = NORMALIZED[5] + CONVOLVED[5]
    assert _small(remat=True) == Memory(3 * 4 * PARAMETERS, 4 * (sum(OUTPUTS) + block4) + 8 * PARAMETERS)


def test_memory_of_accumulation_is_that_of_a_part_and_a_sum():
    part = _small(batch_size=8)
    assert _small(batch_size=32, accumulate=4) == Memory(part.weights + 4 * PARAMETERS, part.activations)


def test_frozen_stages_need_weights_alone():
    norms = (32 + 2 * 32) + (128 + 2 * 64) + (256 + 2 * 64)
    frozen = 4704 + 18432 + 94208 + 69632 + 2 * norms  # which have beta and gamma
    kept = sum(NORMALIZED[4:]) + sum(CONVOLVED[4:]) + sum(OUTPUTS[3:])
    trained = PARAMETERS - frozen
    assert _small(freeze="block2") == Memory(4 * PARAMETERS + 2 * 4 * trained, 4 * kept + 8 * trained)
    assert _small(freeze="head_only").weights == 4 * (PARAMETERS + 2 * HEAD)


def test_memory_grows_as_it_must():
    def activations(name="R50x1", batch_size=1024, crop=128):
        return estimate_memory(VARIANTS[name], 1000, batch_size, crop).activations

    assert activations(batch_size=2048) == pytest.approx(2 * activations(), rel=0.01)
    assert activations(crop=256) == pytest.approx(4 * activations(), rel=0.05)  # padding grows less
    assert activations("R50x3") == pytest.approx(3 * activations(), rel=0.05)
