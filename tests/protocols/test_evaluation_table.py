"""The table of measured and published accuracies."""

from bit_keras.protocols.evaluation_table import table

MODELS = ["BiT-M-R152x4-ILSVRC2012", "BiT-M-R50x1", "/runs/mine.npz"]
DATASETS = ["imagenet2012", "imagenet_v2:/data/v2", "objectnet:/data/objectnet-1.0.zip"]
NAMES = {**dict(zip(MODELS, ["fine-tuned", "M", "mine"])), **dict(zip(DATASETS, ["val", "V2", "objectnet"]))}
RECORDS = [
    {
        **{"model": MODELS[0], "dataset": DATASETS[2], "examples": 18_574, "resolution": 480, "fit": "crop"},
        **{"top1_accuracy": 0.4712, "top5_accuracy": 0.68, "competing_top1_accuracy": 0.505},
    },
    {
        **{"model": MODELS[1], "dataset": DATASETS[1], "examples": 10_000, "resolution": 224, "fit": "squash"},
        **{"top1_accuracy": 0.6, "top5_accuracy": 0.8},
    },
]


def rows(model: str) -> list[list[str]]:
    lines = table(RECORDS, MODELS, DATASETS, NAMES).splitlines()
    return [cells[1:] for line in lines if (cells := line.strip("| ").split(" | "))[0] == model]


def test_numbers_beside_published_ones_and_their_difference():
    val, *others = rows("fine-tuned")
    sources = [row[-1].partition(";")[0] for row in rows("fine-tuned") if row[0] == "val"]
    assert sources == ["timm", "testbed", "paper"]
    assert val == ["val", "-", "-", "top-1", "-", "84.94", "-", "timm"]
    objectnet = [row[1:] for row in others if row[0] == "objectnet"]
    assert objectnet[0][:6] == ["18,574", "480 pixels, crop", "top-1", "47.12", "47.00", "+0.12"]
    assert objectnet[1][2:] == ["top-5", "68.00", "69.00", "-1.00", "Papers with Code"]
    assert objectnet[2][2:6] == ["top-1 among the classes of the data", "50.50", "50.29", "+0.21"]
    assert objectnet[2][-1] == "testbed; on the older archive objectnet-1.0-beta"
    assert len(objectnet) == 3


def test_the_head_of_imagenet_21k_has_numbers_of_its_own():
    found = {(row[0], row[3]): row[4:] for row in rows("M")}
    assert found["V2", "top-1"][:3] == ["60.00", "62.28", "-2.28"]
    assert found["V2", "top-5"] == ["80.00", "-", "-", "-"]
    assert found["val", "top-1"][1] == "74.13"  # not 85.39, that of the paper after fine-tuning


def test_weights_of_ones_own_and_the_sources():
    assert [row[3:] for row in rows("mine")] == [["top-1", "-", "-", "-", "-"]] * 3
    end = table(RECORDS, MODELS, DATASETS, NAMES).split("\n\n")[-1]
    assert "timm: huggingface/pytorch-image-models" in end
    assert "official README" not in end
