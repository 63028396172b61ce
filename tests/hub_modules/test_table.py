"""What the pages of the catalogue state of its modules."""

from bit_keras.zoo.modules import MODULES
from hub_modules.table import collection_metadata, metadata, pages

IN_PAPER = ["r50x1", "r101x1", "r50x3", "r101x3", "r152x4"]


def test_pages():
    sizes = {stem: len(modules) for stem, modules in pages().items()}
    assert {stem: size for stem, size in sizes.items() if size > 1} == {f"m-{v}-vtab": 19 * 3 for v in IN_PAPER}
    assert len(sizes) == 2 + 25 + 5 + 2 + 6 + 5  # mini, official, R152x2, distilled, teachers, VTAB
    assert sum(sizes.values()) == len(MODULES)


def test_metadata_of_a_classifier():
    assert metadata(MODULES["m-r152x2-imagenet21k-classification"]) == {
        "asset-path": "m-r152x2-imagenet21k-classification.tar.gz",
        "task": "image-classification",
        "dataset": "ImageNet-21k",
        "fine-tunable": "true",
        "format": "saved_model_2",
        "license": "Apache-2.0",
        "network-architecture": "BiT R152x2",
        "preset": "BiT-M-R152x2",
        "kind": "classification",
        "input-range": "0 1",
        "num-classes": "21843",
        "activation": "sigmoid",
    }


def test_metadata_of_a_feature_vector():
    found = metadata(MODULES["s-r50x3"])
    assert (found["task"], found["dataset"], found["num-features"]) == ("image-feature-vector", "ImageNet-1k", "6144")
    assert not {"num-classes", "activation"} & found.keys()


def test_metadata_of_a_collection():
    found = collection_metadata(pages()["m-r50x1-vtab"])
    assert found["network-architecture"] == "BiT R50x1"
    assert found["activation"] == "softmax"
    assert not {"asset-path", "dataset", "preset", "num-classes"} & found.keys()
