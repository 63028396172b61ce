import contextlib
import itertools
import logging
import sys
import threading
import time
import types

import pytest

from bit_keras.system import logs
from bit_keras.system.logs import OUTCOME, doing, logger, shown


@pytest.fixture(autouse=True)
def _short_silences(monkeypatch):
    monkeypatch.setattr(logs, "_SILENCE", 0.3)


def _say_three_things():
    logger.info("a message of %d", 1)
    logger.warning("a warning")
    logger.log(OUTCOME, "an outcome")


def test_in_python_messages_and_outcomes_go_to_standard_output(capsys):
    with shown():
        _say_three_things()
    _say_three_things()
    screen = capsys.readouterr()
    message, outcome = screen.out.splitlines()
    assert message.endswith(" a message of 1")
    assert outcome == "an outcome"
    assert screen.err.splitlines()[0].endswith(" warning: a warning")


def test_a_program_keeps_standard_output_for_outcomes(capsys):
    with shown(is_program=True):
        _say_three_things()
    screen = capsys.readouterr()
    assert screen.out == "an outcome\n"
    assert [line.split(maxsplit=1)[1] for line in screen.err.splitlines()] == ["a message of 1", "warning: a warning"]


def test_the_outermost_block_decides(capsys):
    with shown(verbose=False), shown():
        logger.info("hidden")
    with shown():
        with shown(verbose=False):
            logger.info("shown")
        logger.info("still shown")
    out = capsys.readouterr().out
    assert "hidden" not in out
    assert [line.split(maxsplit=1)[1] for line in out.splitlines()] == ["shown", "still shown"]


def test_nothing_is_left_behind():
    before = logger.level, logger.propagate, logger.handlers[:]
    with contextlib.suppress(KeyError), shown():
        raise KeyError
    assert (logger.level, logger.propagate, logger.handlers) == before
    time.sleep(0.5)
    assert not [thread for thread in threading.enumerate() if thread.name == "bit_keras messages"]


def test_threads_share_the_screen(capsys):
    is_in, may_end = threading.Event(), threading.Event()

    def other():
        with shown():
            is_in.set()
            may_end.wait(10)
            logger.info("of the other thread")

    thread = threading.Thread(target=other)
    thread.start()
    assert is_in.wait(10)
    with shown():
        logger.info("once")
    may_end.set()
    thread.join()
    assert [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()] == [
        "once",
        "of the other thread",
    ]


@pytest.mark.parametrize("to_screen", [True, False])
def test_handlers_of_the_user_get_each_message_once(to_screen, tmp_path, capsys, monkeypatch):
    file = logging.FileHandler(tmp_path / "log.txt")
    screen = logging.StreamHandler(sys.stdout)
    handlers = [file, screen] if to_screen else [file]
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    try:
        with shown():
            late = logging.StreamHandler(sys.stdout)  # as TensorFlow adds one while it saves
            root.addHandler(late)
            handlers.append(late)
            logger.info("a message")
    finally:
        for handler in handlers:
            root.removeHandler(handler)
        file.close()
    assert capsys.readouterr().out.count("a message") == 1
    assert (tmp_path / "log.txt").read_text() == "a message\n"


def test_handlers_that_libraries_leave_behind_change_nothing(capsys):
    late = logging.StreamHandler(sys.stderr)  # as TensorFlow adds one, without setting the level
    logging.getLogger().addHandler(late)
    try:
        with shown():
            logger.info("a message")
            logger.warning("a warning")
    finally:
        logging.getLogger().removeHandler(late)
    screen = capsys.readouterr()
    assert screen.out.endswith(" a message\n")
    assert screen.err.endswith(" warning: a warning\n")
    assert len(screen.err.splitlines()) == 1


def test_a_long_silence_is_broken(capsys):
    with shown(), doing("counting"):
        time.sleep(1.4)
    first, *others = capsys.readouterr().out.splitlines()
    assert first.endswith(" counting ...")
    assert 2 <= len(others) <= 4
    assert all("counting: " in line and line.endswith(" s so far") for line in others)


def test_an_activity_may_tell_itself_how_far_it_is_or_say_nothing(capsys):
    with shown(), doing(lambda: "12 of 20"):
        time.sleep(0.7)
        with doing(lambda: ""):  # shown by a progress bar
            time.sleep(1)
    lines = capsys.readouterr().out.splitlines()
    assert 1 <= len(lines) <= 2
    assert all(line.endswith(" 12 of 20") for line in lines)


class Shell:
    """IPython's shell in the kernel of a notebook, with `outputs` as a front end shows them."""

    kernel = object()

    def __init__(self):
        self.display_pub, self.outputs, self.history = self, {}, []

    def publish(self, data, *, transient, update):
        assert update == (transient["display_id"] in self.outputs)
        self.outputs[transient["display_id"]] = data["text/plain"]
        self.history.append(data["text/plain"])


@pytest.fixture
def shell(monkeypatch) -> Shell:
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(logs, "_PERIOD", 0.05)
    monkeypatch.setattr(logs, "_SHORT", 0.2)
    shell = Shell()
    return shell


def test_a_notebook_has_a_line_in_place_of_further_messages(shell, capsys):
    count = itertools.count(1)
    with shown():
        with doing("a short thing"):
            time.sleep(0.1)
        with doing(lambda: f"{next(count)} of 20"):
            time.sleep(0.8)
    (message,) = capsys.readouterr().out.splitlines()
    assert message.endswith(" a short thing ...")
    assert list(shell.outputs.values()) == [""], "one output, empty at the end"
    assert len(shell.history) >= 4
    assert shell.history == [*(f"{k} of 20" for k in range(1, len(shell.history))), ""]


def test_nothing_in_a_notebook_without_verbose_or_in_a_terminal(shell, capsys):
    with shown(verbose=False), doing("counting"):
        time.sleep(0.4)
    shell.kernel = None  # IPython in a terminal
    with shown(), doing("counting"):
        time.sleep(0.5)
    assert not shell.history
    assert "counting: 0 s so far" in capsys.readouterr().out


def test_in_a_run_of_hours_silences_may_last_longer(monkeypatch, capsys):
    with shown(), doing(lambda: "still here"):
        monkeypatch.setattr(logs._Screen._instance, "_began", time.monotonic() - 3_600)
        time.sleep(1)
    assert capsys.readouterr().out == ""
