"""The resolutions of the paper, which differ from those of the official code for large images."""

from bit_keras.rules.hyperrule import HyperRule

RULES = ("official", "paper")
_CROP, _RESIZE = 384, 448  # arXiv 1912.11370, section 3.3
_UNCHANGED = "R152x4"  # which the paper fine-tunes at the resolution of the official code


def sizes(rule: str, variant: str, image_size: tuple[int, int]) -> dict[str, int]:
    """Returns the settings "resolution" and "resize" of fine-tuning; {} where they are those of the `HyperRule`.

    Args:
        rule: "official" or "paper". Both crop images of less than 96x96 pixels to 128, and R152x4's others to 480; the
            official code crops those of all networks to 480, the paper to 384.
        variant: name of the architecture.
        image_size: (height, width) in pixels of the original images.
    """
    has_small_images = HyperRule(1, image_size).crop < _CROP
    if rule == "official" or has_small_images or variant == _UNCHANGED:
        return {}
    return {"resolution": _CROP, "resize": _RESIZE}
