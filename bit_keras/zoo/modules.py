"""Table of the modules for TF Hub, one row per module, derived from the table of published weights."""

import dataclasses
import difflib
from collections.abc import Iterable

from bit_keras.zoo.presets import PRESETS, Preset

PUBLISHER = "bit-keras"
# {kind of module: TF Hub's name of the task}.
TASKS = {"classification": "image-classification", "feature-vector": "image-feature-vector"}

_VTAB = "VTAB-1k "
_UPSTREAM = ("mini", "S", "M")  # sizes of upstream data, in the names of weights that were only pre-trained


@dataclasses.dataclass(frozen=True)
class Module:
    """One module.

    Attributes:
        name: that of Google's module with these weights, if one exists.
        preset: name of the weights, a row of `bit_keras.zoo.presets`.
        kind: key of TASKS.
        page: stem of the file in `hub_modules/pages/` that describes it.
        version: increases with changes that users can notice.
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
        """The weights' row in the table of published weights."""
        return PRESETS[self.preset]

    @property
    def official(self) -> str | None:
        """Address of Google's module with these weights, None if none exists."""
        has_head = self.kind == "classification"
        hub = (file.url for file in self.weights.files if file.format == "hub" and file.has_head == has_head)
        return next(hub, None)

    @property
    def vtab_task(self) -> str | None:
        """Name of the VTAB-1k task that the weights were fine-tuned on, None for other weights."""
        return self.weights.dataset.removeprefix(_VTAB) if self.weights.dataset.startswith(_VTAB) else None


def _modules(presets: Iterable[Preset]) -> dict[str, Module]:
    """Returns {name: module}: a classifier per preset and, for those that were only pre-trained, a feature vector."""
    modules = []
    for row in presets:
        stem = row.name.removeprefix("BiT-").lower().replace(".", "")  # handles have no dots
        if row.name in (f"BiT-{size}-{row.variant}" for size in _UPSTREAM):
            modules.append(Module(stem, row.name, "feature-vector", page=stem))
        dataset = f"-{row.labels}" if row.labels and row.labels not in stem else ""
        name = f"{stem}{dataset}-classification"
        page = f"m-{row.variant.lower()}-vtab" if row.dataset.startswith(_VTAB) else name
        modules.append(Module(name, row.name, "classification", page))
    return {module.name: module for module in modules}


MODULES = _modules(PRESETS.values())


def get_module(name: str) -> Module:
    """Returns the module called `name`; raises ValueError with the closest names if none has this name."""
    if name in MODULES:
        return MODULES[name]
    close = difflib.get_close_matches(name.lower(), MODULES, n=5)
    raise ValueError(
        f"unknown module {name!r}; closest: {', '.join(close) or 'none'}; hub_modules/pages/ lists all {len(MODULES)}"
    )
