"""The fine-tuner, top to bottom: data, rule, model, fit, evaluate, report, export."""

import os
from collections.abc import Iterable
from pathlib import Path

import keras

from bit_keras import data
from bit_keras.distribution import check_batch, count_devices
from bit_keras.finetune import plan
from bit_keras.finetune.config import FinetuneConfig
from bit_keras.finetune.result import FinetuneResult
from bit_keras.network.freezing import count_trainable, freeze
from bit_keras.network.model import BiT
from bit_keras.rules import optimizers
from bit_keras.runs.network import choose_head, open_network
from bit_keras.runs.opening import check_callbacks, make_config, start
from bit_keras.runs.run import open_run
from bit_keras.system.logs import OUTCOME, logger
from bit_keras.system.optional import require


def run(
    model: str,
    dataset: str | data.Source,
    workdir: str | os.PathLike,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    **options,
) -> FinetuneResult:
    """See `bit_keras.finetune`."""
    callbacks = check_callbacks(callbacks)
    config = make_config(FinetuneConfig, model, dataset, workdir, options)
    if config.export_dir and Path(config.export_dir).exists():
        raise FileExistsError(f"export_dir must not exist yet, got {config.export_dir}")
    if config.export_dir:
        require("export_dir", "tensorflow")
    distribution = start(config)

    # Data and rule
    source, rule, schedule = distribution.everywhere(lambda: plan.task(config, dataset))
    run = open_run(
        config,
        source,
        schedule,
        distribution,
        crop=rule.crop,
        resize=rule.resize,
        random_crop=config.random_crop,
        mixup_alpha=rule.mixup_alpha if config.schedule == "hyperrule" else 0,
    )
    if source.identity["kind"] != "tfds":  # for TFDS, counting labels needs a pass over the data
        logger.info("%s", source.describe_balance())

    # Model
    keep_head = choose_head(config.model, source, config.new_head)
    with distribution.scope():
        network = open_network(
            config.model, source.num_classes, config.variant, config.precision, config.remat, keep_head
        )
        freeze(network, config.freeze)
        network.compile(
            optimizers.optimizer(schedule, rule.momentum, config.accumulate),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    logger.info("%s of %s weights are trained", f"{count_trainable(network):,}", f"{network.count_params():,}")

    # Fit, evaluate, report, export
    def export(network: BiT) -> None:
        if config.export_dir:
            from bit_keras.saved_models.export import export_saved_model

            export_saved_model(network, config.export_dir, class_names=source.class_names)

    with run.claimed() as folder:
        log = run.fit(network, workdir=folder, callbacks=callbacks)
        network, summary = run.conclude(network, log, export, workdir=folder)
    if config.export_dir:
        logger.log(OUTCOME, "SavedModel in %s", config.export_dir)
    return FinetuneResult(network, summary, run.folder, log.rows)


def dry_run(model: str, dataset: str | data.Source, workdir: str | os.PathLike, **options) -> str:
    """Returns a text that describes what `run` would do: model, data, rule, schedule, memory; writes nothing."""
    config = make_config(FinetuneConfig, model, dataset, workdir, options)
    num_devices = count_devices(config.distribute)
    if num_devices:
        check_batch(config.distribute, num_devices, config.batch_size, config.accumulate)
    return plan.describe(config, *plan.task(config, dataset), num_devices)
