"""Names of TensorFlow Datasets in the pages and the table of weights; needs only the standard library."""

import argparse
import ast
import re
from pathlib import Path

_PAGES = ("README.md", "docs/**/*.md")
# --dataset=NAME, --datasets NAME,NAME, dataset="NAME"
_MENTION = re.compile(r"""--datasets?[= ]'?([^\s`"'\\]+)|\bdatasets?=["']([^"']+)["']""")
_OF_FILES = re.compile(r"^[./~]|:[./~]|\.(npz|csv)$")
_OF_BOXES = re.compile(r"^(coco|voc)[:/]")  # opened by bit_keras.detection, whose tests let TFDS prepare them
# {task of VTAB: its different name in TFDS}; TFDS has no labels for tasks with a "-".
_TASKS = {"diabetic_retinopathy": "diabetic_retinopathy_detection", "svhn": "svhn_cropped"}


def mentioned_names(root: Path) -> list[str]:
    """Returns the sorted names in README.md, docs/ and bit_keras/zoo/presets.py of a checkout."""
    pages = [page.read_text() for pattern in _PAGES for page in root.glob(pattern)]
    names = {name for page in pages for match in _MENTION.findall(page) for name in "".join(match).split(",")}
    names = {
        name.partition("[")[0]
        for name in names
        if name != "digits" and not (_OF_FILES.search(name) or _OF_BOXES.search(name))
    }
    return sorted(names | _of_weights(root / "bit_keras" / "zoo" / "presets.py"))


def _of_weights(presets: Path) -> set[str]:
    """Returns the datasets that published heads were trained on, from the tables of bit_keras/zoo/presets.py."""
    tables = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(presets.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("_TASK_TEACHERS", "_VTAB_CLASSES")
    }
    of_teachers = {name for name, _ in tables["_TASK_TEACHERS"].values()}
    return of_teachers | {_TASKS.get(task, task) for task in tables["_VTAB_CLASSES"] if "-" not in task}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="a checkout")
    print(*mentioned_names(parser.parse_args().root))
