"""The fine-tuner, top to bottom: data, rule, model, fit, evaluate, report, export."""

import os
from collections.abc import Iterable

import keras

from bit_keras import data
from bit_keras.distribution import check_batch, count_devices, mixup_parts
from bit_keras.figures import drawing
from bit_keras.finetune import plan
from bit_keras.finetune.config import FinetuneConfig
from bit_keras.finetune.result import ExportFailed, FinetuneResult
from bit_keras.network.freezing import count_trainable, freeze
from bit_keras.network.model import BiT
from bit_keras.rules import HyperRule, optimizers
from bit_keras.runs.network import choose_head, open_network
from bit_keras.runs.opening import check_callbacks, check_loader, make_config, start
from bit_keras.runs.run import identify, open_run
from bit_keras.runs.workdir import check
from bit_keras.system.logs import OUTCOME, logger
from bit_keras.zoo.presets import PRESETS


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
    distribution = start(config)

    # Data and rule
    source, rule, schedule = distribution.everywhere(lambda: plan.task(config, dataset))
    run = open_run(
        config,
        source,
        schedule,
        distribution,
        crop=rule.crop,
        resize=config.resize or rule.resize,
        random_crop=config.random_crop,
        mixup_alpha=_mixup_alpha(config, rule),
    )
    if source.identity["kind"] != "tfds":  # for TFDS, counting labels needs a pass over the data
        logger.info("%s", source.describe_balance())

    # What is exported at the end
    faults = []

    def export(network: BiT) -> None:
        if config.export_dir:
            from bit_keras.saved_models.export import export_saved_model

            with drawing.reported(f"the SavedModel {config.export_dir}", faults):
                export_saved_model(network, config.export_dir)

    # Model, once no other process can write to the workdir
    with run.claimed() as folder:
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
        log = run.fit(network, workdir=folder, callbacks=callbacks)
        network, summary = run.conclude(network, log, export, workdir=folder)
    result = FinetuneResult(network, summary, run.folder, log.rows)
    if faults:
        raise ExportFailed(f"{faults[0]}\nThe training is complete, with its weights in {run.folder}", result)
    if config.export_dir:
        logger.log(OUTCOME, "SavedModel in %s", config.export_dir)
    return result


def dry_run(model: str, dataset: str | data.Source, workdir: str | os.PathLike, **options) -> str:
    """Returns a text that describes what `run` would do: model, data, rule, schedule, memory.

    Writes nothing, and raises what `run` raises before the training, apart from faults of weights to download.
    """
    config = make_config(FinetuneConfig, model, dataset, workdir, options)
    check_loader(config)
    num_devices = count_devices(config.distribute)
    if num_devices:
        check_batch(config.distribute, num_devices, config.batch_size, config.accumulate)
    source, rule, schedule = plan.task(config, dataset)
    parts = mixup_parts(config.distribute, num_devices) if _mixup_alpha(config, rule) else 1
    source, identity = identify(config, source, parts)
    check(config.workdir, identity)
    text = plan.describe(config, source, rule, schedule, num_devices)
    if config.model not in PRESETS:  # these would have to be downloaded
        keep_head = choose_head(config.model, source, config.new_head)
        open_network(config.model, source.num_classes, config.variant, config.precision, config.remat, keep_head)
    return text


def _mixup_alpha(config: FinetuneConfig, rule: HyperRule) -> float:
    return rule.mixup_alpha if config.schedule == "hyperrule" else 0
