"""What all trainings share, of classifiers and detectors: the folder, `fit` from the last checkpoint on, callbacks."""

import abc
import contextlib
import dataclasses
import functools
import json
import math
import statistics
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import keras

from bit_keras import training
from bit_keras.data.errors import shortened
from bit_keras.distribution import Distribution
from bit_keras.rules import skip_on_all_devices, steps_made
from bit_keras.rules.schedules import CosineSchedule, Schedule
from bit_keras.runs.config import TrainingConfig
from bit_keras.runs.workdir import Workdir, check, check_joined, comparable, reserve, shared
from bit_keras.system.files import write_lines
from bit_keras.system.logs import OUTCOME, doing, logger
from bit_keras.system.optional import install_command, is_installed


@dataclasses.dataclass(frozen=True)
class TrainingRun(abc.ABC):
    """Base class of training runs; a subclass adds its data and how they are evaluated.

    Attributes:
        config: settings.
        schedule: of the learning rate, in updates.
        distribution: the devices that train.
        identity: everything that affects the results of the run; JSON-able.
    """

    config: TrainingConfig
    schedule: Schedule | CosineSchedule
    distribution: Distribution
    identity: dict

    @abc.abstractmethod
    def train_batches(self, start_step: int, shard: tuple[int, int]) -> Iterable:
        """Returns endless batches from `start_step` on; see `bit_keras.data.train_batches`."""

    @abc.abstractmethod
    def _names(self, step: int) -> list[str]:
        """Returns the names of the images in the batch of a step, none if they have no names."""

    @property
    def folder(self) -> Path:
        """Folder of everything that the run writes."""
        return Path(self.config.workdir)

    def check(self) -> None:
        """Checks that all workers agree on the run and that its folder is free; writes nothing.

        Raises:
            DistributionError: the workers have different settings or data.
            FileExistsError, BlockingIOError, ValueError: as `workdir.check`.
        """
        fingerprint = zlib.crc32(json.dumps(comparable(self.identity), sort_keys=True).encode()) >> 1  # fits into int32
        self.distribution.check_equal(fingerprint, "have the same settings and data")
        self.distribution.in_turn(lambda: check(self.folder, self.identity))

    @contextlib.contextmanager
    def claimed(self) -> Iterator[Workdir]:
        """Reserves the folder for the block, which loads the network and trains it; `fit` is the first to write there.

        Raises:
            FileExistsError, BlockingIOError, ValueError: as `workdir.reserve`.
            DistributionError: one of the workers has failed.
        """
        with contextlib.ExitStack() as stack:
            yield self.distribution.in_turn(
                lambda: stack.enter_context(reserve(self.folder, self.identity)), lambda: shared(self.folder)
            )

    def _record(self, workdir: Workdir) -> None:
        workdir.record(self.identity)

    def _fit(
        self,
        network: keras.Model,
        *,
        workdir: Workdir,
        evaluation: keras.callbacks.Callback,
        rule: Sequence[keras.callbacks.Callback],
        max_loss: float,
        best: Callable[[training.MetricsLog], keras.callbacks.Callback] | None,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> training.MetricsLog:
        """Fits a compiled network over the whole schedule; resumes from the checkpoint of an interrupted one.

        Args:
            network: compiled under `distribution.scope()` with an optimizer of the schedule.
            workdir: the folder, as claimed.
            evaluation: adds the values of an evaluation to the logs after every epoch.
            rule: callbacks that change the training.
            max_loss: a running loss above it has diverged.
            best: returns the callback that writes the best weights, from the log of all evaluations; None for none.
            callbacks: of the user.

        Returns:
            The metrics of all evaluations.
        """
        join = functools.partial(check_joined, self.folder, self.identity)
        self.distribution.in_turn(lambda: self._record(workdir), join)
        config, total, accumulate = self.config, self.schedule.total_steps, self.config.accumulate
        checkpoint = self._checkpoint()
        skip_on_all_devices(network.optimizer)
        with self.distribution.scope(), doing(lambda: "preparing the training"):
            start = checkpoint.restore(network)
        self.distribution.check_equal(start, "share workdir; their checkpoints are of different steps")
        self._log_start(start // accumulate)

        progress = training.Progress(total, config.batch_size, accumulate)
        stop_on_signal = training.StopOnSignal(checkpoint, self.distribution.maximum)
        only_on_chief = []
        if self.distribution.is_chief:
            only_on_chief += _tensorboard(self.folder / "tensorboard")
            only_on_chief += [best(checkpoint.log)] if best else []
        # The order matters: for each event Keras calls the callbacks in this order.
        # - Evaluation, schedule and progress add their values to the logs before the log writes its row.
        # - A diverged loss raises before the state is saved, so that the last good checkpoint remains.
        # - The best weights read the log's last row and are written before the checkpoint: a training that is killed
        #   between the two repeats the epoch and writes the same weights again.
        # - The checkpoint saves the log's rows. Callbacks of the user follow, so that they see all values and files of
        #   an evaluation; only then a signal ends the training.
        callbacks = [
            _StopWhenRemoved(workdir),
            evaluation,
            *rule,
            training.StopOnDivergence(max_loss, self.schedule, accumulate, self._name_batch),
            progress,
            checkpoint.log,
            *only_on_chief,
            checkpoint,
            *callbacks,
            stop_on_signal,
        ]
        eval_every = min(config.eval_every or -(-total // 10), total)
        with (
            contextlib.closing(progress),
            doing(progress.describe),
            stop_on_signal,
            self.distribution.scope(),
        ):
            for epochs in training.split_into_epochs(start, eval_every * accumulate, total * accumulate):
                make = functools.partial(self.train_batches, steps_made(network))
                network.fit(
                    self.distribution.feed(make, config.micro_batch_size),
                    **epochs,
                    callbacks=callbacks,
                    shuffle=False,  # `train_batches` has shuffled the examples
                    verbose=0,
                )
                if network.stop_training:  # by the schedule at its end, or earlier by a callback of the user
                    break
        return checkpoint.log

    def _summary(self, network: keras.Model, log: training.MetricsLog) -> dict:
        """Returns the part of `report/summary.json` that does not depend on the task."""
        rates = [row["images_per_second"] for row in log.rows if math.isfinite(row["images_per_second"])]
        return {
            "steps": int(log.rows[-1]["step"]),
            "seconds": round(sum(row["seconds"] for row in log.rows), 1),
            "images_per_second": round(statistics.median(rates), 1) if rates else None,
            "backend": keras.backend.backend(),
            "parameters": network.count_params(),
        }

    def _finish(
        self,
        write: Callable[[list[str]], None],
        export: Callable[[], None],
        outcome: Iterable[str],
        workdir: Workdir,
    ) -> None:
        """Writes the results of the run, only on the chief, and logs what and where they are.

        Args:
            write: writes weights.npz and report/; a message for each picture that could not be drawn is appended to its
                argument.
            export: called after that.
            outcome: lines to log before the places of the results.
            workdir: the folder, as claimed.
        """
        faults = []

        def on_chief() -> None:
            workdir.check()
            with doing("writing weights and report"):
                write(faults)
            export()

        self.distribution.in_turn(on_chief)
        for line in (*outcome, f"weights in {self.folder / 'weights.npz'}", f"report in {self.folder / 'report'}"):
            logger.log(OUTCOME, "%s", line)
        for fault in faults:  # once more, where they are seen
            logger.warning("%s", fault)

    def _checkpoint(self) -> training.Checkpoint:
        """Returns the callback that writes checkpoint/, with the log that writes metrics.csv."""
        is_chief, every = self.distribution.is_chief, self.config.checkpoint_every
        log = training.MetricsLog(self.folder / "metrics.csv" if is_chief else None)
        path = self.folder / "checkpoint" / "last.weights.h5"
        return training.Checkpoint(path, log, every and every * self.config.accumulate, writes=is_chief)

    def _log_start(self, start: int) -> None:
        total = self.schedule.total_steps
        if start >= total:
            made = f"all {total:,} updates were made"
            logger.info("this run was finished before: %s; evaluation and report are repeated", made)
            return
        if start:
            logger.info("resuming %s after update %s of %s", self.folder, f"{start:,}", f"{total:,}")
        logger.info("compiling the first update ...")

    def _name_batch(self, step: int) -> str:
        """Returns a text that names images in the batch of a step; the chief lists all of them in a file."""
        size, names = self.config.micro_batch_size, self._names(step)
        if not names:
            return f"Its batch held the images {step * size} to {(step + 1) * size - 1} of all that were read"
        listing = self.folder / "diverged.txt" if self.distribution.is_chief else None
        if listing is not None:
            write_lines(listing, names)
        return f"Its batch, listed in {listing or 'the workdir'}: {', '.join(shortened(names))}"


class _StopWhenRemoved(keras.callbacks.Callback):
    """Ends the training, before the next file is written, if the workdir was removed: the files would be no run."""

    def __init__(self, workdir: Workdir):
        super().__init__()
        self.workdir = workdir

    def on_train_batch_end(self, batch, logs=None):
        self.workdir.check()

    def on_epoch_end(self, epoch, logs=None):
        self.workdir.check()


def _tensorboard(folder: Path) -> list[keras.callbacks.Callback]:
    if is_installed("tensorflow") and is_installed("tensorboard"):
        return [keras.callbacks.TensorBoard(folder, write_graph=False)]
    logger.info(
        "no TensorBoard log is written, metrics.csv has the same values; for one: %s", install_command("tensorboard")
    )
    return []
