"""Code blocks of the pages: those in Python and for bash must parse; tests/newcomer/ runs them."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

_PAGES = ("*.md", "docs/**/*.md", "export/**/*.md", "hub_modules/*.md", "hub_modules/pages/*.md", "bit_keras/**/*.md")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def check(root: Path) -> str:
    """Checks the blocks of all pages of a checkout; returns their numbers, or exits with the broken ones."""
    counts, faults = Counter(), []
    for path in sorted({path for pattern in _PAGES for path in root.glob(pattern)}):
        for language, code in _BLOCK.findall(path.read_text()):
            counts[language] += 1
            fault = _fault(language, code)
            faults += [f"{path.relative_to(root)}: {fault}\n{code}"] if fault else []
    if faults:
        sys.exit("\n".join(faults))
    return f"code: {counts['python']} blocks in Python and {counts['bash']} for bash parse"


def _fault(language: str, code: str) -> str | None:
    if language == "python":
        try:
            ast.parse(code)
        except SyntaxError as error:
            return f"no valid Python: {error}"
    if language == "bash":
        done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
        return done.stderr or None
    return None
