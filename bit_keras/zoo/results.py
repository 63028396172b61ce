"""Published accuracies of BiT, in percent, to compare one's own with.

Sources, by the names in SOURCES. A number that nobody published is not here.
"""

import dataclasses

SOURCES = {
    "paper": "arXiv 1912.11370v3, section 3: medians of three runs, of five for few examples per class",
    "official README": "google-research/big_transfer, README.md: CIFAR in batches of 128 with learning rate 0.001, by "
    "TensorFlow 2 (R152x2 by Jax), medians of five or more runs; ILSVRC-2012 by PyTorch, single runs",
    "timm": "huggingface/pytorch-image-models, results/*.csv: converted weights, central squares of 448 pixels (480)",
    "Papers with Code": "paperswithcode.com, ImageNet classification on ObjectNet",
    "testbed": "modestyachts/imagenet-testbed, robustness_top1s.csv: official weights, squashed to 480 pixels",
}


@dataclasses.dataclass(frozen=True)
class Result:
    """One published accuracy.

    Attributes:
        model: preset, or "BiT-L-R152x4", whose weights were never published.
        dataset: name of the task, as for `bit_keras.data.load` or in `bit_keras.zoo.tasks`.
        accuracy: in percent.
        source: key of SOURCES.
        note: how it was measured, if that differs from the source's usual way.
        deviation: standard deviation over the runs in percentage points, None if it was not published.
        examples_per_class: training examples per class, None for all.
        measure: one of MEASURES.
        is_of_preset: whether it is of the published weights as they are, without training.
    """

    model: str
    dataset: str
    accuracy: float
    source: str
    note: str = ""
    deviation: float | None = None
    examples_per_class: int | None = None
    measure: str = "top-1"
    is_of_preset: bool = False


# Among the classes of the data: only the outputs of the classes that have images compete.
MEASURES = ("top-1", "top-5", "top-1 among the classes of the data", "top-5 among the classes of the data")
_VARIANTS = ("R50x1", "R101x1", "R50x3", "R101x3", "R152x4")
_STANDARD = ("imagenet2012", "cifar10", "cifar100", "oxford_iiit_pet", "oxford_flowers102", "vtab")


def _rows(
    models: list[str], datasets: list[str], source: str, numbers: list[list[float | None]], note: str = "", **fields
) -> list[Result]:
    """Returns the results of a table with a row per model and a column per data set; None is not published."""
    return [
        Result(model, dataset, accuracy, source, note, **fields)
        for model, row in zip(models, numbers, strict=True)
        for dataset, accuracy in zip(datasets, row, strict=True)
        if accuracy is not None
    ]


_V2 = "imagenet_v2/matched-frequency"
_FINE_TUNED = [f"BiT-M-{variant}-ILSVRC2012" for variant in _VARIANTS]

RESULTS = (
    *(
        Result("BiT-L-R152x4", dataset, accuracy, "paper", deviation=deviation)
        for dataset, accuracy, deviation in zip(
            _STANDARD,
            [87.54, 99.37, 93.51, 96.62, 99.63, 76.29],
            [0.02, 0.06, 0.08, 0.23, 0.03, 1.70],
            strict=True,
        )
    ),
    *_rows(
        ["BiT-S-R152x4", "BiT-M-R152x4"],
        [*_STANDARD],
        "paper",
        [[81.30, 97.51, 86.21, 93.97, 89.89, 66.87], [85.39, 98.91, 92.17, 94.46, 99.30, 70.64]],
    ),
    *(
        Result("BiT-L-R152x4", dataset, accuracy, "paper", examples_per_class=count)
        for dataset, count, accuracy in (
            ("imagenet2012", 5, 72.0),
            ("imagenet2012", 10, 76.8),
            ("imagenet2012", 100, 84.1),
            ("cifar10", 10, 97.0),
            ("cifar100", 10, 82.6),
        )
    ),
    *_rows(
        ["BiT-M-R152x4", "BiT-M-R101x3"],
        ["vtab", "vtab/natural", "vtab/structured", "vtab/specialized"],
        "official README",
        [[73.51, 80.77, 61.08, 85.67], [72.65, 80.29, 59.40, 85.75]],
        "new runs, not those of the paper",
    ),
    *(
        row
        for count, numbers in {
            1: [[54.4, 37.1, 18.36], [55.8, 35.7, 25.55], [56.7, 37.2, 24.5]],
            5: [[83.3, 65.0, 50.64], [87.2, 70.4, 64.18], [87.0, 70.5, 64.5]],
            None: [[97.2, 86.5, 80.68], [98.5, 90.8, None], [98.5, 91.2, 85.15]],
        }.items()
        for row in _rows(
            ["BiT-M-R50x1", "BiT-M-R101x3", "BiT-M-R152x2"],
            ["cifar10", "cifar100", "imagenet2012"],
            "official README",
            numbers,
            examples_per_class=count,
        )
    ),
    *_rows(
        _FINE_TUNED,
        ["imagenet2012", "imagenet2012_real", _V2],
        "timm",
        [
            [80.386, 86.464, 67.890],
            [82.332, 87.678, 70.700],
            [83.982, 88.400, 71.820],
            [84.430, 88.445, 72.430],
            [84.936, 88.567, 73.140],
        ],
        is_of_preset=True,
    ),
    *_rows(
        ["BiT-M-R152x2-ILSVRC2012"],
        ["imagenet2012", "imagenet2012_real", _V2],
        "timm",
        [[84.468, 88.710, 73.040]],
        is_of_preset=True,
    ),
    *_rows(
        ["BiT-distilled-R50x1-224", "BiT-teacher-R152x2-224", "BiT-teacher-R152x2-384"],
        ["imagenet2012", "imagenet2012_real", _V2],
        "timm",
        [[82.820, 87.798, 72.180], [82.918, 87.491, 71.430], [83.858, 88.144, 72.720]],
        "at the pixels of the training",
        is_of_preset=True,
    ),
    *_rows(
        _FINE_TUNED,
        ["imagenet2012", _V2, "imagenet_v2/threshold-0.7", "imagenet_v2/topimages"],
        "testbed",
        [
            [80.402, 68.50, 77.47, 82.07],
            [82.522, 71.41, 79.73, 83.76],
            [84.150, 73.20, 80.61, 84.63],
            [84.782, 73.46, 80.86, 84.65],
            [85.178, 75.03, 81.81, 85.35],
        ],
        is_of_preset=True,
    ),
    *_rows(
        [f"BiT-M-{variant}" for variant in _VARIANTS],
        ["imagenet2012", _V2],
        "testbed",
        [[74.128, 62.28], [76.246, 64.90], [78.950, 67.47], [79.974, 68.87], [80.488, 68.79]],
        "by the 21k head, without training on ILSVRC-2012",
        is_of_preset=True,
    ),
    Result("BiT-M-R152x4-ILSVRC2012", "imagenet2012", 85.39, "paper", is_of_preset=True),
    *_rows(
        _FINE_TUNED,
        ["objectnet"],
        "paper",
        [[35.0], [39.2], [40.3], [44.3], [47.0]],
        "--fit=inner --resolution=480",
        is_of_preset=True,
    ),
    *_rows(
        [f"BiT-S-{variant}" for variant in _VARIANTS],
        ["objectnet"],
        "paper",
        [[30.8], [32.2], [33.7], [34.6], [36.0]],
        "after fine-tuning on ILSVRC-2012, by weights that were not published",
        is_of_preset=True,
    ),
    Result("BiT-L-R152x4", "objectnet", 58.7, "paper"),
    Result("BiT-L-R152x4", "objectnet", 80.0, "Papers with Code", measure="top-5"),
    Result("BiT-M-R152x4-ILSVRC2012", "objectnet", 69.0, "Papers with Code", measure="top-5", is_of_preset=True),
    Result(
        "BiT-S-R152x4",
        "objectnet",
        57.0,
        "Papers with Code",
        "after fine-tuning on ILSVRC-2012, by weights that were not published",
        "top-5",
        is_of_preset=True,
    ),
    *_rows(
        [*_FINE_TUNED, *(f"BiT-M-{variant}" for variant in _VARIANTS)],
        ["objectnet"],
        "testbed",
        [[34.85], [39.20], [41.24], [45.78], [50.29], [22.05], [25.23], [28.84], [31.84], [32.46]],
        "on the older archive objectnet-1.0-beta",
        measure=MEASURES[2],
        is_of_preset=True,
    ),
)


def published(model: str, dataset: str, examples_per_class: int | None = None) -> list[Result]:
    """Returns the published accuracies of a model on a task, [] if there are none.

    Args:
        model, dataset, examples_per_class: as in `Result`.
    """
    key = model, dataset, examples_per_class
    return [row for row in RESULTS if (row.model, row.dataset, row.examples_per_class) == key]
