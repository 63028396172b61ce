from pathlib import Path

import pytest

import bit_keras
from tests.newcomer import tfds_mentions

ROOT = Path(bit_keras.__file__).parents[1]


def test_names_of_this_checkout():
    names = tfds_mentions.mentioned_names(ROOT)
    of_pages = {"cifar10", "cifar100", "imagenet2012", "oxford_iiit_pet"}
    of_weights = {"oxford_flowers102", "food101", "sun397", "caltech101", "svhn_cropped", "resisc45", "dmlab"}
    assert of_pages | of_weights < set(names)
    assert names == sorted(set(names))
    assert not {name for name in names if not name.isidentifier()} | {"digits"} & set(names)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("run --dataset=new_name --workdir=runs", ["new_name"]),
        ("run --dataset new_name/config:1.0.0 \\", ["new_name/config:1.0.0"]),
        ("run `--datasets=first,second`", ["first", "second"]),
        ('finetune(dataset="new_name")', ["new_name"]),
        ("run --dataset='new_name[:99%]'", ["new_name"]),
        ("--dataset=digits --dataset=/data/birds --dataset=a.npz --dataset=b.csv --dataset=... --dataset=~/c", []),
        ("the dataset new_name", []),
    ],
)
@pytest.mark.parametrize("page", ["README.md", "docs/page.md", "docs/deep/page.md"])
def test_names_of_a_page(page, text, names, tmp_path):
    (tmp_path / "bit_keras" / "zoo").mkdir(parents=True)
    tables = '_TASK_TEACHERS = {"pet": ("pets", 37)}\n_VTAB_CLASSES = {"svhn": 10, "dtd": 47, "clevr-count": 8}\n'
    (tmp_path / "bit_keras" / "zoo" / "presets.py").write_text(tables)
    (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / page).write_text(text)
    assert tfds_mentions.mentioned_names(tmp_path) == sorted([*names, "pets", "svhn_cropped", "dtd"])
