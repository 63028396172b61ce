"""What the pages of the catalogue state of its modules."""

from collections.abc import Sequence

from bit_keras.zoo.modules import MODULES, TASKS, Module
from bit_keras.zoo.variants import get_variant


def metadata(module: Module) -> dict[str, str]:
    """Returns {key: value} of the comments at the top of a module's page.

    Keys of TF Hub come first. This project adds "preset", "kind", "input-range", and the size of the output:
    "num-features", or "num-classes" with the "activation" that computes scores from logits.
    """
    row = module.weights
    size = {"num-features": str(get_variant(row.variant).num_features)}
    if module.kind == "classification":
        size = {"num-classes": str(row.num_classes), "activation": row.activation}
    return {
        "asset-path": f"{module.name}.tar.gz",
        "task": TASKS[module.kind],
        "dataset": row.dataset,
        "fine-tunable": "true",
        "format": "saved_model_2",
        "license": row.licence,
        "network-architecture": f"BiT {row.variant}",
        "preset": row.name,
        "kind": module.kind,
        "input-range": "0 1",
        **size,
    }


def collection_metadata(modules: Sequence[Module]) -> dict[str, str]:
    """Likewise for a page of several modules: the entries that they have in common."""
    first, *others = (metadata(module) for module in modules)
    return {key: value for key, value in first.items() if all(other[key] == value for other in others)}


def pages() -> dict[str, list[Module]]:
    """Returns {stem of the page: its modules}; a page of several modules is a collection."""
    grouped = {}
    for module in MODULES.values():
        grouped.setdefault(module.page, []).append(module)
    return grouped
