import zipfile

import pytest

from bit_keras.system.npz import check_compression


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_the_methods_of_numpy(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("first.npy", b"a")
        archive.writestr("second.npy", b"b", method)
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        if method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            check_compression(archive)
        else:
            with pytest.raises(ValueError, match=r"second\.npy must be stored or deflated"):
                check_compression(archive)
