"""Program: builds the documentation site in site/, checks its links and its code, and runs the examples.

    python -m tools.site            all of it
    python -m tools.site --no_examples

Needs the extra docs; `make docs` runs it in an environment of its own. Uses no network.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools import reference
from tools.site import blocks, links

ROOT = Path(__file__).parents[2]
SITE, READ, EXAMPLES = ROOT / "site", ROOT / ".venv" / "doctrees", ROOT / ".venv" / "doctest"
# Pages whose examples take as long as those of all others.
_LONG = ["bit_keras", "programs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no_examples", action="store_true", help="do not run the examples of docstrings")
    with_examples = not parser.parse_args().no_examples
    began = time.monotonic()
    _sphinx("html", SITE, "--fresh-env")
    report = [links.check(SITE), blocks.check(ROOT)]
    if with_examples:
        report.append(_examples())
    print("\n".join([*report, f"{time.monotonic() - began:.0f} s", f"the site begins at {SITE / 'index.html'}"]))


def _sphinx(builder: str, folder: Path, *options: str, pages: Sequence[str] = ()) -> None:
    """Runs a builder of Sphinx, whose warnings are errors, for all pages or for some."""
    print(" ".join(["sphinx:", builder, *pages]) + "\n", end="", flush=True)  # one write, as two threads print
    command = [sys.executable, "-m", "sphinx", "--builder", builder, "--conf-dir", "docs", "--fail-on-warning"]
    command += ["--keep-going", "--quiet", "--doctree-dir", str(READ), *options, ".", str(folder), *pages]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(f"the builder {builder} has failed; its messages are above")


def _examples() -> str:
    """Runs the examples of the reference, in two processes: many of them wait for others that they start."""
    halves = [_LONG, [page for page in reference.PAGES if page not in _LONG]]
    with ThreadPoolExecutor(len(halves)) as pool:
        count = sum(pool.map(_examples_of, halves))
    return f"examples: {count} statements of docstrings run, with the output that they show"


def _examples_of(pages: Sequence[str]) -> int:
    """Runs the examples of pages of the reference, as read by the builder before; returns their number."""
    folder = EXAMPLES / pages[0]
    _sphinx("doctest", folder, pages=[f"docs/reference/{page}.md" for page in pages])
    output = (folder / "output.txt").read_text()
    counts = re.findall(r"^\s+(\d+) tests?$", output, re.MULTILINE)
    failures = re.findall(r"^\s+(\d+) failures? in tests$", output, re.MULTILINE)
    if len(counts) != 1 or failures != ["0"]:
        sys.exit(f"the report of the examples must end with their number and no failures, got\n{output[-2000:]}")
    return int(counts[0])


if __name__ == "__main__":
    main()
