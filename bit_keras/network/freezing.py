"""Freezing of the first stages of the network."""

import keras

from bit_keras.network.model import BiT

STAGES = ("root_block", "block1", "block2", "block3", "block4")
FREEZES = ("none", "head_only", *STAGES)


def frozen_stages(what: str) -> tuple[str, ...]:
    """Returns the stages that `freeze` makes untrainable, the last norm of the backbone as "group_norm"."""
    if what == "none":
        return ()
    if what == "head_only":
        return (*STAGES, "group_norm")
    return STAGES[: STAGES.index(what) + 1]


def freeze(model: BiT, what: str) -> None:
    """Makes the first stages of a network untrainable, before it is compiled.

    Args:
        model: the network, which is changed.
        what: "none"; "head_only" trains only the head; the name of a stage freezes all up to it: "root_block",
            "block1", "block2", "block3" or "block4".

    Raises:
        ValueError: `what` has another value.

    Example:
        >>> from bit_keras.network.freezing import freeze
        >>> model = bit_keras.BiT("R17x0.5", num_classes=10)
        >>> freeze(model, "block3")  # all up to block3; compile the model after that
        >>> len(model.trainable_variables), len(model.variables)
        (14, 54)
    """
    if not isinstance(what, str) or what not in FREEZES:
        raise ValueError(f"what must be one of {', '.join(FREEZES)}, got {what!r}")
    if what == "head_only":
        model.backbone.trainable = False
    elif what != "none":
        frozen = tuple(f"{stage}_" for stage in frozen_stages(what))
        for layer in model.backbone.layers:
            if layer.name.startswith(frozen):
                layer.trainable = False


def count_trainable(model: keras.Model) -> int:
    """Returns the number of weights that training changes."""
    return sum(keras.ops.size(variable) for variable in model.trainable_variables)
