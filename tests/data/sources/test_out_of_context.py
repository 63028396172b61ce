"""Class folders named after classes of ILSVRC-2012."""

import json

import pytest

from bit_keras import data
from tests.data.sources.test_imagenet import write_image


def test_folders_and_their_other_names(tmp_path):
    for name in ("golden_retriever", "teapot", "kite (bird)"):
        write_image(tmp_path / name / "1.jpg")
    plain = data.load(f"out_of_context:{tmp_path}")
    assert plain.class_names == ("golden_retriever", "kite (bird)", "teapot")
    (tmp_path / "classes.json").write_text(json.dumps({"kite (bird)": "n01608432"}))
    named = data.load(f"out_of_context:{tmp_path}")
    assert named.class_names == ("golden_retriever", "n01608432", "teapot")
    assert named.test.labels.tolist() == [0, 1, 2]
    assert (named.name, named.labels, named.num_train) == ("out_of_context", "ilsvrc2012", 0)
    assert named.identity != plain.identity
    for content, message in (
        ({"kites": "kite"}, "names folders that do not exist: kites"),
        ({"teapot": "golden_retriever"}, "must give each folder a class of its own"),
        ({"teapot": 849}, "must be an object"),
        ([], "must be an object"),
    ):
        (tmp_path / "classes.json").write_text(json.dumps(content))
        with pytest.raises(data.DataError, match=message):
            data.load(f"out_of_context:{tmp_path}")


def test_an_empty_folder(tmp_path):
    with pytest.raises(data.DataError, match="must hold one folder for each class, got none"):
        data.load(f"out_of_context:{tmp_path}")
    with pytest.raises(data.DataError, match=r"out_of_context must be given as out_of_context:PATH, .*big_transfer"):
        data.load("out_of_context")
