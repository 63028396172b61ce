"""The images that inputs name, and their content."""

import pytest
import tensorflow as tf

pytest.importorskip("ray", reason="needs the extra ray")

from bit_keras.bulk import places
from bit_keras.bulk.images import find_images


@pytest.fixture(autouse=True)
def _new_connections():
    places._bucket.cache_clear()
    yield
    places._bucket.cache_clear()


def names(*inputs):
    return [image.name for image in find_images([str(each) for each in inputs])]


def test_files_folders_and_patterns(photos, tmp_path, monkeypatch):
    of_folder = names(photos)
    assert of_folder == sorted(
        str(path) for path in photos.rglob("*.*") if path.name not in (".hidden.jpg", "notes.txt")
    )
    assert len(of_folder) == 13
    assert names(photos / "**") == of_folder
    assert names(photos / "**", photos / "a", photos / "a" / "*.png") == of_folder, "each image once"
    assert names(photos / "a") == names(photos / "a" / "*") == [name for name in of_folder if "/a/" in name]
    assert names(photos / "**" / "*.png") == [name for name in of_folder if name.endswith(".png")]
    assert names(photos / "[b]" / "000?.jpg") == [str(photos / "b" / f"000{k}.jpg") for k in (1, 5, 7)]
    assert names(photos / "b" / "notes.txt") == [str(photos / "b" / "notes.txt")], "a file is taken as it is"
    (tmp_path / "photo [1].jpg").touch()
    assert names(tmp_path / "photo [1].jpg") == [str(tmp_path / "photo [1].jpg")], "no pattern"
    monkeypatch.chdir(photos)
    assert names("a", "b/**") == of_folder, "names are absolute"


def test_tables(photos, tmp_path):
    (tmp_path / "one.csv").write_text("https://example.com/a.jpg\nlocal.jpg\n\n/root.jpg\n")
    assert names(tmp_path / "one.csv") == ["/root.jpg", str(tmp_path / "local.jpg"), "https://example.com/a.jpg"]
    (tmp_path / "two.csv").write_text("id,URL\n1,gs://bucket/ü.jpg\n2,local.jpg\n", encoding="utf-8-sig")
    assert names(tmp_path / "two.csv") == [str(tmp_path / "local.jpg"), "gs://bucket/ü.jpg"]
    (tmp_path / "bad.csv").write_text("id,where\n1,a.jpg\n")
    with pytest.raises(ValueError, match=r"bad.csv must have one column, or one that is called path, .* got id, where"):
        names(tmp_path / "bad.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match="must hold comma-separated values"):
        names(tmp_path / "bad.csv")


def test_records_that_tensorflow_wrote(photos, tmp_path):
    files = [photos / "a" / "0000.png", photos / "b" / "0001.jpg"]
    path = tmp_path / "train.tfrecord-00000-of-00001"

    def example(**features):
        wrapped = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            if isinstance(value, bytes)
            else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
            for name, value in features.items()
        }
        return tf.train.Example(features=tf.train.Features(feature=wrapped)).SerializeToString()

    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example(**{"image/encoded": files[0].read_bytes(), "image/format": b"png", "label": 3}))
        writer.write(example(image=files[1].read_bytes()))
        writer.write(example(label=3))
        writer.write(b"no example")
    images = find_images([str(tmp_path)])
    assert [image.name for image in images] == [f"{path}, record {k}" for k in range(4)]
    assert [image.to_input().read() for image in images[:2]] == [file.read_bytes() for file in files]
    for image in images[2:]:
        with pytest.raises(ValueError, match=r"must be a tf\.train\.Example with the bytes image/encoded or image"):
            image.to_input().read()

    content = bytearray(path.read_bytes())
    content[images[0].offset + 50] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="the record is damaged"):
        images[0].to_input().read()
    for faulty in (content[:-1], b"\x1f\x8b" + content, content[:5]):
        path.write_bytes(faulty)
        with pytest.raises(ValueError, match="must be a complete TFRecord file that is not compressed"):
            find_images([str(path)])


def test_a_bucket(bucket, photos):
    for name in ("a/0000.png", "b/0001.jpg", "b/broken.jpg"):
        bucket[f"photos/{name}"] = (photos / name).read_bytes()
    bucket["photos/list.csv"] = b"path\na/0000.png\ngs://anonymous@bucket/photos/gone.jpg\n"
    images = find_images(["gs://anonymous@bucket/photos/**"])
    assert [image.name for image in images] == [
        f"gs://anonymous@bucket/photos/{name}" for name in ("a/0000.png", "b/0001.jpg", "b/broken.jpg")
    ]
    assert images[0].to_input().read() == bucket["photos/a/0000.png"]
    assert names("gs://anonymous@bucket/photos/*/*.png") == [images[0].name]
    gone, first = sorted(find_images(["gs://anonymous@bucket/photos/list.csv"]), key=lambda image: "a/" in image.name)
    assert first == images[0]
    with pytest.raises(FileNotFoundError, match=r"^no such file$"):
        gone.to_input().read()
    with pytest.raises(OSError, match=r"input: gs://anonymous@secret/photos/\*\* cannot be read: .*no access"):
        names("gs://anonymous@secret/photos/**")


def test_what_is_not_there(photos, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"input: no such file or folder: .*/none"):
        names(photos, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"input: no image, TFRecord or CSV file in .*\*\.gif"):
        names(photos / "a" / "*.gif")
    with pytest.raises(ValueError, match="known file system, got nowhere://a"):
        names("nowhere://a/**")
    monkeypatch.setattr(places, "_PATIENCE", 1)
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(OSError, match=r"input: gs://anonymous@bucket/photos cannot be read: .*"):
        names("gs://anonymous@bucket/photos")
    (image,) = find_images(["https://example.com/a.jpg"])
    assert image.name == "https://example.com/a.jpg"
