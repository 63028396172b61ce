import pytest

from bit_keras.checkpoints.readers import protobuf


def test_fields_are_those_of_the_library_of_google():
    from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto

    message = BundleEntryProto(dtype=1, offset=300, size=-5, crc32c=0x01020304)
    for size in (3, 0, 70_000):
        message.shape.dim.add(size=size, name=f"é{size}")
    values = protobuf.fields(message.SerializeToString())
    assert [protobuf.integer(values, number) for number in (1, 3, 4, 5)] == [1, 0, 300, -5]
    assert protobuf.fixed32(values, 6) == 0x01020304
    dimensions = protobuf.messages(protobuf.fields(protobuf.messages(values, 2)[0]), 2)
    sizes = [protobuf.integer(protobuf.fields(each), 1) for each in dimensions]
    names = [protobuf.text(protobuf.fields(each), 2) for each in dimensions]
    assert (sizes, names) == ([3, 0, 70_000], ["é3", "é0", "é70000"])


@pytest.mark.parametrize(
    "message",
    [
        *(b"\x08", b"\x08\x80", b"\x08" + b"\xff" * 10 + b"\x01", b"\x08" + b"\xff" * 9 + b"\x7f"),  # integers
        *(b"\x12\x05abc", b"\x15abc", b"\x11abc"),  # truncated
        *(b"\x00\x01", b"\x0b\x0c", b"\x0f"),  # field 0, a group, an unknown type
    ],
)
def test_damaged_messages(message):
    with pytest.raises(ValueError, match="a message"):
        protobuf.fields(message)


def test_fields_of_another_type():
    values = protobuf.fields(b"\x08\x01" + b"\x12\x02ab" + b"\x1a\x01\xff")
    with pytest.raises(ValueError, match="field 2 of a message must be an integer"):
        protobuf.integer(values, 2)
    with pytest.raises(ValueError, match="field 1 of a message must be bytes"):
        protobuf.messages(values, 1)
    with pytest.raises(ValueError, match="field 2 of a message must be four bytes"):
        protobuf.fixed32(values, 2)
    with pytest.raises(UnicodeDecodeError):
        protobuf.text(values, 3)
