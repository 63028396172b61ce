"""Addresses: their servers, cache paths and mirrors."""

import re
from pathlib import Path

import pytest

from bit_keras.checkpoints.remote import addresses
from bit_keras.checkpoints.remote.addresses import (
    cache_path,
    canonical,
    is_url,
    kaggle_handle,
    mirrors,
    request_for,
)

OFFICIAL = "https://storage.googleapis.com/bit_models/BiT-S-R50x1.npz"


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    for name in ("BIT_KERAS_MIRROR", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BIT_KERAS_CACHE", "/cache")


def test_is_url():
    for name in (
        OFFICIAL,
        "HTTP://host/weights.npz",
        "gs://bucket/w.npz",
        "hf://a/b/c",
        "kaggle://a/b/c/d",
        "package://a/b",
    ):
        assert is_url(name)
    names = ("weights.npz", "/tmp/weights.npz", "C:\\weights.npz", "BiT-S-R50x1", "", "s3://bucket/w.npz", "hf:a/b/c")
    for name in (*names, "https", "http:/host/weights.npz", "./gs://bucket/w.npz"):
        assert not is_url(name)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://host:8000/a/w.npz?x=1", "https://host:8000/a/w.npz?x=1"),
        ("gs://bit_models/vtab/w.npz", "https://storage.googleapis.com/bit_models/vtab/w.npz"),
        ("hf://timm/bit/model.safetensors", "https://huggingface.co/timm/bit/resolve/main/model.safetensors"),
        ("hf://timm/bit@v1.0/a/model.h5", "https://huggingface.co/timm/bit/resolve/v1.0/a/model.h5"),
        ("hf://timm/bit@refs%2Fpr%2F1/m.h5", "https://huggingface.co/timm/bit/resolve/refs%2Fpr%2F1/m.h5"),
    ],
)
def test_requests(url, address):
    assert request_for(url) == (address, None)


def test_the_hubs_endpoint_and_token_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror/hub/")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert request_for("hf://timm/bit/m.h5") == ("https://mirror/hub/timm/bit/resolve/main/m.h5", "secret")
    for url in (OFFICIAL, "gs://bit_models/w.npz", "https://huggingface.co/timm/bit/resolve/main/m.h5"):
        assert request_for(url)[1] is None
    assert cache_path("hf://timm/bit/m.h5") == Path("/cache/huggingface.co/timm/bit/resolve/main/m.h5")


@pytest.mark.parametrize("url", ["hf://timm", "hf://timm/bit", "hf://timm/bit@v1/", "hf://timm/@v1/m.h5"])
def test_malformed_hub_addresses(url):
    for function in (request_for, cache_path):
        with pytest.raises(ValueError, match=r"an hf address is hf://owner/repo\[@revision\]/path, got"):
            function(url)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (OFFICIAL, "storage.googleapis.com/bit_models/BiT-S-R50x1.npz"),
        ("gs://bit_models/BiT-S-R50x1.npz", "storage.googleapis.com/bit_models/BiT-S-R50x1.npz"),
        ("http://host:8000//a/./w.npz#top", "host_8000/a/w.npz"),
        ("http://user:password@host/w.npz", "host/w.npz"),
        ("http://host/../../../etc/w.npz", "host/etc/w.npz"),
        ("gs://../../w.npz/x", "storage.googleapis.com/w.npz/x"),
        ("hf://../../../w.npz/x/y", "huggingface.co/w.npz/x/resolve/main/y"),
        ("http://host/a%2F..%2Fw.npz", "host/a%2F..%2Fw.npz"),
    ],
)
def test_places_in_the_cache(url, path):
    assert cache_path(url) == Path("/cache", path)


def test_a_query_is_part_of_the_place():
    paths = [cache_path(f"http://host/a/w.npz?file={name}") for name in "ab"]
    assert paths[0] != paths[1]
    for path in paths:
        assert path.parent == Path("/cache/host/a")
        assert re.fullmatch("[0-9a-f]{16}-w.npz", path.name)


@pytest.mark.parametrize("url", ["http://host", "http://host/", "http://../w.npz", "http:///w.npz", "https://host/.."])
def test_addresses_without_host_or_file(url):
    with pytest.raises(ValueError, match=f"an address must name a host and a file, got {url!r}"):
        cache_path(url)


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", "~/home")
    monkeypatch.setenv("BIT_KERAS_CACHE", "~/weights")
    assert cache_path("http://host/w.npz") == tmp_path / "weights/host/w.npz"
    for name, folder in (("BIT_KERAS_CACHE", "home"), ("KERAS_HOME", ".keras")):
        monkeypatch.delenv(name)
        assert cache_path("http://host/w.npz") == tmp_path / folder / "models/bit_keras/host/w.npz"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", "relative")
    assert cache_path("http://host/w.npz") == tmp_path / "relative/models/bit_keras/host/w.npz"


def test_mirrors(monkeypatch):
    assert mirrors(OFFICIAL) == []
    monkeypatch.setenv(
        "BIT_KERAS_MIRROR", "https://mirror/bit/, gs://mine,hf://me/bit@v1 ,kaggle://a/b/c/d/1,, /folder"
    )
    bases = ["https://mirror/bit", "gs://mine", "hf://me/bit@v1", "kaggle://a/b/c/d/1", "/folder"]
    for url in (OFFICIAL, "gs://bit_models/BiT-S-R50x1.npz"):
        assert mirrors(url) == [f"{base}/BiT-S-R50x1.npz" for base in bases]
    assert mirrors("gs://bit_models/vtab/w.npz") == [f"{base}/vtab/w.npz" for base in bases]
    assert mirrors("http://host:80/a/w.npz") == [f"{base}/host_80/a/w.npz" for base in bases]
    assert mirrors("gs://bit_models_2/w.npz") == [f"{base}/storage.googleapis.com/bit_models_2/w.npz" for base in bases]


def test_kaggle_handles():
    module = "google/bit/tensorFlow2/m-r50x1"
    assert kaggle_handle(f"kaggle://{module}") == (module, None)
    assert kaggle_handle(f"kaggle://{module}/") == (module, None)
    assert kaggle_handle(f"kaggle://{module}/1") == (f"{module}/1", None)
    assert kaggle_handle(f"kaggle://{module}/12/variables/variables.index") == (
        f"{module}/12",
        "variables/variables.index",
    )
    assert kaggle_handle(f"kaggle://{module}/../saved_model.pb") == (module, "saved_model.pb")
    with pytest.raises(ValueError, match=r"a kaggle address is kaggle://owner/model/framework/variation.* got"):
        kaggle_handle("kaggle://google/bit/tensorFlow2")


def test_schemes_are_all_that_is_served():
    with pytest.raises(
        ValueError, match="must begin with http://, https://, gs://, hf://, kaggle://, package://, got 's3://b/w'"
    ):
        request_for("s3://b/w")
    assert set(addresses.SCHEMES) == {"http", "https", "gs", "hf", "kaggle", "package"}


MODULE = "kaggle://google/bit/tensorFlow2/m-r50x1"


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("https://www.kaggle.com/models/google/bit/tensorFlow2/m-r50x1/1", f"{MODULE}/1"),
        ("http://kaggle.com/models/google/bit/tensorFlow2/m-r50x1/1/?tfhub-redirect=true#overview", f"{MODULE}/1"),
        ("https://www.kaggle.com/models/google/bit/tensorFlow2/m-r50x1", MODULE),
        (
            "https://www.kaggle.com/models/google/bit/frameworks/TensorFlow2/variations/m-r50x1/versions/1",
            f"{MODULE}/1",
        ),
        ("www.kaggle.com/models/google/bit/frameworks/tensorFlow2/variations/m-r50x1/", MODULE),
        ("https://www.kaggle.com/api/v1/models/google/bit/tensorFlow2/m-r50x1/1/download", f"{MODULE}/1"),
        ("kaggle://google/bit/frameworks/tensorFlow2/variations/m-r50x1/versions/1", f"{MODULE}/1"),
        (f"{MODULE}/1/variables/variables.index", f"{MODULE}/1/variables/variables.index"),
        ("https://tfhub.dev/google/bit/m-r50x1/1", f"{MODULE}/1"),
        ("http://www.tfhub.dev/google/bit/m-r50x1", MODULE),
        (
            "https://tfhub.dev/google/bit/s-r152x4/ilsvrc2012_classification/1?tf-hub-format=compressed",
            "kaggle://google/bit/tensorFlow2/s-r152x4-ilsvrc2012-classification/1",
        ),
        (
            "HTTPS://TFHub.dev/google/bit/m-r101x3/imagenet21k_classification/1/",
            "kaggle://google/bit/tensorFlow2/m-r101x3-imagenet21k-classification/1",
        ),
        ("https://huggingface.co/google/bit-50", "hf://google/bit-50/model.safetensors"),
        ("https://hf.co/google/bit-50/tree/main?x=y#files", "hf://google/bit-50/model.safetensors"),
        ("huggingface.co/google/bit-50/tree/v1/sub/", "hf://google/bit-50@v1/sub/model.safetensors"),
        ("https://huggingface.co/google/bit-50/blob/main/model.safetensors", "hf://google/bit-50/model.safetensors"),
        (
            "https://huggingface.co/google/bit-50/resolve/refs%2Fpr%2F1/a/b.npz?download=true",
            "hf://google/bit-50@refs%2Fpr%2F1/a/b.npz",
        ),
        ("https://huggingface.co/google/bit-50/commit/abc123", "hf://google/bit-50@abc123/model.safetensors"),
        ("hf://google/bit-50@v1", "hf://google/bit-50@v1/model.safetensors"),
        ("hf://google/bit-50/a/b.npz", "hf://google/bit-50/a/b.npz"),
        ("https://storage.cloud.google.com/bit_models/vtab/a.npz?authuser=1", "gs://bit_models/vtab/a.npz"),
        ("https://console.cloud.google.com/storage/browser/_details/bit_models/a.npz", "gs://bit_models/a.npz"),
        ("gs://bit_models/BiT-S-R50x1.npz", "gs://bit_models/BiT-S-R50x1.npz"),
        (f" {OFFICIAL}#top", OFFICIAL),
        ("https://kaggle.com.example.org/models/a?b=c", "https://kaggle.com.example.org/models/a?b=c"),
        ("package://weights/a.npz", "package://weights/a.npz"),
    ],
)
def test_addresses_of_pages(page, address):
    assert is_url(page.strip())
    assert canonical(page) == address
    assert canonical(address) == address


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("https://www.kaggle.com/models/google/bit", "kaggle://owner/model/framework/variation"),
        ("https://www.kaggle.com/models/google/bit/frameworks/tensorFlow2", "or the page of a variation, such as"),
        ("https://www.kaggle.com/datasets/a/b/c/d", "kaggle://owner/model/framework/variation"),
        ("https://www.kaggle.com", "kaggle://owner/model/framework/variation"),
        ("https://huggingface.co/google", "hf://owner/repo"),
        ("https://huggingface.co/datasets/a/b", "the page of a model"),
        ("https://huggingface.co/google/bit-50/discussions/1", "the page of a model"),
        ("https://huggingface.co/google/bit-50/blob/main", "the page of a model or of one of its files"),
        ("https://console.cloud.google.com/storage/browser/bit_models", "must name a file, gs://bucket/path"),
        ("https://tfhub.dev", "find this one at https://www.kaggle.com/models and use kaggle://"),
        ("https://tfhub.dev/google/imagenet/inception_v3/classification/5", "find this one at"),
        ("https://tfhub.dev/google/bit/m-r50x2/1", "find this one at"),
    ],
)
def test_pages_without_weights(page, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        canonical(page)
    assert repr(page) in str(error.value)
