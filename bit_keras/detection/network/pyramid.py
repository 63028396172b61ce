"""The layers of a RetinaNet above its backbone: the feature pyramid and the two heads.

Source: "Feature Pyramid Networks for Object Detection", arXiv 1612.03144; "Focal Loss for Dense Object Detection",
arXiv 1708.02002, section 4; tensorflow/tpu, models/official/retinanet, `retinanet_architecture.py`. Group normalization
as in BiT takes the place of batch normalization.
"""

import math

import keras
from keras import layers, ops

from bit_keras.checkpoints.names import LATERAL_LEVELS, PYRAMID_LEVELS, layer_name
from bit_keras.network.layers import GroupNormalization

GROUPS = 32  # of a norm, as in BiT
# Probability of every class at every anchor before training: with 0.5 the many background anchors would swamp it.
_PRIOR = 0.01


@keras.saving.register_keras_serializable(package="bit_keras")
class TopDown(layers.Layer):
    """Adds the map of the next coarser level, every cell repeated twice along height and width.

    Input shape: the finer map [N, H, W, C] and the coarser one [N, ceil(H / 2), ceil(W / 2), C].
    Output shape: [N, H, W, C].
    """

    def call(self, inputs):
        fine, coarse = inputs
        coarse = ops.repeat(ops.repeat(coarse, 2, axis=1), 2, axis=2)
        _, height, width, _ = ops.shape(fine)
        return fine + coarse[:, :height, :width]

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return super().get_config()  # Keras's own would refuse a dtype policy that is an object


def pyramid(stages: dict, width: int, policy) -> dict:
    """Returns {level: map [N, ceil(H / 2^level), ceil(W / 2^level), width]} for P3 to P7.

    Args:
        stages: {level: map} of the backbone, C3 to C5.
        width: channels of every level, a multiple of GROUPS.
        policy: dtype policy.
    """
    maps, above = {}, None
    for level in reversed(LATERAL_LEVELS):
        path = f"pyramid/level{level}"
        x = _conv(f"{path}/lateral/conv2d", width, 1, policy)(stages[level])
        if above is not None:
            x = TopDown(name=layer_name(f"{path}/top_down"), dtype=policy)([x, above])
        above = x
        maps[level] = _conv(f"{path}/conv2d", width, 3, policy, use_bias=False)(x)
    # P6 and P7 follow from P5, before its norm.
    for level in PYRAMID_LEVELS[len(LATERAL_LEVELS) :]:
        path, x = f"pyramid/level{level}", maps[level - 1]
        if level - 1 not in LATERAL_LEVELS:
            x = layers.ReLU(name=layer_name(f"{path}/relu"), dtype=policy)(x)
        # Padded on all sides, as in BiT, so that cell i stays at pixel 2^level i; "same" would pad below and right.
        x = layers.ZeroPadding2D(1, "channels_last", name=layer_name(f"{path}/padding"), dtype=policy)(x)
        maps[level] = _conv(f"{path}/conv2d", width, 3, policy, strides=2, padding="valid", use_bias=False)(x)
    return {level: _norm(f"pyramid/level{level}", policy)(maps[level]) for level in PYRAMID_LEVELS}


def head(name: str, maps: dict, outputs: int, per_cell: int, width: int, depth: int, policy):
    """Returns the outputs of one head for all anchors, [N, A, outputs], in the variables' dtype.

    Convolutions are shared by the levels; every level has norms of its own.

    Args:
        name: "class_head", whose outputs start with the logit of the prior probability, or "box_head".
        maps: {level: map}, see `pyramid`.
        outputs: per anchor.
        per_cell: anchors per cell.
        width: channels of the inner convolutions, a multiple of GROUPS.
        depth: number of inner convolutions.
        policy: dtype policy.
    """
    for index in range(1, depth + 1):
        path = f"{name}/conv{index}"
        conv = _conv(f"{path}/conv2d", width, 3, policy, kernel_initializer=_small(), use_bias=False)
        maps = {level: _norm(f"{path}/level{level}", policy, "relu")(conv(x)) for level, x in maps.items()}
    start = -math.log((1 - _PRIOR) / _PRIOR) if name == "class_head" else 0.0
    bias = keras.initializers.Constant(start)
    predict = _conv(
        f"{name}/prediction/conv2d",
        *(per_cell * outputs, 3, policy),
        kernel_initializer=_small(),
        bias_initializer=bias,
    )
    reshape = layers.Reshape((-1, outputs), name=f"{name}_anchors", dtype=policy)
    # In half precision up to here; losses and scores need float32.
    join = layers.Concatenate(axis=1, name=f"{name}_outputs", dtype=policy.variable_dtype)
    return join([reshape(predict(maps[level])) for level in PYRAMID_LEVELS])


def _small():
    return keras.initializers.RandomNormal(stddev=0.01)


def _conv(path: str, filters: int, size: int, policy, padding: str = "same", **options):
    settings = {"padding": padding, "data_format": "channels_last", "name": layer_name(path), "dtype": policy}
    return layers.Conv2D(filters, size, **settings, **options)


def _norm(path: str, policy, activation: str | None = None):
    return GroupNormalization(GROUPS, activation=activation, name=layer_name(f"{path}/group_norm"), dtype=policy)
