"""Runs the pytest files given as arguments; Bazel starts it in the root of the test's runfiles."""

import os
import sys

import pytest

if __name__ == "__main__":
    os.environ["HOME"] = os.environ["TEST_TMPDIR"]
    # Without finders of editable installs, which would hide that a module is missing from a target's deps.
    sys.meta_path = [finder for finder in sys.meta_path if not finder.__module__.startswith("__editable__")]
    status = pytest.main(
        [
            "-p",
            "no:cacheprovider",
            "--basetemp=" + os.path.join(os.environ["TEST_TMPDIR"], "pytest"),
            "--junitxml=" + os.environ["XML_OUTPUT_FILE"],
            *sys.argv[1:],
        ]
    )
    # A file that is skipped because a package is missing: Beam has an environment of its own.
    sys.exit(pytest.ExitCode.OK if status == pytest.ExitCode.NO_TESTS_COLLECTED else status)
