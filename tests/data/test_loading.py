import subprocess
import sys
from pathlib import Path

import pytest

from bit_keras import data


def test_a_path_is_a_folder(image_folder, monkeypatch):
    monkeypatch.chdir(image_folder.parent)
    monkeypatch.setenv("HOME", str(image_folder.parent))
    for path in (image_folder, str(image_folder), "numbered", "./numbered", "~/numbered", Path("numbered")):
        assert data.load(path).describe()["kind"] == "folder"


def test_a_path_that_ends_in_csv_is_a_table(image_folder, monkeypatch):
    monkeypatch.chdir(image_folder)
    monkeypatch.setenv("HOME", str(image_folder))
    lines = [f"{path.relative_to(image_folder)},{path.parts[-2]}" for path in image_folder.glob("train/*/*.png")]
    (image_folder / "mine.csv").write_text("\n".join(["path,label", *lines]))
    for path in (image_folder / "mine.csv", "mine.csv", "./mine.csv", "~/mine.csv"):
        assert data.load(path).describe()["kind"] == "csv"


def test_a_folder_may_end_in_csv(image_folder):
    folder = image_folder.rename(image_folder.with_suffix(".csv"))
    assert data.load(folder).describe()["kind"] == "folder"


@pytest.mark.parametrize("path", ["/no/such/place", "./none", "~/none"])
def test_missing_folder(path):
    with pytest.raises(data.DataError, match=r"no such folder: .*(place|none)"):
        data.load(path)


@pytest.mark.parametrize("path", ["C:\\data\\birds", "D:/birds", "data\\birds", "C:\\data\\birds.csv"])
def test_paths_of_windows(path):
    with pytest.raises(data.DataError, match=r"birds(.csv)? is a path of Windows, which does not exist here: .*/mnt/c"):
        data.load(path)


def test_other_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("a.png 0")
    for path in ("list.txt", tmp_path / "list.txt"):
        with pytest.raises(
            data.DataError, match=r"files of data end in \.csv, \.tsv or \.npz, list\.txt is another file"
        ):
            data.load(path)


def test_unknown_name_says_what_is_allowed():
    with pytest.raises(data.DataError, match=r"no such data: 'cifar11'; allowed are .digits., .* folder.*cifar10"):
        data.load("cifar11")


def test_names_of_tensorflow_datasets_need_tensorflow(monkeypatch):
    monkeypatch.delitem(sys.modules, "bit_keras.data.sources.tfds", raising=False)
    monkeypatch.delattr(data, "tfds", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    message = r"'cifar10' of TensorFlow Datasets needs .*'bit-keras\[tfds\]'; .* folder and that of a CSV file"
    with pytest.raises(ImportError, match=message):
        data.load("cifar10")


def test_the_loader_is_what_is_installed(monkeypatch):
    assert data.choose_loader() == data.choose_loader("tf.data") == "tf.data"
    assert data.choose_loader("grain") == "grain"
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert data.choose_loader() == data.choose_loader("grain") == "grain"
    with pytest.raises(ImportError, match=r"the loader tf\.data needs .* pip install 'bit-keras\[tensorflow\]'"):
        data.choose_loader("tf.data")
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r"pip install 'bit-keras\[grain\]'"):
        data.choose_loader()


def test_bundled_data_do_not_import_tensorflow_datasets():
    code = "import sys; from bit_keras import data; data.load('digits'); sys.exit('tensorflow_datasets' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
