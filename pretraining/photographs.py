"""Photographs from Debian packages, which are backgrounds of desktops and templates of a drawing program.

A photograph is in one split. Excluded are drawings, patterns and a photograph with black borders. The licences are
GPL-2+ (mate-backgrounds, tuxpaint-data) and CC BY 4.0, CC BY-SA 4.0 or CC0 (lomiri-wallpapers-16.04);
/usr/share/doc/PACKAGE/copyright in each package states them with the authors.
"""

import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from pretraining import packages

PACKAGES = ("mate-backgrounds", "tuxpaint-data", "lomiri-wallpapers-16.04")
SPLITS = {
    "train": (
        "Aqua",
        "Blinds",
        "Bridge_by_Sander_Klootwijk",
        "Dragonfly_by_Bolly",
        "Dune",
        "FreshFlower",
        "GreenMeadow",
        "LadyBird",
        "Picture_1A_by_freespace",
        "TwoWings",
        "Wood",
        "aitzgorri_by_Aitzol_Berasategi",
        "burnt_bark",
        "cliff",
        "corn_maze",
        "friends_by_Aitzol_Berasategi",
        "jellyfish",
        "life_by_Aitzol_Berasategi",
        "mossy_log",
        "mudstone",
        "ocean_splash",
        "ocean_waves",
        "redwoods_above",
        "sunset_by_Aitzol_Berasategi",
        "trees_above",
        "wool_mill_machine",
    ),
    "validation": (
        "Garden",
        "Wine_by_Jakkub_Mede",
        "free_by_Peter_Nerlich",
        "lighthouse",
        "seeding_by_Clements_Engelhardt",
        "spiders_web",
        "sun_behind_leaves",
    ),
    "test": (
        "Picture_0B_by_freespace",
        "RainDrops",
        "Storm",
        "YellowFlower",
        "greentock_by_Peter_Nerlich",
        "picosdeeuropa_by_Aitzol_Berasategi",
        "rocks",
        "sheep",
        "sun_behind_clouds",
        "trees_at_dusk",
    ),
}


def read(files: Iterable[Path], side: int) -> dict[str, dict[str, Image.Image]]:
    """Returns {split: {name: RGB photograph}}, each reduced until its shorter side has at most `side` pixels.

    Args:
        files: the ".deb" files of `PACKAGES`.
        side: pixels.

    Raises:
        ValueError: a photograph is in none of the packages.
    """
    found = {}
    wanted = {name for names in SPLITS.values() for name in names}
    for file in files:
        for name, content in packages.members(file, (".jpg",)):
            stem = PurePosixPath(name).stem
            if stem in wanted:
                found[stem] = _reduced(content, side)
    if missing := sorted(wanted - set(found)):
        raise ValueError(
            f"the packages {', '.join(PACKAGES)} must contain the photographs of pretraining/photographs.py, got none "
            f"called {', '.join(missing)}: another release of Debian may have other ones; change the lists there"
        )
    return {split: {name: found[name] for name in names} for split, names in SPLITS.items()}


def _reduced(content: bytes, side: int) -> Image.Image:
    with Image.open(io.BytesIO(content)) as photograph:
        upright = ImageOps.exif_transpose(photograph).convert("RGB")
    scale = min(1, side / min(upright.size))
    return upright.resize([round(length * scale) for length in upright.size], Image.Resampling.LANCZOS, reducing_gap=2)
