"""The EXIF orientation of an image; `exif_tf` finds it in TensorFlow."""

ORIENTATION = 0x0112  # tag; EXIF 2.32, section 4.6.4


def orientation(exif: bytes) -> int:
    """Returns the orientation in a block of EXIF data, 1 to 8; 1 (upright) if it has no valid one."""
    tiff = exif.removeprefix(b"Exif\0\0")
    byteorder = "little" if tiff.startswith(b"II") else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], byteorder)

    directory = number(4, 4)
    end = min(directory + 2 + 12 * number(directory, 2), len(tiff))
    for entry in range(directory + 2, end - 11, 12):
        if number(entry, 2) == ORIENTATION:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
