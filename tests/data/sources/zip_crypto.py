"""Writes archives with the traditional encryption of PKWARE's APPNOTE.TXT, section 6.1, which zipfile can only read."""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

_HEADER = 12  # bytes before the encrypted data, the last of which lets a reader check the password


def _encrypt(data: bytes, password: bytes) -> bytes:
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = _crc(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = _crc(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    encrypted = bytearray()
    for byte in data:
        part = (keys[2] | 2) & 0xFFFF
        encrypted.append(byte ^ ((part * (part ^ 1)) >> 8 & 0xFF))
        update(byte)
    return bytes(encrypted)


def _crc(value: int, byte: int) -> int:
    return zlib.crc32(bytes([byte]), value ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def write_zip(path: Path, files: Mapping[str, bytes], password: str, method: int = 8) -> None:
    """Writes an archive of {name: content}, each deflated and encrypted.

    The archive only claims another `method` than 8, deflation.
    """
    body, directory = bytearray(), bytearray()
    for name, content in files.items():
        crc, compressor = zlib.crc32(content), zlib.compressobj(wbits=-zlib.MAX_WBITS)
        deflated = compressor.compress(content) + compressor.flush()
        header = bytes(_HEADER - 1) + bytes([crc >> 24])
        data = _encrypt(header + deflated, password.encode())
        sizes = (crc, len(data), len(content), len(name.encode()), 0)
        common = struct.pack("<HHHHH", 20, 1, method, 0, 0x21) + struct.pack("<IIIHH", *sizes)
        directory += b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += name.encode()
        body += b"PK\3\4" + common + name.encode() + data
    counts = (0, 0, len(files), len(files), len(directory), len(body), 0)
    path.write_bytes(bytes(body) + bytes(directory) + b"PK\5\6" + struct.pack("<HHHHIIH", *counts))
