"""The folder of a job's results."""

import json

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("ray", reason="needs the extra ray")

from pyarrow import parquet

from bit_keras.bulk.images import Image
from bit_keras.bulk.parts import Output, digest, divided, table
from bit_keras.bulk.places import place_of
from bit_keras.inference.prediction import Prediction
from bit_keras.system import locks

ROWS = [
    Prediction("a.jpg", ("ant", "größe"), (0.75, 0.25), (1, 0), features=np.float32([1, 2, 3])),
    Prediction("b\udcff.jpg", error="no such file"),
]


def test_parts_are_functions_of_their_images():
    images = [Image(str(k), str(k)) for k in range(10)]
    parts = divided(images, 4)
    assert [len(part.images) for part in parts] == [4, 4, 2]
    assert [name for part in parts for name in part.images] == images
    assert divided(images, 4) == parts
    other = divided([*images[:5], Image("x", "x"), *images[5:]], 4)
    assert [a.name == b.name for a, b in zip(parts, other)] == [True, False, False]
    assert digest(images) != digest(images[::-1])


@pytest.mark.parametrize(
    ("what", "columns"),
    [
        ("predictions", ["classes", "probabilities", "indices"]),
        ("features", ["features"]),
        ("both", ["classes", "probabilities", "indices", "features"]),
    ],
)
@pytest.mark.parametrize("file_format", ["parquet", "tfrecord"])
def test_rows(what, columns, file_format, tmp_path):
    output = Output(place_of(tmp_path / "rows"), {}, file_format)
    (part,) = divided([Image("a.jpg", "a.jpg")], 4)
    output.write(part, table(ROWS, what))
    path = tmp_path / "rows" / f"{part.name}.{file_format}"
    if file_format == "parquet":
        rows = parquet.read_table(path.parent)  # the folder: its other files are not taken for rows
        assert rows.column_names == ["file", *columns, "error"]
        first, second = rows.to_pylist()
        assert (first["file"], first["error"]) == ("a.jpg", None)
        assert (second["file"], second["error"]) == (r"b\udcff.jpg", "no such file")
        expected = {
            "classes": ["ant", "größe"],
            "probabilities": [0.75, 0.25],
            "indices": [1, 0],
            "features": [1, 2, 3],
        }
        assert {name: first[name] for name in columns} == {name: expected[name] for name in columns}
        assert not any(second[name] for name in columns)
        return
    examples = [
        tf.train.Example.FromString(record).features.feature
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    assert [example["file"].bytes_list.value[0] for example in examples] == [b"a.jpg", rb"b\udcff.jpg"]
    assert [example["error"].bytes_list.value[0] for example in examples] == [b"", b"no such file"]
    assert set(examples[0]) == {"file", *columns, "error"}
    if what != "features":
        assert list(examples[0]["indices"].int64_list.value) == [1, 0]
        assert list(examples[0]["probabilities"].float_list.value) == [0.75, 0.25]
    if what != "predictions":
        assert list(examples[0]["features"].float_list.value) == [1, 2, 3]


def test_a_folder_has_one_job(tmp_path):
    place = place_of(tmp_path / "rows")
    Output(place, {"top": 5}, "parquet")
    output = Output(place, {"top": 3}, "parquet")  # nothing was computed with 5
    part, other = divided([Image("a.jpg", "a.jpg"), Image("b.jpg", "b.jpg")], 1)
    output.write(part, table(ROWS, "both"))
    again = Output(place, {"top": 3}, "parquet")
    assert (again.has(part), again.has(other)) == (True, False)
    with pytest.raises(
        ValueError, match=r"holds the results of another job, with top 3 instead of 5: give a new folder"
    ):
        Output(place, {"top": 5}, "parquet")
    assert json.loads((tmp_path / "rows" / "_job.json").read_text()) == {"top": 3}
    with (
        locks.held(tmp_path / "rows" / locks.NAME),
        pytest.raises(BlockingIOError, match="output: another job is writing to"),
        again.in_use(),
    ):
        pass
    with again.in_use():
        pass


def test_folders_that_are_refused(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(FileExistsError, match="output: must be a new or empty folder, or that of the same job"):
        Output(place_of(tmp_path), {}, "parquet")
    with pytest.raises(FileExistsError, match=r"output: .*photo\.jpg"):
        Output(place_of(tmp_path / "photo.jpg"), {}, "parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.jpg"]
