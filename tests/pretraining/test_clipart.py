"""Pictures from a package that the tests create."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from pretraining import clipart

PICTURES = {
    "tools/saw.png": "red",
    "tools/hammer.png": "green",
    "computer/icons/lemon-theme/apps/clock.png": "blue",  # excluded, because it contains digits
    "animals/dog.png": "blue",
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("Debian's dpkg-deb reads Debian packages")
    folder = tmp_path_factory.mktemp("package")
    (folder / "DEBIAN").mkdir()
    (folder / "DEBIAN" / "control").write_text(
        "Package: clip-art\nVersion: 1\nArchitecture: all\nMaintainer: X <x@x.org>\nDescription: x\n"
    )
    for name, colour in PICTURES.items():
        path = folder / "usr/share/openclipart/png" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (300, 150), colour).save(path)
    package = folder.parent / "clip-art_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", folder, package], check=True, capture_output=True)
    return clipart.draw(package, np.random.default_rng(0))


def test_views_of_known_folders(drawn):
    labels = np.concatenate([labels for _, labels in drawn.values()])
    assert labels.tolist() == [clipart.CLASSES.index("tool")] * 32  # sixteen views of two pictures
    for images, labels in drawn.values():
        assert len(images) == len(labels)
        assert len(labels) % 16 == 0  # all views of a picture are in one split


def test_a_view_is_the_picture_on_a_background(drawn):
    images = np.concatenate([images for images, _ in drawn.values() if len(images)])
    assert images.shape == (32, 32, 32, 3)
    assert images.dtype == np.uint8
    papers = images[:, 0, 0]
    assert 0 < (papers == 255).all(axis=-1).mean() < 1
    inks = [tuple(image[16, 16]) for image in images]
    assert set(inks) == {(255, 0, 0), (0, 128, 0)}
    widths = [np.any(image != image[0, 0], axis=-1).any(axis=0).sum() for image in images]
    assert 16 <= min(widths) < max(widths) <= 32
