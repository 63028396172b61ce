"""Messages of the logger "bit_keras", and the progress of long operations that log nothing."""

import contextlib
import contextvars
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

from absl import logging as absl_logging

from bit_keras.system.notebook import StatusLine, is_notebook
from bit_keras.system.texts import printable

logger = logging.getLogger("bit_keras")
OUTCOME = logging.INFO + 5  # level of a program's results: metrics, and the paths of the files written
logging.addLevelName(OUTCOME, "OUTCOME")

_SILENCE = 4.0  # seconds without a message after which a progress line is logged
_LONG_SILENCE = 60.0  # the most of it: it grows with the duration of the run, so that the log stays short
_PERIOD = 0.5  # seconds between two updates of the line in a notebook
_SHORT = 1.0  # seconds that an activity must have lasted to appear there
_is_decided = contextvars.ContextVar("is_decided", default=False)
_lock = threading.Lock()
_activities = []


@contextlib.contextmanager
def shown(verbose: bool = True, is_program: bool = False) -> Iterator[None]:
    """Shows the messages of the library within the block; outside of it only warnings appear.

    Of nested blocks the outermost decides. If the application has configured `logging` to show messages, they are
    not shown a second time.

    Args:
        verbose: False shows only warnings.
        is_program: True reserves standard output for outcomes, so that they can be redirected; messages then go to
            standard error. In Python and notebooks both go to standard output, as in Keras.
    """
    if _is_decided.get():
        yield
        return
    token = _is_decided.set(True)
    try:
        with _Screen.shared(is_program) if verbose else contextlib.nullcontext():
            yield
    finally:
        _is_decided.reset(token)


def shows_messages(function: Callable) -> Callable:
    """Decorates a function whose messages are shown unless it is called with `verbose=False`; see `shown`."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        with shown(kwargs.get("verbose", True)):
            return function(*args, **kwargs)

    return call


@contextlib.contextmanager
def only_from(level: int, name: str) -> Iterator[None]:
    """Hides messages below a level of the logger called `name`, of another library, within the block."""
    other = logging.getLogger(name)
    before = other.level
    other.setLevel(level)
    try:
        yield
    finally:
        other.setLevel(before)


@contextlib.contextmanager
def doing(what: str | Callable[[], str]) -> Iterator[None]:
    """Logs what the block does at its beginning, and again whenever nothing was logged for some seconds.

    In a notebook, a line in the cell shows the progress instead of further messages.

    Args:
        what: a text, or a function that returns the progress of the block. The function is not called at the
            beginning; if it returns "", nothing is logged, for example because a progress bar is shown.
    """
    activity = _Activity(what)
    if isinstance(what, str):
        logger.info("%s ...", what)
    _activities.append(activity)
    try:
        yield
    finally:
        _activities.remove(activity)


class _Activity:
    def __init__(self, what: str | Callable[[], str]):
        self._what = what
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def describe(self) -> str:
        return self._what() if callable(self._what) else f"{self._what}: {self.seconds:.0f} s so far"


class _Screen(logging.Handler):
    """Writes messages to the screen, and shows the progress of the innermost activity."""

    _instance = None
    _users = 0

    def __init__(self, is_program: bool):
        super().__init__(logging.INFO)
        self.setFormatter(_Formatter())
        self._is_program = is_program
        # The handlers at the beginning: libraries add their own to the root logger while they work, such as TensorFlow
        # while it saves. An application that shows messages on the screen has also set the level of that logger.
        root = logging.getLogger()
        on_screen = [handler for handler in root.handlers if _writes_to_screen(handler)]
        self._is_shown_by_others = bool(on_screen) and root.level <= logging.INFO
        self._others = [each for each in root.handlers if self._is_shown_by_others or each not in on_screen]
        self._closed = threading.Event()
        self._began = self._last = time.monotonic()
        watch = self._update_line if is_notebook() else self._break_silences
        self._thread = threading.Thread(target=watch, name="bit_keras messages", daemon=True)
        self._thread.start()

    @classmethod
    @contextlib.contextmanager
    def shared(cls, is_program: bool) -> Iterator[None]:
        """Attaches the one handler to the logger while any thread is in the block."""
        with _lock:
            cls._users += 1
            if cls._users == 1:
                cls._instance, cls._before = cls(is_program), (logger.level, logger.propagate)
                logger.setLevel(logging.INFO)
                logger.propagate = False
                logger.addHandler(cls._instance)
        try:
            yield
        finally:
            with _lock:
                cls._users -= 1
                if not cls._users:
                    logger.removeHandler(cls._instance)
                    level, logger.propagate = cls._before
                    logger.setLevel(level)
                    cls._instance._closed.set()
                    cls._instance._thread.join()

    def emit(self, record: logging.LogRecord) -> None:
        self._last = time.monotonic()
        for handler in self._others:
            if record.levelno >= handler.level:
                handler.handle(record)
        if self._is_shown_by_others:
            return
        try:
            is_message = record.levelno > OUTCOME or (self._is_program and record.levelno < OUTCOME)
            print(self.format(record), file=sys.stderr if is_message else sys.stdout, flush=True)
        except Exception:  # following logging's own handlers, for example where the stream is closed
            self.handleError(record)

    def _break_silences(self) -> None:
        while not self._closed.wait(0.2):
            now = time.monotonic()
            limit = min(_LONG_SILENCE, max(_SILENCE, (now - self._began) / 100))
            activities = _activities[-1:]  # the innermost one
            if activities and now - self._last > limit:
                self._last = now
                if text := activities[0].describe():
                    logger.info("%s", text)

    def _update_line(self) -> None:
        line = StatusLine()
        while not self._closed.wait(_PERIOD):
            # Not the short ones, which have ended before one can read what they are.
            activities = [activity for activity in _activities[-1:] if activity.seconds > _SHORT]
            line.show(activities[0].describe() if activities else "")
        line.show("")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = printable(record.getMessage())  # names of files and classes may hold control characters
        if record.levelno == OUTCOME:
            return message
        level = f"{record.levelname.lower()}: " if record.levelno > OUTCOME else ""
        return f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{message}"


def _writes_to_screen(handler: logging.Handler) -> bool:
    """Tells whether a handler already shows messages of level INFO on the screen."""
    is_screen = getattr(handler, "stream", None) in (sys.stdout, sys.stderr)
    return handler.level <= logging.INFO and (is_screen or handler is absl_logging.get_absl_handler())
