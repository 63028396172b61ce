"""The code of README.md and docs/, with small stand-ins for code that would download or take hours."""

import configparser
import re
from collections.abc import Sequence
from pathlib import Path

FIRST_PAGES = ("README.md", "docs/start.md")
# Pages whose code runs, in this order. The other pages need several machines, a checkout or hours.
PAGES = (
    *FIRST_PAGES,
    "docs/weights.md",
    "docs/finetuning.md",
    "docs/data.md",
    "docs/transfer.md",
    "docs/pretraining.md",
    "docs/detection.md",
    "docs/export.md",
    "docs/bulk.md",
    "docs/small_gpu.md",
    "docs/offline.md",
)

_MINI = "BiT-mini-R17x0.5"
_SMALL = {"steps": 6, "batch_size": 16, "resolution": 32}
_SMALL_DETECTION = "steps=5, batch_size=2, resolution=64, width=32, depth=1"

# {Python code of the pages: code that runs instead}.
_PYTHON = {
    'finetune(model="BiT-M-R50x1", dataset="cifar10", workdir="runs/cifar10")': (
        f'finetune(model="{_MINI}", dataset="digits", workdir="runs/cifar10", steps=6, batch_size=16, resolution=32)'
    ),
    'from_preset("BiT-M-R50x1", num_classes=10)': f'from_preset("{_MINI}", num_classes=10)',
    'predict("BiT-M-R50x1-ILSVRC2012"': 'predict("ilsvrc.npz"',
    'from_preset("BiT-M-R50x1-ILSVRC2012")': 'from_preset("ilsvrc.npz")',
    'detection.train("BiT-M-R50x1", "coco:birds", "runs/birds", resolution=512, batch_size=8)': (
        f'detection.train("{_MINI}", "coco:boxes", "runs/boxes", {_SMALL_DETECTION})'
    ),
    'from_preset("runs/birds/best.npz")': 'from_preset("runs/boxes/best.npz")',
    'detection.predict("runs/birds"': 'detection.predict("runs/boxes"',
    'predict("runs/birds"': 'predict("runs/cifar10"',
    "image_size=(32, 32))": "image_size=(32, 32), steps=20)",
    '"kaggle://google/bit/tensorFlow2/m-r50x1"': '"exported/cifar10"',
}
# Definitions that the pages leave to the reader, and the line before which they are inserted.
_BEFORE = {
    "model = bit_keras.BiT(": "import numpy as np\nimages = np.zeros((2, 64, 64, 3), 'float32')\n",
    "rule = bit_keras.HyperRule(": (
        "import tensorflow as tf\n"
        f"model = bit_keras.BiT.from_preset('{_MINI}', num_classes=10)\n"
        "one_hot = np.eye(10, dtype='float32')[np.arange(64) % 10]\n"
        "batches = tf.data.Dataset.from_tensor_slices((np.zeros((64, 32, 32, 3), 'float32'), one_hot)).batch(16)\n"
    ),
}

# Replacements in commands, in this order.
_COMMANDS = (
    (re.compile(r"--model=BiT-M-R50x1-ILSVRC2012\b"), "--model=ilsvrc.npz"),
    (re.compile(r"--teacher=\S+"), "--teacher=weights.npz"),
    (re.compile(r"=R50x1\b|BiT-S-R50x1"), lambda match: match[0].replace("BiT-S-", "").replace("R50x1", "R17x0.5")),
    (re.compile(r"BiT-M-R\d+x\d"), _MINI),
    (re.compile(r"=(cifar10|oxford_iiit_pet|imagenet2012)\b"), "=digits"),
    (re.compile(r",cifar100\b|/data/birds"), lambda match: "birds" if match[0].startswith("/") else ",birds"),
    (re.compile(r" --manual_dir=\S+"), ""),
    (
        re.compile(r"(-m bit_keras.protocols vtab .*)--runs=3"),
        r"\1--runs=1 --tasks=digits --steps=5 --batch_size=8 --resolution=32",
    ),
    (
        re.compile(r"(-m bit_keras.protocols standard .*)--runs=3"),
        r"\1--runs=1 --datasets=digits --steps=5 --batch_size=8 --resolution=32",
    ),
    (
        re.compile(r"(-m bit_keras.protocols evaluate) .*(--workdir=\S+).*"),
        r"\1 --models=weights.npz --datasets=digits --resolution=32 \2",
    ),
    (re.compile(r"coco:birds|coco/2017"), "coco:boxes"),
    (re.compile(r"--resolution=512 --batch_size=8"), f"--{_SMALL_DETECTION.replace(', ', ' --')}"),
    (re.compile(r"(bit-detect .*)runs/birds"), r"\1runs/boxes"),
    (re.compile(r"(bit-detect .*--dry_run)"), r"\1 --steps=5"),
    (re.compile(r"\bm-r50x1"), "mini-r17x05"),
)
# Need further extras, and minutes; the tests of the exporters run them.
_NOT_RUN = re.compile(r"bit-export (serving|edge|tpu|hub --model)\b|bit-detect export\b")
_FLAGS = {
    "finetune": _SMALL,
    "evaluate": {"batch_size": 16},
    "predict": {"batch_size": 16},
    "pretrain": {"epochs": 0.05, "batch_size": 16, "resolution": 32},
    "distill": {"epochs": 0.05, "batch_size": 16, "resolution": 32},
    "few_shot": {**_SMALL, "shots": 1, "seeds": 1},
}


def blocks(pages: Sequence[Path], language: str) -> list[str]:
    """Returns the code blocks of a language, page after page."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [block for page in pages for block in pattern.findall(page.read_text())]


def python_program(pages: Sequence[Path]) -> str:
    """Returns the Python code of the pages as one program."""
    code = "\n".join(blocks(pages, "python"))
    for there, here in _PYTHON.items():
        code = code.replace(there, here)
    for first, before in _BEFORE.items():
        code = code.replace(first, before + first, 1)
    return code


def unused_stand_ins(pages: Sequence[Path]) -> list[str]:
    """Returns the code for which there is a stand-in, but which no page contains: probably, it was changed there."""
    code = "\n".join(blocks(pages, "python"))
    return [there for there in (*_PYTHON, *_BEFORE) if there not in code]


def commands(pages: Sequence[Path]) -> list[str]:
    """Returns the commands of the installed package, in order."""
    code = "".join(blocks(pages, "bash")).replace("\\\n", " ")
    lines = [line for line in code.splitlines() if re.match(r"python -m bit_keras\.|bit-", line)]
    return [_small(line) for line in lines if not _NOT_RUN.match(line)]


def _small(command: str) -> str:
    for there, here in _COMMANDS:
        command = there.sub(here, command)
    program = re.search(r"-m bit_keras\.(\w+)|^bit-([\w-]+)", command)
    flags = _FLAGS.get((program[1] or program[2]).replace("-", "_"), {})
    return " ".join([command.partition("  #")[0], *(f"--{name}={value}" for name, value in flags.items())])


def programs(setup_cfg: Path) -> dict[str, str]:
    """Returns {console script of the package: its entry point, "module:function"}."""
    parser = configparser.ConfigParser()
    parser.read(setup_cfg)
    lines = parser["options.entry_points"]["console_scripts"].split("\n")
    return dict(line.replace(" ", "").split("=") for line in lines if line)
