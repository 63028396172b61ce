"""TFRecord files without TensorFlow: where their records are, and the image of one.

https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import struct

import google_crc32c

from bit_keras.bulk.places import Place
from bit_keras.checkpoints.readers import protobuf

_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")  # length and its checksum; checksum of the data
_IMAGES = (b"image/encoded", b"image")  # features
_READ_AHEAD = 2**16  # bytes per request to a bucket: more would be skipped


def is_tfrecord(name: str) -> bool:
    """Tells whether a file is taken for TFRecords, by its name, such as train.tfrecord or a.tfrecord-00000-of-00010."""
    return ".tfrecord" in name.rpartition("/")[2].lower()


def index(place: Place) -> list[tuple[int, int]]:
    """Returns offset and length in bytes of the data of each record.

    Raises:
        ValueError: the file is truncated or has another format.
    """
    found, at, size = [], 0, place.system.info(place.path)["size"]
    with place.system.open(place.path, "rb", block_size=_READ_AHEAD) as file:
        while at < size:
            file.seek(at)
            header = file.read(_HEADER.size)
            length, checksum = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
            end = at + _HEADER.size + length + _FOOTER.size
            if checksum != _masked(header[:8]) or end > size:
                raise ValueError(f"input: {place.address} must be a complete TFRecord file that is not compressed")
            found.append((at + _HEADER.size, length))
            at = end
    return found


def image_of(place: Place, offset: int, length: int) -> bytes:
    """Returns the encoded image of a record, a `tf.train.Example` with the bytes "image/encoded" or "image".

    Raises:
        ValueError: the record is damaged, or has no such feature.
    """
    content = place.system.cat_file(place.path, start=offset, end=offset + length + _FOOTER.size)
    data, checksum = content[:length], content[length:]
    if len(checksum) != _FOOTER.size or _FOOTER.unpack(checksum)[0] != _masked(data):
        raise ValueError("the record is damaged")
    try:
        (features,) = protobuf.fields(data)[1]
        entries = [protobuf.fields(entry) for entry in protobuf.fields(features)[1]]
        values = {entry[1][-1]: protobuf.fields(entry[2][-1]) for entry in entries}
        name = next(name for name in _IMAGES if name in values)
        return protobuf.fields(values[name][1][-1])[1][0]  # Feature.bytes_list.value
    except (KeyError, IndexError, StopIteration, TypeError, ValueError) as error:
        raise ValueError("the record must be a tf.train.Example with the bytes image/encoded or image") from error


def _masked(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
