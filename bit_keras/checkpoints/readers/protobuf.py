"""Protocol buffers in the few lines that untrusted messages of known fields need: https://protobuf.dev/programming-guides/encoding/.

Stricter than Google's library: a known field of another type is an error.
"""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(message: bytes) -> dict[int, list[int | bytes]]:
    """Returns {number of a field: its values}, integers as they are stored, without sign.

    Raises:
        ValueError: the message is damaged.
    """
    values: dict[int, list] = {}
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise ValueError(f"a message has no field {number}")
        if kind == _VARINT:
            value, at = varint(message, at)
        elif kind in (_BYTES, _FIXED32, _FIXED64):
            length = {_FIXED32: 4, _FIXED64: 8}.get(kind)
            if length is None:
                length, at = varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"field {number} of a message has the unknown type {kind}")
        if at > len(message):
            raise ValueError("a message is truncated")
        values.setdefault(number, []).append(value)
    return values


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns the integer at a position, in seven bits per byte, and the position after it; raises ValueError."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            raise ValueError("a message is truncated")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            if value >= 1 << 64:
                break
            return value, at
    raise ValueError("a message has an integer of more than 64 bits")


def integer(values: dict[int, list], number: int) -> int:
    """Returns a field of type int64, int32, enum or bool, 0 if it is missing; raises ValueError if it is no integer."""
    value = values.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {number} of a message must be an integer")
    return value - (1 << 64) if value >= 1 << 63 else value


def fixed32(values: dict[int, list], number: int) -> int:
    """Returns a field of type fixed32, 0 if it is missing; raises ValueError if it has another length."""
    value = values.get(number, [bytes(4)])[-1]
    if not isinstance(value, bytes) or len(value) != 4:
        raise ValueError(f"field {number} of a message must be four bytes")
    return int.from_bytes(value, "little")


def messages(values: dict[int, list], number: int) -> list[bytes]:
    """Returns the values of a repeated message or string; raises ValueError if one is an integer."""
    found = values.get(number, [])
    if not all(isinstance(value, bytes) for value in found):
        raise ValueError(f"field {number} of a message must be bytes")
    return found


def text(values: dict[int, list], number: int) -> str:
    """Returns a field of type string, "" if it is missing; raises ValueError if it is no UTF-8."""
    return (messages(values, number) or [b""])[-1].decode()
