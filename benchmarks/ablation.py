"""Program: pre-training with group or batch normalization, with and without weight standardization.

Four networks that differ only in these layers are trained from random weights on the same batches, with the recipe of
`bit_keras.pretrain`. Each run has its own folder, so that an interrupted ablation resumes.

Source: arXiv 1912.11370, the table of normalizations in the analysis.

Example:
    python -m benchmarks.ablation --model=R50x1 --dataset=imagenet2012 --steps=28151 --workdir=/tmp/ablation
"""

import dataclasses
import functools
import itertools
import os
from pathlib import Path

import keras
from absl import flags

from bit_keras import BiT, data
from bit_keras.figures import spread
from bit_keras.network.layers import GroupNormalization, StandardizedConv2D
from bit_keras.pretrain import PretrainConfig
from bit_keras.rules import optimizers
from bit_keras.rules.schedules import upstream_schedule
from bit_keras.runs import program
from bit_keras.runs.config import DATA_OPTIONS
from bit_keras.runs.opening import make_config, open_source, start
from bit_keras.runs.run import open_run
from bit_keras.runs.series import recorded
from bit_keras.runs.workdir import claim
from bit_keras.system.files import whole, write_json
from bit_keras.system.logs import logger
from bit_keras.system.paths import expanded

OPTIONS = (
    *("batch_size", "resolution", "min_area", "flip", "weight_decay", "precision", "accumulate", "eval_every"),
    *("checkpoint_every", *DATA_OPTIONS),
)  # of `PretrainConfig`, for all runs


@dataclasses.dataclass(frozen=True)
class Normalization:
    """One row of the ablation.

    Attributes:
        batch: True normalizes over the batch, False over groups of channels.
        standardize: True standardizes the kernels.
        paper: top-1 accuracy of an R50x1 on ImageNet in percent, trained with a batch size of 4096.
    """

    batch: bool
    standardize: bool
    paper: float

    @property
    def name(self) -> str:
        return ("BN" if self.batch else "GN") + ("+WS" if self.standardize else "")


NORMALIZATIONS = (
    Normalization(batch=False, standardize=True, paper=76.0),
    Normalization(batch=False, standardize=False, paper=70.2),
    Normalization(batch=True, standardize=False, paper=75.6),
    Normalization(batch=True, standardize=True, paper=75.8),
)


class BatchNormalizationRelu(keras.layers.BatchNormalization):
    """Batch normalization followed by ReLU, which the network's group normalization layers also include."""

    def call(self, inputs, training=None, mask=None):
        return keras.ops.relu(super().call(inputs, training=training, mask=mask))


def renormalize(model: BiT, normalization: Normalization, momentum: float = 0.9) -> keras.Model:
    """Returns a network with the same graph and layer names, random weights and a different normalization.

    All kernels, standardized or not, are drawn from He's normal initializer. Padding does not change: where the network
    pads in a separate layer, so does the new one. Batch normalization has the epsilon of group normalization. Its
    statistics are computed per micro-batch, so that `accumulate` changes them.

    Args:
        model: the network, which is not changed.
        normalization: of the new network.
        momentum: of the moving averages of batch normalization. With Keras's default of 0.99, a twentieth of their
            initial values would remain after 300 updates.

    Returns:
        A functional model: images [N, H, W, 3] in [-1, 1] to logits [N, K].
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, GroupNormalization) and normalization.batch:
            del config["groups"], config["activation"]
            return BatchNormalizationRelu(momentum=momentum, **config)
        if isinstance(layer, StandardizedConv2D) and not normalization.standardize:
            del config["epsilon"]
            return keras.layers.Conv2D(use_bias=False, **config)
        return type(layer).from_config(config)

    images = keras.Input((None, None, 3), name="images", dtype=model.dtype_policy.variable_dtype)
    backbone = keras.models.clone_model(model.backbone, images, clone_function=clone)
    return keras.Model(images, clone(model.get_layer("head"))(backbone.output), name=model.name)


def ablate(
    model: str, dataset: str | data.Source, workdir: str | os.PathLike, *, steps: int, seeds: int = 3, **options
) -> list[dict]:
    """Measures the test accuracy of every normalization and writes ablation.json and ablation.md.

    Args:
        model: name of a variant.
        dataset: as for `bit_keras.finetune`.
        workdir: folder of the ablation.
        steps: updates of each run, at least 5.
        seeds: number of runs per normalization; the seeds, counted from 0, determine random weights, order of the
            examples and augmentation.
        **options: fields of `PretrainConfig` in `OPTIONS`.

    Returns:
        One record per run: "normalization", "seed", "test_accuracy" in [0, 1], and the last training "loss".

    Raises:
        ValueError: a setting is out of its range, or the data are invalid (`bit_keras.data.DataError`).
        FileExistsError: `workdir` belongs to an ablation with different settings.
        TrainingInterrupted: a signal was received; the state is saved.
        TrainingDiverged: the loss of a run is NaN or too high.
    """
    config = make_config(PretrainConfig, model, dataset, workdir, options)
    source = open_source(config, dataset)
    config = dataclasses.replace(config, epochs=steps * config.batch_size / source.num_train)
    upstream_schedule(steps, config.batch_size)  # rejects too few steps before anything is written
    settings = {"steps": steps, **config.identity(source)}
    records = []
    with claim(workdir, settings) as workdir:
        for seed, normalization in itertools.product(range(seeds), NORMALIZATIONS):
            folder = workdir / "runs" / f"{normalization.name}-{seed}"
            run = dataclasses.replace(config, seed=seed, workdir=str(folder / "run"))
            identity = {**_subject(normalization, steps), **run.identity(source)}
            measure = functools.partial(_measure, run, source, normalization, steps)
            records.append(recorded(folder / "ablation.json", identity, measure))
            logger.info("%s: %.4f", folder.name, records[-1]["test_accuracy"])
        write_json(workdir / "ablation.json", {"settings": settings, "runs": records})
        with whole(workdir / "ablation.md") as path:
            path.write_text(table(records, f"{config.model} on {Path(source.name).stem}"))
    return records


def _measure(config: PretrainConfig, source: data.Source, normalization: Normalization, steps: int) -> dict:
    """Trains one network and returns its record."""
    schedule = upstream_schedule(steps, config.batch_size)
    subject = _subject(normalization, steps)
    run = open_run(config, source, schedule, start(config), identity=subject, **config.images)
    with run.claimed() as folder:
        network = renormalize(BiT(config.model, source.num_classes, dtype=config.precision), normalization)
        network.compile(
            optimizers.pretraining_optimizer(schedule, config.weight_decay, config.accumulate),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        )
        last = run.fit(network, workdir=folder).rows[-1]
    return {
        "normalization": normalization.name,
        "seed": config.seed,
        "test_accuracy": last["val_accuracy"],
        "loss": last["loss"],
    }


def _subject(normalization: Normalization, steps: int) -> dict:
    """Returns the settings that affect the results of a run in addition to its `PretrainConfig`."""
    return {"normalization": normalization.name, "steps": steps}


def table(records: list[dict], title: str) -> str:
    """Returns a Markdown table of test accuracies in percent, as median (minimum to maximum) over the seeds.

    A last column has the paper's accuracies.

    Args:
        records: as `ablate` returns them.
        title: heading of the column, such as model and data.
    """
    lines = [f"| normalization | {title} | R50x1 on ImageNet (paper) |", "|---|---|---|"]
    for normalization in NORMALIZATIONS:
        accuracies = [row["test_accuracy"] for row in records if row["normalization"] == normalization.name]
        lines.append(f"| {normalization.name} | {spread.in_percent(accuracies)} | {normalization.paper:.1f} |")
    return "\n".join(lines) + "\n"


def _define_flags() -> None:
    flags.DEFINE_string("model", "R17x0.5", "Variant.")
    flags.DEFINE_string("dataset", None, "As in bit_keras.pretrain.", required=True)
    flags.DEFINE_string("workdir", None, "Folder of the ablation.", required=True)
    flags.DEFINE_integer("steps", None, "Updates of each run.", lower_bound=5, required=True)
    flags.DEFINE_integer("seeds", 3, "Runs of each normalization.", lower_bound=1)
    program.define_flags(PretrainConfig, OPTIONS)


def main() -> None:
    values = flags.FLAGS.flag_values_dict()
    names = ("model", "dataset", "workdir", "steps", "seeds", *OPTIONS)
    ablate(**{name: values[name] for name in names})
    print(Path(expanded(values["workdir"]), "ablation.md").read_text())


if __name__ == "__main__":
    _define_flags()
    program.run("benchmarks.ablation", main, groups={})
