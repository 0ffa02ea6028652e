"""`glyphs`: characters in matplotlib's fonts over scikit-learn's two photographs, 24 px RGB, 33 classes.

Every image is a pure function of (split, class, index): what is random in it comes from `framework.draws.keyed`. The
fonts of the validation and the test split are held out from training, and from each other, so that a choice made on
validation stays honest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from framework.data.bar import image_bar
from framework.draws import keyed
from framework.protocols import Array

if TYPE_CHECKING:
    from PIL import Image, ImageFont

Examples = tuple[Array, Array]

CLASSES = tuple("23456789ABCDEFGHJKLMNOPQRSTUVWXYZ")
SIZE = 24
SUPERSAMPLING = 2
TRAINING_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmss10"),
)
VALIDATION_FONTS = ("DejaVuSerif-BoldItalic", "cmb10")
TEST_FONTS = ("DejaVuSans-BoldOblique", "DejaVuSansMono-BoldOblique", "STIXGeneralBolIta", "cmti10", "cmtt10")
# What the pinned pillow, matplotlib and scikit-learn draw; others may differ by a grey level here and there.
SHA256 = "ceee4fb2ac18404a26e60fd768205c807386401e06033faf7c797c65eed1400f"

# Where an image's uniform numbers are used: eight of them singly, seven for the normal rotation, then the colours.
_FONT, _FONT_SIZE, _PHOTO, _PATCH_SIZE, _PATCH_Y, _PATCH_X, _JITTER_Y, _JITTER_X, _ROTATION = range(9)
_SUMMED = 7
_COLOUR = _ROTATION + _SUMMED
_COLOUR_TRIES = 24
_NUM_DRAWS = _COLOUR + 3 * _COLOUR_TRIES
_COLOUR_DISTANCE = 260  # sum of absolute differences of the three channels


# Of each stream of images its number in the key, its fonts, and how many images a class has.
_STREAMS = {"upstream": (0, TRAINING_FONTS, 240), "validation": (1, VALIDATION_FONTS, 20), "test": (2, TEST_FONTS, 60)}
SIZES = {name: count * len(CLASSES) for name, (_, _, count) in _STREAMS.items()} | {"train": 20 * len(CLASSES)}


def generate() -> dict[str, Examples]:
    """Draw the data set, about 10,600 images in a few seconds.

    Returns:
        For each split (uint8 images [N, 24, 24, 3], int32 labels [N]). Row r shows class r % 33, so that any slice is
        balanced. `upstream` (240 a class) is for the teacher; `train` is its first 20 a class.
    """
    with image_bar(sum(SIZES[name] for name in _STREAMS), "drawing glyphs") as bar:
        drawn = {name: _draw(*stream, bar.update) for name, stream in _STREAMS.items()}
    images, labels = (each[: SIZES["train"]] for each in drawn["upstream"])
    return {"upstream": drawn["upstream"], "train": (images, labels), **drawn}


def digest(splits: Mapping[str, Examples]) -> str:
    """The SHA-256 of all pixels and labels, in the order of the splits' names."""
    total = hashlib.sha256()
    for name in sorted(splits):
        images, labels = splits[name]
        total.update(np.ascontiguousarray(images).tobytes() + labels.astype("<i4").tobytes())
    return total.hexdigest()


def _draw(stream: int, fonts: tuple[str, ...], per_class: int, done: Callable[[], object]) -> Examples:
    number = np.arange(per_class * len(CLASSES))
    labels = (number % len(CLASSES)).astype(np.int32)
    index = number // len(CLASSES)
    draws = keyed.uniform(stream, labels[:, None], index[:, None], np.arange(_NUM_DRAWS)[None])
    images = np.empty((len(number), SIZE, SIZE, 3), np.uint8)
    for i, label in enumerate(labels):
        images[i] = _draw_one(CLASSES[label], fonts, draws[i])
        done()
    return images, labels


def _draw_one(character: str, fonts: tuple[str, ...], u: Array) -> Array:
    """One image from its uniform numbers `u`: a patch of a photograph, and the character over it."""
    from PIL import Image

    canvas = _background(u)
    colour = _far_colour(np.asarray(canvas).mean((0, 1)), u)
    canvas.paste(colour, mask=_character(character, fonts[int(u[_FONT] * len(fonts))], u))
    return np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BOX))


def _background(u: Array) -> Image.Image:
    from PIL import Image

    photo = _photo("flower" if u[_PHOTO] >= 0.5 else "china")
    side = 6 + int(u[_PATCH_SIZE] * 35)
    x, y = int(u[_PATCH_X] * (photo.width - side + 1)), int(u[_PATCH_Y] * (photo.height - side + 1))
    large = SIZE * SUPERSAMPLING
    return photo.crop((x, y, x + side, y + side)).resize((large, large), Image.Resampling.BILINEAR)


def _far_colour(mean: Array, u: Array) -> tuple[int, int, int]:
    """The first of a few random colours that is far from the mean [3], else the farthest corner of the colour cube."""
    colours = (u[_COLOUR:].reshape(-1, 3) * 256).astype(int)
    far = np.abs(colours - mean).sum(1) > _COLOUR_DISTANCE
    colour = colours[far.argmax()] if far.any() else np.where(mean < 128, 255, 0)
    return tuple(int(value) for value in colour)  # type: ignore[return-value]


def _character(character: str, font_name: str, u: Array) -> Image.Image:
    """The character's mask: centred by its ink, rotated by 5 degrees (normal) and shifted by up to 1.5 px."""
    from PIL import Image, ImageDraw

    large = SIZE * SUPERSAMPLING
    font = _font(font_name, SUPERSAMPLING * 17 + int(u[_FONT_SIZE] * (SUPERSAMPLING * 4 + 1)))
    left, top, right, bottom = font.getbbox(character)
    mask = Image.new("L", (large, large))
    position = ((large - left - right) // 2, (large - top - bottom) // 2)
    ImageDraw.Draw(mask).text(position, character, fill=255, font=font)
    jitter = (1.5 * SUPERSAMPLING * (2 * u[_JITTER_X] - 1), 1.5 * SUPERSAMPLING * (2 * u[_JITTER_Y] - 1))
    return mask.rotate(5.0 * _normal(u[_ROTATION:_COLOUR]), Image.Resampling.BICUBIC, translate=jitter)


def _normal(u: Array) -> float:
    """Nearly normal: a few uniform numbers summed, exact on every machine, where a logarithm may not be."""
    return float(u.sum() - len(u) / 2) * (12 / len(u)) ** 0.5


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font by the file's name; the basic layout, since libraqm's is not everywhere."""
    import matplotlib
    from PIL import ImageFont

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _photo(name: str) -> Image.Image:
    from importlib.resources import files

    from PIL import Image

    with files("sklearn.datasets.images").joinpath(f"{name}.jpg").open("rb") as file:
        return Image.open(file).convert("RGB")
