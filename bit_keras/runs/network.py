"""The network that a run begins with."""

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
    """Returns a network with random weights for the name of a variant, else with trained ones.

    Args:
        model: variant, or what `BiT.from_preset` takes.
        num_classes, variant, dtype, remat: as `BiT.from_preset` has them.
        keep_head: whether the head of the weights is taken, too; else it is a new one.

    Raises:
        ValueError: the head that is to be kept has not `num_classes` outputs.
    """
    if model in VARIANTS:
        logger.warning("%s starts from random weights, not from pre-trained ones", model)
        return BiT(model, num_classes, dtype=dtype, remat=remat)
    kept = None if keep_head else num_classes
    with doing(f"loading the weights of {model}"):
        network = BiT.from_preset(model, kept, variant=variant, dtype=dtype, remat=remat)
    if keep_head and network.num_classes != num_classes:
        raise ValueError(
            f"the head of {model} must have the {num_classes} outputs that its run recorded, got {network.num_classes}"
        )
    return network


def choose_head(model: str, source: data.Source, new_head: bool = False) -> bool:
    """Returns whether the head of trained weights is for the classes of the data, and says what becomes of it.

    It is where the run that wrote them had the same data, or as many classes of the same names in the same order.
    Numbers as names say nothing: those of other data may be for other classes.

    Args:
        model: as `open_network` takes it.
        source: the data of the new run.
        new_head: never keep a head.
    """
    new = f"a new head of {source.num_classes:,} classes"
    if new_head or model in VARIANTS or model in PRESETS:
        logger.info("%s", new)
        return False
    before, names = provenance.run_data(model), provenance.run_class_names(model)
    if _is_same(before, source.describe()) or (names == source.class_names and not _are_numbers(names)):
        logger.info("the head of %s is kept: its %s classes are those of the data", model, f"{source.num_classes:,}")
        return True
    if names:
        logger.info("%s; the head of %s had %s: %s", new, model, f"{len(names):,}", ", ".join(shortened(names)))
    else:
        logger.info("%s; the classes of the head of %s are not known", new, model)
    return False


def _is_same(before: dict, now: dict) -> bool:
    """Tells whether two descriptions are of the same data, of which each may draw other examples."""
    return all(before.get(name) == now[name] for name in ("kind", "fingerprint", "num_classes"))


def _are_numbers(names: tuple[str, ...]) -> bool:
    return all(name.isdigit() for name in names)
