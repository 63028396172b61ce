"""The fine-tuner, top to bottom: data, rule, model, fit, evaluate, report, export."""

import dataclasses
import functools
import os
from pathlib import Path

import keras
from absl import logging

from bit_keras import data, training
from bit_keras.finetune import plan
from bit_keras.finetune.config import FinetuneConfig
from bit_keras.model import BiT
from bit_keras.optional import is_installed
from bit_keras.runs import check_identity, conclude, fit, make_config, open_folder, start
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
    config = make_config(FinetuneConfig, model, dataset, workdir, options)
    if config.export_dir and Path(config.export_dir).exists():
        raise FileExistsError(f"export_dir must not exist yet, got {config.export_dir}")
    if config.export_dir and not is_installed("tensorflow"):
        raise ImportError(f"export_dir needs TensorFlow, which is not installed; got {config.export_dir}")
    distribution = start(config)

    # Data and rule
    prepare = functools.partial(plan.task, config, dataset)
    source, rule, schedule = distribution.in_turn(prepare, prepare)
    if config.schedule == "hyperrule":
        callbacks = rule.callbacks(config.seed)
    else:
        callbacks = [training.HyperRuleCallback(schedule)]
    logging.info("%s: %d training and %d test examples", source.name, source.num_train, source.num_test)
    logging.info("%s at %d pixels, loaded by %s", schedule, rule.crop, config.loader)
    if source.identity["kind"] != "tfds":  # which would be read once more
        logging.info("%s", source.describe_balance())

    identity = config.identity(source)
    if config.schedule == "hyperrule" and rule.mixup_alpha and distribution.mixup_parts > 1:
        identity["mixup_parts"] = distribution.mixup_parts
    check_identity(identity, distribution)

    # Model
    with distribution.scope():
        network = _network(config, source.num_classes)
        training.freeze(network, config.freeze)
        network.compile(
            training.optimizer(schedule, rule.momentum, config.accumulate),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    logging.info("%s of %s weights train", f"{training.count_trainable(network):,}", f"{network.count_params():,}")
    folder = open_folder(config, identity, distribution)

    # Fit
    train_batches = functools.partial(
        data.train_batches,
        source,
        batch_size=config.part,
        resize=rule.resize,
        crop=rule.crop,
        seed=config.seed,
        random_crop=config.random_crop,
        flip=config.flip,
        loader=config.loader,
    )
    test_batches = data.test_batches(source, batch_size=config.part, crop=rule.crop, loader=config.loader)
    log = fit(network, config, source, schedule, train_batches, test_batches, folder, distribution, callbacks)

    # Evaluate, report, export
    def export(network: BiT) -> None:
        if config.export_dir:
            from bit_keras.saved_model import export_saved_model

            export_saved_model(network, config.export_dir, class_names=source.class_names)

    network, summary = conclude(network, source, schedule, log, test_batches, folder, distribution, export)
    return FinetuneResult(network, summary["test_accuracy"], summary, folder)


def dry_run(model: str, dataset: str | data.Source, workdir: str | os.PathLike, **options) -> str:
    """Returns what `run` would do as a page of text: model, data, rule, schedule, memory. Writes and trains nothing."""
    config = make_config(FinetuneConfig, model, dataset, workdir, options)
    num_devices = training.count_devices(config.distribute)
    if num_devices:
        training.check_batch(config.distribute, num_devices, config.batch_size, config.accumulate)
    return plan.describe(config, *plan.task(config, dataset), num_devices)


def _network(config: FinetuneConfig, num_classes: int) -> BiT:
    if config.model in VARIANTS:
        logging.warning("%s starts from random weights, not from pre-trained ones", config.model)
        return BiT(config.model, num_classes, dtype=config.precision, remat=config.remat)
    return BiT.from_preset(
        config.model, num_classes, variant=config.variant, dtype=config.precision, remat=config.remat
    )
