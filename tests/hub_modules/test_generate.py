"""The committed pages and their contents."""

import re
from pathlib import Path

import pytest

import bit_keras
from bit_keras.zoo.modules import MODULES, Module
from bit_keras.zoo.presets import PRESETS
from hub_modules import generate
from hub_modules.table import pages

PAGES = generate.DIRECTORY / "pages"


def test_committed_pages_are_those_of_the_generator():
    texts = generate.generate()
    for name, text in texts.items():
        assert (generate.DIRECTORY / name).read_text(encoding="utf-8") == text, "run python -m hub_modules.generate"
    assert {f"pages/{path.name}" for path in PAGES.iterdir()} | {"index.md"} == set(texts)


@pytest.mark.parametrize("stem", pages())
def test_every_page_has_what_a_user_needs_to_know(stem):
    text = (PAGES / f"{stem}.md").read_text(encoding="utf-8")
    facts = dict(re.findall(r"^\| ([\w -]+) \| (.+) \|$", text, re.MULTILINE))
    row = pages()[stem][0].weights
    is_classifier = pages()[stem][0].kind == "classification"
    assert "in **[0, 1]**" in facts["input"]
    assert facts["image size"].startswith("any H and W; ")
    assert ("logits" if is_classifier else "pooled features") in facts["output"]
    assert facts["head"].startswith(row.activation if is_classifier else "none")
    assert (facts["classes"] == "none") == (not is_classifier)
    assert facts["licence"] == "Apache-2.0"
    assert ("1912.11370" in facts["source"]) != ("2106.05237" in facts["source"])
    assert f"`{row.name.replace('caltech101', 'TASK')}`" in facts["weights"]
    if row.accuracy is None:
        assert facts["expected accuracy"] in ("not published for these weights", "depends on the task")
    else:
        assert facts["expected accuracy"].startswith(f"{row.accuracy:.2f} % top-1 on ILSVRC-2012 at ")
    assert "hub.KerasLayer(" in text
    assert f'bit_keras.finetune(model="{row.name}"' in text
    assert "$" not in text


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("m-r50x1-ilsvrc2012-classification", "expected accuracy", "80.39 % top-1 on ILSVRC-2012 at 448x448 (timm, "),
        ("m-r50x1-ilsvrc2012-classification", "image size", "any H and W; the training resolution is not known"),
        ("m-r50x1-imagenet21k-classification", "classes", 'the 21,843 of `bit_keras.class_names("imagenet21k")`; '),
        ("m-r50x1-imagenet21k-classification", "output", "logits, float32 `[N, 21843]`"),
        (
            "teacher-r152x2-pet128-classification",
            "classes",
            "the 37 of oxford_iiit_pet; no list of names was published",
        ),
        ("teacher-r152x2-pet128-classification", "image size", "any H and W; trained on 128x128"),
        ("m-r152x2", "official module", "none"),
        ("s-r50x1-ilsvrc2012-classification", "official module", "[google/bit/tensorFlow2/s-r50x1-ilsvrc2012-classif"),
        ("m-r152x4", "architecture", "R152x4, 928,340,224 parameters"),
        ("m-r152x4", "output", "pooled features, float32 `[N, 8192]`"),
    ],
)
def test_facts(name, key, value):
    text = generate.generate()[f"pages/{name}.md"]
    (found,) = re.findall(rf"^\| {key} \| (.+) \|$", text, re.MULTILINE)
    assert found.startswith(value)


def test_number_of_parameters(monkeypatch):
    small = PRESETS["BiT-S-R50x1"].__class__("small", "R17x0.5", "digits", 10, PRESETS["BiT-S-R50x1"].files)
    monkeypatch.setitem(PRESETS, "small", small)
    model = bit_keras.BiT("R17x0.5", 10)
    assert generate.num_parameters(Module("small", "small", "classification", "small")) == model.count_params()
    assert generate.num_parameters(Module("small", "small", "feature-vector", "small")) == model.backbone.count_params()


def test_a_collection_lists_its_modules():
    text = generate.generate()["pages/m-r50x1-vtab.md"]
    assert text.startswith("# Collection bit-keras/m-r50x1-vtab/1\n")
    names = set(re.findall(r"`(m-r50x1-run\d-[\w-]+-classification)`", text))
    assert names == {module.name for module in MODULES.values() if module.page == "m-r50x1-vtab"}


def test_program(run_program, tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "gone.md").touch()
    result = run_program("hub_modules.generate", f"--directory={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"46 files in {tmp_path}\n"
    written = {file.relative_to(tmp_path): file.read_text() for file in tmp_path.rglob("*.md")}
    assert written == {Path(name): text for name, text in generate.generate().items()}
