"""Names of classes, from a local server, and the decoding of logits."""

import http.server
import importlib.util
import math

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.checkpoints import CheckpointError
from bit_keras.network import class_names
from bit_keras.zoo import presets
from bit_keras.zoo.label_lists import list_of

SIZES = {"ilsvrc2012": 1000, "imagenet21k": 21_843}


def _id(k: int) -> str:
    return f"n{7 * k:08d}"


@pytest.fixture
def bucket(serve, tmp_path, monkeypatch) -> dict[str, bytes]:
    """Serves a bucket, with an empty cache; returns {path: content}, which a test may change."""
    files = {}
    for name, size in SIZES.items():
        files[f"/{name}_wordnet_ids.txt"] = "".join(f"{_id(k)}\n" for k in range(size)).encode()
        files[f"/{name}_wordnet_lemmas.txt"] = "".join(f"größe_{k}, second lemma\n" for k in range(size)).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(files[self.path])))
            self.end_headers()
            self.wfile.write(files[self.path])

        def log_message(self, *_):
            pass

    monkeypatch.setattr(class_names, "BUCKET", serve(Handler))
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path))
    for name in ("BIT_KERAS_MIRROR", "BIT_KERAS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    class_names._class_names.cache_clear()
    yield files
    class_names._class_names.cache_clear()


@pytest.mark.parametrize("name", SIZES)
def test_class_names(bucket, name):
    names = bit_keras.class_names(name)
    assert names == tuple((_id(k), f"größe_{k}, second lemma") for k in range(SIZES[name]))
    bucket.clear()
    assert bit_keras.class_names(name) is names


def test_wordnet_ids_alone(bucket, monkeypatch):
    del bucket["/imagenet21k_wordnet_lemmas.txt"]
    assert class_names.wordnet_ids("imagenet21k") == tuple(map(_id, range(SIZES["imagenet21k"])))
    class_names._of_tfds.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert class_names.wordnet_ids("ilsvrc2012") == tuple(map(_id, range(1_000)))
    class_names._of_tfds.cache_clear()
    found = class_names.wordnet_ids("ilsvrc2012")  # of TensorFlow Datasets, where it is installed
    assert list_of(found) == ("ilsvrc2012" if importlib.util.find_spec("tensorflow_datasets") else None)


def test_the_official_files_in_a_mirror(bucket, monkeypatch, tmp_path):
    monkeypatch.setenv("BIT_KERAS_MIRROR", class_names.BUCKET)
    monkeypatch.setattr(class_names, "BUCKET", presets.BUCKET)
    for name in SIZES:
        bit_keras.class_names(name)
    cached = tmp_path / "storage.googleapis.com" / "bit_models"
    assert {f"/{path.name}" for path in cached.glob("*.txt")} == set(bucket)


def test_a_web_page_is_refused(bucket):
    bucket["/ilsvrc2012_wordnet_lemmas.txt"] = b"<!doctype html>\n" + b"<p>line</p>\n" * 999
    with pytest.raises((CheckpointError, ConnectionError), match="web page"):
        bit_keras.class_names("ilsvrc2012")


def test_unknown_list():
    with pytest.raises(ValueError, match="labels must be one of ilsvrc2012, imagenet21k; got 'cifar10'"):
        bit_keras.class_names("cifar10")


def _drop_last(content: bytes) -> bytes:
    return b"".join(content.splitlines(keepends=True)[:-1])


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("ids", _drop_last, "must have 1000 lines, got 999"),
        ("lemmas", _drop_last, "must have 1000 lines, got 999"),
        ("ids", lambda content: content + b"n99999999\n", "must have 1000 lines, got 1001"),
        ("ids", lambda content: content + b"\n", "must have 1000 lines, got 1001"),
        ("ids", lambda _: b"Please sign in\n", "must have 1000 lines, got 1"),
        ("ids", lambda _: b"", "must have 1000 lines, got 1"),
        ("ids", lambda content: content.replace(b"n00000014", b"n14"), "line 3 must match 'n.*', got 'n14'"),
        (
            "ids",
            lambda content: content.replace(b"n00000014", b"n00000021"),
            r"each id once, got \['n00000021'\] repeatedly",
        ),
        ("lemmas", lambda content: content.replace("größe_2, second lemma".encode(), b""), "line 3 .* got ''"),
        ("lemmas", lambda content: content.decode().encode("latin-1"), "must be UTF-8"),
    ],
)
def test_a_bad_file_is_refused(bucket, part, change, message):
    path = f"/ilsvrc2012_wordnet_{part}.txt"
    bucket[path] = change(bucket[path])
    for _ in range(2):  # an error is not cached
        with pytest.raises(CheckpointError, match=f"{message}.*delete it and the .sha256"):
            bit_keras.class_names("ilsvrc2012")


@pytest.mark.parametrize("ending", ["", "\r\n"])
def test_other_line_endings(bucket, ending):
    for path, content in bucket.items():
        bucket[path] = content.removesuffix(b"\n") if not ending else content.replace(b"\n", ending.encode())
    assert bit_keras.class_names("ilsvrc2012")[-1] == (_id(999), "größe_999, second lemma")


def test_no_network(bucket):
    bucket.clear()
    with pytest.raises(ConnectionError, match="ilsvrc2012_wordnet_ids"):
        bit_keras.decode_predictions(np.zeros((1, 1000)))


def _expected(logits: np.ndarray, scores: np.ndarray, top: int) -> list[list[tuple]]:
    order = [sorted(range(len(row)), key=lambda k, row=row: (-row[k], k))[:top] for row in logits]
    return [[(_id(k), f"größe_{k}", row[k]) for k in best] for row, best in zip(scores, order)]


def _check(actual, expected):
    for image, of_image in zip(actual, expected, strict=True):
        assert [entry[:2] for entry in image] == [entry[:2] for entry in of_image]
        np.testing.assert_allclose([entry[2] for entry in image], [entry[2] for entry in of_image], rtol=1e-12)
        assert all(type(entry) is tuple and type(entry[2]) is float for entry in image)


@pytest.mark.any_backend
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_softmax_for_ilsvrc2012(bucket, dtype):
    logits = keras.ops.cast(keras.random.normal((3, 1000), stddev=4), dtype)
    exact = keras.ops.convert_to_numpy(keras.ops.cast(logits, "float32")).astype("float64")
    scores = np.array([[math.exp(x) / math.fsum(map(math.exp, row)) for x in row] for row in exact])
    _check(bit_keras.decode_predictions(logits), _expected(exact, scores, 5))


@pytest.mark.any_backend
def test_sigmoid_for_imagenet21k(bucket):
    logits = keras.random.normal((2, 21_843), mean=-5, stddev=2)
    exact = keras.ops.convert_to_numpy(logits).astype("float64")
    _check(bit_keras.decode_predictions(logits, top=7), _expected(exact, 1 / (1 + np.exp(-exact)), 7))


def test_another_activation(bucket):
    logits = np.random.default_rng(0).normal(size=(2, 1000))
    _check(bit_keras.decode_predictions(logits, 3, "sigmoid"), _expected(logits, 1 / (1 + np.exp(-logits)), 3))
    _check(bit_keras.decode_predictions(logits, 3, "linear"), _expected(logits, logits, 3))
    exponentials = np.exp(logits)
    _check(
        bit_keras.decode_predictions(logits, 3), _expected(logits, exponentials / exponentials.sum(1, keepdims=True), 3)
    )


def test_all_classes_and_no_images(bucket):
    logits = np.random.default_rng(0).normal(size=(1, 1000))
    entries = bit_keras.decode_predictions(logits, top=1000)[0]
    assert {entry[0] for entry in entries} == {_id(k) for k in range(1000)}
    assert math.fsum(entry[2] for entry in entries) == pytest.approx(1)
    assert bit_keras.decode_predictions(logits[:0]) == []


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_large_logits(bucket, activation):
    logits = np.full((1, 1000), -1e30)
    logits[0, [4, 7, 9]] = 900, 1000, 800
    best = bit_keras.decode_predictions(logits, 4, activation)[0]
    assert [entry[0] for entry in best] == [_id(7), _id(4), _id(9), _id(0)]
    assert best[0][2] == 1
    assert best[3][2] == 0


def test_ties_keep_the_order_of_the_classes(bucket):
    logits = np.zeros((1, 1000), "float32")
    logits[0, 500] = 1
    assert [entry[0] for entry in bit_keras.decode_predictions(logits, 4)[0]] == [_id(500), _id(0), _id(1), _id(2)]


@pytest.mark.parametrize(
    ("logits", "arguments", "message"),
    [
        (np.zeros(1000), {}, r"\[N, K\] with K in \[1000, 21843\], got shape \(1000,\)"),
        (np.zeros((1, 2, 1000)), {}, r"got shape \(1, 2, 1000\)"),
        (np.zeros((4, 10)), {}, r"got shape \(4, 10\); a fine-tuned model has class names of its own"),
        (np.zeros((1, 1000)), {"top": 0}, "top must be 1 or more, got 0"),
        (np.zeros((1, 1000)), {"top": 1001}, "got 1001"),
        (np.zeros((1, 1000)), {"top": 2.0}, r"got 2\.0"),
        (np.full((1, 1000), math.nan), {}, "must be finite, got NaN"),
        (np.full((1, 1000), math.inf), {}, "must be finite"),
        (np.zeros((1, 1000)), {"activation": "relu"}, "got 'relu'"),
    ],
)
def test_bad_arguments_are_refused_before_a_download(logits, arguments, message, monkeypatch):
    monkeypatch.setattr(class_names, "fetch", lambda url: pytest.fail(f"asked for {url}"))
    with pytest.raises(ValueError, match=message):
        bit_keras.decode_predictions(logits, **arguments)
