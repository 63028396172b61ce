import ast
import re
from pathlib import Path

import pytest

import bit_keras
from tests.newcomer import readme

ROOT = Path(bit_keras.__file__).parents[1]
PAGES = [ROOT / page for page in readme.PAGES]
LINES = 100  # two screens


def test_the_python_code_of_the_pages_is_one_program():
    code = readme.python_program(PAGES)
    ast.parse(code)
    assert 'cifar10", workdir' not in code  # would download
    shown = sum(len(readme.blocks([page], "python")) for page in PAGES)
    assert shown == len(readme.blocks(PAGES, "python")) == 10


def test_all_code_that_needs_a_stand_in_has_one(tmp_path):
    assert readme.unused_stand_ins(PAGES) == []
    code = "\n".join(readme.blocks(PAGES, "python"))
    for there in (*readme._PYTHON, *readme._BEFORE):
        (tmp_path / "page.md").write_text(f"```python\n{code.replace(there, 'changed(')}```\n")
        assert there in readme.unused_stand_ins([tmp_path / "page.md"])


def test_the_commands_of_the_pages():
    commands = readme.commands(PAGES)
    run = {re.search(r"^bit-(\w+)|bit_keras\.(\w+)", command).group(1, 2) for command in commands}
    assert {f"bit-{(a or b).replace('_', '-')}" for a, b in run} == set(readme.programs(ROOT / "setup.cfg"))
    assert len(commands) == 33
    large = re.compile(
        r"=(cifar|imagenet|oxford)|,cifar|/data/|BiT-[SM]-|R\d\d+x[1-4]|[sm]-r\d\d+x[1-4]"
    )  # downloads, or takes hours
    assert not [command for command in commands if large.search(command)]


def test_the_readme_fits_on_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= LINES


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_links_lead_to_pages_and_sections(page):
    path = ROOT / page
    for target, section in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", path.read_text()):
        linked = path.parent / target if target else path
        assert linked.exists(), f"{page} links to {target}, which does not exist"
        if section:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert section in anchors, f"{page} links to #{section} of {linked.name}, which has {sorted(anchors)}"
