"""Runs a weight file in its original library, as a reference: timm, transformers, Keras or TensorFlow."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from bit_keras.checkpoints.readers.torch_names import TIMM, TRANSFORMERS, find_naming, without_levels
from bit_keras.system.logs import logger
from bit_keras.zoo.variants import EXPANSION, Variant

# BiT adds 1e-10 to the variance of a kernel; timm and transformers add 1e-8 by default.
_EPSILON = 1e-10


def is_program(file_format: str) -> bool:
    """Tells whether a file of this format determines itself what is run: a graph or a configuration of any layers."""
    return file_format in ("SavedModel", "keras")


def peer(path: Path, file_format: str, variant: Variant, num_classes: int) -> Callable[[np.ndarray], np.ndarray] | None:
    """Returns the network of a weight file in its original library, None if that library cannot run it.

    If `is_program(file_format)`, the file is executed: only for files of known origin.

    Args:
        path: the file or directory.
        file_format: key of `checkpoints.formats.READERS`.
        variant: architecture of the network in the file.
        num_classes: number of outputs of its head.

    Returns:
        A function from float32 images [N, H, W, 3] in [-1, 1] to logits [N, num_classes].
    """
    if file_format == "safetensors":
        return _torch_peer(path, variant, num_classes)
    if file_format == "keras":
        model = keras.saving.load_model(path, compile=False)
        return lambda images: keras.ops.convert_to_numpy(model(images))
    if file_format == "SavedModel":
        return _saved_model(path)
    return None


def _saved_model(path: Path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    # TF Hub modules take images in [0, 1].
    return lambda images: loaded(tf.constant((images + 1) / 2), training=False).numpy()


def _torch_peer(path: Path, variant: Variant, num_classes: int):
    try:
        import torch
        from safetensors.torch import load_file

        state = {without_levels(name): tensor for name, tensor in load_file(path).items()}
        naming, prefix = find_naming(path, state)
        if naming not in (TIMM, TRANSFORMERS):
            return None
        model = (_timm if naming == TIMM else _transformers)(variant, num_classes)
    except (ImportError, RuntimeError) as error:  # RuntimeError: incompatible builds of torch and torchvision
        logger.warning("%s is not run in its original library: %s", path, error)
        return None
    model.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    for module in model.modules():
        if type(module).__name__ in ("StdConv2d", "WeightStandardizedConv2d"):
            module.eps = _EPSILON
    model.eval()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            outputs = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
        return getattr(outputs, "logits", outputs).numpy()  # those of transformers are in an object

    return run


def _widths(variant: Variant) -> list[int]:
    """Returns the output channels of the four blocks."""
    return [EXPANSION * variant.bottleneck_filters(block) for block in (1, 2, 3, 4)]


def _timm(variant: Variant, num_classes: int):
    from timm.models.resnetv2 import ResNetV2

    return ResNetV2(
        layers=list(variant.units),
        channels=tuple(_widths(variant)),
        num_classes=num_classes,
        stem_chs=variant.stem_filters,
        stem_type="fixed",  # pads with zeros before the max pooling, as the official code does
    )


def _transformers(variant: Variant, num_classes: int):
    from transformers import BitConfig, BitForImageClassification

    config = BitConfig(
        layer_type="preactivation",
        embedding_size=variant.stem_filters,
        hidden_sizes=_widths(variant),
        depths=list(variant.units),
        num_labels=num_classes,
    )
    return BitForImageClassification(config)
