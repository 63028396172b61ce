"""Images of letters, drawn in the typefaces of Debian's font packages.

A class is a letter, capital and small where both have one shape. Left out are the letters that are drawn like a digit
(O, I, l and their like), and of letters that several alphabets share all but one.
"""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageFont

SIDE = 32  # pixels
_SCALE = 4  # of the drawing, before it is made smaller
_LARGEST = 800  # images of a class: Latin letters would else outnumber all others

_PAIRS = (  # one shape for capital and small
    [
        "Cc",
        "Jj",
        "Kk",
        "Mm",
        "Pp",
        "Ss",
        "Uu",
        "Vv",
        "Ww",
        "Xx",
        "Yy",
        "Zz",
        "Ψψ",
        "Дд",
        "Жж",
        "Ии",
        "Йй",
        "Лл",
        "Цц",
        "Шш",
        "Щщ",
        "Ъъ",
        "Ыы",
        "Ьь",
        "Ээ",
        "Юю",
        "Яя",
    ]
)
_SINGLES = (
    "AaBbDdEeFfGgHhiLNnQqRrTt"  # Latin
    "ΓΔΘΛΞΠΣΦΩαβγδεζηθλμξπσςτφω"  # Greek
    "אבגדהזחטיכךלמםנןסעפףצץקרשת"  # Hebrew
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"  # Arabic
    "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ"  # Georgian
    "ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔ"  # Armenian
    "กขคฆงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮ"  # Thai
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふほまみむめもやゆよらりるれろわをん"  # Hiragana
    "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフホマミムメモヤユヨラルレロワヲン"  # Katakana
)
CLASSES = (*_PAIRS, *_SINGLES)


def draw(fonts: Iterator[tuple[str, bytes]], random: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (class, uint8 [32, 32], white on black) of every letter in every font that has it.

    Args:
        fonts: (name, content) of TrueType and OpenType files.
        random: of size, place, turn and slant.
    """
    for _, content in fonts:
        try:
            with TTFont(io.BytesIO(content), lazy=True) as tables:
                has = tables.getBestCmap() or {}
            font = ImageFont.truetype(io.BytesIO(content), 96)
        except (TTLibError, OSError):  # bitmap fonts under the ending of outlines
            continue
        for label, letters in enumerate(CLASSES):
            for letter in letters:
                if ord(letter) in has:
                    image = _draw(font, letter, random)
                    if image is not None:
                        yield label, image


def _draw(font: ImageFont.FreeTypeFont, letter: str, random: np.random.Generator) -> np.ndarray | None:
    """Returns the letter, 18 to 26 pixels high or wide; None where the font draws nothing."""
    mask = font.getmask(letter, "L")
    if min(mask.size) < 8:
        return None
    glyph = Image.frombytes("L", mask.size, bytes(mask))
    size = random.uniform(18, 26) * _SCALE / max(glyph.size)
    angle, slant = random.uniform(-0.2, 0.2), random.uniform(-0.2, 0.2)
    shift = random.uniform(-2, 2, 2) * _SCALE
    # Maps the drawing's pixels back to the glyph's, the direction that Image.transform takes.
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back = np.linalg.inv(turn @ np.array([[1, slant], [0, 1]]) * size)
    centre = np.array(glyph.size) / 2 - back @ (SIDE * _SCALE / 2 + shift)
    large = glyph.transform(
        (SIDE * _SCALE,) * 2,
        Image.Transform.AFFINE,
        (*back[0], centre[0], *back[1], centre[1]),
        Image.Resampling.BILINEAR,
    )
    image = np.asarray(large.resize((SIDE, SIDE), Image.Resampling.BOX))
    return image if image.max() > 100 else None


def is_for_testing(package: Path) -> bool:
    """Tells whether a font package is one of the tenth whose typefaces are only tested on."""
    return zlib.crc32(package.name.split("_")[0].encode()) % 10 == 0


def thinned(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns ascending indices of at most 800 images of each class, drawn at random."""
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[place < _LARGEST])
