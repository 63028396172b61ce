"""Model cards for hubs, made from the card of the weights: README.md for Hugging Face, and metadata files for Kaggle.

They state what the card states, and nothing else: a number that is not in the card is in no text. The forms are those
of https://huggingface.co/docs/hub/model-cards and https://github.com/Kaggle/kaggle-cli/blob/main/docs/models_metadata.md.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence

from bit_keras.checkpoints.card import Card
from bit_keras.system.texts import cell, counted, one_line

# {SPDX identifier: (identifier on Hugging Face, name on Kaggle)}. Source: the pages above.
LICENCES = {
    "Apache-2.0": ("apache-2.0", "Apache 2.0"),
    "BSD-3-Clause": ("bsd-3-clause", "BSD-3-Clause"),
    "CC-BY-4.0": ("cc-by-4.0", "Attribution 4.0 International (CC BY 4.0)"),
    "CC-BY-NC-4.0": ("cc-by-nc-4.0", "Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)"),
    "CC-BY-NC-SA-4.0": ("cc-by-nc-sa-4.0", "CC BY-NC-SA 4.0"),
    "CC-BY-SA-4.0": ("cc-by-sa-4.0", "CC BY-SA 4.0"),
    "CC0-1.0": ("cc0-1.0", "CC0: Public Domain"),
    "GPL-2.0-only": ("gpl-2.0", "GPL 2"),
    "GPL-3.0-only": ("gpl-3.0", "GPL 3"),
    "MIT": ("mit", "MIT"),
}
# {name of data: identifier of a data set on Hugging Face}; other data are named in the text only.
_DATASETS = {
    "ImageNet-1k": "ILSVRC/imagenet-1k",
    "imagenet2012": "ILSVRC/imagenet-1k",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "food101": "ethz/food101",
}
_PAPER = "https://arxiv.org/abs/1912.11370"
_OFFICIAL = "https://github.com/google-research/big_transfer"
# Of a model on Kaggle, which may have variations by others of its owner's weights.
_OF_A_MODEL = "Big Transfer (BiT) networks. The page of each variation states what it is for and how to use it."
_SOURCE = (
    'The method is that of "Big Transfer (BiT): General Visual Representation Learning", '
    f"[arXiv 1912.11370]({_PAPER}), ECCV 2020; its code is [google-research/big_transfer]({_OFFICIAL}). The data that "
    "weights were trained on have terms of their own. The page was written by `bit-export publish`, from the card in "
    "the files alone: it states no other number."
)
_CITATION = """\
```bibtex
@inproceedings{kolesnikov2020bit,
  title     = {Big Transfer (BiT): General Visual Representation Learning},
  author    = {Kolesnikov, Alexander and Beyer, Lucas and Zhai, Xiaohua and Puigcerver, Joan and Yung, Jessica and
               Gelly, Sylvain and Houlsby, Neil},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2020}
}
```"""
_MOST_NAMES = 100  # classes that a text lists; the files hold the names of all
_WEIGHTS = (".keras", ".npz", ".safetensors", ".h5")
_TAGS = {".keras": "keras", ".onnx": "onnx", ".safetensors": "safetensors", ".tflite": "tflite", ".xml": "openvino"}


@dataclasses.dataclass(frozen=True)
class Described:
    """What is published, as far as texts describe it.

    Attributes:
        handle: OWNER/REPOSITORY on Hugging Face, OWNER/MODEL/FRAMEWORK/VARIATION on Kaggle.
        version: number of this version.
        files: paths in the published directory.
        card: of the weights, None if the files carry none.
        licence: SPDX identifier of the licence of the weights, None if it is not known.
        kind: of the SavedModel: "reusable", which can be called and fine-tuned; "serving", for TF Serving; None for
            others, and for none.
    """

    handle: str
    version: int
    files: tuple[str, ...]
    card: Card | None
    licence: str | None
    kind: str | None = None

    @property
    def title(self) -> str:
        """Last part of the handle."""
        return self.handle.rpartition("/")[2]

    @property
    def has_saved_model(self) -> bool:
        """Whether a file is the graph of a SavedModel."""
        return any(file.rpartition("/")[2] == "saved_model.pb" for file in self.files)

    @property
    def weights(self) -> tuple[str, ...]:
        """Files that `BiT.from_preset` reads."""
        return tuple(file for file in self.files if "/" not in file and file.endswith(_WEIGHTS))


def huggingface_texts(described: Described) -> dict[str, str]:
    """Returns {"README.md": the card of the repository}, with a YAML header."""
    sections = [f"# {described.title}", _summary(described.card), *_sections(described, _huggingface_usage(described))]
    page = "\n\n".join([*sections, "## Source", _SOURCE, _CITATION])
    return {"README.md": f"---\n{_yaml(_header(described))}---\n\n{page}\n"}


def kaggle_texts(described: Described) -> dict[str, str]:
    """Returns {name: JSON} of the metadata files of Kaggle: of the model, and of its variation ("instance")."""
    owner, model, framework, variation = described.handle.split("/")
    card = described.card
    of_model = {
        "ownerSlug": owner,
        "title": model,
        "slug": model,
        "subtitle": "Big Transfer (BiT) networks for transfer learning",
        "isPrivate": True,
        "description": "\n\n".join([f"# {model}", _OF_A_MODEL, "## Source", _SOURCE, _CITATION]) + "\n",
        "publishTime": "",
        "provenanceSources": "\n".join([_PAPER, _OFFICIAL]),
    }
    of_variation = {
        "ownerSlug": owner,
        "modelSlug": model,
        "instanceSlug": variation,
        "framework": framework,
        "overview": _summary(card),
        # Kaggle replaces its variables, such as ${PATH}, also where a name happens to be one.
        "usage": "\n\n".join(_sections(described, _kaggle_usage(described))).replace("${", "&#36;{") + "\n",
        "licenseName": _kaggle_licence(described.licence),
        "fineTunable": bool(described.weights) or described.kind == "reusable",
        "trainingData": [] if _data_name(card) is None else [_data_name(card)],
        "modelInstanceType": "Unspecified",
        "baseModelInstance": "",
        "externalBaseModelUrl": "",
    }
    texts = {"model-metadata.json": of_model, "model-instance-metadata.json": of_variation}
    return {name: json.dumps(values, ensure_ascii=False, indent=2) + "\n" for name, values in texts.items()}


def _kaggle_licence(licence: str | None) -> str:
    if licence is not None and licence not in LICENCES:
        raise ValueError(f"the licence must be one that Kaggle has, {', '.join(LICENCES)}, got {licence!r}")
    return "" if licence is None else LICENCES[licence][1]


def _header(described: Described) -> dict:
    """Returns the metadata of a repository on Hugging Face."""
    card, values = described.card, {}
    if described.licence in LICENCES:
        values["license"] = LICENCES[described.licence][0]
    elif described.licence is not None:
        values |= {"license": "other", "license_name": one_line(described.licence)}
    values["library_name"] = "bit-keras"
    task = _task(card)
    if task is not None:
        values["pipeline_tag"] = task
    suffixes = {suffix for suffix in _TAGS if any(file.endswith(suffix) for file in described.files)}
    formats = {_TAGS[suffix] for suffix in suffixes} | ({"tensorflow"} if described.has_saved_model else set())
    values["tags"] = ["bit", "big-transfer", *sorted(formats)]
    name = _data_name(card)
    if name in _DATASETS:
        values["datasets"] = [_DATASETS[name]]
    if card is not None and card.accuracy is not None:
        measured_on = one_line(card.accuracy_on or name or "not stated")
        dataset = {"type": _DATASETS.get(name) or _slug(name or measured_on), "name": measured_on}
        result = {
            "task": {"type": task or "image-classification"},
            "dataset": dataset,
            "metrics": [{"type": "accuracy", "name": "top-1 accuracy", "value": card.accuracy}],
        }
        values["metrics"] = ["accuracy"]
        values["model-index"] = [{"name": described.title, "results": [result]}]
    return values


def _task(card: Card | None) -> str | None:
    if card is None:
        return None
    if card.task == "detection":
        return "object-detection"
    return "image-classification" if card.class_names or card.labels or card.accuracy is not None else None


def _sections(described: Described, usage: str) -> list[str]:
    """Returns what is known about weights and how to use them, in Markdown."""
    sections = [_table(described), "## Use", usage]
    if described.card is not None and described.card.class_names:
        sections += ["## Classes", _classes(described.card.class_names)]
    return sections


def _summary(card: Card | None) -> str:
    if card is None:
        return "A Big Transfer (BiT) network. Its files carry no card: what it is for is not recorded."
    what = "Big Transfer (BiT) network" if card.variant is None else f"Big Transfer (BiT) network {cell(card.variant)}"
    number = None if card.class_names is None else counted(len(card.class_names), "class", "classes")
    if card.task == "detection":
        return f"A RetinaNet on a {what}: finds objects{f' of {number}' if number else ''} in photographs."
    return f"A {what} that tells {number} apart." if number else f"A {what}."


def _table(described: Described) -> str:
    card = described.card
    rows: dict[str, object] = {"licence of the weights": described.licence or "not stated"}
    if card is not None:
        low, high = card.input_range
        rows |= {
            "architecture": card.variant,
            "published list of classes": card.labels,
            "values of images, for the weights": f"[{low:g}, {high:g}]",
            "values of images, for SavedModels, LiteRT and ONNX files": "[0, 1]",
            "side of images in pixels": card.resolution,
            "side of images in training": card.training_resolution,
            "how images become squares": card.resize,
            "training started from": card.weights,
            "training data": _data(card),
            "top-1 accuracy": None if card.accuracy is None else f"{card.accuracy:.2%}",
            "accuracy measured on": card.accuracy_on,
            "written by": f"bit_keras {card.version}",
        }
    lines = [f"| {name} | {cell(str(value))} |" for name, value in rows.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *lines])


def _data_name(card: Card | None) -> str | None:
    name = None if card is None or card.data is None else card.data.get("name")
    return one_line(name) if isinstance(name, str) and name.strip() else None


def _data(card: Card) -> str | None:
    name = _data_name(card)
    counts = {"num_train": "training", "num_validation": "validation", "num_test": "test"}
    known = {word: (card.data or {}).get(key) for key, word in counts.items()}
    numbers = [f"{number:,} {word}" for word, number in known.items() if isinstance(number, int)]
    return name if not numbers else f"{name or 'data without a name'}: {', '.join(numbers)} images"


def _classes(names: Sequence[str]) -> str:
    lines = ["| output | class |", "|---|---|"]
    lines += [f"| {index} | {cell(name)} |" for index, name in enumerate(names[:_MOST_NAMES])]
    more = len(names) - _MOST_NAMES
    return "\n".join(lines) + (f"\n\nand {more:,} more, which the card in the files names." if more > 0 else "")


def _huggingface_usage(described: Described) -> str:
    handle, version = described.handle, f"v{described.version}"
    texts = []
    for file in described.weights[:1]:
        texts.append(_python(_loaded(described, _quoted(f"hf://{handle}@{version}/{file}"))))
    if described.has_saved_model:
        folder = f'huggingface_hub.snapshot_download("{handle}", revision="{version}")'
        texts.append(
            _python(["import huggingface_hub", "import tensorflow as tf", "", *_saved_model(described, folder)])
        )
    return "\n\n".join([*texts, *_runtimes(described)])


def _kaggle_usage(described: Described) -> str:
    handle = f"{described.handle}/{described.version}"
    texts = []
    for file in described.weights[:1]:
        path = f'kagglehub.model_download("{handle}", path={_quoted(file)})'
        texts.append(_python(["import kagglehub", "", *_loaded(described, path)]))
    if described.has_saved_model:
        folder = f'kagglehub.model_download("{handle}")'
        texts.append(_python(["import kagglehub", "import tensorflow as tf", "", *_saved_model(described, folder)]))
    return "\n\n".join([*texts, *_runtimes(described)])


def _loaded(described: Described, path: str) -> list[str]:
    if described.card is not None and described.card.task == "detection":
        return ["from bit_keras import detection", "", f"detector = detection.Detector.from_preset({path})"]
    return [
        "import bit_keras",
        "",
        f"model = bit_keras.BiT.from_preset({path})",
        "logits = model.predict(images)  # [N, H, W, 3] in [-1, 1]",
    ]


def _saved_model(described: Described, folder: str) -> list[str]:
    parts = [file.rpartition("/")[0] for file in described.files if file.rpartition("/")[2] == "saved_model.pb"]
    inner = f" + {_quoted(f'/{parts[-1]}')}" if parts[-1] else ""
    lines = [f"module = tf.saved_model.load({folder}{inner})"]
    calls = {
        "reusable": "outputs = module(images)  # float32 [N, H, W, 3] in [0, 1]",
        "serving": 'outputs = module.signatures["serve_bytes"](image_bytes=files)  # [N], the bytes of image files',
    }
    return [*lines, calls.get(described.kind, "print(module.signatures)  # what it computes, and of what")]


def _runtimes(described: Described) -> list[str]:
    files = [f"`{one_line(file)}`" for file in described.files if file.endswith((".onnx", ".tflite"))]
    if not files:
        return []
    return [f"{', '.join(files)}: images in [0, 1]; `bit_keras.edge.card.read_card` reads the card in each."]


def _python(lines: Sequence[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _quoted(text: str) -> str:
    """Returns a text as a literal of Python, in one line."""
    return json.dumps(one_line(text), ensure_ascii=False)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "data"


def _yaml(values: Mapping, indent: str = "") -> str:
    """Returns a mapping of texts, numbers, lists and mappings as YAML; each text is a string of JSON, thus of YAML."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines.append(f"{indent}{key}:\n{_yaml(value, indent + '  ')}")
        elif isinstance(value, list):
            lines.append(f"{indent}{key}:\n")
            for item in value:
                text = _yaml(item, indent + "  ") if isinstance(item, Mapping) else f"{indent}  {_scalar(item)}\n"
                lines.append(f"{indent}- {text[len(indent) + 2 :]}")
        else:
            lines.append(f"{indent}{key}: {_scalar(value)}\n")
    return "".join(lines)


def _scalar(value: str | float) -> str:
    return json.dumps(value, ensure_ascii=False)
