"""Images that their EXIF orientation turns, whose boxes may be those of the image before or after."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bit_keras.detection.data.entry import Entry
from bit_keras.system.logs import logger
from bit_keras.system.texts import counted, one_line

_NAMED = 3  # images in the warning


def warn_of_turned(
    entries: Sequence[Entry], sizes: Mapping[Path, Sequence[int]], orientations: Mapping[Path, int]
) -> None:
    """Logs a warning that names the images with boxes of which nothing shows whether the boxes are turned as well.

    Args:
        entries: images without faults: a stated size is that of the upright image.
        sizes: {file: height and width of the upright image}.
        orientations: {file: EXIF orientation, 1 to 8}.
    """
    turned = [
        entry for entry in entries if len(entry.values) and _is_open(entry, sizes[entry.path], orientations[entry.path])
    ]
    if not turned:
        return
    names = ", ".join(one_line(entry.name) for entry in turned[:_NAMED])
    more = f" and {len(turned) - _NAMED:,} more" if len(turned) > _NAMED else ""
    logger.warning(
        "the EXIF orientation turns %d of %s, and no size shows which boxes are meant: they are taken for pixels of "
        "the upright image, as viewers show it. If they are those of the image before, remove the orientation from the "
        "files (exiftool -Orientation= FILE): %s%s",
        len(turned),
        counted(len(entries), "image"),
        names,
        more,
    )


def _is_open(entry: Entry, size: Sequence[int], orientation: int) -> bool:
    """Tells whether an image is turned, and no size shows to which image the boxes belong."""
    height, width = size
    swaps_sides = orientation >= 5  # EXIF 2.32, section 4.6.4
    is_decided = swaps_sides and height != width and entry.size is not None
    return orientation != 1 and not is_decided
