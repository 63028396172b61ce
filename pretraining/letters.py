"""Images of letters, drawn in the typefaces of Debian's font packages.

A class is a letter, or its capital and small form if both have the same shape. Excluded are letters that look like
digits (such as O, I and l), and all but one of the letters that look alike in several alphabets.
"""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageFont

SIDE = 32  # pixels
_SCALE = 4  # letters are drawn this many times larger, then reduced
_LARGEST = 800  # most images per class, because Latin letters would outnumber all others

_PAIRS = (  # capital and small letters of the same shape
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
    """Yields (class index, uint8 [32, 32], white on black) for each letter in each font that contains it.

    Args:
        fonts: (name, content) of TrueType and OpenType files.
        random: generator for size, position, rotation and slant.
    """
    for _, content in fonts:
        try:
            with TTFont(io.BytesIO(content), lazy=True) as tables:
                has = tables.getBestCmap() or {}
            font = ImageFont.truetype(io.BytesIO(content), 96)
        except (TTLibError, OSError):  # a bitmap font with the file name of an outline font
            continue
        for label, letters in enumerate(CLASSES):
            for letter in letters:
                if ord(letter) in has:
                    image = _draw(font, letter, random)
                    if image is not None:
                        yield label, image


def _draw(font: ImageFont.FreeTypeFont, letter: str, random: np.random.Generator) -> np.ndarray | None:
    """Returns the letter, 18 to 26 pixels high or wide; None if the font has no visible glyph for it."""
    mask = font.getmask(letter, "L")
    if min(mask.size) < 8:
        return None
    glyph = Image.frombytes("L", mask.size, bytes(mask))
    size = random.uniform(18, 26) * _SCALE / max(glyph.size)
    angle, slant = random.uniform(-0.2, 0.2), random.uniform(-0.2, 0.2)
    shift = random.uniform(-2, 2, 2) * _SCALE
    # Inverted, because Image.transform maps pixels of the drawing to pixels of the glyph.
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
    """Returns whether a font package is one of the tenth whose typefaces are in the test split."""
    return zlib.crc32(package.name.split("_")[0].encode()) % 10 == 0


def thinned(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns ascending indices of at most 800 images of each class, drawn at random."""
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[place < _LARGEST])
