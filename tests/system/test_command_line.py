"""All programs list their settings, and report an invalid command line or an error in one message."""

import dataclasses
import functools
import re
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from bit_keras import convert
from bit_keras.detection.__main__ import SUBCOMMANDS
from bit_keras.detection.training.config import TrainConfig
from bit_keras.distill import DistillConfig
from bit_keras.evaluate import __main__ as evaluate
from bit_keras.finetune import FinetuneConfig
from bit_keras.pretrain import PretrainConfig
from bit_keras.runs import program as training_program
from bit_keras.runs.config import DATA_OPTIONS
from bit_keras.system import command_line
from bit_keras.training import TrainingDiverged

ROOT = Path(__file__).parents[2]
FOLDERS = ("bit_keras", "export", "hub_modules", "pretraining", "examples", "benchmarks")
CONFIGS = {
    "bit_keras.finetune": FinetuneConfig,
    "bit_keras.pretrain": PretrainConfig,
    "bit_keras.distill": DistillConfig,
}


def _programs() -> list[str]:
    names = [f"export.{name}" for name in ("edge", "publish", "serving", "tfhub", "tpu")]
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        if re.search(r"^ +(command_line|program|frame)\.run\(.*main", path.read_text(), re.MULTILINE):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
            names.append(name)
    frames = ("bit_keras.system.command_line", "bit_keras.runs.program", "benchmarks.frame")
    with_subcommands = ("bit_keras.detection", "bit_keras.export", "bit_keras.protocols")
    return [name for name in names if name not in (*with_subcommands, *frames)]


PROGRAMS = _programs()


@pytest.fixture(scope="module")
def run(run_program):
    """Returns a function that runs a program with arguments: (exit status, standard output, standard error)."""

    @functools.cache
    def run(*case):
        done = run_program(*case)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_programs_are_found():
    assert {"bit_keras.finetune", "bit_keras.convert", "bit_keras.few_shot", "export.tfhub"} < set(PROGRAMS)
    assert len(PROGRAMS) >= 28


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_lists_the_settings_and_nothing_else(name, run):
    status, out, err = run(name, "--help")
    assert (status, err) == (0, "")
    first, *lines = out.splitlines()
    assert first.startswith(f"usage: python -m {name}")
    flags = [line.split()[0].split("=")[0] for line in lines if line.startswith("  --")]
    assert flags
    assert len(set(flags)) == len(flags)
    assert not {"--verbosity", "--logtostderr", "--[no]pdb", "--flagfile", "--[no]only_check_args"} & set(flags)
    assert not [line for line in lines if len(line) > 120]
    if name in CONFIGS:
        names = {flag.removeprefix("--").removeprefix("[no]") for flag in flags}
        assert names - {"dry_run"} == {field.name for field in dataclasses.fields(CONFIGS[name])}
        titles = [line for line in lines if line.endswith(":") and not line.startswith(" ") and line != "Example:"]
        assert [title for title in titles if title != "settings:"] == [
            *("model:", "data:", "training:", "memory and devices:", "results:")
        ]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_of_the_subcommands_of_detection(name, run):
    status, out, err = run("bit_keras.detection", name, "--help")
    assert (status, err) == (0, "")
    first, *lines = out.splitlines()
    assert first.startswith(f"usage: python -m bit_keras.detection {name}")
    flags = {line.split()[0].split("=")[0] for line in lines if line.startswith("  --")}
    assert "settings:" not in lines, "every setting is in a section"
    if name == "train":
        names = {flag.removeprefix("--").removeprefix("[no]") for flag in flags}
        assert names - {"dry_run"} == {field.name for field in dataclasses.fields(TrainConfig)}


def test_help_tells_defaults_and_what_must_be_given(run):
    out = " ".join(run("bit_keras.finetune", "--help")[1].split())
    assert "--[no]flip Mirror half of the training images; turn off if that changes the label. (default: true)" in out
    assert "--accumulate=NUMBER Micro-batches per update, whose gradients are accumulated to save memory." in out
    assert re.search(r"--workdir=TEXT [^-]*\(required\)", out)
    out = " ".join(run("benchmarks.distillation", "--help")[1].split())
    assert "--examples_per_class=NUMBER Training examples per class, all by default. --teacher_steps" in out
    out = " ".join(run("bit_keras.evaluate", "--help")[1].split())
    assert "--split=test|validation|train|all Which examples. (default: test)" in out


@pytest.mark.parametrize("program", ["finetune", "pretrain", "distill", "few_shot", "evaluate"])
def test_all_that_read_data_have_the_same_settings_for_it(program, run):
    lines = run(f"bit_keras.{program}", "--help")[1].splitlines()
    section = lines[lines.index("data:") + 1 :]
    flags = [line.split()[0].split("=")[0].removeprefix("--").removeprefix("[no]") for line in section if "--" in line]
    assert set(DATA_OPTIONS) < set(flags)


FAULTS = {
    ("bit_keras.finetune", "--lr=0.1"): "unknown flag --lr; did you mean base_lr?",
    ("bit_keras.finetune", "--epochs", "3"): "unknown flag --epochs; did you mean steps?",
    ("bit_keras.pretrain", "--lr=0.1"): "unknown flag --lr",
    ("bit_keras.evaluate", "--modle=a"): "unknown flag --modle; did you mean model?",
    ("bit_keras.finetune", "--model=a"): "--dataset and --workdir must be given",
    ("bit_keras.finetune", "--model=a", "--dataset=b", "--workdir=c", "base_lr=0.1"): (
        "settings are flags such as --model=..., got 'base_lr=0.1'; did you mean base_lr?"
    ),
    ("bit_keras.finetune", "--model=a", "--dataset=b", "--workdir=c", "--steps=x"): "flag --steps=x",
    ("bit_keras.convert", "one"): "SOURCE and DESTINATION must be given, got one",
    ("export.tfhub", "--output=x"): "either --module or --model must be given",
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_wrong_command_line_is_told_in_two_lines(case, run):
    status, out, err = run(*case)
    assert (status, out) == (2, "")
    fault, hint = err.splitlines()
    assert FAULTS[case] in fault
    assert hint == f"python -m {case[0]} --help lists all settings"


def _end(run, error: BaseException, monkeypatch, capsys) -> tuple[int, str]:
    """The exit status and the last words of a program whose work ends with an error."""

    def main(*arguments):
        raise error

    monkeypatch.setattr(sys, "argv", ["program.py"])
    with pytest.raises(SystemExit) as end:
        run(main)
    return end.value.code, capsys.readouterr().err


@pytest.mark.usefixtures("no_flags")
@pytest.mark.parametrize("module", [evaluate, convert])
def test_a_program_that_is_stopped_says_that_nothing_was_written(module, monkeypatch, capsys):
    def run(main):
        monkeypatch.setattr(module, "main", main)
        monkeypatch.setattr(module, "_define_flags", lambda: None)
        module.run()

    status, err = _end(run, KeyboardInterrupt(), monkeypatch, capsys)
    assert status == 130
    assert err.endswith("error: stopped by Ctrl-C; nothing was written\n")


@pytest.mark.usefixtures("no_flags")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("the SavedModel differs"), "the SavedModel differs"),
        (MemoryError(), "MemoryError"),
        (tf.errors.ResourceExhaustedError(None, None, "out of memory"), "out of memory"),
        (TrainingDiverged("the loss is nan"), "the loss is nan"),
    ],
)
def test_what_a_user_can_do_something_about_is_one_message(error, message, monkeypatch, capsys):
    status, err = _end(lambda main: training_program.run("bit_keras.finetune", main), error, monkeypatch, capsys)
    assert status == 1
    assert err.rstrip().endswith(f"error: {message}")


@pytest.mark.usefixtures("no_flags")
def test_a_fault_of_the_program_has_a_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program.py"])
    with pytest.raises(ZeroDivisionError):
        command_line.run(lambda: 1 / 0)
