"""Program: writes the pages of the catalogue.

python -m hub_modules.generate
"""

import string
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from bit_keras.system import command_line
from bit_keras.zoo.modules import PUBLISHER, Module
from bit_keras.zoo.variants import get_variant
from hub_modules.table import collection_metadata, metadata, pages

DIRECTORY = Path(__file__).parent

_BIT = '"Big Transfer (BiT)", [arXiv 1912.11370](https://arxiv.org/abs/1912.11370)'
_DISTILLATION = (
    '"Knowledge distillation: A good teacher is patient and consistent", '
    "[arXiv 2106.05237](https://arxiv.org/abs/2106.05237)"
)
_KAGGLE = "https://www.kaggle.com/models"
_STAGES = "root_block, block1, ..., block4, features"

_FINE_TUNE = {
    "feature-vector": """layer = hub.KerasLayer("exported/{name}", trainable=True)
model = tf_keras.Sequential([layer, tf_keras.layers.Dense(num_classes, kernel_initializer="zeros")])""",
    "classification": """# For the classes of the module; for other classes, use a feature vector with a new head.
layer = hub.KerasLayer("exported/{name}", trainable=True)
model = tf_keras.Sequential([layer])""",
}


def generate() -> dict[str, str]:
    """Returns {path in `hub_modules/`: text} of all pages and their index."""
    texts = {}
    for stem, modules in pages().items():
        is_collection = len(modules) > 1
        texts[f"pages/{stem}.md"] = _collection(stem, modules) if is_collection else _module(modules[0])
    return {**texts, "index.md": _index()}


def write(directory: Path) -> list[Path]:
    """Writes all pages to a directory, deletes those of removed modules, and returns the paths of the written files."""
    texts = {directory / name: text for name, text in generate().items()}
    (directory / "pages").mkdir(parents=True, exist_ok=True)
    for path in (directory / "pages").glob("*.md"):
        if path not in texts:
            path.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def num_parameters(module: Module) -> int:
    """Returns the number of weights of a module."""
    variant = get_variant(module.weights.variant)
    weights_per_class = variant.num_features + 1
    num_classes = module.weights.num_classes if module.kind == "classification" else 0
    return variant.parameters + (num_classes - 1000) * weights_per_class


def _module(module: Module) -> str:
    row, is_classifier = module.weights, module.kind == "classification"
    size = f"{row.num_classes if is_classifier else get_variant(row.variant).num_features:,}"
    description = (
        f"Image classification by the weights {row.name}: logits of the {size} classes of {row.dataset}."
        if is_classifier
        else f"Image features by the weights {row.name}, trained on {row.dataset}: {size} features per image."
    )
    return _fill(
        "module.md",
        handle=module.handle,
        name=module.name,
        description=description,
        metadata=_comments(metadata(module)),
        trained_on=_in_pixels(row.training_resolution),
        output=f"{'logits' if is_classifier else 'pooled features'}, float32 `[N, {size.replace(',', '')}]`",
        head=f"{row.activation} turns logits into scores" if is_classifier else "none",
        classes=_classes(module) if is_classifier else "none",
        accuracy=_accuracy(module),
        preset=row.name,
        file=_file(row.url),
        variant=row.variant,
        parameters=f"{num_parameters(module):,}",
        official=_official(module),
        licence=row.licence,
        source=_source(module),
        variable="logits" if is_classifier else "features",
        size=size.replace(",", ""),
        endpoints=f"{_STAGES}{', logits' if is_classifier else ''}",
        fine_tune=_FINE_TUNE[module.kind].format(name=module.name),
    )


def _collection(stem: str, modules: Sequence[Module]) -> str:
    first = modules[0]
    variant = first.weights.variant
    runs: dict[str, list[Module]] = {}
    for module in modules:
        runs.setdefault(module.vtab_task, []).append(module)
    rows = [
        f"| {task} | {same_task[0].weights.num_classes} | {' | '.join(f'`{module.name}`' for module in same_task)} |"
        for task, same_task in runs.items()
    ]
    return _fill(
        "collection.md",
        handle=f"{PUBLISHER}/{stem}/{first.version}",
        name=first.name,
        description=(
            f"Image classification by BiT-M {variant}, fine-tuned on 1000 examples of each of the {len(runs)} tasks of "
            "VTAB-1k, three times."
        ),
        metadata=_comments(collection_metadata(modules)),
        preset_pattern=f"BiT-M-{variant}-run0-TASK",
        preset=first.weights.name,
        variant=variant,
        licence=first.weights.licence,
        source=_source(first),
        rows="\n".join(rows),
        size=str(first.weights.num_classes),
        endpoints=f"{_STAGES}, logits",
    )


def _index() -> str:
    lines = [
        "# Index of the modules",
        "",
        "[What all modules share](overview.md)",
        "",
        "| page | weights | output |",
        "|---|---|---|",
    ]
    for stem, modules in pages().items():
        row = modules[0].weights
        size = f"{row.num_classes:,} classes" if modules[0].kind == "classification" else "features"
        weights = f"`{row.name}`"
        if len(modules) > 1:
            weights, size = f"`BiT-M-{row.variant}-run?-*`", f"the classes of a task, {len(modules)} modules"
        lines.append(f"| [{stem}](pages/{stem}.md) | {weights} | {size} |")
    return "\n".join(lines) + "\n"


def _fill(template: str, **values: str) -> str:
    text = (DIRECTORY / "templates" / template).read_text(encoding="utf-8")
    return string.Template(text).substitute(values)


def _comments(values: dict[str, str]) -> str:
    return "\n".join(f"<!-- {key}: {value} -->" for key, value in values.items())


def _in_pixels(resolution: int | None) -> str:
    return f"trained on {resolution}x{resolution}" if resolution else "the training resolution is not known"


def _file(url: str) -> str:
    name = url.rpartition("/")[2]
    return f"{name}, which comes with the package" if url.startswith("package://") else f"[{name}]({url})"


def _classes(module: Module) -> str:
    row = module.weights
    if row.names:
        return f"the {row.num_classes} of {row.dataset}, whose names are in `assets/class_names.txt`"
    if row.labels is None:
        return f"the {row.num_classes} of {row.dataset}; no list of names was published with the weights"
    return (
        f'the {row.num_classes:,} of `bit_keras.class_names("{row.labels}")`; `--labels` writes their names to '
        "`assets/class_names.txt`"
    )


def _accuracy(module: Module) -> str:
    row = module.weights
    if module.kind == "feature-vector":
        return "depends on the task"
    if row.accuracy is None:
        return "not published for these weights"
    pixels = row.evaluation_resolution
    return f"{row.accuracy:.2f} % top-1 on ILSVRC-2012 at {pixels}x{pixels} ({row.accuracy_source})"


def _official(module: Module) -> str:
    if module.official is None:
        return "none"
    handle = module.official.removeprefix("kaggle://")
    owner, model, framework, variation = handle.split("/")
    note = next(file.note for file in module.weights.files if file.url == module.official)
    link = f"[{handle}]({_KAGGLE}/{owner}/{model}/{framework}/{variation})"
    return f"{link}: {note}" if note else link


def _source(module: Module) -> str:
    return _DISTILLATION if module.weights.url.rpartition("/")[0].endswith("/distill") else _BIT


def main() -> None:
    print(f"{len(write(Path(flags.FLAGS.directory)))} files in {flags.FLAGS.directory}")


if __name__ == "__main__":
    flags.DEFINE_string("directory", str(DIRECTORY), "Directory for index.md and pages/.")
    command_line.run(main)
