"""The command bit-export."""

import importlib
import sys

import pytest

from bit_keras.export.__main__ import SUBCOMMANDS, run_subcommand


@pytest.mark.parametrize(("arguments", "expected"), [([], 2), (["--help"], 0)])
def test_the_subcommands_are_listed(arguments, expected, run_program):
    done = run_program("bit_keras.export", *arguments)
    assert (done.returncode, done.stderr) == (expected, "")
    first, *lines = done.stdout.splitlines()
    assert first == "usage: python -m bit_keras.export SUBCOMMAND [--SETTING=VALUE ...]"
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(SUBCOMMANDS)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_subcommand_lists_its_settings(name, run_program):
    done = run_program("bit_keras.export", name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m bit_keras.export {name} --")
    settings = {line.split("=")[0].strip() for line in done.stdout.splitlines() if line.startswith("  --")}
    assert settings >= ({"--directory", "--to"} if name == "publish" else {"--model", "--output"})


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["hubb"], ["unknown subcommand 'hubb'; did you mean hub?", "COMMAND --help lists all of them"]),
        (
            ["edge", "--modl=x"],
            ["unknown flag --modl; did you mean model?", "COMMAND edge --help lists all settings"],
        ),
        (
            ["publish"],
            [
                "--directory and --to and --handle and --version must be given",
                "COMMAND publish --help lists all settings",
            ],
        ),
    ],
)
def test_wrong_command_lines(arguments, lines, run_program):
    done = run_program("bit_keras.export", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [line.replace("COMMAND", "python -m bit_keras.export") for line in lines]


def test_names_of_classes_are_read_before_weights(run_program, tmp_path):
    flags = ["--model=BiT-M-R50x1-ILSVRC2012", f"--output={tmp_path / 'models'}", "--class_names=ilsvrc2013"]
    done = run_program("bit_keras.export", "serving", *flags)
    assert done.returncode == 1
    assert "class_names must be a file or one of ilsvrc2012, imagenet21k; no such file: ilsvrc2013" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "missing"), [("tpu", "tensorflow"), ("serving", "tensorflow_serving")])
def test_a_missing_package(name, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    extra = {"tensorflow": "tensorflow", "tensorflow_serving": "serving"}[missing]
    with pytest.raises(SystemExit, match=rf"bit-export {name} needs the package {missing}, .*'bit-keras\[{extra}\]'"):
        run_subcommand(name, f"bit-export {name}")


def test_the_programs_of_the_checkout(run_program):
    names = {"hub": "tfhub", **{name: name for name in SUBCOMMANDS if name != "hub"}}
    for name, module in names.items():
        done = run_program(f"export.{module}", "--help")
        assert done.stdout.startswith(f"usage: python -m export.{module} --"), done.stderr
        assert importlib.import_module(f"bit_keras.export.{name}").__doc__.splitlines()[0][10:40] in done.stdout
