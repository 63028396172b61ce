"""The outputs of a head for the classes of a data set."""

import itertools
from collections.abc import Sequence

MATCHES = ("names", "order")
_SHOWN = 5  # differences in a message


def output_order(outputs: Sequence[str] | None, classes: Sequence[str], match: str | None) -> list[int] | None:
    """Returns the index of the output for each class of the data; None if they are in the same order.

    Classes of the head that the data have no images of come last: the result has all outputs.

    Args:
        outputs: names of the outputs of the head, at least as many as there are classes; None where they are not known.
        classes: names of the classes of the data.
        match: "names", "order" or None; see `bit_keras.evaluate`.

    Raises:
        ValueError: the names differ, or stand in another order, and `match` does not allow it.
    """
    if outputs is None or match == "order" or tuple(outputs) == tuple(classes):
        return None
    if len(outputs) > len(classes):
        _check_known(outputs, classes)
        return [*map(outputs.index, classes), *(k for k, name in enumerate(outputs) if name not in classes)]
    have_same_names = set(outputs) == set(classes)
    if have_same_names and match == "names":
        return [outputs.index(name) for name in classes]
    differing = [(k, a, b) for k, (a, b) in enumerate(zip(outputs, classes)) if a != b]
    lines = [
        f"  output {k} is {a!r}, class {k} of the data is {b!r}" for k, a, b in itertools.islice(differing, _SHOWN)
    ]
    if len(differing) > _SHOWN:
        lines.append(f"  and {len(differing) - _SHOWN:,} more")
    fault = "differ;"
    if have_same_names:
        fault = "stand in another order; --match_classes=names takes the outputs by their names,"
    raise ValueError(
        f"the class names of the weights and of the data must be the same; {len(differing):,} of {len(classes):,} "
        f"{fault} --match_classes=order takes them in their order:\n" + "\n".join(lines)
    )


def _check_known(outputs: Sequence[str], classes: Sequence[str]) -> None:
    unknown = [repr(name) for name in classes if name not in outputs]
    if unknown:
        more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        raise ValueError(
            f"the classes of the data must be among the {len(outputs):,} of the weights; {len(unknown):,} of "
            f"{len(classes):,} are not: {', '.join(unknown[:_SHOWN])}{more}. Leave out their images, or fine-tune the "
            "weights on these data first"
        )
