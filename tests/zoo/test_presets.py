"""The table of published weights."""

import dataclasses
import re

import pytest

from bit_keras import list_presets
from bit_keras.zoo import presets
from bit_keras.zoo.presets import LABELS, PRESETS, Preset, WeightFile, describe, faulty_file, get_preset
from bit_keras.zoo.variants import VARIANTS

BUCKET = "https://storage.googleapis.com/bit_models"
IN_PAPER = ["R50x1", "R101x1", "R50x3", "R101x3", "R152x4"]
PUBLISHED = ["R50x1", "R101x1", "R50x3", "R101x3", "R152x2", "R152x4"]

# {number of classes: tasks of VTAB-1k}, from the definitions of the benchmark.
VTAB = {
    2: ["patch_camelyon"],
    4: ["kitti-distance"],
    5: ["diabetic_retinopathy"],
    6: ["clevr-distance", "dmlab"],
    8: ["clevr-count"],
    9: ["smallnorb-elevation"],
    10: ["eurosat", "svhn"],
    16: ["dsprites-orientation", "dsprites-xpos"],
    18: ["smallnorb-azimuth"],
    37: ["oxford_iiit_pet"],
    45: ["resisc45"],
    47: ["dtd"],
    100: ["cifar100"],
    102: ["caltech101", "oxford_flowers102"],
    397: ["sun397"],
}

# {pattern of names: (rows, pattern of the npz below the bucket)}
FAMILIES = {
    r"BiT-mini-(R17x0\.5)": (1, r"package://weights/\g<0>"),
    r"BiT-S-(R\d+x\d)": (6, r"\g<0>"),
    r"BiT-M-(R\d+x\d)": (6, r"\g<0>"),
    r"BiT-M-(R\d+x\d)-ILSVRC2012": (6, r"\g<0>"),
    r"BiT-distilled-(R50x1)-(\d+)": (2, r"distill/\1_\2"),
    r"BiT-teacher-(R152x2)-(\d+)": (2, r"distill/\1_T_\2"),
    r"BiT-teacher-(R152x2)-([a-z]+128)": (4, r"distill/\1_T_\2"),
    r"BiT-M-(R\d+x\d)-run[012]-[a-z_]+[0-9]*(-[a-z]+)?": (285, r"vtab/\g<0>"),
}

ROW = Preset("BiT-X", "R50x1", "ImageNet-1k", 1000, (WeightFile("https://x/BiT-X.npz"),), labels="ilsvrc2012")


def _urls(name: str, file_format: str) -> list[str]:
    return [file.url for file in PRESETS[name].files if file.format == file_format]


@pytest.mark.parametrize("pattern", FAMILIES)
def test_families(pattern):
    count, stem = FAMILIES[pattern]
    rows = [row for row in PRESETS.values() if re.fullmatch(pattern, row.name)]
    assert len(rows) == count
    for row in rows:
        assert row.variant == re.fullmatch(pattern, row.name)[1]
        address = re.sub(pattern, stem, row.name) + ".npz"
        assert row.files[0].url == (address if "://" in address else f"{BUCKET}/{address}")
        assert row.files[0].format == "npz"


def test_every_row_is_of_one_family():
    assert sum(count for count, _ in FAMILIES.values()) == len(PRESETS) == 312
    for name in PRESETS:
        assert sum(re.fullmatch(pattern, name) is not None for pattern in FAMILIES) == 1


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("BiT-S-R50x1", "https://storage.googleapis.com/bit_models/BiT-S-R50x1.npz"),
        ("BiT-M-R152x4", "https://storage.googleapis.com/bit_models/BiT-M-R152x4.npz"),
        ("BiT-M-R152x2-ILSVRC2012", "https://storage.googleapis.com/bit_models/BiT-M-R152x2-ILSVRC2012.npz"),
        ("BiT-distilled-R50x1-160", "https://storage.googleapis.com/bit_models/distill/R50x1_160.npz"),
        ("BiT-teacher-R152x2-384", "https://storage.googleapis.com/bit_models/distill/R152x2_T_384.npz"),
        ("BiT-teacher-R152x2-sun128", "https://storage.googleapis.com/bit_models/distill/R152x2_T_sun128.npz"),
        (
            "BiT-M-R101x3-run2-smallnorb-azimuth",
            "https://storage.googleapis.com/bit_models/vtab/BiT-M-R101x3-run2-smallnorb-azimuth.npz",
        ),
    ],
)
def test_address(name, url):
    assert PRESETS[name].url == url


@pytest.mark.parametrize("row", PRESETS.values(), ids=PRESETS)
def test_rows(row):
    assert PRESETS[row.name] is row
    assert row.variant in VARIANTS
    assert row.labels is None or LABELS[row.labels] == row.num_classes
    assert row.activation == ("sigmoid" if row.num_classes == 21_843 else "softmax")
    assert (row.labels is None) == (row.num_classes not in (1000, 21_843))
    assert row.licence == "Apache-2.0"
    assert row.input_range == (-1, 1)
    assert (row.accuracy is None) == (row.evaluation_resolution is None) == (not row.accuracy_source)
    for file in row.files:
        assert (file.md5 is None) == (file.format != "h5" or row.name == "BiT-M-R152x4")
        assert (file.sha256 is None) == (not file.url.startswith("package://"))


def test_addresses_are_unique():
    urls = [file.url for row in PRESETS.values() for file in row.files]
    assert len(set(urls)) == len(urls)


@pytest.mark.parametrize(
    ("pattern", "dataset", "num_classes", "pixels"),
    [
        ("BiT-S-*", "ImageNet-1k", 1000, 224),
        ("BiT-M-R*x[134]", "ImageNet-21k", 21_843, 224),
        ("BiT-M-*-ILSVRC2012", "ImageNet-1k", 1000, None),
        ("BiT-distilled-R50x1-224", "ImageNet-1k", 1000, 224),
        ("BiT-distilled-R50x1-160", "ImageNet-1k", 1000, 160),
        ("BiT-teacher-R152x2-384", "ImageNet-1k", 1000, 384),
        ("BiT-teacher-*-flowers128", "oxford_flowers102", 102, 128),
        ("BiT-teacher-*-pet128", "oxford_iiit_pet", 37, 128),
        ("BiT-teacher-*-food128", "food101", 101, 128),
        ("BiT-teacher-*-sun128", "sun397", 397, 128),
    ],
)
def test_heads(pattern, dataset, num_classes, pixels):
    assert list_presets(pattern)
    for name in list_presets(pattern):
        row = PRESETS[name]
        assert (row.dataset, row.num_classes) == (dataset, num_classes)
        assert row.training_resolution == (None if name in ("BiT-S-R152x2", "BiT-M-R152x2") else pixels)


def test_vtab():
    tasks = {task: num_classes for num_classes, group in VTAB.items() for task in group}
    assert len(tasks) == 19
    names = {f"BiT-M-{variant}-run{run}-{task}" for variant in IN_PAPER for run in range(3) for task in tasks}
    assert names == set(list_presets("*-run*"))
    for name in names:
        row = PRESETS[name]
        task = name.split("-", 4)[4]
        assert (row.num_classes, row.dataset) == (tasks[task], f"VTAB-1k {task}")
        assert row.files[1] == WeightFile(
            f"{BUCKET}/vtab/{name}.tfhub",
            "hub",
            files=(
                "saved_model.pb",
                "tfhub_module.pb",
                "variables/variables.data-00000-of-00001",
                "variables/variables.index",
            ),
        )


def test_h5_files():
    with_h5 = {name for name in PRESETS if _urls(name, "h5")}
    assert with_h5 == {f"BiT-{size}-{variant}" for size in "SM" for variant in IN_PAPER}
    files = {name: next(file for file in PRESETS[name].files if file.format == "h5") for name in with_h5}
    assert all(file.url == f"{BUCKET}/{name}.h5" for name, file in files.items())
    assert {name: file.md5 for name, file in files.items()} == {
        "BiT-S-R50x1": "6cf1d1e2713303309e519bcaeff83ff9",
        "BiT-S-R50x3": "6cf1d1e2713303309e519bcaeff83ff9",
        "BiT-S-R101x1": "e997faeec447e05d5e398303c233e4d3",
        "BiT-S-R101x3": "f58452086fd56b204a9538c50277e10d",
        "BiT-S-R152x4": "e997faeec447e05d5e398303c233e4d3",
        "BiT-M-R50x1": "482c5f2671bf6dad5e458260bfd6ac51",
        "BiT-M-R50x3": "215158ea03f1fa71907c5d7b266617a7",
        "BiT-M-R101x1": "8af399a1e846dbcce4001210240b805b",
        "BiT-M-R101x3": "5063875d671620bb49be6885ec23868c",
        "BiT-M-R152x4": None,
    }


def test_timm_copies():
    of_timm = {name: _urls(name, "timm") for name in PRESETS if _urls(name, "timm")}
    assert of_timm.pop("BiT-distilled-R50x1-224") == [
        "hf://timm/resnetv2_50x1_bit.goog_distilled_in1k/model.safetensors"
    ]
    teacher = "hf://timm/resnetv2_152x2_bit.goog_teacher_in21k_ft_in1k{}/model.safetensors"
    assert of_timm.pop("BiT-teacher-R152x2-224") == [teacher.format("")]
    assert of_timm.pop("BiT-teacher-R152x2-384") == [teacher.format("_384")]
    copy = "hf://timm/resnetv2_{}_bit.goog_in21k{}/model.safetensors"
    assert of_timm == {
        **{f"BiT-M-{variant}": [copy.format(variant[1:], "")] for variant in PUBLISHED},
        **{f"BiT-M-{variant}-ILSVRC2012": [copy.format(variant[1:], "_ft_in1k")] for variant in PUBLISHED},
    }


def test_transformers_copy():
    of_transformers = {name: _urls(name, "transformers") for name in PRESETS if _urls(name, "transformers")}
    assert of_transformers == {"BiT-M-R50x1-ILSVRC2012": ["hf://google/bit-50/model.safetensors"]}


def test_kaggle_modules():
    modules = {
        file.url.removeprefix("kaggle://google/bit/tensorFlow2/"): (row.name, file)
        for row in PRESETS.values()
        for file in row.files
        if file.url.startswith("kaggle:")
    }
    expected = {}
    for variant in IN_PAPER:
        small, medium = f"s-{variant.lower()}", f"m-{variant.lower()}"
        expected[small] = expected[f"{small}-ilsvrc2012-classification"] = f"BiT-S-{variant}"
        expected[medium] = expected[f"{medium}-imagenet21k-classification"] = f"BiT-M-{variant}"
        expected[f"{medium}-ilsvrc2012-classification"] = f"BiT-M-{variant}-ILSVRC2012"
    assert {variation: name for variation, (name, _) in modules.items()} == expected
    assert len(expected) == 25
    for variation, (_, file) in modules.items():
        assert file.format == "hub"
        assert file.has_head == variation.endswith("-classification")
        assert ("fine-tuned" in file.note) == bool(re.fullmatch("s-.*-ilsvrc2012-classification", variation))


def test_accuracies():
    measured = {
        name: (row.evaluation_resolution, row.accuracy) for name, row in PRESETS.items() if row.accuracy is not None
    }
    assert measured == {
        "BiT-M-R50x1-ILSVRC2012": (448, 80.386),
        "BiT-M-R101x1-ILSVRC2012": (448, 82.332),
        "BiT-M-R50x3-ILSVRC2012": (448, 83.982),
        "BiT-M-R101x3-ILSVRC2012": (448, 84.430),
        "BiT-M-R152x2-ILSVRC2012": (448, 84.468),
        "BiT-M-R152x4-ILSVRC2012": (480, 84.936),
        "BiT-distilled-R50x1-224": (224, 82.8),
        "BiT-distilled-R50x1-160": (160, 80.5),
        "BiT-teacher-R152x2-224": (224, 83.0),
        "BiT-teacher-R152x2-384": (384, 84.3),
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, dataclasses.replace(ROW, files=(WeightFile("https://x/other.npz"),))], "unique, got BiT-X twice"),
        ([ROW, dataclasses.replace(ROW, name="BiT-Y")], "BiT-X.npz in BiT-X, BiT-Y"),
        ([dataclasses.replace(ROW, files=ROW.files * 2)], "addresses must be unique"),
        ([dataclasses.replace(ROW, variant="R50x2")], "unknown variant 'R50x2'"),
        ([dataclasses.replace(ROW, labels="cifar10")], "got 'cifar10'"),
        ([dataclasses.replace(ROW, num_classes=10)], "with 10 classes, got 'ilsvrc2012'"),
        ([dataclasses.replace(ROW, files=())], "begin with the npz"),
        ([dataclasses.replace(ROW, files=(WeightFile("https://x/BiT-X.h5", "h5"),))], "begin with the npz"),
        ([dataclasses.replace(ROW, files=(*ROW.files, WeightFile("https://x/x.pt", "torch")))], "got 'torch'"),
    ],
)
def test_a_bad_row_is_refused(rows, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        presets._table(rows)


def test_good_rows_are_kept():
    other = dataclasses.replace(ROW, name="BiT-Y", labels=None, num_classes=7, files=(WeightFile("https://x/y.npz"),))
    assert presets._table([ROW, other]) == {"BiT-X": ROW, "BiT-Y": other}


def test_list_presets():
    assert list_presets() == list(PRESETS)
    assert list_presets("BiT-S-*") == [f"BiT-S-{variant}" for variant in PUBLISHED]
    assert list_presets("*R152x4") == ["BiT-S-R152x4", "BiT-M-R152x4"]
    assert list_presets("bit-s-*") == list_presets("nothing") == []


def test_get_preset():
    for name, row in PRESETS.items():
        assert get_preset(name) is row


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("bit-m-r50x1", "closest: BiT-M-R50x1, "),
        ("BiT-S-R152x3", "BiT-S-R152x2"),
        ("BiT-M-R50x1-ILSVRC-2012", "closest: BiT-M-R50x1-ILSVRC2012, "),
        ("BiT-M-R50x1-run3-dtd", "BiT-M-R50x1-run2-dtd"),
        ("resnet", "closest: none; "),
    ],
)
def test_an_unknown_name_is_answered_with_close_ones(name, close):
    with pytest.raises(ValueError, match=f"unknown preset '{name}'") as caught:
        get_preset(name)
    message = str(caught.value)
    assert close in message
    assert "bit_keras.list_presets() lists all 312" in message
    assert len(message) < 500


def test_the_families_of_the_message_cover_the_table():
    matched = set().union(*(list_presets(family) for family in presets._FAMILIES))
    assert matched == set(PRESETS)
    assert all(list_presets(family) for family in presets._FAMILIES)


@pytest.mark.parametrize(
    ("name", "held", "widths"),
    [("BiT-S-R50x3", "BiT-S-R50x1", (64, 192)), ("BiT-S-R101x1", "BiT-S-R152x4", (256, 64))],
)
def test_wrong_uploads(name, held, widths, tmp_path):
    file = faulty_file(tmp_path / f"{name}.h5")
    assert file is faulty_file(f"{name}.h5") is next(file for file in PRESETS[name].files if file.format == "h5")
    assert file.fault == (
        f"the published {name}.h5 holds the weights of {held}: its stem is {widths[0]} filters wide instead of "
        f"{widths[1]}; use {BUCKET}/{name}.npz"
    )
    assert file.md5 == next(file.md5 for file in PRESETS[held].files if file.format == "h5")


def test_no_other_file_is_faulty():
    assert sum(bool(file.fault) for row in PRESETS.values() for file in row.files) == 2
    for name in ("BiT-S-R50x1.h5", "BiT-S-R50x3.npz", "BiT-S-R50x3", "", "BiT-S-R50x3.h5/model"):
        assert faulty_file(name) is None


def test_describe():
    lines = describe("*R50x3*").splitlines()
    heading, rows = lines[0], lines[1:-1]
    assert lines[-1] == "60 of 312 presets"
    assert [line.split()[0] for line in rows] == list_presets("*R50x3*")
    assert rows[:3] == [
        "BiT-S-R50x3                            R50x3    1000     ImageNet-1k                   224          "
        "-             npz hub",
        "BiT-M-R50x3                            R50x3    21843    ImageNet-21k                  224          "
        "-             npz h5 timm hub",
        "BiT-M-R50x3-ILSVRC2012                 R50x3    1000     ImageNet-1k                   -            "
        "83.98 at 448  npz timm hub",
    ]
    for title in ("variant", "classes", "head", "training px", "top-1", "formats"):
        assert all(line[heading.index(title) - 2 : heading.index(title)] == "  " for line in rows)


def test_describe_all():
    lines = describe().splitlines()
    assert len(lines) == 312 + 2
    assert lines[-1] == "312 of 312 presets"
    assert describe("nothing").splitlines()[1:] == ["0 of 312 presets"]
