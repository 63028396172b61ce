"""Program: writes the pages of the reference, docs/reference/, which lists the public names for the site.

    python -m tools.reference            writes the pages
    python -m tools.reference --check    writes nothing, and exits with an error if a page differs

The text of the reference is that of the docstrings; a page only says which names it shows. The names of a package are
those of its `__all__`.
"""

import argparse
import dataclasses
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


class Page(NamedTuple):
    """A page of the reference.

    Attributes:
        title: of the page.
        text: what the names are for.
        names: {module: public names in it}; for () those of its `__all__`.
    """

    title: str
    text: str
    names: dict[str, tuple[str, ...]]


# Imports Beam, which cannot be installed beside the other packages.
_BEAM = "bit_keras.bulk.beam"

# Constants have no docstrings.
_CONSTANTS = {
    "LOADERS": "The libraries that load batches, see `choose_loader`.",
    "DISTRIBUTIONS": "{kind of engine for several devices: its backend}, see `start_distribution`.",
}

# Names in the `__all__` of a package that another page shows.
_ELSEWHERE = {("bit_keras.rules", "HyperRule")}

PAGES = {
    "bit_keras": Page(
        "bit_keras",
        "What `import bit_keras` gives. Images are float [N, H, W, 3] in [-1, 1] for networks, and in [0, 1] for "
        "reusable SavedModels, unless a name says otherwise.",
        {
            "bit_keras": (),
            "bit_keras.network.model": ("Backbone",),
            "bit_keras.checkpoints.card": ("Card",),
        },
    ),
    "data": Page(
        "bit_keras.data",
        "Images and labels: sources that open data, and batches for training and evaluation. See [data](../data.md).",
        {
            "bit_keras.data": (),
            "bit_keras.data.sources.folder": ("open_folder",),
            "bit_keras.data.sources.csv_file": ("open_table",),
            "bit_keras.data.sources.arrays": ("open_arrays",),
            "bit_keras.data.sources.tfrecords": ("open_tfrecords",),
        },
    ),
    "programs": Page(
        "The programs as functions",
        "What the console scripts call, beside `bit_keras.finetune` and `bit_keras.predict`. Flags and arguments have "
        "the same names.",
        {
            "bit_keras.finetune": ("FinetuneConfig", "ExportFailed"),
            "bit_keras.predict": ("iterate", "Prediction"),
            "bit_keras.inference.predictor": ("Predictor",),
            "bit_keras.evaluate.evaluator": ("evaluate", "Evaluation"),
            "bit_keras.convert": ("convert", "Conversion"),
            "bit_keras.few_shot": ("sweep",),
            "bit_keras.protocols.standard": ("standard",),
            "bit_keras.protocols.vtab": ("vtab",),
            "bit_keras.protocols.evaluation": ("evaluation",),
            "bit_keras.pretrain": ("pretrain", "PretrainConfig", "PretrainResult"),
            "bit_keras.distill": ("distill", "DistillConfig", "DistillResult"),
        },
    ),
    "detection": Page(
        "bit_keras.detection",
        "A RetinaNet on any BiT; see [detection](../detection.md). `import bit_keras` does not import it.",
        {
            "bit_keras.detection": (),
            "bit_keras.detection.data.sources.coco": ("open_coco",),
            "bit_keras.detection.data.sources.voc": ("open_voc",),
            "bit_keras.detection.data.sources.csv_file": ("open_box_table",),
            "bit_keras.detection.training.config": ("TrainConfig",),
            "bit_keras.detection.training.trainer": ("DetectionResult",),
            "bit_keras.detection.inference": (),
            "bit_keras.detection.inference.found": ("Found",),
            "bit_keras.detection.network.decoding": ("detect",),
        },
    ),
    "export": Page(
        "Export",
        "What `bit_keras.export_saved_model` does not write, and what reads it; see [export](../export.md).",
        {
            "bit_keras.saved_models.serving": ("ServingOptions",),
            "bit_keras.saved_models.tf_serving": ("export_serving",),
            "bit_keras.saved_models.summary": ("Artefact",),
            "bit_keras.edge.export": ("export_edge",),
            "bit_keras.edge.card": ("read_card",),
            "bit_keras.detection.export": (),
            "bit_keras.detection.export.options": ("ServingOptions",),
        },
    ),
    "bulk": Page(
        "bit_keras.bulk",
        "Predictions in Beam pipelines, with the extra beam; see [bulk jobs](../bulk.md).",
        {_BEAM: ("BitModelHandler",)},
    ),
    "rules": Page(
        "bit_keras.rules",
        "The HyperRule in parts, for a `fit` of your own: schedules, optimizers, callbacks and MixUp.",
        {"bit_keras.rules": ()},
    ),
    "checkpoints": Page(
        "bit_keras.checkpoints",
        "Weight files: from a name to a local file, from a file to a dict of arrays, from arrays to a network.",
        {"bit_keras.checkpoints": ()},
    ),
    "training": Page(
        "bit_keras.training and others",
        "Callbacks of a run, predictions of a whole data set, devices, the estimate of the memory, and the layers.",
        {
            "bit_keras.training": (),
            "bit_keras.metrics": (),
            "bit_keras.distribution": (),
            "bit_keras.network.memory": ("estimate_memory", "Memory"),
            "bit_keras.network.freezing": ("freeze",),
            "bit_keras.network.layers": ("StandardizedConv2D", "GroupNormalization"),
        },
    ),
}


class _Handler:
    """Stands in for Beam's ModelHandler, and for the class of handlers of some elements."""

    def __class_getitem__(cls, elements):
        return cls


_STAND_INS = {
    "apache_beam.io.filesystems": types.SimpleNamespace(FileSystems=None),
    "apache_beam.ml.inference.base": types.SimpleNamespace(ModelHandler=_Handler),
}


def names(page: Page) -> list[tuple[str, str]]:
    """Returns (module, name) of all names of a page."""
    return [
        (module, name)
        for module, listed in page.names.items()
        for name in listed or sorted(importlib.import_module(module).__all__, key=str.casefold)
        if (module, name) not in _ELSEWHERE
    ]


def value_of(module: str, name: str):
    """Returns the object of a name; the function for a module that can be called, as `bit_keras.finetune`."""
    value = getattr(_imported(module), name)
    return getattr(value, name) if isinstance(value, types.ModuleType) else value


def _imported(module: str) -> types.ModuleType:
    """Imports a module; that for Beam also where Beam is not installed, without leaving it behind."""
    if module != _BEAM or importlib.util.find_spec("apache_beam"):
        return importlib.import_module(module)
    sys.modules |= _STAND_INS
    try:
        return importlib.import_module(module)
    finally:
        for name in (module, *_STAND_INS):
            sys.modules.pop(name, None)


def pages() -> dict[str, str]:
    """Returns {file name: text} of all pages."""
    texts = {f"{stem}.md": _text(page) for stem, page in PAGES.items()}
    return {"index.md": _index(), **texts}


def _index() -> str:
    lines = ["# Reference", "", "All public names, from their docstrings. The examples run when the site is built.", ""]
    lines += ["```{toctree}", *PAGES, "```", "", "| page | names |", "|---|---|"]
    for stem, page in PAGES.items():
        lines.append(f"| [{page.title}]({stem}.md) | {', '.join(f'`{name}`' for _, name in names(page))} |")
    return "\n".join(lines) + "\n"


def _text(page: Page) -> str:
    parts = [f"# {page.title}\n\n{page.text}\n\n```{{eval-rst}}"]
    parts += [_directive(module, name) for module, name in names(page)]
    return "\n".join(parts) + "```\n"


def _directive(module: str, name: str) -> str:
    value, path = value_of(module, name), f"{module}.{name}"
    if isinstance(value, type):
        if issubclass(value, BaseException):
            return f".. autoexception:: {path}\n"
        inherited = "   :inherited-members:\n" if dataclasses.is_dataclass(value) else ""
        return f".. autoclass:: {path}\n   :members:\n{inherited}"
    if callable(value):
        is_module = isinstance(getattr(importlib.import_module(module), name), types.ModuleType)
        return f".. autofunction:: {path}.{name}\n" if is_module else f".. autofunction:: {path}\n"
    return f".. py:data:: {name}\n   :module: {module}\n   :value: {value!r}\n\n   {_CONSTANTS[name]}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a page differs")
    check = parser.parse_args().check
    texts = {FOLDER / name: text for name, text in pages().items()}
    FOLDER.mkdir(exist_ok=True)
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    stale += [path for path in FOLDER.glob("*.md") if path not in texts]
    if check and stale:
        sys.exit(f"out of date, run python -m tools.reference: {', '.join(path.name for path in stale)}")
    for path in stale:
        path.write_text(texts[path]) if path in texts else path.unlink()
    print(f"{len(texts)} pages of the reference, {len(stale)} of them {'out of date' if check else 'written'}")


if __name__ == "__main__":
    main()
