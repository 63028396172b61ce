"""Parity with the BiT models of timm and transformers: random weights, saved in the files of these libraries."""

import functools
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from bit_keras import BiT, save_npz
from bit_keras.checkpoints import collect_weights, read_npz, write_safetensors
from bit_keras.checkpoints.reference import peer
from bit_keras.zoo.variants import VARIANTS
from tests import torchvision_operators  # noqa: F401  before timm

SMALL = VARIANTS["R17x0.5"]
SIZES = ((2, 64, 64), (1, 97, 75))
LIBRARIES = ("timm", "transformers")


def _timm_model():
    from timm.layers import StdConv2d
    from timm.models.resnetv2 import ResNetV2

    return ResNetV2(
        [1, 2, 1, 1],
        channels=(128, 256, 512, 1024),
        num_classes=10,
        stem_chs=32,
        stem_type="fixed",
        conv_layer=functools.partial(StdConv2d, eps=1e-8),  # as in timm's own BiT models
    )


def _transformers_model():
    from transformers import BitConfig, BitForImageClassification

    config = BitConfig(
        layer_type="preactivation",
        embedding_size=32,
        hidden_sizes=[128, 256, 512, 1024],
        depths=[1, 2, 1, 1],
        num_labels=10,
    )
    return BitForImageClassification(config)


def _model(library: str, scale: float = 1.0) -> torch.nn.Module:
    """Returns a network of `library` with random weights; `scale` is the standard deviation of the kernels."""
    torch.manual_seed(0)
    model = {"timm": _timm_model, "transformers": _transformers_model}[library]().eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=scale if "conv" in name else 1.0)
    return model


def _save(model: torch.nn.Module, path: Path) -> Path:
    safetensors.torch.save_file(model.state_dict(), path, metadata={"format": "pt"})
    return path


def _set_epsilon(model: torch.nn.Module, epsilon: float) -> None:
    kernels = [module for module in model.modules() if hasattr(module, "eps") and isinstance(module, torch.nn.Conv2d)]
    assert len(kernels) == 20  # stem, 3 per unit for 5 units, a projection per block
    for module in kernels:
        assert module.eps == 1e-8
        module.eps = epsilon


def _logits(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        outputs = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    return getattr(outputs, "logits", outputs).numpy()


def _difference(expected, found) -> float:
    """Returns the largest difference relative to the scale of the logits."""
    return np.abs(expected - found).max() / np.abs(expected).max()


def _images(size: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (*size, 3)).astype("float32")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("size", SIZES)
def test_their_files_give_their_logits(tmp_path, library, size):
    model = _model(library)
    ours = BiT.from_preset(_save(model, tmp_path / "model.safetensors"))
    save_npz(ours, tmp_path / "official.npz")
    images = _images(size)
    expected = _logits(model, images)
    for path in ("model.safetensors", "official.npz"):
        assert _difference(expected, BiT.from_preset(tmp_path / path).predict(images, verbose=0)) < 1e-5


@pytest.mark.parametrize("library", LIBRARIES)
def test_their_epsilon_is_another_one(tmp_path, library):
    """With kernels of a variance of 1e-8, an epsilon of 1e-8 differs measurably from BiT's 1e-10."""
    model = _model(library, scale=1e-4)
    path, images = _save(model, tmp_path / "model.safetensors"), _images(SIZES[0])
    ours = BiT.from_preset(path).predict(images, verbose=0)
    assert _difference(_logits(model, images), ours) > 0.01
    _set_epsilon(model, 1e-10)
    assert _difference(_logits(model, images), ours) < 1e-4


@pytest.mark.parametrize("library", LIBRARIES)
def test_peers_use_the_epsilon_of_bit(tmp_path, library):
    model = _model(library, scale=1e-4)
    run = peer(_save(model, tmp_path / "model.safetensors"), "safetensors", SMALL, 10)
    _set_epsilon(model, 1e-10)
    np.testing.assert_array_equal(run(_images(SIZES[0])), _logits(model, _images(SIZES[0])))


def test_timm_gives_the_official_logits(golden_npz, golden_activations, tmp_path):
    write_safetensors(read_npz(golden_npz), tmp_path / "model.safetensors")
    run = peer(tmp_path / "model.safetensors", "safetensors", SMALL, 10)
    assert _difference(golden_activations["logits"], run(golden_activations["image"])) < 1e-5


def test_timm_loads_our_files_by_its_own_loader(tmp_path):
    """timm loads the file by `timm.create_model`, which rejects missing and unexpected tensors."""
    import timm

    model = BiT("R50x1", num_classes=7)
    model.get_layer("head").set_weights([np.random.default_rng(0).normal(size=(2048, 7)), np.arange(7)])
    write_safetensors(collect_weights(model), tmp_path / "model.safetensors")
    theirs = timm.create_model("resnetv2_50x1_bit", num_classes=7, checkpoint_path=str(tmp_path / "model.safetensors"))
    images = _images(SIZES[0])
    assert _difference(_logits(theirs.eval(), images), model.predict(images, verbose=0)) < 1e-4


def test_transformers_saves_what_we_read(tmp_path):
    model = _model("transformers")
    model.save_pretrained(tmp_path)
    ours = BiT.from_preset(tmp_path / "model.safetensors")
    assert _difference(_logits(model, _images(SIZES[1])), ours.predict(_images(SIZES[1]), verbose=0)) < 1e-5


def test_formats_that_no_library_runs(golden_npz, golden_h5):
    assert peer(golden_npz, "npz", SMALL, 10) is None
    assert peer(golden_h5, "h5", SMALL, 10) is None


def test_a_library_that_is_missing_or_broken(tmp_path, monkeypatch, caplog):
    path = _save(_model("timm"), tmp_path / "model.safetensors")

    def broken(*_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("bit_keras.checkpoints.reference._timm", broken)
    assert peer(path, "safetensors", SMALL, 10) is None
    assert "is not run in its original library: operator torchvision::nms" in caplog.text
