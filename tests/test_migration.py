"""The guide shows the files of examples/migration, and they do what it says on a few images."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import bit_keras
from bit_keras import data
from bit_keras.runs import run
from examples import migration

FOLDER = Path(migration.__file__).parent
GUIDE = FOLDER.parent.parent / "docs" / "migration.md"
GOLDEN = Path(__file__).parent / "fixtures" / "golden_r_small.npz"


@pytest.fixture(scope="module")
def module(check_here, tmp_path_factory) -> str:
    """A feature vector module, like those of TF Hub."""
    backbone = bit_keras.BiT.from_preset(GOLDEN).backbone
    with check_here():
        return str(bit_keras.export_saved_model(backbone, tmp_path_factory.mktemp("exported") / "module"))


@pytest.fixture
def source() -> data.Source:
    images = np.random.default_rng(0).integers(256, size=(12, 40, 36, 3), dtype=np.uint8)
    return data.from_arrays(images, np.arange(12) % 3, images[:5], np.arange(5) % 3)


def test_the_guide_shows_the_files():
    pattern = r"After: \[`examples/migration/(\w+\.py)`\]\(\S+\)\n\n```python\n(.*?)```\n"
    shown = re.findall(pattern, GUIDE.read_text(), re.S)
    files = {path.name: path.read_text() for path in FOLDER.glob("*.py") if path.name != "__init__.py"}
    assert dict(shown) == files
    assert len(shown) == 4


def test_what_was_before_is_python():
    blocks = re.findall(r"Before[^\n]*:\n\n```python\n(.*?)```\n", GUIDE.read_text(), re.S)
    assert len(blocks) == 2
    for block in blocks:
        ast.parse(block)


def test_a_longer_schedule_is_as_the_guide_says():
    schedule = bit_keras.HyperRule(3_119, (500, 500), batch_size=64, steps=4_000).schedule
    assert schedule.drop_steps == (1_600, 2_400, 3_200)


def test_hub_keras_layer(module, tmp_path):
    from examples.migration.hub_keras_layer import fine_tune, save_and_load

    images = np.random.default_rng(0).uniform(size=(8, 33, 33, 3)).astype(np.float32)
    model = fine_tune(module, images, np.arange(8) % 3, num_classes=3)
    assert np.any(model.layers[-1].kernel)
    assert len(model.trainable_weights) == 54

    loaded = save_and_load(model, tmp_path / "model.keras")

    np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))


def test_module_weights(module):
    from examples.migration.module_weights import as_keras_layers

    model = as_keras_layers(module, num_classes=3)
    images = np.random.default_rng(0).uniform(size=(2, 33, 40, 3)).astype(np.float32)
    found, expected = model.backbone(2 * images - 1), bit_keras.SavedModelLayer(module)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert not np.any(model(images))


def test_official_tf2(source, tmp_path, monkeypatch):
    from examples.migration.official_tf2 import pieces, program

    monkeypatch.setattr(run.report, "write", lambda *arguments: None)  # figures, which are slow
    settings = {"batch_size": 4, "steps": 5, "resolution": 32}
    model, accuracy = program(str(GOLDEN), source, str(tmp_path), eval_every=5, **settings)
    assert 0 <= accuracy <= 1
    assert model.output_shape == (None, 3)
    assert (tmp_path / "weights.npz").is_file()

    model = pieces(str(GOLDEN), source, **settings)
    assert int(model.optimizer.iterations) == 5
    assert np.any(model.get_layer("head").kernel)


def test_keras_io(module):
    import tensorflow as tf

    from examples.migration.keras_io import fine_tune

    images = np.random.default_rng(0).integers(256, size=(8, 40, 36, 3), dtype=np.uint8)
    examples = tf.data.Dataset.from_tensor_slices((images, np.arange(8) % 3))
    model = fine_tune(module, examples, examples.take(3), 3, batch_size=4, resolution=32, steps=5)
    assert int(model.optimizer.iterations) == 5
    assert len(model.trainable_weights) == 54
    assert model.optimizer.learning_rate < 0.003 * 4 / 512
