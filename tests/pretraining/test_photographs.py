"""Photographs from a package that the tests create."""

import shutil
import subprocess

import pytest
from PIL import Image

from pretraining import photographs


def _package(folder, names):
    (folder / "DEBIAN").mkdir(parents=True)
    (folder / "DEBIAN" / "control").write_text(
        "Package: photographs\nVersion: 1\nArchitecture: all\nMaintainer: X <x@x.org>\nDescription: x\n"
    )
    for name in names:
        path = folder / "usr/share/backgrounds" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (300, 200), "red")
        exif = image.getexif()
        if name == "Storm":
            exif[0x0112] = 6  # orientation: turn by 90 degrees
        image.save(path, exif=exif)
    package = folder.parent / f"{folder.name}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", folder, package], check=True, capture_output=True)
    return package


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="Debian's dpkg-deb reads Debian packages")
def test_photographs_of_each_split_upright_and_reduced(tmp_path):
    names = [name for split in photographs.SPLITS.values() for name in split]
    package = _package(tmp_path / "all", ["drawing", *names])
    read = photographs.read([package], side=100)
    assert {split: tuple(found) for split, found in read.items()} == photographs.SPLITS
    assert {name: image.size for found in read.values() for name, image in found.items()} == {
        name: (100, 150) if name == "Storm" else (150, 100) for name in names
    }
    assert photographs.read([package], side=250)["train"]["Dune"].size == (300, 200)  # never enlarged
    few = _package(tmp_path / "few", names[1:])
    with pytest.raises(ValueError, match="got none called Aqua: another release"):
        photographs.read([few], side=100)
