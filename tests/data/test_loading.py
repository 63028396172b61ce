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


@pytest.mark.parametrize("path", ["/no/such/place", "./none", "~/none"])
def test_missing_folder(path):
    with pytest.raises(data.DataError, match=r"no such folder: .*(place|none)"):
        data.load(path)


def test_unknown_name_says_what_is_allowed():
    with pytest.raises(data.DataError, match=r"no such data: 'cifar11'; allowed are .digits., .* folder.*cifar10"):
        data.load("cifar11")


def test_bundled_data_do_not_import_tensorflow_datasets():
    code = "import sys; from bit_keras import data; data.load('digits'); sys.exit('tensorflow_datasets' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
