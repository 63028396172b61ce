"""Local files, and a bucket on a server of this machine."""

import pytest

pytest.importorskip("ray", reason="needs the extra ray")

from bit_keras.bulk import places
from bit_keras.bulk.places import place_of, written


@pytest.fixture(autouse=True)
def _new_connections():
    places._bucket.cache_clear()
    yield
    places._bucket.cache_clear()


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of("a/b").address == str(tmp_path / "a" / "b")
    assert place_of("a/b").is_local
    assert place_of(f"file://{tmp_path}").address == str(tmp_path)
    for address in ("gs://bucket/a/b", "gs://anonymous@bucket", "memory://a/b"):
        assert place_of(address).address == address
        assert (place_of(address) / "c").address == f"{address}/c"
        assert not place_of(address).is_local
    with pytest.raises(ValueError, match="an address must be of a known file system, got nowhere://a"):
        place_of("nowhere://a")
    with pytest.raises(ImportError, match="adlfs"):
        place_of("abfs://a/b")


@pytest.mark.parametrize("address", ["{tmp_path}/new", "gs://anonymous@bucket/new", "memory://new"])
def test_a_file_appears_whole_or_not_at_all(address, tmp_path, bucket):
    folder = place_of(address.format(tmp_path=tmp_path))
    place = folder / "file.txt"
    folder.system.makedirs(folder.path, exist_ok=True)
    with pytest.raises(ZeroDivisionError), written(place) as path:
        path.write_text(f"half {1 / 0}")
    assert not place.system.exists(place.path)
    for text in ("first", "second"):
        with written(place) as path:
            path.write_text(text)
        assert place.system.cat_file(place.path) == text.encode()
    assert [path.rpartition("/")[2] for path in folder.system.ls(folder.path, detail=False)] == ["file.txt"]
