"""The check of the catalogue finds each fault, and the committed catalogue has none."""

import shutil
from pathlib import Path

import pytest

from hub_modules import check as program
from hub_modules.check import check

MODULE = "m-r50x1-ilsvrc2012-classification.md"
COLLECTION = "m-r50x1-vtab.md"
DTD = "m-r50x1-run0-dtd-classification"


@pytest.fixture
def catalogue(tmp_path) -> Path:
    """A copy of the catalogue."""
    shutil.copytree(program.DIRECTORY, tmp_path / "catalogue", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return tmp_path / "catalogue"


def change(catalogue: Path, page: str, old: str, new: str) -> None:
    path = catalogue / "pages" / page
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_catalogue_has_no_fault():
    assert check() == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "# Module bit-keras/",
            "# Model bit-keras/",
            "line 1 must be '# Module PUBLISHER/NAME/VERSION', got '# Model ",
        ),
        ("/1\n", "\n", "line 1 must be"),
        ("/1\n", "/0\n", "line 1 must be"),
        ("/1\n", "/2\n", "the handle must be bit-keras/m-r50x1-ilsvrc2012-classification/1, got bit-keras/"),
        ("# Module", "# Collection", "must be a page of 1 modules, Module"),
        ("\n\nImage", "\nImage", "lines 2 to 4 must be one line that describes the module"),
        ("<!-- task: ", "<!-- task=", "line 6 must be '<!-- key: value -->', got '<!-- task=image-classification -->'"),
        ("<!-- license: Apache-2.0 -->\n", "", "license is missing, it must be 'Apache-2.0'"),
        (
            "<!-- format: saved_model_2 -->",
            "<!-- format: saved_model -->",
            "format must be 'saved_model_2', got 'saved_",
        ),
        (
            "<!-- kind",
            "<!-- module-type: x -->\n<!-- kind",
            "module-type is not a key of this page, whose keys are asset-path, ",
        ),
        ("<!-- kind", "<!-- task: image-classification -->\n<!-- kind", "task occurs 2 times"),
        (
            "classification.tar.gz -->",
            "r50x1.zip -->",
            "asset-path must be 'm-r50x1-ilsvrc2012-classification.tar.gz', ",
        ),
        ("preset: BiT-M-R50x1-", "preset: BiT-S-R50x1-", "preset must be 'BiT-M-R50x1-ILSVRC2012', got 'BiT-S-"),
        ("num-classes: 1000", "num-classes: 1001", "num-classes must be '1000', got '1001'"),
        ("activation: softmax", "activation: sigmoid", "activation must be 'softmax', got 'sigmoid'"),
        ("../overview.md", "overview.md", "the link to overview.md is dead"),
    ],
)
def test_faults_of_a_page(catalogue, old, new, fault):
    change(catalogue, MODULE, old, new)
    faults = check(catalogue)
    assert faults[0].startswith(f"{MODULE}: {fault}")
    assert len(faults) == (2 if "task=" in new else 1), faults  # then the key is also missing


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        ("# Collection", "# Module", ["must be a page of 57 modules, Collection"]),
        (f" `{DTD}` |", "", [f"the table lacks {DTD}"]),
        (DTD, f"{DTD}-2", [f"the table lacks {DTD}", f"the table has {DTD}-2, which is not a module"]),
        (
            DTD,
            "m-r50x3-run0-dtd-classification",
            [f"the table lacks {DTD}", "the table has m-r50x3-run0-dtd-classification"],
        ),
        (
            DTD,
            DTD.replace("run0", "run1"),
            ["m-r50x1-run1-dtd-classification is in the table twice", "the table lac"],
        ),
        (
            "| dtd | 47 |",
            "| dtd | 48 |",
            [f"m-r50x1-run{k}-dtd-classification must be in the row of dtd, 47" for k in range(3)],
        ),
        ("activation: softmax", "activation: sigmoid", ["activation must be 'softmax', got 'sigmoid'"]),
    ],
)
def test_faults_of_a_collection(catalogue, old, new, faults):
    change(catalogue, COLLECTION, old, new)
    found = check(catalogue)
    assert len(found) == len(faults), found
    for fault in faults:
        assert any(line.startswith(f"{COLLECTION}: {fault}") for line in found), found


def test_pages_without_module_and_modules_without_page(catalogue):
    (catalogue / "pages" / MODULE).rename(catalogue / "pages" / "m-r50x2.md")
    assert check(catalogue) == [
        "m-r50x2.md: the catalogue has no module for this page",
        f"{MODULE}: the page is missing, and the catalogue has its module",
        f"index.md: the link to pages/{MODULE} is dead",
    ]


def test_a_handle_that_two_pages_have(catalogue):
    change(catalogue, MODULE, "bit-keras/m-r50x1-ilsvrc2012-classification/1", "bit-keras/m-r50x1/1")
    assert check(catalogue)[-1] == f"{MODULE}, m-r50x1.md: all have the handle bit-keras/m-r50x1/1"


def test_an_empty_page(catalogue):
    (catalogue / "pages" / MODULE).write_text("")
    assert check(catalogue) == [f"{MODULE}: line 1 must be '# Module PUBLISHER/NAME/VERSION', got ''"]


def test_links_in_code_are_not_checked(catalogue):
    (catalogue / "overview.md").write_text(
        "[a](index.md#anchor) [b](https://x.y) `x[0](y)`\n```\n[c](d)\n```\n[e](f.md)\n"
    )
    assert check(catalogue) == ["overview.md: the link to f.md is dead"]


def test_program(run_program, catalogue):
    result = run_program("hub_modules.check")
    assert (result.returncode, result.stdout) == (0, "325 modules on 45 pages, 0 faults\n"), result.stderr
    change(catalogue, MODULE, "num-classes: 1000", "num-classes: 10")
    result = run_program("hub_modules.check", f"--directory={catalogue}")
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        f"{MODULE}: num-classes must be '1000', got '10'",
        "325 modules on 45 pages, 1 faults",
    ]
