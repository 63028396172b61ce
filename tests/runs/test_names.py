"""Names of data in tables and folders."""

import pytest

from bit_keras.runs.names import display_names, stem


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("/data/birds.csv", "birds"),
        ("cifar10:3.0.2", "cifar10:3.0.2"),
        ("imagenet2012", "imagenet2012"),
        ("imagenet2012:5.1.0", "imagenet2012:5.1.0"),
        ("imagenet_v2/threshold-0.7", "imagenet_v2/threshold-0.7"),
        ("objectnet:/data/objectnet-1.0.zip", "objectnet"),
        ("vtab/dtd", "vtab/dtd"),
    ],
)
def test_stems(name, short):
    assert stem(name) == short


def test_two_copies_of_an_evaluation_set_have_their_paths():
    names = ["objectnet:/a.zip", "objectnet:/b", "imagenet_v2:/c"]
    assert list(display_names(names).values()) == [*names[:2], "imagenet_v2/matched-frequency"]
