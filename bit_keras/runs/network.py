"""The network that a run begins with."""

from bit_keras.logs import doing, logger
from bit_keras.model import BiT
from bit_keras.variants import VARIANTS


def open_network(model: str, num_classes: int, variant: str | None = None, dtype=None, remat: bool = False) -> BiT:
    """Returns a network with a new head: with random weights for the name of a variant, else with trained ones.

    Args:
        model: variant, or what `BiT.from_preset` takes.
        num_classes, variant, dtype, remat: as `BiT.from_preset` has them.
    """
    if model in VARIANTS:
        logger.warning("%s starts from random weights, not from pre-trained ones", model)
        return BiT(model, num_classes, dtype=dtype, remat=remat)
    with doing(f"loading the weights of {model}"):
        return BiT.from_preset(model, num_classes, variant=variant, dtype=dtype, remat=remat)
