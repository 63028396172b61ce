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
from pathlib import Path

from tools.site import blocks, links

ROOT = Path(__file__).parents[2]
SITE, READ, EXAMPLES = ROOT / "site", ROOT / ".venv" / "doctrees", ROOT / ".venv" / "doctest"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no_examples", action="store_true", help="do not run the examples of docstrings")
    with_examples = not parser.parse_args().no_examples
    began = time.monotonic()
    _sphinx("html", SITE, "--fresh-env")
    report = [links.check(SITE), blocks.check(ROOT)]
    if with_examples:
        _sphinx("doctest", EXAMPLES)  # of the pages as read for the first builder
        report.append(_examples((EXAMPLES / "output.txt").read_text()))
    print("\n".join([*report, f"{time.monotonic() - began:.0f} s", f"the site begins at {SITE / 'index.html'}"]))


def _sphinx(builder: str, folder: Path, *options: str) -> None:
    """Runs a builder of Sphinx, whose warnings are errors."""
    print(f"sphinx: {builder}", flush=True)
    command = [sys.executable, "-m", "sphinx", "--builder", builder, "--conf-dir", "docs", "--fail-on-warning"]
    command += ["--keep-going", "--quiet", "--doctree-dir", str(READ), *options, ".", str(folder)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(f"the builder {builder} has failed; its messages are above")


def _examples(output: str) -> str:
    counts = re.findall(r"^\s+(\d+) tests?$", output, re.MULTILINE)
    failures = re.findall(r"^\s+(\d+) failures? in tests$", output, re.MULTILINE)
    if len(counts) != 1 or failures != ["0"]:
        sys.exit(f"the report of the examples must end with their number and no failures, got\n{output[-2000:]}")
    return f"examples: {counts[0]} statements of docstrings run, with the output that they show"


if __name__ == "__main__":
    main()
