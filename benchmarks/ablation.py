"""Program: BiT's group normalization and weight standardization against their absence, on one budget.

The same network is trained from random weights as `bit_keras.pretrain` trains, four times with each seed. Every run has
a file of its own, so that a series that was cut off goes on where it was.

Example:
    python -m benchmarks.ablation --dataset=imagenet2012 --model=R50x1 --steps=28000 --batch_size=4096 --workdir=/tmp/a
"""

import itertools
import json
import os
import statistics
from collections.abc import Sequence

import keras
from absl import app, flags, logging

from bit_keras import data, training
from bit_keras.evaluate import predict
from bit_keras.files import whole, write_json
from bit_keras.layers import GroupNormalization, StandardizedConv2D
from bit_keras.logs import show_own_messages
from bit_keras.model import BiT
from bit_keras.pretrain import PretrainConfig
from bit_keras.runs import program
from bit_keras.runs.workdir import claim
from bit_keras.upstream import upstream_schedule

OPTIONS = ("model", "batch_size", "resolution", "min_area", "flip", "weight_decay")
# {(normalization, weight standardization): top-1 of R50x1 on ILSVRC-2012 at batch 4096}: arXiv 1912.11370, section 4.
PAPER = {("group", True): 76.0, ("group", False): 70.2, ("batch", False): 75.6, ("batch", True): 75.8}


def make_network(variant: str, num_classes: int, normalization: str, standardized: bool) -> keras.Model:
    """Returns a BiT with random weights and another normalization.

    Args:
        variant: name of the architecture.
        num_classes: outputs of the head.
        normalization: "group", or "batch" with a moving average of momentum 0.9, since trainings here are short.
        standardized: whether kernels are standardized; those that are not begin as He et al. (2015) say.
    """

    def clone(layer):
        policy = layer.dtype_policy
        if isinstance(layer, StandardizedConv2D) and not standardized:
            shape = (layer.filters, layer.kernel_size, layer.strides, layer.padding)
            return keras.layers.Conv2D(
                *shape, use_bias=False, kernel_initializer="he_normal", name=layer.name, dtype=policy
            )
        if isinstance(layer, GroupNormalization) and normalization == "batch":
            return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=layer.name, dtype=policy)
        return type(layer).from_config(layer.get_config())

    images = keras.Input((None, None, 3), name="images")
    backbone = keras.models.clone_model(BiT(variant, num_classes).backbone, images, clone_function=clone)
    head = keras.layers.Dense(num_classes, kernel_initializer="zeros", name="head")
    return keras.Model(backbone.input, head(backbone.output))


def ablate(
    dataset: str,
    workdir: str | os.PathLike,
    *,
    steps: int,
    seeds: int = 3,
    combinations: Sequence = tuple(PAPER),
    **options,
) -> list[dict]:
    """Trains every combination and writes ablation.json and ablation.md.

    Args:
        dataset: as `bit_keras.data.load` takes it.
        workdir: folder of the series.
        steps: updates of a training, 5 or more.
        seeds: trainings of each combination, numbered from 0.
        combinations: pairs (normalization, standardized) to train.
        **options: fields of `bit_keras.pretrain.PretrainConfig`, those in OPTIONS.

    Returns:
        A record for each training: "normalization", "standardized", "seed", "test_accuracy".

    Raises:
        FileExistsError: `workdir` belongs to a series of other options.
    """
    workdir = claim(workdir, {"dataset": dataset, "steps": steps, **options})
    source = data.load(dataset)
    records = []
    for seed, (normalization, standardized) in itertools.product(range(seeds), combinations):
        record = workdir / "runs" / f"{normalization}-{'standardized' if standardized else 'plain'}-{seed}.json"
        if not record.is_file():
            keras.utils.set_random_seed(seed)
            config = PretrainConfig(dataset=dataset, workdir=str(workdir), seed=seed, **options)
            network = make_network(config.model, source.num_classes, normalization, standardized)
            accuracy = _train(network, source, config, steps)
            run = {"normalization": normalization, "standardized": standardized, "seed": seed}
            write_json(record, {**run, "test_accuracy": accuracy})
            keras.backend.clear_session()
        records.append(json.loads(record.read_text()))
        logging.info("%s: %.4f", record.stem, records[-1]["test_accuracy"])
    write_json(workdir / "ablation.json", {"steps": steps, "options": options, "runs": records})
    with whole(workdir / "ablation.md") as path:
        path.write_text(table(records))
    return records


def _train(network: keras.Model, source: data.Source, config: PretrainConfig, steps: int) -> float:
    schedule = upstream_schedule(steps, config.batch_size)
    network.compile(
        training.pretraining_optimizer(schedule, config.weight_decay),
        keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    train_batches, test_batches = config.batches(source)
    callbacks = [training.HyperRuleCallback(schedule)]
    network.fit(train_batches(), epochs=1, steps_per_epoch=steps, callbacks=callbacks, shuffle=False, verbose=0)
    return predict(network, test_batches).accuracy


def table(records: list[dict]) -> str:
    """Returns a Markdown table of the test accuracies in percent: median (minimum to maximum) over the seeds."""
    lines = ["| normalization | weight standardization | here | paper, R50x1 |", "|---|---|---|---|"]
    for (normalization, standardized), reported in PAPER.items():
        accuracies = [
            100 * record["test_accuracy"]
            for record in records
            if (record["normalization"], record["standardized"]) == (normalization, standardized)
        ]
        if accuracies:
            here = f"{statistics.median(accuracies):.1f} ({min(accuracies):.1f} to {max(accuracies):.1f})"
            lines.append(f"| {normalization} | {'yes' if standardized else 'no'} | {here} | {reported} |")
    return "\n".join(lines) + "\n"


def main(_) -> None:
    show_own_messages()
    values = flags.FLAGS.flag_values_dict()
    names = ("dataset", "workdir", "steps", "seeds", *OPTIONS)
    print(table(ablate(**{name: values[name] for name in names})))


if __name__ == "__main__":
    flags.DEFINE_integer("steps", None, "Updates of a training.", required=True, lower_bound=5)
    flags.DEFINE_integer("seeds", 3, "Trainings of each combination.", lower_bound=1)
    program.define_flags(PretrainConfig, ("dataset", "workdir", *OPTIONS))
    app.run(main)
