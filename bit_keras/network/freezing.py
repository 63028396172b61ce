"""Training a part of the network."""

import keras

from bit_keras.network.model import BiT

STAGES = ("root_block", "block1", "block2", "block3", "block4")
FREEZES = ("none", "head_only", *STAGES)


def freeze(model: BiT, what: str) -> None:
    """Makes the first stages of a network untrainable, before it is compiled.

    Args:
        model: the network.
        what: "none"; "head_only" trains nothing but the head; the name of a stage freezes all up to it.

    Raises:
        ValueError: another word.
    """
    if what not in FREEZES:
        raise ValueError(f"freeze must be one of {', '.join(FREEZES)}, got {what!r}")
    if what == "head_only":
        model.backbone.trainable = False
    elif what != "none":
        frozen = tuple(f"{stage}_" for stage in STAGES[: STAGES.index(what) + 1])
        for layer in model.backbone.layers:
            if layer.name.startswith(frozen):
                layer.trainable = False


def count_trainable(model: keras.Model) -> int:
    """Returns the number of weights that training moves."""
    return sum(keras.ops.size(variable) for variable in model.trainable_variables)
