"""BiT, the network: a pre-activation ResNet with group normalization and weight standardization.

Source: arXiv 1912.11370, section 3.1; official `bit_tf2/models.py` and `bit_pytorch/models.py`. Layer names
are the paths of the official weight files.
"""

import dataclasses
import itertools
import os

import keras
from keras import layers

from bit_keras import checkpoints
from bit_keras.checkpoints import names, provenance
from bit_keras.checkpoints.card import Card, origin
from bit_keras.checkpoints.remote.addresses import is_url
from bit_keras.network import execution
from bit_keras.network.base import Network, check_arguments, freeze_named, frozen_names, policy_of
from bit_keras.network.graph_torch import TorchGraph
from bit_keras.network.layers import GroupNormalization, MaxPooling2D, StandardizedConv2D
from bit_keras.network.prediction_jax import JaxPrediction
from bit_keras.system.checks import check_integer, check_kind, check_names, known_arguments
from bit_keras.system.paths import check_place, expanded
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import UnitRow, Variant, get_variant

# Explicit wherever Keras takes it: its global setting may be "channels_first".
_FORMAT = "channels_last"

_HEAD_POLICY = "head_policy"  # key of a configuration
_ARGUMENTS = ("variant", "num_classes", "dtype", "remat", "name", "trainable")
# Arguments of the networks in keras.applications, and what replaces them.
_INSTEAD = {
    "weights": 'BiT.from_preset("BiT-M-R50x1") loads published weights',
    "include_top": "model.backbone is the network without its head",
    "input_shape": "images are [N, H, W, 3] in [-1, 1], of any height and width",
    "input_tensor": "call the network, model(images)",
    "pooling": "model.backbone averages over the image, model.backbone.pyramid_outputs are its feature maps",
    "classes": "num_classes is the number of outputs",
    "classifier_activation": "the outputs are logits, keras.ops.softmax(model(images)) makes probabilities",
}


@keras.saving.register_keras_serializable(package="bit_keras")
class Backbone(TorchGraph, JaxPrediction, keras.Model):
    """BiT without its head: images to pooled features.

    Args:
        variant: name of a row of `bit_keras.zoo.variants`, for example "R50x1".
        dtype: dtype policy or its name, None for Keras's global one.
        remat: rematerialize: save only the inputs of the residual units for the backward pass, which recomputes the
            rest. Source: "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174.
        name: of the model.

    Input shape: [N, H, W, 3] in [-1, 1], any H and W.
    Output shape: [N, 2048 * width], float32 under a mixed policy.

    Raises:
        ValueError: the variant is unknown.
        TypeError: an argument is unknown.

    Example:
        >>> backbone = bit_keras.BiT.from_preset("BiT-mini-R17x0.5").backbone
        >>> stages = keras.Model(backbone.input, backbone.pyramid_outputs)
        >>> {name: tuple(output.shape) for name, output in stages(np.zeros((1, 64, 64, 3), "float32")).items()}
        {'root_block': (1, 16, 16, 32), 'block1': (1, 16, 16, 128), ..., 'block4': (1, 2, 2, 1024)}
    """

    def __init__(self, variant: str, dtype=None, remat: bool = False, name: str = "backbone", **kwargs):
        check_names("Backbone", kwargs, [name for name in _ARGUMENTS if name != "num_classes"], _INSTEAD)
        row, policy = get_variant(check_kind("variant", variant, str)), policy_of(dtype)
        check_arguments(remat=remat, name=name, **kwargs)
        images = keras.Input((None, None, 3), name="images", dtype=policy.variable_dtype)
        stages, normalized, boundaries = _stages(images, row, policy)
        # The mean over many pixels and the head after it are computed in float32.
        pool = layers.GlobalAveragePooling2D(_FORMAT, name="features", dtype=policy.variable_dtype)
        features = pool(normalized["block4"])
        super().__init__(inputs=images, outputs=features, name=name, **kwargs)
        self.dtype_policy = policy
        self.variant = row
        self.remat = remat
        self._pyramid_outputs = stages
        self._normalized_outputs = normalized
        # Of each segment the stage that it ends, if it ends one.
        stage_of = {id(output): stage for stage, output in normalized.items()}
        self._segment_stages = [stage_of.get(id(boundary)) for boundary in (*boundaries, features)]
        # Bound methods: a `keras.Function` itself would be tracked, and its layers saved twice.
        self._segments = [keras.Function(*ends).call for ends in itertools.pairwise([images, *boundaries, features])]
        execution.free_gradients_with(self)

    def call(self, inputs, training=None, mask=None):
        if not self.remat:
            return super().call(inputs, training=training, mask=mask)
        features, _ = self.walk(inputs, training)
        return features

    def walk(self, images, training: bool | None = None) -> tuple:
        """Runs the network one residual unit at a time, each under `keras.remat`, whether or not `remat` is set.

        Args:
            images: [N, H, W, 3] in [-1, 1].
            training: whether this is a training step.

        Returns:
            (features, {"block1": ..., ..., "block4": ...}), the pooled features and the values of
            `normalized_outputs`.
        """
        x, stages = images, {}
        for segment, stage in zip(self._segments, self._segment_stages, strict=True):
            # A new function per call: JAX would reuse the trace of an earlier one, with its variables.
            def run(x, segment=segment):
                with execution.in_training(training):
                    return segment(x)

            x = execution.rematerialize(run)(x)
            if stage is not None:
                stages[stage] = x
        return x, stages

    @property
    def pyramid_outputs(self) -> dict:
        """{"root_block": ..., "block1": ..., ..., "block4": ...}: symbolic outputs of the stages, strides 4 to 32.

        `keras.Model(backbone.input, backbone.pyramid_outputs)` is a network that returns them.
        """
        return dict(self._pyramid_outputs)

    @property
    def normalized_outputs(self) -> dict:
        """{"block1": ..., ..., "block4": ...}: symbolic outputs of the blocks after the norm and ReLU that follow.

        These belong to the next block, and after block4 to the network. All that comes later reads a block through
        them, so they are the features of ResNet v1, whose blocks end with a norm and ReLU. Strides 4 to 32.
        """
        return dict(self._normalized_outputs)

    def get_config(self):
        return {
            **super().get_config(),
            "variant": self.variant.name,
            "remat": self.remat,
            "frozen": frozen_names(self.layers),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        arguments = {key: value for key, value in config.items() if key != "frozen"}
        backbone = cls(**arguments)
        freeze_named(backbone.layers, config["frozen"])
        return backbone


@keras.saving.register_keras_serializable(package="bit_keras")
class BiT(Network):
    """BiT, a classifier: images to logits, with random weights and a head of zeros.

    Use `BiT.from_preset` for trained weights.

    Args:
        variant: name of a row of `bit_keras.zoo.variants`, for example "R50x1".
        num_classes: outputs of the head, 1 or more; must be given.
        dtype: dtype policy or its name, None for Keras's global one.
        remat: train in less memory and more time; see `Backbone`.
        name: of the model.

    Attributes:
        card: what is known about the weights, such as class names, resolution and training data, which every written
            file carries; a `bit_keras.checkpoints.card.Card`.
        resolution: side in pixels of the images that the trained weights are for, and at which
            `bit_keras.export_saved_model` serves them; None where it is not known. The network takes any H and W.

    Input shape: [N, H, W, 3] in [-1, 1], any H and W.
    Output shape: [N, num_classes], logits; float32 under a mixed policy.

    Raises:
        ValueError: the variant is unknown, or `num_classes` is not an integer of 1 or more.
        TypeError: an argument is unknown.

    Example:
        >>> model = bit_keras.BiT("R17x0.5", num_classes=10)
        >>> images = np.zeros((2, 64, 64, 3), "float32")  # in [-1, 1]
        >>> model(images).shape, model.backbone(images).shape
        (TensorShape([2, 10]), TensorShape([2, 1024]))
    """

    def __init__(
        self,
        variant: str,
        num_classes: int | None = None,  # checked after the names, so that an error reports a wrong name first
        dtype=None,
        remat: bool = False,
        name: str = "bit",
        **kwargs,
    ):
        check_names("BiT", kwargs, _ARGUMENTS, _INSTEAD)
        num_classes = check_integer("num_classes", num_classes)
        check_arguments(remat=remat, name=name, **kwargs)
        backbone = Backbone(variant, dtype=dtype, remat=remat)
        policy = backbone.dtype_policy
        images = keras.Input((None, None, 3), name="images", dtype=policy.variable_dtype)
        # Transfer starts from a head of zeros (section 3.3): the first update moves only the head.
        head = layers.Dense(num_classes, kernel_initializer="zeros", name=names.HEAD, dtype=policy.variable_dtype)
        super().__init__(inputs=images, outputs=head(backbone(images)), name=name, **kwargs)
        self.dtype_policy = policy
        self.backbone = backbone
        self.num_classes = num_classes
        self.card = Card(variant=variant)

    @classmethod
    @known_arguments((), unchecked=("num_classes",))
    def from_preset(
        cls,
        preset: str | os.PathLike,
        num_classes: int | None = None,
        variant: str | None = None,
        dtype=None,
        file_format: str | None = None,
        remat: bool = False,
    ) -> "BiT":
        """Builds a BiT with trained weights.

        Args:
            preset: name of published weights (`bit_keras.list_presets()`), or path or address of a file in any
                known format: official npz or h5, safetensors of timm, transformers or bit_pytorch, whole or in shards,
                a SavedModel directory, `.keras`, `.weights.h5`, `.h5`; or of a folder with one of these, such as that
                of a run or of `save_pretrained`. An address is https://, gs://, hf:// or kaggle://, or the page of the
                weights on kaggle.com, huggingface.co or tfhub.dev.
            num_classes: outputs of a new head of zeros; None for the head in the file.
            variant: architecture that the file must hold; None to infer it from the shapes.
            dtype: dtype policy or its name, None for Keras's global one.
            file_format: which of the files of a published preset to take, "npz", "h5", "timm", "transformers" or
                "hub"; None for the official npz.
            remat: train in less memory and more time; see `Backbone`.

        Raises:
            ValueError: the preset, file or variant is unknown, the variant contradicts the preset, or the address is
                malformed.
            FileNotFoundError: a folder has no weights.
            ConnectionError: the file cannot be downloaded.
            ImportError: a package that the file's format needs is not installed.
            bit_keras.checkpoints.CheckpointError: the file does not hold the weights of the variant, or a folder holds
                several weight files.

        Example:
            >>> model = bit_keras.BiT.from_preset("BiT-mini-R17x0.5", num_classes=10)  # a new head
            >>> model.num_classes, model.card.weights
            (10, 'BiT-mini-R17x0.5')
        """
        if num_classes is not None:
            check_integer("num_classes", num_classes)  # before a download
        path, variant = checkpoints.locate(preset, variant, file_format)
        arrays = checkpoints.read_weights(path)
        shapes = checkpoints.shapes_of(arrays)
        variant = checkpoints.resolve_variant(path, shapes, variant)
        has_new_head = num_classes is not None
        num_classes = num_classes if has_new_head else checkpoints.head_size(path, shapes)
        model = cls(variant, num_classes, dtype=dtype, remat=remat)
        checkpoints.apply_weights(model, arrays, skip_head=has_new_head)
        if has_new_head:
            model.card = Card(variant=variant, weights=origin(preset))
        else:
            card = provenance.read_card(preset if os.fspath(preset) in PRESETS else path)
            model.card = dataclasses.replace(card.of_head(num_classes, preset), variant=variant)
        return model

    def get_config(self):
        return {
            **super().get_config(),
            "variant": self.variant.name,
            "num_classes": self.num_classes,
            "remat": self.backbone.remat,
            "card": self.card.to_dict(),
            "frozen": frozen_names([*self.layers, *self.backbone.layers]),
            **self._quantization(),
        }

    def _quantization(self) -> dict:
        """Returns the configuration of a quantized head, which Keras loads in its own type; else nothing."""
        head = self.get_layer(names.HEAD)
        return {_HEAD_POLICY: keras.dtype_policies.serialize(head.dtype_policy)} if head.quantization_mode else {}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        others = ("frozen", "card", "resolution", _HEAD_POLICY)
        model = cls(**{key: value for key, value in config.items() if key not in others})
        if _HEAD_POLICY in config:
            model.get_layer(names.HEAD).dtype_policy = keras.dtype_policies.deserialize(config[_HEAD_POLICY])
        # Older files have no card, but may have a resolution.
        model.card = Card.from_dict(
            config.get("card") or {"resolution": config.get("resolution")}, "this configuration"
        )
        freeze_named([*model.layers, *model.backbone.layers], config["frozen"])
        return model


# Keras's `.h5` files name a class without its package; `.keras` files name it in full.
keras.saving.get_custom_objects()["BiT"] = BiT


@known_arguments
def load_weights(model: BiT, path: str | os.PathLike, skip_head: bool = False) -> None:
    """Sets the weights of `model` from a file in any known format; see `BiT.from_preset`.

    Args:
        model: the network, unchanged when the file is refused.
        path: the file or folder, its address, or the name of published weights.
        skip_head: keep the model's head and ignore the head in the file.

    Raises:
        TypeError: `model` is not a BiT.
        ValueError: the head of `model` has LoRA or is quantized; or the address is malformed.
        FileNotFoundError: the file does not exist.
        ConnectionError: it cannot be downloaded.
        ImportError: a package that the file's format needs is not installed.
        bit_keras.checkpoints.CheckpointError: another architecture; or missing, unused or misshapen entries, all
            listed; or numbers that are too large for the model's data type.

    Example:
        >>> model = bit_keras.BiT("R17x0.5", num_classes=10)
        >>> bit_keras.load_weights(model, "BiT-mini-R17x0.5", skip_head=True)
    """
    path = expanded(path)
    if path in PRESETS or "://" in path or is_url(path):
        path, _ = checkpoints.locate(path, model.variant_name)
    arrays = checkpoints.read_weights(path)
    checkpoints.resolve_variant(path, checkpoints.shapes_of(arrays), model.variant_name)
    checkpoints.apply_weights(model, arrays, skip_head)


@known_arguments
def save_npz(model: BiT, path: str | os.PathLike) -> None:
    """Writes the weights of `model` as an official npz file with its card, whole or not at all; see `load_weights`.

    LoRA is merged into the kernel of the head.

    Args:
        model: unchanged.
        path: the file, which must end in ".npz"; an existing file is replaced.

    Raises:
        TypeError: `model` is not a BiT.
        ValueError: the name does not end in ".npz", a weight is NaN or infinite, or the head is quantized.

    Example:
        >>> model = bit_keras.BiT.from_preset("BiT-mini-R17x0.5", num_classes=10)
        >>> bit_keras.save_npz(model, "mine.npz")
        >>> bit_keras.BiT.from_preset("mine.npz").num_classes
        10
    """
    path = check_place("path", path)
    checkpoints.write_npz(checkpoints.collect_weights(model), path, model.card)


def _stages(images, variant: Variant, policy) -> tuple[dict, dict, list]:
    """Returns {name: output} of the stem and the four blocks, {name: output after norm and ReLU} of the blocks, and the
    tensors between which the network can be cut: after the stem and every unit, after the norm where a block ends.
    """
    x = _pad(images, 3, "root_block_padding", policy)
    path = "root_block/standardized_conv2d"
    x = _conv(path, variant.stem_filters, 7, strides=2, policy=policy)(x)
    # The official network pads the pool with zeros; Keras's own "same" padding would be -inf, and not symmetric.
    x = _pad(x, 1, "root_block_pool_padding", policy)
    x = MaxPooling2D(3, 2, data_format=_FORMAT, name="root_block_pool", dtype=policy)(x)
    stages, normalized, boundaries = {"root_block": x}, {}, [x]
    rows = list(variant.unit_rows())
    preactivated = _norm_relu(x, f"{names.unit_path(rows[0])}/a/", policy)
    for row, following in zip(rows, [*rows[1:], None]):
        x = _unit(x, preactivated, row, policy)
        preactivated = _norm_relu(x, f"{names.unit_path(following)}/a/" if following else "", policy)
        is_last = following is None or following.block != row.block
        if is_last:
            stages[f"block{row.block}"], normalized[f"block{row.block}"] = x, preactivated
        # A block's first unit reads only the normalized input, its others the shortcut as well.
        boundaries.append(preactivated if is_last else x)
    return stages, normalized, boundaries


def _unit(shortcut, x, row: UnitRow, policy):
    """Pre-activation bottleneck: norm, ReLU, 1x1; norm, ReLU, 3x3; norm, ReLU, 1x1; plus shortcut.

    The first norm and ReLU, from `shortcut` to `x`, are applied by the caller.
    """
    path = names.unit_path(row)
    if row.has_projection:
        projection = f"{path}/a/proj/standardized_conv2d"
        shortcut = _conv(projection, row.outputs, 1, strides=row.strides, policy=policy)(x)
    x = _conv(f"{path}/a/standardized_conv2d", row.filters, 1, policy=policy)(x)
    x = _norm_relu(x, f"{path}/b/", policy)
    padding = "same"
    if row.strides == 2:
        # "same" at stride 2 pads below and right only; the official network pads every side by 1.
        x = _pad(x, 1, f"{path}/b/padding", policy)
        padding = "valid"
    x = _conv(f"{path}/b/standardized_conv2d", row.filters, 3, strides=row.strides, padding=padding, policy=policy)(x)
    x = _norm_relu(x, f"{path}/c/", policy)
    x = _conv(f"{path}/c/standardized_conv2d", row.outputs, 1, policy=policy)(x)
    return layers.Add(name=names.layer_name(f"{path}/add"), dtype=policy)([shortcut, x])


def _pad(x, pixels: int, path: str, policy):
    return layers.ZeroPadding2D(pixels, _FORMAT, name=names.layer_name(path), dtype=policy)(x)


def _conv(path: str, filters: int, size: int, strides: int = 1, padding: str = "valid", *, policy):
    return StandardizedConv2D(filters, size, strides, padding, name=names.layer_name(path), dtype=policy)


def _norm_relu(x, prefix: str, policy):
    return GroupNormalization(activation="relu", name=names.layer_name(f"{prefix}group_norm"), dtype=policy)(x)
