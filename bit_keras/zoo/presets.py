"""Table of the published weights, and of those that come with the package, and of the files that hold them.

Sources: the bucket and README of google-research/big_transfer; google-research/big_vision, configs/proj/distill (the
teachers, and the accuracies in its README); timm/models/resnetv2.py; the module pages in tensorflow/tfhub.dev. All
weights are Apache-2.0; the data that they were trained on have terms of their own. weights/BiT-mini-R17x0.5.md tells
of the one that was trained for this package.
"""

import dataclasses
import difflib
import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path

from bit_keras.system.checks import known_arguments
from bit_keras.zoo.variants import VARIANTS, get_variant

BUCKET = "https://storage.googleapis.com/bit_models"
FORMATS = ("npz", "h5", "timm", "transformers", "hub")
# Published lists of classes: {name: number of classes}.
LABELS = {"ilsvrc2012": 1000, "imagenet21k": 21_843}


def default_activation(num_classes: int) -> str:
    """Returns what turns the logits of a head into scores, by its number of outputs.

    That is "sigmoid" for the classes of ImageNet-21k, of which an image has several, and "softmax" for all others.
    """
    return "sigmoid" if num_classes == LABELS["imagenet21k"] else "softmax"


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """One file, or folder, that holds published weights.

    Attributes:
        url: an https address, "hf://OWNER/REPOSITORY/FILE" on the Hugging Face hub or
            "kaggle://OWNER/MODEL/FRAMEWORK/VARIATION" on Kaggle, where the TF Hub modules went, or
            "package://PATH" for a file of this package.
        format: one of FORMATS. "timm" and "transformers" are safetensors files, "hub" a SavedModel.
        md5: of the file in hexadecimal digits, None where it is not known; Google published none.
        sha256: likewise.
        fault: why the file must not be used and which one to take; empty for a good file.
        note: what is to know before it is compared with the first file of its row.
        has_head: whether it holds the classification head; modules that give features hold none.
        files: what lies in a folder, by paths relative to `url`.
    """

    url: str
    format: str = "npz"
    md5: str | None = None
    sha256: str | None = None
    fault: str = ""
    note: str = ""
    has_head: bool = True
    files: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Preset:
    """Published weights, in all the files that hold them.

    Attributes:
        name: what users write, for example "BiT-M-R50x1".
        variant: name of the architecture.
        dataset: what the head was trained on last.
        num_classes: outputs of the published head.
        files: the official npz first.
        labels: name of the list of classes in LABELS, None where none was published.
        training_resolution: side in pixels of the images in the last training, None where it is not known.
        evaluation_resolution: side in pixels of the images that `accuracy` was measured on.
        accuracy: top-1 in percent on the validation images of ILSVRC-2012.
        accuracy_source: who measured it, and how.
        licence: of the weights.
        input_range: of the images that the network takes.
        names: path in this package of a text file with a class per line, None where none lists them.
    """

    name: str
    variant: str
    dataset: str
    num_classes: int
    files: tuple[WeightFile, ...]
    labels: str | None = None
    training_resolution: int | None = None
    evaluation_resolution: int | None = None
    accuracy: float | None = None
    accuracy_source: str = ""
    licence: str = "Apache-2.0"
    input_range: tuple[float, float] = (-1.0, 1.0)
    names: str | None = None

    @property
    def url(self) -> str:
        """Address of the official npz file."""
        return self.files[0].url

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the outputs in `names`, None without it."""
        if self.names is None:
            return None
        return tuple((Path(__file__).parents[1] / self.names).read_text(encoding="utf-8").splitlines())

    @property
    def activation(self) -> str:
        """What turns logits into scores, "softmax" or "sigmoid"."""
        return default_activation(self.num_classes)


_MINI_SHA256 = "98d53a08797369c4ae3869b2c86c44c8fae8f64f15b2077acbd5fe78a6f17622"

# What the paper describes. Of R152x2, which came later, Google published no h5 copies, hub modules and VTAB runs.
_PAPER_VARIANTS = ("R50x1", "R101x1", "R50x3", "R101x3", "R152x4")
_VARIANTS = ("R50x1", "R101x1", "R50x3", "R101x3", "R152x2", "R152x4")

# Random crops in the pre-training of the paper.
_UPSTREAM_RESOLUTION = 224
_FINE_TUNED_MODULE = "its page says fine-tuned on ILSVRC-2012 after the pre-training, which no page says of the npz"

# Source: shkarupa-alex/segme, segme/backbone/port/big_transfer/bit.py.
_H5_MD5 = {
    "BiT-S-R50x1": "6cf1d1e2713303309e519bcaeff83ff9",
    "BiT-S-R101x1": "e997faeec447e05d5e398303c233e4d3",
    "BiT-S-R50x3": "6cf1d1e2713303309e519bcaeff83ff9",
    "BiT-S-R101x3": "f58452086fd56b204a9538c50277e10d",
    "BiT-S-R152x4": "e997faeec447e05d5e398303c233e4d3",
    "BiT-M-R50x1": "482c5f2671bf6dad5e458260bfd6ac51",
    "BiT-M-R101x1": "8af399a1e846dbcce4001210240b805b",
    "BiT-M-R50x3": "215158ea03f1fa71907c5d7b266617a7",
    "BiT-M-R101x3": "5063875d671620bb49be6885ec23868c",
}
# Wrong uploads: {preset: variant that its h5 file holds} (reported to google-research/big_transfer).
_H5_HOLDS = {"BiT-S-R50x3": "R50x1", "BiT-S-R101x1": "R152x4"}

# {variant: (pixels, top-1)}; the resolution of training is not known.
_ILSVRC2012_ACCURACY = {
    "R50x1": (448, 80.386),
    "R101x1": (448, 82.332),
    "R50x3": (448, 83.982),
    "R101x3": (448, 84.430),
    "R152x2": (448, 84.468),
    "R152x4": (480, 84.936),
}
_ILSVRC2012_ACCURACY_SOURCE = (
    "timm, results/results-imagenet.csv: its copy, bilinear, the central square of the whole height or width"
)

# (name, variant, stem of the npz, pixels, top-1, timm's copy)
_DISTILLATION = (
    ("BiT-distilled-R50x1-224", "R50x1", "R50x1_224", 224, 82.8, "50x1_bit.goog_distilled_in1k"),
    ("BiT-distilled-R50x1-160", "R50x1", "R50x1_160", 160, 80.5, None),
    ("BiT-teacher-R152x2-224", "R152x2", "R152x2_T_224", 224, 83.0, "152x2_bit.goog_teacher_in21k_ft_in1k"),
    ("BiT-teacher-R152x2-384", "R152x2", "R152x2_T_384", 384, 84.3, "152x2_bit.goog_teacher_in21k_ft_in1k_384"),
)
_DISTILLATION_ACCURACY_SOURCE = "arXiv 2106.05237, as the README of big_vision's configs/proj/distill gives it"

# Teachers of other tasks: {task in the file's name: (name in TFDS, classes)}.
_TASK_TEACHER_RESOLUTION = 128
_TASK_TEACHERS = {
    "flowers": ("oxford_flowers102", 102),
    "pet": ("oxford_iiit_pet", 37),
    "food": ("food101", 101),
    "sun": ("sun397", 397),
}

_VTAB_CLASSES = {
    "caltech101": 102,
    "diabetic_retinopathy": 5,
    "dtd": 47,
    "oxford_flowers102": 102,
    "oxford_iiit_pet": 37,
    "resisc45": 45,
    "sun397": 397,
    "cifar100": 100,
    "eurosat": 10,
    "patch_camelyon": 2,
    "smallnorb-elevation": 9,
    "smallnorb-azimuth": 18,
    "svhn": 10,
    "dsprites-orientation": 16,
    "dsprites-xpos": 16,
    "clevr-distance": 6,
    "clevr-count": 8,
    "dmlab": 6,
    "kitti-distance": 4,
}
_VTAB_RUNS = (0, 1, 2)
_SAVED_MODEL = (
    "saved_model.pb",
    "tfhub_module.pb",
    "variables/variables.data-00000-of-00001",
    "variables/variables.index",
)

# For messages.
_FAMILIES = (
    "BiT-mini-*",
    "BiT-S-*",
    "BiT-M-*",
    "BiT-M-*-ILSVRC2012",
    "BiT-distilled-*",
    "BiT-teacher-*",
    "BiT-M-*-run?-*",
)


def _npz(stem: str) -> WeightFile:
    return WeightFile(f"{BUCKET}/{stem}.npz")


def _h5(name: str, variant: str) -> WeightFile:
    fault = ""
    if name in _H5_HOLDS:
        held = VARIANTS[_H5_HOLDS[name]]
        fault = (
            f"the published {name}.h5 holds the weights of BiT-S-{held.name}: its stem is {held.stem_filters} filters "
            f"wide instead of {VARIANTS[variant].stem_filters}; use {_npz(name).url}"
        )
    return WeightFile(f"{BUCKET}/{name}.h5", "h5", _H5_MD5.get(name), fault=fault)


def _timm(name: str) -> WeightFile:
    return WeightFile(f"hf://timm/resnetv2_{name}/model.safetensors", "timm")


def _kaggle(variation: str, **facts) -> WeightFile:
    return WeightFile(f"kaggle://google/bit/tensorFlow2/{variation}", "hub", **facts)


def _mini() -> Preset:
    return Preset(
        "BiT-mini-R17x0.5",
        "R17x0.5",
        "clothes, letters and clip art",
        360,
        (WeightFile("package://weights/BiT-mini-R17x0.5.npz", sha256=_MINI_SHA256),),
        names="weights/BiT-mini-R17x0.5.txt",
        training_resolution=32,
    )


def _bit_s(variant: str) -> Preset:
    name, module = f"BiT-S-{variant}", f"s-{variant.lower()}"
    files = [_npz(name)]
    if variant in _PAPER_VARIANTS:
        files += [
            _h5(name, variant),
            _kaggle(f"{module}-ilsvrc2012-classification", note=_FINE_TUNED_MODULE),
            _kaggle(module, has_head=False),
        ]
    return Preset(
        name,
        variant,
        "ImageNet-1k",
        LABELS["ilsvrc2012"],
        tuple(files),
        labels="ilsvrc2012",
        training_resolution=_UPSTREAM_RESOLUTION if variant in _PAPER_VARIANTS else None,
    )


def _bit_m(variant: str) -> Preset:
    name, module = f"BiT-M-{variant}", f"m-{variant.lower()}"
    files = [_npz(name), _timm(f"{variant[1:]}_bit.goog_in21k")]
    if variant in _PAPER_VARIANTS:
        files += [
            _h5(name, variant),
            _kaggle(f"{module}-imagenet21k-classification"),
            _kaggle(module, has_head=False),
        ]
    return Preset(
        name,
        variant,
        "ImageNet-21k",
        LABELS["imagenet21k"],
        tuple(files),
        labels="imagenet21k",
        training_resolution=_UPSTREAM_RESOLUTION if variant in _PAPER_VARIANTS else None,
    )


def _bit_m_ilsvrc2012(variant: str) -> Preset:
    name = f"BiT-M-{variant}-ILSVRC2012"
    files = [_npz(name), _timm(f"{variant[1:]}_bit.goog_in21k_ft_in1k")]
    if variant == "R50x1":
        # transformers converts timm's copy; of timm's R50x1 with 1000 classes only this one takes 448 pixels.
        files.append(WeightFile("hf://google/bit-50/model.safetensors", "transformers"))
    if variant in _PAPER_VARIANTS:
        files.append(_kaggle(f"m-{variant.lower()}-ilsvrc2012-classification"))
    resolution, accuracy = _ILSVRC2012_ACCURACY[variant]
    return Preset(
        name,
        variant,
        "ImageNet-1k",
        LABELS["ilsvrc2012"],
        tuple(files),
        labels="ilsvrc2012",
        evaluation_resolution=resolution,
        accuracy=accuracy,
        accuracy_source=_ILSVRC2012_ACCURACY_SOURCE,
    )


def _distillation(name: str, variant: str, stem: str, pixels: int, accuracy: float, timm: str | None) -> Preset:
    return Preset(
        name,
        variant,
        "ImageNet-1k",
        LABELS["ilsvrc2012"],
        (_npz(f"distill/{stem}"), *([_timm(timm)] if timm else [])),
        labels="ilsvrc2012",
        training_resolution=pixels,
        evaluation_resolution=pixels,
        accuracy=accuracy,
        accuracy_source=_DISTILLATION_ACCURACY_SOURCE,
    )


def _task_teacher(task: str, dataset: str, num_classes: int) -> Preset:
    stem = f"{task}{_TASK_TEACHER_RESOLUTION}"
    return Preset(
        f"BiT-teacher-R152x2-{stem}",
        "R152x2",
        dataset,
        num_classes,
        (_npz(f"distill/R152x2_T_{stem}"),),
        training_resolution=_TASK_TEACHER_RESOLUTION,
    )


def _vtab(variant: str, run: int, task: str) -> Preset:
    name = f"BiT-M-{variant}-run{run}-{task}"
    module = WeightFile(f"{BUCKET}/vtab/{name}.tfhub", "hub", files=_SAVED_MODEL)
    return Preset(name, variant, f"VTAB-1k {task}", _VTAB_CLASSES[task], (_npz(f"vtab/{name}"), module))


def _table(rows: Iterable[Preset]) -> dict[str, Preset]:
    """Returns {name: row}; raises ValueError if a row contradicts itself, another row or another table."""
    table, names_of_urls = {}, {}
    for row in rows:
        if row.name in table:
            raise ValueError(f"preset names must be unique, got {row.name} twice")
        get_variant(row.variant)
        if row.labels is not None and LABELS.get(row.labels) != row.num_classes:
            raise ValueError(
                f"labels of preset {row.name} must be None or a list in {LABELS} with {row.num_classes} classes, "
                f"got {row.labels!r}"
            )
        if not row.files or row.files[0].format != "npz":
            raise ValueError(f"files of preset {row.name} must begin with the npz, got {row.files}")
        for file in row.files:
            if file.format not in FORMATS:
                raise ValueError(f"format must be one of {FORMATS}, got {file.format!r} for {file.url}")
            if file.url in names_of_urls:
                raise ValueError(f"addresses must be unique, got {file.url} in {names_of_urls[file.url]}, {row.name}")
            names_of_urls[file.url] = row.name
        table[row.name] = row
    return table


PRESETS = _table(
    [
        _mini(),
        *(_bit_s(variant) for variant in _VARIANTS),
        *(_bit_m(variant) for variant in _VARIANTS),
        *(_bit_m_ilsvrc2012(variant) for variant in _VARIANTS),
        *(_distillation(*row) for row in _DISTILLATION),
        *(_task_teacher(task, *row) for task, row in _TASK_TEACHERS.items()),
        *(_vtab(variant, run, task) for variant in _PAPER_VARIANTS for run in _VTAB_RUNS for task in _VTAB_CLASSES),
    ]
)


@known_arguments
def list_presets(pattern: str = "*") -> list[str]:
    """Returns the names of the published weights that match a pattern, in the order of the table.

    Args:
        pattern: as in a shell, with capitals: `"BiT-M-*"`; "*" for all.

    Example:
        >>> bit_keras.list_presets("BiT-M-R50x1*ILSVRC2012")
        ['BiT-M-R50x1-ILSVRC2012']
    """
    return fnmatch.filter(PRESETS, pattern)


@known_arguments
def get_preset(name: str) -> Preset:
    """Returns the row called `name`; raises ValueError that names the nearest rows if none has it."""
    if name in PRESETS:
        return PRESETS[name]
    by_folded_name = {known.casefold(): known for known in PRESETS}
    close = [by_folded_name[match] for match in difflib.get_close_matches(name.casefold(), by_folded_name, n=5)]
    raise ValueError(
        f"unknown preset {name!r}; closest: {', '.join(close) or 'none'}; families: {', '.join(_FAMILIES)}; "
        f"bit_keras.list_presets() lists all {len(PRESETS)}"
    )


def faulty_file(path: str | os.PathLike) -> WeightFile | None:
    """Returns the published file that must not be used and has the file name of `path`, None if no such file exists.

    So a reader can refuse a copy that was made by hand: `fault` of the file says what is wrong and what to use.
    """
    name = os.path.basename(os.fspath(path))
    files = (file for row in PRESETS.values() for file in row.files)
    return next((file for file in files if file.fault and os.path.basename(file.url) == name), None)


def describe(pattern: str = "*") -> str:
    """Returns a table in plain text of the presets that match a shell pattern, for people to read.

    Resolutions are in pixels, accuracies in percent "at" the resolution of the evaluation; "-" is unknown. Faulty
    files are left out of the formats. The last line counts the rows.
    """
    names = list_presets(pattern)
    heading = ("name", "variant", "classes", "head", "training px", "top-1", "formats")
    lines = [heading, *(_cells(PRESETS[name]) for name in names)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*table, f"{len(names)} of {len(PRESETS)} presets"])


def _cells(row: Preset) -> tuple[str, ...]:
    accuracy = "-" if row.accuracy is None else f"{row.accuracy:.2f} at {row.evaluation_resolution}"
    usable = {file.format for file in row.files if not file.fault}
    return (
        row.name,
        row.variant,
        str(row.num_classes),
        row.dataset,
        str(row.training_resolution or "-"),
        accuracy,
        " ".join(name for name in FORMATS if name in usable),
    )
