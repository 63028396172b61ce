"""The EXIF orientation of an image, read from the bytes of a JPEG, PNG or WebP file."""

_ORIENTATION = 0x0112  # tag; EXIF 2.32, section 4.6.4
_SCAN = 0xDA  # JPEG marker before the pixel data


def orientation(encoded: bytes) -> int:
    """Returns the orientation of an encoded image, 1 to 8; 1 (upright) if it has no valid one."""
    if encoded.startswith(b"\xff\xd8"):
        tiff = _of_jpeg(encoded)
    elif encoded.startswith(b"\x89PNG"):
        tiff = _of_chunks(encoded, start=8, byteorder="big", key=b"eXIf")
    elif encoded[8:12] == b"WEBP":
        tiff = _of_chunks(encoded, start=12, byteorder="little", key=b"EXIF")
    else:
        return 1
    return _of_tiff(tiff.removeprefix(b"Exif\0\0"))


def _of_jpeg(encoded: bytes) -> bytes:
    at = 2
    while len(head := encoded[at : at + 4]) == 4 and head[0] == 0xFF:
        marker, length = head[1], int.from_bytes(head[2:], "big")
        if marker == _SCAN:
            break
        body = encoded[at + 4 : at + 2 + length]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            return body
        at += 1 if marker == 0xFF else 2 + length  # a marker may be preceded by any number of 0xFF
    return b""


def _of_chunks(encoded: bytes, start: int, byteorder: str, key: bytes) -> bytes:
    """Returns the body of the chunk `key`: of PNG (length, name, body, CRC) or of RIFF (name, length, body)."""
    at = start
    while len(head := encoded[at : at + 8]) == 8:
        name, number = (head[4:], head[:4]) if byteorder == "big" else (head[:4], head[4:])
        length = int.from_bytes(number, byteorder)
        if name == key:
            return encoded[at + 8 : at + 8 + length]
        at += 12 + length if byteorder == "big" else 8 + length + length % 2
    return b""


def _of_tiff(tiff: bytes) -> int:
    byteorder = {b"II": "little", b"MM": "big"}.get(tiff[:2], "big")

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], byteorder)

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if number(entry, 2) == _ORIENTATION:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
