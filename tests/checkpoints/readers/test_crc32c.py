import numpy as np
import pytest

from bit_keras.checkpoints.readers import crc32c as module
from bit_keras.checkpoints.readers.crc32c import crc32c, masked_crc32c


# RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_published_values(data, expected):
    assert crc32c(data) == expected


@pytest.mark.parametrize("size", [255, 256, 257, 512, 769, 5 * 256, 5 * 1024 + 300])
def test_every_size_against_one_byte_at_a_time(size, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 1024)
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    table = [0] * 256
    for byte in range(256):
        state = byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 * (state & 1))
        table[byte] = state
    state = 0xFFFFFFFF
    for byte in data.tolist():
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    assert crc32c(data) == state ^ 0xFFFFFFFF


def test_the_mask_is_that_of_tensorflow(tmp_path):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        writer.write(b"some data")
    # Length of 8 bytes, its checksum, the data and their checksum.
    stored = (tmp_path / "x").read_bytes()
    assert masked_crc32c(stored[:8]) == int.from_bytes(stored[8:12], "little")
    assert masked_crc32c(b"some data") == int.from_bytes(stored[-4:], "little")
