"""The fine-tuner, top to bottom: data, rule, model, fit, evaluate, report, export."""

import contextlib
import dataclasses
import math
import os
import statistics
from pathlib import Path

import keras
from absl import logging

from bit_keras import data, report, training
from bit_keras.evaluate import predict
from bit_keras.finetune import plan
from bit_keras.finetune.config import FinetuneConfig
from bit_keras.finetune.workdir import claim
from bit_keras.model import BiT, save_npz
from bit_keras.variants import VARIANTS


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
    """What a run made.

    Attributes:
        model: the fine-tuned network.
        test_accuracy: share of the test examples that it gets right, in [0, 1].
        summary: what `report/summary.json` holds.
        workdir: folder of the run.
    """

    model: BiT
    test_accuracy: float
    summary: dict
    workdir: Path


def run(model: str, dataset: str | data.Source, workdir: str | os.PathLike, **options) -> FinetuneResult:
    """See `bit_keras.finetune`."""
    config = _config(model, dataset, workdir, options)
    if config.export_dir and Path(config.export_dir).exists():
        raise FileExistsError(f"export_dir must not exist yet, got {config.export_dir}")
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        training.make_deterministic()

    # Data and rule
    source, rule, schedule = plan.task(config, dataset)
    if config.schedule == "hyperrule":
        callbacks = rule.callbacks(config.seed)
    else:
        callbacks = [training.HyperRuleCallback(schedule)]
    logging.info("%s: %d training and %d test examples", source.name, source.num_train, source.num_test)
    logging.info("%s at %d pixels", schedule, rule.crop)
    if source.identity["kind"] != "tfds":  # which would be read once more
        logging.info("%s", source.describe_balance())

    # Model
    network = _network(config, source.num_classes)
    training.freeze(network, config.freeze)
    logging.info("%s of %s weights train", f"{training.count_trainable(network):,}", f"{network.count_params():,}")
    network.compile(
        training.optimizer(schedule, rule.momentum, config.accumulate),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    folder = claim(config.workdir, _identity(config, source))
    log = training.MetricsLog(folder / "metrics.csv")
    parts = config.accumulate  # steps of the optimizer for an update
    checkpoint_every = config.checkpoint_every and config.checkpoint_every * parts
    checkpoint = training.Checkpoint(folder / "checkpoint" / "last.weights.h5", log, checkpoint_every)
    start = checkpoint.restore(network)

    # Fit
    test_batches = data.test_batches(source, batch_size=config.batch_size // parts, crop=rule.crop)
    eval_every = min(config.eval_every or -(-schedule.total_steps // 10), schedule.total_steps)
    progress = training.Progress(schedule.total_steps, config.batch_size, parts)
    with contextlib.closing(progress), training.StopOnSignal(checkpoint) as stop:
        for epochs in training.epochs(start, eval_every * parts, schedule.total_steps * parts):
            network.fit(
                data.train_batches(
                    source,
                    batch_size=config.batch_size // parts,
                    resize=rule.resize,
                    crop=rule.crop,
                    seed=config.seed,
                    start_step=training.steps_made(network),
                    random_crop=config.random_crop,
                    flip=config.flip,
                ),
                **epochs,
                validation_data=test_batches,
                callbacks=[
                    *callbacks,
                    training.StopOnDivergence(source.num_classes, parts),
                    progress,
                    log,
                    keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False),
                    checkpoint,
                    stop,
                ],
                shuffle=False,  # the batches come in their order
                verbose=0,
            )

    # Evaluate
    predictions = predict(network, test_batches)
    rates = [row["images_per_second"] for row in log.rows if math.isfinite(row["images_per_second"])]
    summary = {
        "test_accuracy": predictions.accuracy,
        "test_loss": predictions.loss,
        "test_examples": source.num_test,
        "train_examples": source.num_train,
        "steps": schedule.total_steps,
        "seconds": round(sum(row["seconds"] for row in log.rows), 1),
        "images_per_second": round(statistics.median(rates), 1) if rates else None,
        "backend": keras.backend.backend(),
        "parameters": network.count_params(),
    }

    # Weights, report, export
    save_npz(network, folder / "weights.npz")
    report.write(folder / "report", log.rows, schedule, predictions, source.class_names, summary)
    logging.info("test accuracy %.4f on %d examples", predictions.accuracy, source.num_test)
    if config.export_dir:
        from bit_keras.saved_model import export_saved_model

        export_saved_model(network, config.export_dir, class_names=source.class_names)
    return FinetuneResult(network, predictions.accuracy, summary, folder)


def dry_run(model: str, dataset: str | data.Source, workdir: str | os.PathLike, **options) -> str:
    """Returns what `run` would do as a page of text: model, data, rule, schedule, memory. Writes and trains nothing."""
    config = _config(model, dataset, workdir, options)
    return plan.describe(config, *plan.task(config, dataset))


def _config(model: str, dataset: str | data.Source, workdir: str | os.PathLike, options: dict) -> FinetuneConfig:
    name = dataset.name if isinstance(dataset, data.Source) else os.fspath(dataset)
    return FinetuneConfig(model=os.fspath(model), dataset=name, workdir=os.fspath(workdir), **options)


def _network(config: FinetuneConfig, num_classes: int) -> BiT:
    if config.model in VARIANTS:
        logging.warning("%s starts from random weights, not from pre-trained ones", config.model)
        return BiT(config.model, num_classes, dtype=config.precision)
    return BiT.from_preset(config.model, num_classes, variant=config.variant, dtype=config.precision)


def _identity(config: FinetuneConfig, source: data.Source) -> dict:
    """What decides the numbers of a run: the settings without the places it writes to, and the data."""
    settings = dataclasses.asdict(config)
    for name in ("workdir", "export_dir", "checkpoint_every", "small_batch"):
        del settings[name]
    return {**settings, "data": source.describe(), "backend": keras.backend.backend()}
