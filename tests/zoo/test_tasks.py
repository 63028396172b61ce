"""The table of tasks: VTAB-1k's splits on the sizes of the data sets, as task_adaptation and scenic state them."""

import pytest

from bit_keras.zoo.evaluation_sets import EVALUATION_SETS
from bit_keras.zoo.tasks import TASKS, VTAB, get_task, list_tasks

# {data set: sizes of its splits in TensorFlow Datasets}, and of the test examples of its tasks.
SIZES = {
    "caltech101": ({"train": 3_060, "test": 6_084}, 6_084),
    "cifar100": ({"train": 50_000, "test": 10_000}, 10_000),
    "dtd": ({"train": 1_880, "validation": 1_880, "test": 1_880}, 1_880),
    "oxford_flowers102": ({"train": 1_020, "validation": 1_020, "test": 6_149}, 6_149),
    "oxford_iiit_pet": ({"train": 3_680, "test": 3_669}, 3_669),
    "sun397/tfds": ({"train": 76_128, "validation": 10_875, "test": 21_750}, 21_750),
    "svhn_cropped": ({"train": 73_257, "test": 26_032, "extra": 531_131}, 26_032),
    "patch_camelyon": ({"train": 262_144, "validation": 32_768, "test": 32_768}, 32_768),
    "eurosat/rgb": ({"train": 27_000}, 5_400),
    "resisc45": ({"train": 31_500}, 6_300),
    "diabetic_retinopathy_detection/btgraham-300": (
        {"train": 35_126, "validation": 10_906, "test": 42_670, "sample": 10},
        42_670,
    ),
    "clevr": ({"train": 70_000, "validation": 15_000, "test": 15_000}, 15_000),
    "dmlab": ({"train": 65_550, "validation": 22_628, "test": 22_735}, 22_735),
    "kitti": ({"train": 6_347, "validation": 423, "test": 711}, 711),
    "dsprites": ({"train": 737_280}, 73_728),
    "smallnorb": ({"train": 24_300, "test": 24_300}, 12_150),
}


def test_the_tasks_and_groups_of_the_benchmark():
    groups = [task.group for task in VTAB]
    assert [groups.count(group) for group in ("natural", "specialized", "structured")] == [7, 4, 8]
    classes = {task.name.removeprefix("vtab/"): task.num_classes for task in VTAB}
    assert classes == {
        **{"caltech101": 102, "cifar100": 100, "dtd": 47, "oxford_flowers102": 102, "oxford_iiit_pet": 37},
        **{"sun397": 397, "svhn": 10, "patch_camelyon": 2, "eurosat": 10, "resisc45": 45, "diabetic_retinopathy": 5},
        **{"clevr-count": 8, "clevr-distance": 6, "dmlab": 6, "kitti-distance": 4, "dsprites-xpos": 16},
        **{"dsprites-orientation": 16, "smallnorb-azimuth": 18, "smallnorb-elevation": 9},
    }


@pytest.mark.parametrize("task", VTAB, ids=lambda task: task.name)
def test_a_thousand_training_examples_apart_from_the_test_examples(task, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    name, _, version = task.builder.partition(":")
    assert version.count(".") == 2
    sizes, num_test = SIZES[name]
    splits = tfds.core.SplitDict(
        [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[size],
                num_bytes=0,
                filename_template=tfds.core.ShardedFileTemplate(data_dir=tmp_path, filetype_suffix="tfrecord"),
            )
            for split, size in sizes.items()
        ]
    )

    def examples(expression: str) -> list[tuple[str, int]]:
        parts = tfds.core.ReadInstruction.from_spec(expression).to_absolute(splits)
        return [
            (part.splitname, index)
            for part in parts
            for index in range(part.from_ or 0, part.to or sizes[part.splitname])
        ]

    train, test = examples(task.train), examples(task.test)
    assert len(train) == len(set(train)) == 1_000
    assert len(test) == num_test
    assert not set(train) & set(test)


def test_names():
    assert list_tasks() == [*TASKS, *EVALUATION_SETS]
    assert list_tasks("vtab/*") == list(TASKS)
    assert list_tasks("vtab/clevr-*") == ["vtab/clevr-count", "vtab/clevr-distance"]
    assert get_task("vtab/kitti-distance").preparation.packages == ("cv2",)
    with pytest.raises(ValueError, match=r"such as vtab/clevr-count.*got 'vtab/clevr_count'"):
        get_task("vtab/clevr_count")


def test_crops_and_flips_are_those_of_the_paper():
    """Its appendix F, where dsprites-xpos is called dSprites-location."""
    uncropped = {"clevr-count", "clevr-distance", "dmlab", "kitti-distance", "dsprites-xpos"}
    unflipped = {"dsprites-orientation", "smallnorb-azimuth", "dsprites-xpos"}
    assert {task.name.removeprefix("vtab/") for task in VTAB if not task.random_crop} == uncropped
    assert {task.name.removeprefix("vtab/") for task in VTAB if not task.flip} == unflipped
