import json
import os
import shutil

import numpy as np
import pytest

from bit_keras import data
from bit_keras.data.loaders import streams


@pytest.fixture
def rows(image_folder):
    """Rows [path, label, split] of the images in `image_folder`, with paths relative to it."""
    paths = sorted(path.relative_to(image_folder) for path in image_folder.glob("*/*/*.png"))
    return [[path.as_posix(), path.parts[1], path.parts[0]] for path in paths]


@pytest.fixture
def write(image_folder):
    """Returns a function that writes rows to a CSV file in `image_folder` and returns its path."""

    def write(lines, header=("path", "label", "split"), newline="\n", encoding="utf-8"):
        path = image_folder / "mine.csv"
        text = newline.join(",".join(cells) for cells in [header, *lines]) + newline
        path.write_bytes(text.encode(encoding))
        return path

    return write


def _same(first, second):
    return all(
        one.images.tolist() == other.images.tolist() and one.labels.tolist() == other.labels.tolist()
        for one, other in ((first.train, second.train), (first.test, second.test))
    )


def test_attributes(rows, write, numbers_of):
    source = data.load(write(rows))
    assert (source.name, source.class_names, source.image_size) == ("mine", ("a", "b", "c"), (6, 9))
    assert (source.num_train, source.num_test) == (40, 11)
    assert source.describe()["kind"] == "csv"
    assert sorted(numbers_of(streams.in_order(source.train))) == list(range(40))
    assert sorted(numbers_of(streams.in_order(source.test))) == list(range(100, 111))


def test_csv_of_a_folder_is_the_folder(rows, write, image_folder):
    assert _same(data.load(write(rows)), data.load(image_folder))


def test_classes_are_sorted_by_name_and_rows_have_no_order(rows, write):
    other = [[path, {"a": "z", "b": "y", "c": "x"}[label], split] for path, label, split in rows]
    source = data.load(write(other))
    assert source.class_names == ("x", "y", "z")
    shuffled = [other[i] for i in np.random.default_rng(0).permutation(len(other))]
    again = data.load(write(shuffled))
    assert again.describe() == source.describe()
    assert _same(again, source)


def test_columns_in_another_order_and_files_of_other_programs(rows, write):
    expected = data.load(write(rows))
    swapped = [[split, f" {label} ", f'"{path}"'] for path, label, split in rows]
    path = write([*swapped, []], header=("split", "label", "path"), newline="\r\n", encoding="utf-8-sig")
    assert _same(data.load(path), expected)
    shutil.move(path, path.with_suffix(".CSV"))
    assert _same(data.load(path.with_suffix(".CSV")), expected)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "Val"])
def test_validation_is_tested_on_without_test_only(name, rows, write):
    renamed = [[path, label, name if split == "test" else split] for path, label, split in rows]
    assert _same(data.load(write(renamed)), data.load(write(rows)))
    mixed = [[path, label, name if i % 4 == 0 else split] for i, (path, label, split) in enumerate(rows)]
    path = write(mixed)
    source = data.load(path)
    for split, examples in (("train", source.train), (name, source.validation), ("test", source.test)):
        assert sorted(examples.images) == sorted(str(path.parent / row[0]) for row in mixed if row[2] == split)
    following = {"a": "b", "b": "c", "c": "a"}
    other = [[row[0], following[row[1]], name] if row[2] == name else row for row in mixed]
    assert data.load(write(other)).describe()["validation"] != source.describe()["validation"]
    used = [row for row in mixed if row[2] != name]
    assert data.load(write(used)).describe() == source.without_validation().describe()


def test_two_names_of_validation(rows, write):
    names = {0: "val", 1: "valid"}
    mixed = [[path, label, names.get(i % 4, split)] for i, (path, label, split) in enumerate(rows)]
    with pytest.raises(data.DataError, match=r"mine\.csv must have one validation split, got both val and valid"):
        data.load(write(mixed))


def test_a_group_is_in_one_split(rows, write):
    header = ("path", "label", "group")
    by_number = sorted(rows, key=lambda row: row[0].rpartition("/")[-1])
    grouped = [[path, label, f"camera {i // 4}"] for i, (path, label, _) in enumerate(by_number)]
    path = write(grouped, header=header)
    source = data.load(path).hold_out(0.2)
    group_of = {str(path.parent / image): group for image, _, group in grouped}
    splits = [[group_of[image] for image in split.images] for split in (source.train, source.validation, source.test)]
    assert sum(map(len, splits)) == len(rows)
    assert len({group for split in splits for group in split}) == sum(len(set(split)) for split in splits)
    for examples in (source.validation, source.test):
        assert set(examples.labels) == {0, 1, 2}
        assert 6 <= len(examples) <= 13
    moved = [[image, label, group.replace("2", "1")] for image, label, group in grouped]
    assert data.load(write(moved, header=header)).describe()["fingerprint"] != source.describe()["fingerprint"]


def test_a_group_that_the_column_split_divides(rows, write):
    header = ("path", "label", "split", "group")
    places = {3: "north", 40: "north"}
    lines = [[*row, places.get(i, f"camera {i}")] for i, row in enumerate(rows)]
    assert {rows[i][2] for i in places} == {"train", "test"}
    with pytest.raises(data.DataError, match=r"a group must be in one split, got 'north' in t.* and t.*; without"):
        data.load(write(lines, header=header))
    alone = [[*row, f"camera {i}"] for i, row in enumerate(rows)]
    assert _same(data.load(write(alone, header=header)), data.load(write(rows)))


def test_file_without_splits_is_divided_by_seed(rows, write):
    path = write([row[:2] for row in rows], header=("path", "label"))
    sources = [data.load(path, seed=seed) for seed in (0, 1, 1)]
    counts = np.bincount([ord(label) - ord("a") for _, label, _ in rows])
    for source in sources:
        assert np.bincount(source.test.labels).tolist() == [round(0.2 * count) for count in counts]
        assert sorted([*source.train.images, *source.test.images]) == sorted(str(path.parent / row[0]) for row in rows)
    assert _same(sources[1], sources[2])
    assert not _same(sources[0], sources[1])
    assert sources[1].describe() == sources[2].describe() != sources[0].describe()


def test_paths_outside_the_folder(rows, write, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    path = away / "mine.csv"
    shutil.move(write([[f"../numbered/{row[0]}", *row[1:]] for row in rows]), path)
    source = data.load(path)
    assert (source.num_train, source.num_test) == (40, 11)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_fingerprint_changes_with_every_column(column, rows, write, image_folder):
    before = data.load(write(rows)).describe()
    assert json.loads(json.dumps(before)) == before
    value = {0: "train/b/new.png", 1: "c", 2: "test"}[column]
    shutil.copy(image_folder / rows[20][0], image_folder / "train/b/new.png")
    changed = [list(row) for row in rows]
    if column == 0:
        changed[20] = ["train/b/new.png", *rows[20][1:]]
    else:
        place = next(i for i, row in enumerate(rows) if row[1:] == ["b", "train"])
        changed[place][column] = value
    after = data.load(write(changed)).describe()
    assert after["fingerprint"] != before["fingerprint"]


def test_fingerprint_changes_with_the_name_of_a_class(rows, write):
    before = data.load(write(rows)).describe()
    after = data.load(write([[path, label.replace("a", "aa"), split] for path, label, split in rows])).describe()
    assert after["fingerprint"] != before["fingerprint"]


def test_skipped_images_are_as_if_not_listed(rows, write, image_folder):
    expected = data.load(write(rows))
    bad = image_folder / "train" / "a" / "bad.png"
    bad.write_text("no image")
    path = write([["train/a/bad.png", "a", "train"], *rows])
    with pytest.raises(data.DataError, match=r"1 of 52 images cannot be used:\n.*bad\.png: cannot be decoded") as error:
        data.load(path)
    assert error.value.files == (str(bad),)
    source = data.load(path, skip_unreadable=True)
    assert source.describe() == expected.describe()
    assert _same(source, expected)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            ("path", "colour"),
            "line 1: the columns must be path, label and optionally split and .* got path, colour$",
        ),
        (("path", "image", "label"), "--image_column and --label_column choose .*; got path, image, label$"),
        (("path", "label", "width"), "got path, label, width$"),
        (("path", "label", "label"), "got path, label, label; every image must have one label, because .* softmax"),
        (("path", "label_1", "label_2"), "got path, label_1, label_2; every image must have one label"),
    ],
)
def test_bad_header(header, message, rows, write):
    with pytest.raises(data.DataError, match=message):
        data.load(write(rows, header=header))


def test_all_faulty_lines_are_named(rows, write, image_folder):
    same = rows[0]
    lines = [
        *(same, ["none.png", "a", "train"], ["train/a/003.png", "", "train"], ["", "a", "train"]),
        *(["train/a/006.png", "a|b", "train"], ["train/a/009.png", "a; b", "train"]),
        *(["train/a/012.png", "a", "dev"], ["train/a/015.png", "a"], ["train/a", "a", "train"]),
        *([f"./{same[0]}", "b", same[2]], ['"train/a/018.png', 'a"'], ["train/a/021.png", "a", ""]),
    ]
    with pytest.raises(data.DataError) as error:
        data.load(write(lines))
    one_label = "every image must have one label, because fine-tuning ends in a softmax over the classes"
    assert str(error.value).split("\n  ") == [
        f"{image_folder / 'mine.csv'} has 11 faulty lines:",
        f"line 3: no such file: {image_folder / 'none.png'}",
        "line 4: label must not be empty",
        "line 5: path must not be empty",
        f"line 6: the label 'a|b' reads like several labels; {one_label}",
        f"line 7: the label 'a; b' reads like several labels; {one_label}",
        "line 8: the split must be one of train, test, validation, valid, val, got 'dev'",
        "line 9: must have 3 cells, got 2",
        f"line 10: no such file: {image_folder / 'train' / 'a'}",
        f"line 11: lists {image_folder / same[0]} again, after line 2; {one_label}",
        "line 12: must have 3 cells, got 1",
        "line 13: split must not be empty",
    ]


def test_long_list_of_faulty_lines_is_cut(write):
    with pytest.raises(data.DataError, match=r"30 faulty lines:\n(?s:.*)line 21: (?s:.*)and 10 more$"):
        data.load(write([[f"none{i}.png", "a", "train"] for i in range(30)]))


def test_lines_are_counted_across_quoted_line_breaks(rows, write):
    with pytest.raises(data.DataError, match="line 4: no such file"):
        data.load(write([[rows[0][0], '"a\na"', "train"], ["none.png", "a", "train"]]))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("val", "test"), "there must be a split train, got test, val$"),
    ],
)
def test_missing_splits(splits, message, rows, write):
    with pytest.raises(data.DataError, match=message):
        data.load(write([[path, label, splits[split == "test"]] for path, label, split in rows]))


def test_class_in_one_split_only(rows, write):
    renamed = [[path, "d" if (label, split) == ("c", "test") else label, split] for path, label, split in rows]
    with pytest.raises(data.DataError, match=r"only in train: \['c'\], only in test: \['d'\]"):
        data.load(write(renamed))


def test_class_of_one_image(rows, write):
    path = write([[path, "d" if i == 0 else "a"] for i, (path, _, _) in enumerate(rows)], header=("path", "label"))
    with pytest.raises(data.DataError, match="class 'd' must have 2 images or more, to train and to test, got 1"):
        data.load(path)


def test_train_alone_is_divided(rows, write):
    source = data.load(write([[path, label, "train"] for path, label, _ in rows]))
    assert (source.num_train, source.num_test) == (42, 9)
    without = data.load(write([row[:2] for row in rows], header=("path", "label")))
    assert _same(source, without)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_spreadsheets_and_of_windows(delimiter, encoding, rows, write, image_folder):
    expected = data.load(write(rows))
    lines = [delimiter.join([path.replace("/", "\\"), f'"{label}"', split]) for path, label, split in rows]
    path = image_folder / "mine.csv"
    path.write_bytes("\r\n".join([delimiter.join(["Filename", "Class", "Set"]), *lines]).encode(encoding))
    source = data.load(path)
    assert source.describe() == expected.describe()
    assert _same(source, expected)
    excel = f"sep={delimiter}\r\n".encode(encoding) + path.read_bytes().removeprefix("".encode(encoding))
    path.with_suffix(".tsv").write_bytes(excel)
    assert _same(data.load(path.with_suffix(".tsv")), expected)


def test_columns_that_flags_name(rows, write):
    expected = data.load(write(rows))
    header = ("id", "Photo", "label", "kind", "split")
    lines = [[str(number), path, "x", label, split] for number, (path, label, split) in enumerate(rows)]
    path = write(lines, header=header)
    source = data.load(path, image_column="photo", label_column="kind")
    assert source.describe() == expected.describe()
    with pytest.raises(data.DataError, match=r"the columns must be photo, label_x and .* got id, Photo, label, kind"):
        data.load(path, image_column="photo", label_column="label_x")


@pytest.mark.parametrize("absolute", ["C:\\images\\1.png", "d:/images/1.png", "\\\\server\\images\\1.png"])
def test_absolute_paths_of_windows(absolute, rows, write):
    with pytest.raises(
        data.DataError, match=r"line 2: .*1\.png is a path of Windows; paths must be relative to the fold"
    ):
        data.load(write([[absolute, "a", "train"], *rows]))


@pytest.mark.parametrize("address", ["https://example.org/1.png", "s3://bucket/1.png"])
def test_addresses_are_not_downloaded(address, rows, write):
    with pytest.raises(data.DataError, match=rf"line 2: {address} is an address; download the images, and list the"):
        data.load(write([[address, "a", "train"], *rows]))


@pytest.mark.parametrize("nothing", ["", "-1"])
def test_a_test_split_without_labels(nothing, rows, write, caplog):
    with_val = [
        [path, nothing if split == "test" and i % 2 else label, "val" if split == "test" and not i % 2 else split]
        for i, (path, label, split) in enumerate(rows)
    ]
    source = data.load(write(with_val))
    assert source.test_split == "val"
    assert sorted(source.test.images) == sorted(str(write(with_val).parent / r[0]) for r in with_val if r[2] == "val")
    assert "the split test has no labels; tested on val instead" in caplog.text
    train_only = data.load(
        write([[path, label if split == "train" else nothing, split] for path, label, split in rows])
    )
    assert (train_only.num_train, train_only.num_test, train_only.class_names) == (31, 9, ("a", "b", "c"))


def test_what_is_no_file_is_a_row_of_the_list(rows, write, image_folder):
    expected = data.load(write(rows))
    os.mkfifo(image_folder / "pipe.png")
    path = write([["pipe.png", "a", "train"], *rows])
    with pytest.raises(
        data.DataError, match=r"1 of 52 images cannot be used:\n.*pipe\.png: must be a file, not a pipe"
    ):
        data.load(path)
    assert _same(data.load(path, skip_unreadable=True), expected)


def test_no_rows_and_no_file(write, tmp_path):
    with pytest.raises(data.DataError, match="must list images, got none below its header"):
        data.load(write([]))
    with pytest.raises(data.DataError, match=r"no such file: .*none\.csv"):
        data.load(tmp_path / "none.csv")


@pytest.mark.parametrize("content", [b"path,label\n\xff.png,a\n", b'path,label\n"a.png,a\n', b'path,label\n"a"b,c\n'])
def test_file_of_another_kind(content, tmp_path):
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(data.DataError, match=r"bad\.csv must hold comma-separated values in UTF-8"):
        data.load(tmp_path / "bad.csv")


def test_empty_file(tmp_path):
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(data.DataError, match=r"line 1: the columns must be path, label .* got none"):
        data.load(tmp_path / "empty.csv")
