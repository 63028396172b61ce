"""The command line of a program: settings as flags, `--help`, and errors as one message without a traceback."""

import inspect
import os
import re
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

from absl import flags

from bit_keras.system import interrupts
from bit_keras.system.checks import did_you_mean
from bit_keras.system.logs import logger, shown
from bit_keras.system.texts import printable

Groups = Mapping[str, Sequence[str]]

# Errors that a user can resolve: settings, files, the network, a missing package, a failed check, too large a batch.
_REPORTED = (ValueError, OSError, ImportError, RuntimeError, MemoryError)
HELP = {"-h", "--h", "-help", "--help", "--helpshort", "--helpfull"}
_VALUES = {"int": "NUMBER", "float": "NUMBER", "comma separated list of strings": "LIST"}
_INDENT = 30
_WIDEST = 100  # characters of a setting with its values in `--help`


class UsageError(Exception):
    """The flags or arguments are invalid or contradict each other."""


def run(
    main: Callable[..., None],
    groups: Groups | None = None,
    arguments: str = "",
    errors: tuple[type[Exception], ...] = (),
    interrupted: str = "",
    program: str = "",
) -> NoReturn:
    """Parses the command line, runs a program and exits. The program's flags must have been defined before.

    The exit status is 0 on success, 1 after an error, 2 for an invalid command line, and after a signal 128 plus its
    number, as shells report it: 130 for Ctrl-C.

    Args:
        main: the program, a function of the positional arguments.
        groups: {title: names of flags}, the sections of `--help` in their order; flags without a group come first.
        arguments: how `--help` names the positional arguments; "" if the program takes none.
        errors: further types of errors to report without a traceback. One with an attribute `signal` reports an
            interruption.
        interrupted: message after an interruption, for example how to resume.
        program: the command that started the program, if it is not the script or module that Python was started with.
    """
    program = program or program_of(main)
    # Line buffering also in a file: keeps the order relative to standard error. Names of files may have bytes that are
    # no text.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    interrupts.raise_exceptions()
    try:
        positional = _parse(main, arguments)
        if positional is None:
            print(describe(program, sys.modules[main.__module__].__doc__, _own_flags(main), groups or {}, arguments))
            sys.exit(0)
        with shown(is_program=True):
            try:
                main(*positional)
            except (*_REPORTED, *_of_tensorflow(), *errors, KeyboardInterrupt) as error:
                sys.exit(_report(error, interrupted))
        sys.exit(0)
    except UsageError as error:
        print(f"{printable(str(error))}\n{program} --help lists all settings", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # before or after the work
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(interrupts.STATUS)
    finally:
        if interrupts.is_program():  # impatience while the process ends
            interrupts.exit_quietly()


def _of_tensorflow() -> tuple[type[Exception], ...]:
    """Faults of a device or of data that TensorFlow finds, where it is in use."""
    tensorflow = sys.modules.get("tensorflow")
    return (tensorflow.errors.OpError,) if tensorflow else ()


def _report(error: BaseException, interrupted: str) -> int:
    """Logs why a program ends and returns its exit status."""
    number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else getattr(error, "signal", None)
    if number is None:
        logger.error("%s", str(error) or type(error).__name__)
        return 1
    logger.error("%s", "; ".join(filter(None, [str(error) or "stopped by Ctrl-C", interrupted])))
    return 128 + number


def subcommand(program: str, subcommands: Mapping[str, str]) -> str:
    """Takes the name of a subcommand from the command line and returns it; exits after help, or for another name.

    Args:
        program: the command that started the program.
        subcommands: {name: what it does}.
    """
    if not sys.argv[1:] or sys.argv[1] in HELP:
        lines = [f"usage: {program} SUBCOMMAND [--SETTING=VALUE ...]", "", "subcommands:"]
        lines += [f"  {name:<10}{text}" for name, text in subcommands.items()]
        print("\n".join([*lines, "", f"{program} SUBCOMMAND --help lists the settings."]))
        sys.exit(0 if sys.argv[1:] else 2)
    name = sys.argv.pop(1)
    if name not in subcommands:
        hint = did_you_mean(name, subcommands)
        print(f"unknown subcommand {name!r}{hint}\n{program} --help lists all of them", file=sys.stderr)
        sys.exit(2)
    return name


def program_of(main: Callable) -> str:
    """Returns the command that started the program, the script or module that Python was started with."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if main.__module__ == "__main__" and spec is not None:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return os.path.basename(sys.argv[0])


def _parse(main: Callable, arguments: str) -> list[str] | None:
    """Parses the flags and returns the positional arguments, or None if help was requested."""
    if HELP & set(sys.argv[1:]):
        return None
    own = _own_flags(main)
    try:
        _, *positional = flags.FLAGS(sys.argv)
    except flags.UnrecognizedFlagError as error:
        raise UsageError(f"unknown flag --{error.flagname}{did_you_mean(error.flagname, own)}") from error
    except flags.Error as error:
        raise UsageError(_missing(own) if "other than None" in str(error) else str(error)) from error
    if positional and not arguments:
        first = positional[0]
        hint = did_you_mean(first.split("=")[0], own) if "=" in first else ""
        raise UsageError(f"settings are flags such as --{next(iter(own))}=..., got {first!r}{hint}")
    return positional


def integers(name: str, texts: Sequence[str]) -> list[int]:
    """Returns the numbers of a flag that is a list; raises ValueError that names the flag."""
    wrong = [text for text in texts if not text.strip().isdecimal()]
    if wrong:
        raise ValueError(f"{name} must be integers, 1 or more, got {', '.join(map(repr, wrong))}")
    return [int(text) for text in texts]


def _own_flags(main: Callable) -> dict[str, flags.Flag]:
    """Returns the program's own flags, without those of absl and TensorFlow."""
    roots = {"bit_keras", main.__module__.partition(".")[0]}
    by_module = flags.FLAGS.flags_by_module_dict()
    own = [group for module, group in by_module.items() if module == sys.argv[0] or module.partition(".")[0] in roots]
    return {flag.name: flag for group in own for flag in group}


def _missing(own: Mapping[str, flags.Flag]) -> str:
    names = [f"--{name}" for name, flag in own.items() if _is_required(flag) and flag.value is None]
    return f"{' and '.join(names)} must be given"


def _is_required(flag: flags.Flag) -> bool:
    # By message: the bounds of numbers are validators as well.
    return any("other than None" in validator.message for validator in flag.validators)


def describe(program: str, text: str | None, own: Mapping[str, flags.Flag], groups: Groups, arguments: str = "") -> str:
    """Returns the text of `--help`: usage, description, and each setting once with its default.

    Args:
        program: the command that starts the program.
        text: docstring of the program.
        own: {name: flag} of the program.
        groups, arguments: as in `run`.
    """
    required = " ".join(f"--{name}=..." for name, flag in own.items() if _is_required(flag))
    lines = [f"usage: {' '.join(filter(None, [program, required, '[--SETTING=VALUE ...]', arguments]))}", ""]
    purpose = inspect.cleandoc(text or "").removeprefix("Program: ")
    lines += [purpose[:1].upper() + purpose[1:]]
    named = {name for names in groups.values() for name in names}
    sections = {"settings": [name for name in own if name not in named], **groups}
    for title, names in sections.items():
        if names := [name for name in names if name in own]:
            lines += ["", f"{title}:"]
            lines += [line for name in names for line in _flag_lines(own[name])]
    return "\n".join(lines)


def _flag_lines(flag: flags.Flag) -> Iterator[str]:
    if flag.boolean:
        left = f"  --[no]{flag.name}"
    else:
        values = getattr(flag.parser, "enum_values", None)
        left = f"  --{flag.name}={'|'.join(values) if values else _VALUES.get(flag.flag_type(), 'TEXT')}"
    text = flag.help.rpartition(">: ")[2]  # absl puts the allowed values of an enumeration first
    text = re.sub(r";\s+repeat this option .*", " May be repeated.", text)
    if len(left) > _WIDEST:
        left, text = f"  --{flag.name}=TEXT", f"{text} Allowed are {'; '.join(values)}."
    default = f"(default: {flag.default_as_str.strip(chr(39))})" if flag.default not in (None, "") else ""
    right = " ".join(filter(None, [text, "(required)" if _is_required(flag) else default]))
    width = max(40, min(120, shutil.get_terminal_size().columns) - _INDENT)
    first, *rest = textwrap.wrap(right, width, break_on_hyphens=False)
    if len(left) > _INDENT - 2:
        yield left
        left = ""
    yield f"{left:<{_INDENT}}{first}"
    yield from (" " * _INDENT + line for line in rest)
