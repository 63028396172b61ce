"""Table of the catalogue: one row a module, derived from the table of published weights."""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence

from bit_keras.zoo.presets import PRESETS, Preset
from bit_keras.zoo.variants import get_variant

PUBLISHER = "bit-keras"
# {kind of module: task as TF Hub names it}.
TASKS = {"classification": "image-classification", "feature-vector": "image-feature-vector"}

_VTAB = "VTAB-1k "
_UPSTREAM = ("mini", "S", "M")  # weights of the upstream training alone


@dataclasses.dataclass(frozen=True)
class Module:
    """One module.

    Attributes:
        name: of Google's own module of these weights, where one exists.
        preset: name of the weights, a row of `bit_keras.zoo.presets`.
        kind: key of TASKS.
        page: stem of the file in `pages/` that describes it.
        version: counts up when what users see changes.
    """

    name: str
    preset: str
    kind: str
    page: str
    version: int = 1

    @property
    def handle(self) -> str:
        """PUBLISHER/NAME/VERSION."""
        return f"{PUBLISHER}/{self.name}/{self.version}"

    @property
    def weights(self) -> Preset:
        """The row of the weights."""
        return PRESETS[self.preset]

    @property
    def official(self) -> str | None:
        """Address of Google's own module of these weights, None where none exists."""
        has_head = self.kind == "classification"
        hub = (file.url for file in self.weights.files if file.format == "hub" and file.has_head == has_head)
        return next(hub, None)

    @property
    def vtab_task(self) -> str | None:
        """Name of the VTAB-1k task that the weights were fine-tuned on, None for other weights."""
        return self.weights.dataset.removeprefix(_VTAB) if self.weights.dataset.startswith(_VTAB) else None


def _modules(presets: Iterable[Preset]) -> dict[str, Module]:
    """Returns {name: module}: a classifier of each preset and, of those trained upstream, a feature vector."""
    modules = []
    for row in presets:
        stem = row.name.removeprefix("BiT-").lower().replace(".", "")  # which handles do not have
        if row.name in (f"BiT-{size}-{row.variant}" for size in _UPSTREAM):
            modules.append(Module(stem, row.name, "feature-vector", page=stem))
        dataset = f"-{row.labels}" if row.labels and row.labels not in stem else ""
        name = f"{stem}{dataset}-classification"
        page = f"m-{row.variant.lower()}-vtab" if row.dataset.startswith(_VTAB) else name
        modules.append(Module(name, row.name, "classification", page))
    return {module.name: module for module in modules}


MODULES = _modules(PRESETS.values())


def metadata(module: Module) -> dict[str, str]:
    """Returns {key: value} of the comments in the head of a module's page.

    Those that TF Hub knows come first. Those of this project are "preset", "kind", "input-range", and the size of the
    output: "num-features", or "num-classes" with the "activation" that turns logits into scores.
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
    """Likewise for a page of several modules: what they have in common."""
    first, *others = (metadata(module) for module in modules)
    return {key: value for key, value in first.items() if all(other[key] == value for other in others)}


def pages() -> dict[str, list[Module]]:
    """Returns {stem of the page: its modules}; a page of several modules is a collection."""
    grouped = {}
    for module in MODULES.values():
        grouped.setdefault(module.page, []).append(module)
    return grouped


def get_module(name: str) -> Module:
    """Returns the row called `name`; raises ValueError that names the nearest rows where no row has this name."""
    if name in MODULES:
        return MODULES[name]
    close = difflib.get_close_matches(name.lower(), MODULES, n=5)
    raise ValueError(
        f"unknown module {name!r}; closest: {', '.join(close) or 'none'}; hub_modules/pages/ lists all {len(MODULES)}"
    )
