"""`fit` from a run's last checkpoint to the end of its schedule."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras

from bit_keras import data, training
from bit_keras.data.errors import shortened
from bit_keras.distribution import Distribution
from bit_keras.network.model import BiT, save_npz
from bit_keras.rules import steps_made
from bit_keras.rules.schedules import CosineSchedule, Schedule
from bit_keras.runs.config import RunConfig
from bit_keras.system.files import write_lines
from bit_keras.system.logs import doing, logger
from bit_keras.system.optional import is_installed
from bit_keras.training import Validation


def fit(
    network: keras.Model,
    config: RunConfig,
    source: data.Source,
    schedule: Schedule | CosineSchedule,
    train_batches: Callable[..., Iterable],
    test_batches: Iterable,
    folder: Path,
    distribution: Distribution,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    keep: BiT | None = None,
) -> training.MetricsLog:
    """Fits a compiled network over a whole schedule; goes on where an earlier start of the run left off.

    Writes checkpoint/, metrics.csv, tensorboard/ and, of a BiT, best.npz to the folder.

    Args:
        network: a classifier, compiled under `distribution.scope()` with an optimizer of the schedule.
        config: of the run.
        source: its data.
        schedule: of the learning rate, in updates.
        train_batches: called with start_step= and shard=, as `bit_keras.data.train_batches` has them.
        test_batches: evaluated on.
        folder: of the run.
        distribution: which devices train.
        callbacks: that stand before those of the run; one must follow the schedule.
        keep: the part of the network whose best weights are written, None for all of it if that is a BiT.

    Returns:
        The metrics of all evaluations.

    Raises:
        TrainingInterrupted: a signal came; the state is saved.
        TrainingDiverged: the loss is no number, or too high; the images of the batch are in diverged.txt.
        DistributionError: workers do not see the same folder, or one has failed.
    """
    is_chief, parts = distribution.is_chief, config.accumulate
    log = training.MetricsLog(folder / "metrics.csv" if is_chief else None)
    checkpoint_every = config.checkpoint_every and config.checkpoint_every * parts
    checkpoint = training.Checkpoint(folder / "checkpoint" / "last.weights.h5", log, checkpoint_every, writes=is_chief)
    with distribution.scope():
        start = checkpoint.restore(network)
    distribution.check_equal(start, "share workdir; their checkpoints are of different steps")
    _say_where_it_starts(folder, start // parts, schedule.total_steps)

    eval_every = min(config.eval_every or -(-schedule.total_steps // 10), schedule.total_steps)
    name_batch = functools.partial(_name_batch, config, source, folder / "diverged.txt" if is_chief else None)
    progress = training.Progress(schedule.total_steps, config.batch_size, parts)
    all_callbacks = [
        Validation(distribution.predictor(network), test_batches, source.multi_label),
        *callbacks,
        training.StopOnDivergence(source.num_classes, schedule, parts, name_batch),
        progress,
        log,
    ]
    kept = keep or network
    if is_chief:
        all_callbacks += _tensorboard(folder / "tensorboard")
    if is_chief and isinstance(kept, BiT):
        all_callbacks.append(training.BestWeights(log, lambda: save_npz(kept, folder / "best.npz")))
    stop_on_signal = training.StopOnSignal(checkpoint, distribution.maximum)
    with contextlib.closing(progress), doing(progress.describe), stop_on_signal as stop, distribution.scope():
        for epochs in training.split_into_epochs(start, eval_every * parts, schedule.total_steps * parts):
            network.fit(
                distribution.feed(functools.partial(train_batches, start_step=steps_made(network)), config.part),
                **epochs,
                callbacks=[*all_callbacks, checkpoint, stop],
                shuffle=False,  # the batches come in their order
                verbose=0,
            )
    return log


def _say_where_it_starts(folder: Path, start: int, total: int) -> None:
    if start >= total:
        made = f"all {total:,} updates were made"
        logger.info("this run was finished before: %s; evaluation and report are repeated", made)
        return
    if start:
        logger.info("resuming %s after update %s of %s", folder, f"{start:,}", f"{total:,}")
    logger.info("compiling the first update ...")


def _name_batch(config: RunConfig, source: data.Source, listing: Path | None, step: int) -> str:
    """Says which images the batch of a step held, and lists all of them in a file."""
    names = data.train_names(source, batch_size=config.part, seed=config.seed, step=step, loader=config.loader)
    if not names:
        return f"Its batch held the images {step * config.part} to {(step + 1) * config.part - 1} of all that were read"
    if listing is not None:
        write_lines(listing, names)
    return f"Its batch, listed in {listing or 'the workdir'}: {', '.join(shortened(names))}"


def _tensorboard(folder: Path) -> list[keras.callbacks.Callback]:
    if is_installed("tensorflow"):
        return [keras.callbacks.TensorBoard(folder, write_graph=False)]
    logger.info("nothing is written for TensorBoard, which needs TensorFlow; metrics.csv has the same numbers")
    return []
