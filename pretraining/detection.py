"""Program: writes a small detection task as a COCO data set: emoji of five kinds, pasted on photographs.

Images have 128 x 128 pixels and 1 to 4 emoji. A box encloses exactly the visible pixels of an emoji. No emoji and no
photograph is in two splits, and none is in `pretraining.images`. The folder gets annotations/instances_SPLIT.json, the
images in SPLIT/, and contact_sheet.png with the boxes drawn. Needs apt-get and the npm registry.

Example:
    python -m pretraining.detection --out=/tmp/emoji
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from bit_keras.system import command_line
from bit_keras.system.files import whole, write_json
from bit_keras.system.logs import logger
from bit_keras.system.paths import check_new
from pretraining import contact_sheet, emoji, packages, pasting, photographs
from pretraining.pasting import Design, Example

# {class: prefixes of subcategories}. Kinds that are told apart by shape and colour, and are no part of the photographs.
# The seven kinds of `pretraining.downstream` include animals, food, persons and vehicles, of which most emoji have
# nothing in common with the other ones of their kind. Clocks and the like would be one picture in all splits.
KINDS = {
    "face": (
        "face-affection",
        "face-concerned",
        "face-glasses",
        "face-neutral-skeptical",
        "face-sleepy",
        "face-smiling",
        "face-tongue",
        "face-unwell",
    ),
    "flag": ("country-flag",),
    "hand": ("hand-fingers", "hand-single-finger", "hands"),
    "heart": ("heart",),
    "sign": ("arrow", "keycap"),  # white symbols in a blue square
}
_EXCLUDED = (
    *("handshake", "heart_hands"),  # two skin tones; also a heart
    *("heart_decoration", "heavy_heart_exclamation_mark_ornament", "love_letter", "revolving_hearts", "two_hearts"),
    *("back", "end", "on", "soon", "top"),  # arrows without a square
)
COUNTS = {"train": 600, "validation": 100, "test": 150}
_FRACTIONS = {"test": 1 / 4, "validation": 1 / 6}  # of the emoji of a kind, the rest is for training
_SAME = 1.0  # of 255: mean difference of pictures up to which they are the same (the flags of Norway and Svalbard)
_PHOTOGRAPH_SIDE = 512  # pixels; a part of at least a quarter of it becomes the background
_ON_SHEET = 12  # images of each split
_LICENSES = (
    {"id": 1, "name": "emoji: Twitter CC BY 4.0, Google Apache 2.0", "url": "https://github.com/iamcal/emoji-data"},
    {
        "id": 2,
        "name": f"photographs: see copyright in {', '.join(photographs.PACKAGES)}",
        "url": "https://www.debian.org",
    },
)


def designs() -> list[Design]:
    """Returns the emoji of all kinds without those that look, mirrored or not, like an earlier one in either style."""
    kept: list[Design] = []
    seen: dict[tuple[int, str], list[np.ndarray]] = {}  # small pictures by class and style
    for (name, label), styles in _pictures().items():
        small = {style: _small(pictures[0]) for style, pictures in styles.items()}
        if any(_same(picture, other) for style, picture in small.items() for other in seen.get((label, style), [])):
            continue
        kept.append(Design(name, label, list(styles.values())))
        for style, picture in small.items():
            seen.setdefault((label, style), []).append(picture)
    return kept


def _pictures() -> dict[tuple[str, int], dict[str, list[Image.Image]]]:
    """Returns {(name, class index): {style: pictures in all skin tones}}."""
    found: dict[tuple[str, int], dict[str, list[Image.Image]]] = {}
    for row, style, picture in emoji.read():
        label = _label(row)
        if label is not None:
            tones = [tone for tone in row.get("skin_variations", {}).values() if tone[f"has_img_{style}"]]
            pictures = [picture(variation) for variation in (row, *tones)]
            found.setdefault((row["short_name"], label), {})[style] = pictures
    return found


def _label(row: dict) -> int | None:
    if row["short_name"] in _EXCLUDED:
        return None
    return next((i for i, prefixes in enumerate(KINDS.values()) if row["subcategory"].startswith(prefixes)), None)


def _small(picture: Image.Image) -> np.ndarray:
    side = emoji.SIDE // 2
    return np.asarray(picture.convert("RGBa").resize((side, side), Image.Resampling.BOX), np.float32)


def _same(picture: np.ndarray, other: np.ndarray) -> bool:
    return min(np.abs(picture - view).mean() for view in (other, other[:, ::-1])) < _SAME


def divided(designs: Sequence[Design]) -> dict[str, list[Design]]:
    """Returns {split: its designs}; of each class a quarter is for testing and a sixth for validation.

    The order is that of a checksum of the names, so that a design stays where it is if others are added or the seed
    changes.
    """
    splits: dict[str, list[Design]] = {split: [] for split in COUNTS}
    for label in range(len(KINDS)):
        remaining = sorted(
            (design for design in designs if design.label == label),
            key=lambda design: (zlib.crc32(design.name.encode()), design.name),
        )
        total = len(remaining)
        for split, fraction in _FRACTIONS.items():
            count = round(total * fraction)
            splits[split] += remaining[:count]
            remaining = remaining[count:]
        splits["train"] += remaining
    return splits


def write(
    folder: Path,
    designs: Mapping[str, Sequence[Design]],
    photographs: Mapping[str, Mapping[str, Image.Image]],
    counts: Mapping[str, int] = COUNTS,
    seed: int = 0,
) -> None:
    """Draws the images of all splits and writes them with their annotations and a contact sheet, atomically.

    Args:
        folder: to write; must not exist.
        designs: {split: designs}.
        photographs: {split: {name: RGB photograph}}.
        counts: {split: number of images}.
        seed: of the drawing; the images of a split depend on it and on nothing of the other splits.
    """
    shown = []
    with whole(folder) as temporary:
        for place, (split, count) in enumerate(counts.items()):
            (temporary / split).mkdir(parents=True)
            random = np.random.default_rng((seed, place))
            examples = [pasting.draw(designs[split], photographs[split], random) for _ in range(count)]
            for index, example in enumerate(examples):
                example.image.save(temporary / split / _file(index))
            annotations = temporary / "annotations" / f"instances_{split}.json"
            write_json(annotations, coco(examples, f"{split} split of emoji pasted on photographs, seed {seed}"))
            shown += examples[:_ON_SHEET]
        contact_sheet.draw([_boxed(example) for example in shown], list(KINDS)).save(temporary / "contact_sheet.png")


def _file(index: int) -> str:
    return f"{index:06d}.png"


def _boxed(example: Example) -> tuple[Image.Image, list[tuple[str, pasting.Box]]]:
    return example.image, [(list(KINDS)[pasted.design.label], pasted.box) for pasted in example.pasted]


def coco(examples: Sequence[Example], description: str) -> dict:
    """Returns the content of a COCO annotation file (https://cocodataset.org/#format-data).

    Further fields name the photograph of an image and the emoji of a box. `area` is the number of visible pixels, as it
    is that of the mask in COCO.
    """
    images, annotations = [], []
    for index, example in enumerate(examples):
        width, height = example.image.size
        images.append(
            {
                "id": index + 1,
                "file_name": _file(index),
                "width": width,
                "height": height,
                "photograph": example.photograph,
            }
        )
        for pasted in example.pasted:
            left, top, right, bottom = pasted.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": pasted.design.label + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": pasted.area,
                    "iscrowd": 0,
                    "emoji": pasted.design.name,
                }
            )
    return {
        "info": {"description": description},
        "licenses": list(_LICENSES),
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index + 1, "name": name, "supercategory": "emoji"} for index, name in enumerate(KINDS)],
    }


def main() -> None:
    values = flags.FLAGS
    out = check_new("--out", values.out)
    files = packages.fetch(photographs.PACKAGES, Path(values.packages))
    splits = divided(designs())
    write(out, splits, photographs.read(files, _PHOTOGRAPH_SIDE), seed=values.seed)
    for split, kinds in splits.items():
        logger.info("%s: %d images of %d emoji", split, COUNTS[split], len(kinds))
    logger.info("wrote %s", out)


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "Folder to write, which must not exist.", required=True)
    flags.DEFINE_string("packages", "/tmp/bit_keras_packages", "Folder to download the Debian packages to.")
    flags.DEFINE_integer("seed", 0, "Seed of the drawing.")
    command_line.run(main)
