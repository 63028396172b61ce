"""The network that a run starts from."""

from bit_keras import data
from bit_keras.checkpoints import provenance
from bit_keras.data.errors import shortened
from bit_keras.network.model import BiT
from bit_keras.system.logs import doing, logger
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import VARIANTS


def open_network(
    model: str,
    num_classes: int,
    variant: str | None = None,
    dtype=None,
    remat: bool = False,
    keep_head: bool = False,
) -> BiT:
    """Returns a network with random weights if `model` is a variant, else with pre-trained ones.

    Args:
        model: name of a variant, or as in `BiT.from_preset`.
        num_classes, variant, dtype, remat: as in `BiT.from_preset`.
        keep_head: True keeps the head of pre-trained weights, False makes a new one of zeros.

    Raises:
        ValueError: the head to keep does not have `num_classes` outputs.
    """
    if model in VARIANTS:
        logger.warning("%s starts from random weights, not from pre-trained ones", model)
        return BiT(model, num_classes, dtype=dtype, remat=remat)
    new_outputs = None if keep_head else num_classes  # None keeps the head of the weights
    with doing(f"loading the weights of {model}"):
        network = BiT.from_preset(model, new_outputs, variant=variant, dtype=dtype, remat=remat)
    if keep_head and network.num_classes != num_classes:
        raise ValueError(
            f"the head of {model} must have the {num_classes} outputs that its run recorded, got {network.num_classes}"
        )
    return network


def choose_head(model: str, source: data.Source, new_head: bool = False) -> bool:
    """Returns whether to keep the head of pre-trained weights, and logs the decision.

    It is kept if the run that wrote the weights had the same data, or the same class names in the same order. Names
    that are all numbers do not count: in different data they may stand for different classes.

    Args:
        model: as in `open_network`.
        source: data of the new run.
        new_head: True never keeps a head.
    """
    new = f"a new head of {source.num_classes:,} classes"
    if new_head or model in VARIANTS or model in PRESETS:
        logger.info("%s", new)
        return False
    card = provenance.read_card(model)
    before, names = card.data or {}, card.class_names
    if _is_same(before, source.describe()) or (names == source.class_names and not _are_numbers(names)):
        logger.info("the head of %s is kept: its %s classes are those of the data", model, f"{source.num_classes:,}")
        return True
    if names:
        logger.info("%s; the head of %s had %s: %s", new, model, f"{len(names):,}", ", ".join(shortened(names)))
    else:
        logger.info("%s; the classes of the head of %s are not known", new, model)
    return False


def _is_same(before: dict, now: dict) -> bool:
    """Returns whether both describe the same data, possibly with different draws of the examples."""
    return all(before.get(name) == now[name] for name in ("kind", "fingerprint", "num_classes"))


def _are_numbers(names: tuple[str, ...]) -> bool:
    return all(name.isdigit() for name in names)
