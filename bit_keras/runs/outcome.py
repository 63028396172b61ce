"""What a finished run leaves: its evaluation on every test example, a summary, weights, plots."""

import math
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

import keras

from bit_keras import data, training
from bit_keras.distribution import Distribution
from bit_keras.figures import report
from bit_keras.metrics import predict
from bit_keras.network.model import BiT, save_npz
from bit_keras.rules.schedules import CosineSchedule, Schedule
from bit_keras.system.logs import OUTCOME, doing, logger


def conclude(
    network: BiT,
    source: data.Source,
    schedule: Schedule | CosineSchedule,
    log: training.MetricsLog,
    test_batches: Iterable,
    folder: Path,
    distribution: Distribution,
    export: Callable[[BiT], None] = lambda network: None,
) -> tuple[BiT, dict]:
    """Evaluates a trained network and writes weights.npz and report/.

    Args:
        network: under `distribution`.
        source, schedule, log, test_batches, folder, distribution: of the run, as `fit` has them.
        export: called with the network at the end, by the chief alone.

    Returns:
        The network, on one device, and what `report/summary.json` holds; "test_accuracy" is precision at 1 where
        several labels may be true of an image.
    """
    with doing(f"evaluating on {source.num_test:,} test examples"):
        predictions = predict(distribution.predictor(network), test_batches, multi_label=source.multi_label)
    network = distribution.plain(network)
    rates = [row["images_per_second"] for row in log.rows if math.isfinite(row["images_per_second"])]
    best_row = training.best_row(log.rows)
    summary = {
        "test_accuracy": predictions.accuracy,
        "test_loss": predictions.loss,
        "test_examples": source.num_test,
        "train_examples": source.num_train,
        "best_test_accuracy": best_row["val_accuracy"],
        "best_step": best_row["step"],
        "steps": schedule.total_steps,
        "seconds": round(sum(row["seconds"] for row in log.rows), 1),
        "images_per_second": round(statistics.median(rates), 1) if rates else None,
        "backend": keras.backend.backend(),
        "parameters": network.count_params(),
    }

    def write():
        with doing("writing weights and report"):
            save_npz(network, folder / "weights.npz")
            report.write(folder / "report", log.rows, schedule, predictions, source.class_names, summary)
        export(network)

    distribution.in_turn(write)
    logger.log(OUTCOME, "test accuracy %.4f on %s examples", predictions.accuracy, f"{source.num_test:,}")
    logger.log(OUTCOME, "weights in %s", folder / "weights.npz")
    logger.log(OUTCOME, "report in %s", folder / "report")
    return network, summary
