"""What a run would do."""

import numpy as np
import pytest

from bit_keras import data
from bit_keras.finetune import page
from bit_keras.finetune.plan import estimate_memory
from bit_keras.variants import VARIANTS


@pytest.fixture
def cifar() -> data.Source:
    """As large as CIFAR-10's images, and with as many classes; few of them."""
    labels = np.arange(40) % 10
    images = np.zeros((40, 32, 32, 3), np.uint8)
    return data.from_arrays(images, labels, images[:10], labels[:10], class_names=tuple("abcdefghij"))


def test_a_published_network_is_described_without_its_file(cifar, tmp_path):
    text = page.dry_run("BiT-M-R101x3", cifar, tmp_path / "run", accumulate=4, precision="mixed_bfloat16")
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
    assert "about 4.6 GB for weights, gradients and momentum" in text
    assert not (tmp_path / "run").exists()


def test_a_file_is_described_by_its_shapes(cifar, golden_npz, tmp_path):
    text = page.dry_run(str(golden_npz), cifar, tmp_path, schedule="upstream", steps=100, freeze="block2")
    assert f"{golden_npz}: R17x0.5, 2,087,978 weights" in text
    assert "trained    block2" in text
    assert "MixUp      none" in text


def test_memory_grows_as_it_must():
    base = estimate_memory(VARIANTS["R50x1"], 1000, 8, 128, "float32")
    assert base.weights == 3 * 4 * 25_549_352
    assert estimate_memory(VARIANTS["R50x1"], 1000, 16, 128, "float32").activations == 2 * base.activations
    assert estimate_memory(VARIANTS["R50x1"], 1000, 8, 128, "mixed_bfloat16").activations == base.activations // 2
    assert estimate_memory(VARIANTS["R50x1"], 1000, 8, 256, "float32").activations == 4 * base.activations
    assert estimate_memory(VARIANTS["R50x3"], 1000, 8, 128, "float32").activations == 3 * base.activations
