"""The commands of all pages: their programs, subcommands and settings exist. `make newcomer` runs some of them."""

import re
import shlex
from pathlib import Path

from tests.newcomer import readme

ROOT = Path(__file__).parents[2]
PAGES = [
    page for pattern in ("*.md", "docs/**/*.md", "export/**/*.md", "hub_modules/*.md") for page in ROOT.glob(pattern)
]
SCRIPTS = readme.programs(ROOT / "setup.cfg")
_COMMAND = re.compile(r"(?:\S+=\S+ )*(?:python -m (bit_keras(?:\.\w+)+)|(bit-[\w-]+)) (.*)")


def _commands(page: Path) -> list[tuple[str, str, list[str]]]:
    """(module, subcommand, names of the settings) of each command."""
    found = []
    for line in "".join(readme.blocks([page], "bash")).replace("\\\n", " ").splitlines():
        if match := _COMMAND.match(line):
            module = match[1] or SCRIPTS[match[2]].partition(":")[0].removesuffix(".__main__")
            arguments = shlex.split(match[3], comments=True)
            subcommand = arguments[0] if arguments and re.fullmatch("[a-z]+", arguments[0]) else ""
            names = [a[2:].partition("=")[0] for a in arguments if a.startswith("--")]
            found.append((module, subcommand, names))
    return found


def test_settings_exist(run_program):
    shown = {}
    checked, wrong = 0, []
    for page in PAGES:
        for module, subcommand, names in _commands(page):
            if (module, subcommand) not in shown:
                done = run_program(module, *filter(None, [subcommand]), "--help")
                assert done.returncode == 0, f"{page.name}: {module} {subcommand}: {done.stderr}"
                shown[module, subcommand] = set(re.findall(r"^  --(?:\[no\])?(\w+)", done.stdout, re.MULTILINE))
            there = shown[module, subcommand] | {f"no{name}" for name in shown[module, subcommand]} | {"help"}
            wrong += [f"{page.name}: {module} {subcommand} --{name}" for name in names if name not in there]
            checked += len(names)
    assert not wrong
    assert checked > 150
