"""Progress of a training: log lines, a bar in a terminal, a line in a notebook."""

import datetime
import math
import time

from rich import progress

from bit_keras.rules import StepCounter
from bit_keras.system.logs import logger
from bit_keras.system.texts import images_per_second

_SHOWN = ("loss", "accuracy", "val_accuracy", "val_ap")  # of the numbers in the logs


class Progress(StepCounter):
    """One line per epoch and, in a terminal, a bar with loss, accuracy, images/s and time left.

    At the end of each epoch "seconds" (wall time of the epoch) and "images_per_second" (only training, without
    evaluation and without the first step, which is compiled; NaN if no other step remains) are added to the logs, for
    the callbacks after this one.

    Args:
        total_steps: updates of the whole training, 1 or more.
        batch_size: images per update, 1 or more.
        accumulate: steps of the optimizer per update, 1 or more.

    Example:
        >>> from bit_keras.training import Progress
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> progress = Progress(total_steps=8, batch_size=2)
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 2)), 2, epochs=2, verbose=0, callbacks=[progress])
        >>> sorted(history.history)
        ['images_per_second', 'loss', 'seconds']
    """

    def __init__(self, total_steps: int, batch_size: int, accumulate: int = 1):
        super().__init__()
        self.total_steps = total_steps
        self.batch_size = batch_size
        self.accumulate = accumulate
        self._task = None
        self._began = time.perf_counter()
        self._first_step = 0
        self._rate = float("nan")
        self._logs = {}
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("{task.completed}/{task.total}  {task.fields[numbers]}"),
            progress.TimeRemainingColumn(),
            disable=not progress.get_console().is_terminal,
        )

    def describe(self) -> str:
        """Returns the progress in one line, "" if the bar shows it. Also called from another thread."""
        if not self._bar.disable:
            return ""
        if self.steps == self._first_step:
            return f"compiling the first update: {time.perf_counter() - self._began:.0f} s so far"
        step = f"step {self._updates}/{self.total_steps}"
        if self.steps - self.steps_before_epoch == self.params.get("steps"):
            return f"evaluating after {step}"
        self._read_clock()
        left = (self.total_steps - self._updates) * self.batch_size / self._rate
        time_left = f"{datetime.timedelta(seconds=round(left))} left" if math.isfinite(left) else ""
        return "  ".join(filter(None, [step, self._numbers(self._logs), time_left]))

    def close(self) -> None:
        """Removes the bar from the terminal; must be called if the training is interrupted."""
        self._bar.stop()

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._first_step = self.steps
        if self._task is None:  # a resumed training may call `fit` twice
            self._task = self._bar.add_task(
                "train", total=self.total_steps, completed=self._updates, numbers="compiling"
            )
        self._bar.start()
        self._next_look = 0.0

    def on_train_end(self, logs=None):
        self.close()

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._epoch_began = time.perf_counter()
        self._start_clock()
        self._rate = float("nan")
        self._logs = {}

    def on_train_batch_end(self, batch, logs=None):
        is_first = self.steps == self._first_step
        super().on_train_batch_end(batch, logs)
        self._now = time.perf_counter()
        self._logs = logs or {}
        if is_first:  # included compilation, so it says nothing about speed
            self._start_clock()
        elif not self._bar.disable and time.perf_counter() > self._next_look:
            self._next_look = time.perf_counter() + 0.2
            self._read_clock()
            self._bar.update(self._task, completed=self._updates, numbers=self._numbers(self._logs))

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        self._read_clock()
        logs["seconds"] = time.perf_counter() - self._epoch_began
        logs["images_per_second"] = self._rate
        line = f"step {self._updates}/{self.total_steps}  {self._numbers(logs)}"
        if self._bar.disable:
            logger.info("%s", line)
        else:
            self._bar.update(self._task, completed=self._updates)
            self._bar.console.print(line, highlight=False)

    @property
    def _updates(self) -> int:
        return self.steps // self.accumulate

    def _start_clock(self):
        self._clock, self._clock_steps = time.perf_counter(), self.steps

    def _read_clock(self):
        steps = self.steps - self._clock_steps
        if steps and self._now > self._clock:  # another thread may read them while they change
            self._rate = steps * self.batch_size / self.accumulate / (self._now - self._clock)

    def _numbers(self, logs: dict) -> str:
        numbers = [f"{name} {float(logs[name]):.4f}" for name in _SHOWN if name in logs]
        rate = [images_per_second(self._rate)] if math.isfinite(self._rate) else []
        return "  ".join([*numbers, *rate])
