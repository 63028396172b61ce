"""Program: builds the archives of a release, and checks what can be checked before they are uploaded.

    python tests/newcomer/release_check.py            all steps
    python tests/newcomer/release_check.py --quick    without the installations, which take most of the time

Builds the source archive and the wheel twice, at different places and times, and requires the same bytes; builds the
wheel from the source archive too. Reads the metadata, contents and licences, installs both archives in fresh
environments, and runs the code of the pages in that of the wheel. Every step runs, whatever an earlier one found, but
nothing follows a failed build. The archives that pass are put into dist/, others into dist/rejected/. Uploads nothing.
Needs Python and the package index; `make release-check` runs it.
"""

import argparse
import collections
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import archives
import install_check
import licences
import run
import versions
from environments import CHECKOUT, HERE, copy_checkout, quietly
from watched import Failed

# The second build differs from the first in all that must not matter.
_FIRST = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
_SECOND = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "1"}
_SHOWN = 12  # most faults of a step that are printed


class Release:
    """The archives while they are checked.

    Attributes:
        root: temporary folder.
        faults: {step: what is wrong}.
        sdist, wheel: the archives.
    """

    def __init__(self, root: Path):
        self.root = root
        self.faults: dict[str, list[str]] = {}
        self.sdist: Path | None = None
        self.wheel: Path | None = None

    def run(self, name: str, step: Callable[["Release"], list[str]]) -> None:
        """Runs a step and prints what it found."""
        began = time.monotonic()
        say(f"--- {name} ---")
        try:
            faults = step(self)
        except Failed as failure:
            faults = [str(failure)]
        self.faults[name] = faults
        for fault in faults[:_SHOWN]:
            say(f"FAULT: {fault}")
        if len(faults) > _SHOWN:
            say(f"FAULT: and {len(faults) - _SHOWN} more")
        say(f"{name}: {f'{len(faults)} faults' if faults else 'ok'}, {time.monotonic() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds and checks the archives of a release; uploads nothing.")
    parser.add_argument("--quick", action="store_true", help="leave out the installations and the code of the pages")
    quick = parser.parse_args().quick
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="release_check") as folder:
        release = Release(Path(folder))
        release.run("checkout", check_checkout)
        release.run("build", build)
        if release.wheel and release.sdist:
            release.run("metadata", check_metadata)
            release.run("contents", check_contents)
            release.run("licences of what ships", check_licences)
            if not quick:
                release.run("source archive in a fresh environment", check_sdist_installed)
                release.run("wheel in a fresh environment, with the code of the pages", check_wheel_installed)
                release.run("licences of dependencies and published weights", check_dependencies)
        verdict(release, quick, time.monotonic() - began)


def say(line: str) -> None:
    print(f"release: {line}", flush=True)


def check_checkout(release: Release) -> list[str]:
    """Checks the version in all files, and that the checkout holds what is committed."""
    say(f"version {versions.version(CHECKOUT)}, of {versions.release_date(CHECKOUT) or 'no date yet: CHANGELOG.md'}")
    faults = versions.faults(CHECKOUT)
    if not (CHECKOUT / ".git").exists():
        say("no git repository: whether the files are committed is not known")
        return faults
    changed = _git("status", "--porcelain").splitlines()
    say(f"commit {_git('rev-parse', 'HEAD')[:12]}, {len(changed)} uncommitted changes")
    return faults + [f"{line[3:]} is not committed" for line in changed]


def build(release: Release) -> list[str]:
    """Builds both archives twice and the wheel once more, from the source archive."""
    tools = _tools(release.root)
    epoch = _git("log", "-1", "--format=%ct").strip() if (CHECKOUT / ".git").exists() else "315532800"  # 1980, of zip
    # A file of the second copy is newer than that of the first, and its folder has another name.
    first, second = copy_checkout(release.root / "first"), copy_checkout(release.root / "a second" / "place")
    for path in second.rglob("*"):
        os.utime(path, (2_000_000_000, 2_000_000_000))
    built = {}
    for name, source, variables in (("first", first, _FIRST), ("second", second, _SECOND)):
        out = release.root / f"built-{name}"
        built[name] = _build(tools, source, out, {**variables, "SOURCE_DATE_EPOCH": epoch}, "--sdist", "--wheel")
    release.sdist, release.wheel = built["first"]
    with tarfile.open(release.sdist) as archive:
        archive.extractall(release.root / "unpacked")  # without `filter`, which Python 3.11.2 does not have
    (unpacked,) = (release.root / "unpacked").iterdir()
    out = release.root / "built-third"
    (from_sdist,) = _build(tools, unpacked, out, {**_FIRST, "SOURCE_DATE_EPOCH": epoch}, "--wheel")
    pairs = [
        ("the source archives of two builds", release.sdist, built["second"][0]),
        ("the wheels of two builds", release.wheel, built["second"][1]),
        ("the wheel and the one from the source archive", release.wheel, from_sdist),
    ]
    faults = []
    for what, one, other in pairs:
        different = archives.differences(one, other)
        say(f"{what}: {'different' if different else 'the same bytes'}")
        faults += [f"{what}: {line}" for line in different]
    for archive in (release.sdist, release.wheel):
        say(f"{archive.name}: {archive.stat().st_size:,} bytes, sha256 {_sha256(archive)}")
    return faults


def check_metadata(release: Release) -> list[str]:
    """Checks what the package index reads: names, version, licence, description."""
    checked = quietly([_bin(release) / "twine", "--no-color", "check", "--strict", release.sdist, release.wheel])
    say("; ".join(line.replace(f"{release.sdist.parent}/", "").strip() for line in checked.splitlines()))
    say(quietly([_bin(release) / "cffconvert", "--validate", "-i", CHECKOUT / "CITATION.cff"]).strip())
    metadata = _text(release.wheel, r".*\.dist-info/METADATA")
    same = metadata == _text(release.sdist, r"PKG-INFO")
    faults = [] if same else ["the metadata of wheel and source archive differ"]
    version = versions.version(CHECKOUT)
    for field in (
        f"Name: bit-keras\nVersion: {version}",
        "License-Expression: ",
        "License-File: LICENSE",
        "Requires-Python: ",
    ):
        if f"\n{field}" not in metadata:
            faults.append(f"the metadata have no {field!r}")
    say(", ".join(re.findall(r"^License-\w+: .*$", metadata, re.MULTILINE)))
    return faults


def check_contents(release: Release) -> list[str]:
    """Checks that the archives hold the files that they should, no others, no secrets and nothing large."""
    sources = _sources(release.root / "first")
    checks = {release.wheel: archives.wheel_faults, release.sdist: archives.sdist_faults}
    faults = []
    for archive, compare in checks.items():
        contents = archives.members(archive)
        size = sum(map(len, contents.values()))
        large = sorted(contents, key=lambda name: len(contents[name]), reverse=True)[:3]
        say(f"{archive.name}: {len(contents)} files, {size:,} bytes unpacked")
        say(f"largest: {', '.join(f'{name} {len(contents[name]):,}' for name in large)}")
        found = compare(contents, sources) + archives.size_faults(contents) + archives.secret_faults(contents)
        faults += [f"{archive.name}: {fault}" for fault in found]
    return faults


def check_licences(release: Release) -> list[str]:
    """Lists the licences of weights, data and pictures in the archives."""
    contents = archives.members(release.sdist)
    faults = []
    for name, licence in licences.licences(contents).items():
        say(f"{name}: {licence or 'NONE'}")
        faults += [] if licence else [f"no page states the licence of {name} (tests/newcomer/licences.py)"]
    for name in sorted(name for name in contents if re.fullmatch(r"bit_keras/(weights|data)/[^/]+\.md", name)):
        trained = licences.training_licences(contents[name].decode())
        if trained:
            say(f"{name}, of its training data: {'; '.join(trained)}")
        faults += [f"{name} leaves the licence of some training data out"] if "" in trained else []
    return faults


def check_sdist_installed(release: Release) -> list[str]:
    """Installs the source archive with the extra jax, predicts and trains."""
    install_check.check("jax", release.sdist)
    return []


def check_wheel_installed(release: Release) -> list[str]:
    """Installs the wheel and runs the code of the pages."""
    folder = release.root / "newcomer"
    folder.mkdir()
    run.run(folder, release.wheel)
    return []


def check_dependencies(release: Release) -> list[str]:
    """Lists the licences of all packages in the environment of the wheel, and of the weights that it downloads."""
    python = release.root / "newcomer" / "environment" / "bin" / "python"
    if not python.exists():
        raise Failed("the wheel was not installed")
    lines = quietly([python, HERE / "installed_licences.py"]).splitlines()
    installed = json.loads(lines[-1])
    faults = []
    for kind, of_each in installed.items():
        by_licence = collections.defaultdict(list)
        for name, licence in of_each.items():
            by_licence[licence or "NONE"].append(name)
        for licence, names in sorted(by_licence.items(), key=lambda row: -len(row[1])):
            few = f": {', '.join(names)}" if kind == "packages" else ""
            say(f"{licence}, {len(names)} {kind}{few}")
        faults += [f"{name} of the {kind} states no licence" for name, licence in of_each.items() if not licence]
    say(f"{len(installed['packages'])} packages, of the extras tensorflow,{run.EXTRAS}")
    return faults


def verdict(release: Release, quick: bool, seconds: float) -> None:
    """Puts the archives where they belong, and prints the last line; exits with status 1 if anything is wrong."""
    failed = [name for name, faults in release.faults.items() if faults]
    kept = CHECKOUT / "dist" / "rejected" if failed else CHECKOUT / "dist"
    kept.mkdir(parents=True, exist_ok=True)
    built = [archive for archive in (release.sdist, release.wheel) if archive]
    for archive in built:
        (CHECKOUT / "dist" / archive.name).unlink(missing_ok=True)  # of an earlier check
        shutil.copy(archive, kept / archive.name)
    where = f"{' and '.join(archive.name for archive in built)} in {kept}" if built else "no archives"
    scope = "without installations" if quick else "all steps"
    if failed:
        sys.exit(f"release: NOT FIT FOR RELEASE ({scope}, {seconds:.0f} s): {'; '.join(failed)} failed; {where}")
    date = versions.release_date(CHECKOUT)
    undated = "" if date else "; before an upload, date the version in CHANGELOG.md and CITATION.cff"
    print(f"release: ok ({scope}, {seconds:.0f} s): {where}{undated}")


def _tools(root: Path) -> Path:
    """Installs what builds archives and checks their metadata."""
    with open(CHECKOUT / "pyproject.toml", "rb") as file:
        needed = tomllib.load(file)["build-system"]["requires"]
    quietly([sys.executable, "-m", "venv", root / "tools"])
    python = root / "tools" / "bin" / "python"
    quietly([python, "-m", "pip", "install", "--disable-pip-version-check", "build", "cffconvert", "twine", *needed])
    say(f"tools: build, cffconvert, twine, {', '.join(needed)}")
    return python


def _bin(release: Release) -> Path:
    return release.root / "tools" / "bin"


def _build(python: Path, source: Path, out: Path, variables: dict[str, str], *kinds: str) -> list[Path]:
    """Builds archives from a folder, each from the folder itself; returns them, the source archive first."""
    for kind in kinds:
        quietly([python, "-m", "build", kind, "--no-isolation", "--outdir", out, source], environment=variables)
    return sorted(out.glob("*.tar.gz")) + sorted(out.glob("*.whl"))


def _sources(copy: Path) -> list[str]:
    """Returns the files that belong to the package: those of git, else those of the copy before it was built."""
    if (CHECKOUT / ".git").exists():
        return _git("ls-files", "-z").rstrip("\0").split("\0")
    files = (path.relative_to(copy) for path in copy.rglob("*") if path.is_file())
    return [path.as_posix() for path in files if not {"build", "bit_keras.egg-info"} & set(path.parts)]


def _text(archive: Path, pattern: str) -> str:
    contents = archives.members(archive)
    (name,) = (name for name in contents if re.fullmatch(pattern, name))
    return contents[name].decode()


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"release: {failure}")
