"""Local files for names, addresses and paths."""

import pytest

from bit_keras.checkpoints import CheckpointError, locate
from bit_keras.checkpoints.remote import download
from bit_keras.zoo import presets

BUCKET = presets.BUCKET
SAVED_MODEL = (
    *("saved_model.pb", "tfhub_module.pb"),
    *("variables/variables.data-00000-of-00001", "variables/variables.index"),
)


@pytest.fixture(autouse=True)
def fetched(monkeypatch, tmp_path) -> list:
    """The downloads that would be made."""
    calls, file = [], tmp_path / "fetched"
    file.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "fetch", lambda url, md5=None, sha256=None: calls.append((url, md5)) or file)
    monkeypatch.setattr(download, "fetch_folder", lambda url, files: calls.append((url, files)) or file)
    return calls


def test_every_usable_file_of_every_preset_can_be_asked_for(fetched):
    for row in presets.PRESETS.values():
        for file_format in {file.format for file in row.files if not file.fault}:
            _, variant = locate(row.name, file_format=file_format)
            assert variant == row.variant
    usable = {f.url for row in presets.PRESETS.values() for f in row.files if not f.fault and f.has_head}
    assert {url for url, _ in fetched} == usable


def test_the_first_choice_is_the_official_npz(fetched):
    locate("BiT-M-R50x1")
    locate("BiT-M-R50x1", file_format="h5")
    assert fetched == [
        ("https://storage.googleapis.com/bit_models/BiT-M-R50x1.npz", None),
        ("https://storage.googleapis.com/bit_models/BiT-M-R50x1.h5", "482c5f2671bf6dad5e458260bfd6ac51"),
    ]


@pytest.mark.parametrize("name", ["BiT-S-R50x3", "BiT-S-R101x1"])
def test_wrong_uploads_are_refused_before_they_are_downloaded(fetched, name):
    with pytest.raises(CheckpointError, match=rf"{name}\.h5 holds the weights of .*; use .*{name}\.npz"):
        locate(name, file_format="h5")
    assert not fetched


def test_formats_that_were_not_published():
    with pytest.raises(ValueError, match="BiT-S-R152x2 was published as npz, got file_format='timm'"):
        locate("BiT-S-R152x2", file_format="timm")
    with pytest.raises(ValueError, match="file_format='h5' is for names of published weights"):
        locate("https://host/weights.npz", file_format="h5")


def test_addresses_and_paths(fetched, tmp_path):
    assert locate("hf://owner/name/model.safetensors", "R50x1") == (tmp_path / "fetched", "R50x1")
    assert fetched == [("hf://owner/name/model.safetensors", None)]
    (tmp_path / "weights.npz").touch()
    path, variant = locate("weights.npz")
    assert (path.name, variant) == ("weights.npz", None)
    assert len(fetched) == 1


@pytest.mark.parametrize(
    ("address", "call"),
    [
        ("gs://bit_models/BiT-M-R50x1.h5", (f"{BUCKET}/BiT-M-R50x1.h5", "482c5f2671bf6dad5e458260bfd6ac51")),
        (f"{BUCKET}/vtab/BiT-M-R50x1-run0-svhn.tfhub/", (f"{BUCKET}/vtab/BiT-M-R50x1-run0-svhn.tfhub", SAVED_MODEL)),
        ("https://storage.cloud.google.com/bit_models/BiT-M-R50x1.npz", (f"{BUCKET}/BiT-M-R50x1.npz", None)),
        ("https://tfhub.dev/google/bit/m-r50x1/1", ("kaggle://google/bit/tensorFlow2/m-r50x1/1", None)),
    ],
)
def test_addresses_of_published_files(fetched, address, call):
    locate(address)
    assert fetched == [call]


def test_the_address_of_a_wrong_upload(fetched):
    with pytest.raises(CheckpointError, match=r"BiT-S-R50x3\.h5 holds the weights of"):
        locate(f"{BUCKET}/BiT-S-R50x3.h5")
    assert not fetched


def test_the_shards_of_an_index_are_downloaded_with_it(monkeypatch, tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}}')
    calls = []
    monkeypatch.setattr(download, "fetch", lambda url: calls.append(url) or index)
    assert locate("https://huggingface.co/a/b/blob/v1/model.safetensors.index.json") == (index, None)
    assert calls == [f"hf://a/b@v1/{name}" for name in (index.name, "m-1.safetensors", "m-2.safetensors")]


@pytest.mark.parametrize("address", ["s3://bucket/w.npz", "file:///w.npz", "htps://host/w.npz"])
def test_addresses_that_are_not_served(fetched, address):
    with pytest.raises(ValueError, match=f"must begin with http://, .*, package://, got '{address}'"):
        locate(address)


def test_a_published_name_wins_over_a_file(fetched, tmp_path):
    (tmp_path / "BiT-M-R50x1").touch()
    locate("BiT-M-R50x1")
    assert len(fetched) == 1


def test_unknown_names(fetched):
    with pytest.raises(ValueError, match=r"no file is called 'bit-m-r50x1': unknown preset.*closest: BiT-M-R50x1"):
        locate("bit-m-r50x1")
    for variant in ("R18", "R101x1"):
        with pytest.raises(ValueError, match=r"unknown variant|is variant R50x1, got variant='R101x1'"):
            locate("BiT-M-R50x1", variant)
    assert not fetched
