"""From an encoded image to uint8 RGB, upright; anything that can't be trusted is a `BadImage` with its reason.

Grey, palette, CMYK and other 8-bit images become RGB; 16-bit grey is scaled to 8 bits (PIL would saturate it);
transparency is composited over white, because the colour under transparent pixels is arbitrary; the EXIF orientation is
applied.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

Encoded = Mapping[str, Any] | None  # {"bytes": bytes | None, "path": str | None}, as `datasets` stores an image

_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
# Formats whose header says how large the pixels will be; icons, for one, have several sizes.
_MEASURED = ("BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
_PNG, _ANIMATED, _HEAD = b"\x89PNG\r\n\x1a\n", 2, 4096
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error, Warning)


class BadImage(Exception):
    """An image that can't be read, with the reason in words."""


def decode(encoded: Encoded) -> np.ndarray:
    """Decode one image.

    Args:
        encoded: its bytes or its path.

    Returns:
        uint8 [H, W, 3], upright, owned by the caller.

    Raises:
        BadImage: it is missing, broken, truncated, too large (PIL's limit) or of an unknown range (32-bit, float).
    """
    from PIL import ImageOps

    encoded = _read(encoded)
    with _opened(encoded) as image, _told(encoded):
        pixels = _plain_jpeg(image, encoded["bytes"])
        if pixels is not None:
            return pixels
        image.load()
        upright = ImageOps.exif_transpose(image)
        return np.array(_rgb(upright))


def size_of(encoded: Encoded) -> tuple[int, int]:
    """The (height, width) that `decode` would give, from the header alone where the format allows it.

    Raises:
        BadImage: the header can't be read, or the image is too large.
    """
    with _opened(encoded) as image:
        if image.format not in _MEASURED:
            return decode(encoded).shape[:2]
        with _told(encoded):
            transposed = image.getexif().get(_ORIENTATION) in _TRANSPOSED
            width, height = _stored_size(image)
        return (width, height) if transposed else (height, width)


def has_frames(encoded: Encoded) -> bool:
    """Whether a file that `decode` reads has more images than the first, which it takes: GIF, WebP, PNG and TIFF."""
    content = _head(encoded)
    if content[:8] == _PNG:
        return b"acTL" in content.partition(b"IDAT")[0]
    if content[:4] == b"RIFF" and content[8:16] == b"WEBPVP8X":
        return bool(content[20] & _ANIMATED)
    if content[:3] != b"GIF" and content[:4] not in (b"II*\0", b"MM\0*"):
        return False
    with _opened(encoded) as image:
        try:
            return bool(getattr(image, "is_animated", False))
        except _BROKEN:
            return False


def _head(encoded: Encoded) -> bytes:
    """The beginning of a file."""
    if encoded is None or encoded.get("bytes") is not None:
        return (encoded or {}).get("bytes", b"")[:_HEAD]
    with open(encoded["path"], "rb") as file:
        return file.read(_HEAD)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) before the orientation is applied; newer PILs give a TIFF's after it."""
    if image.format != "TIFF":
        return image.size
    tags = image.tag_v2
    return int(tags[_TIFF_WIDTH]), int(tags[_TIFF_HEIGHT])


def check_size(image: np.ndarray, measured: np.ndarray) -> None:
    """Hold a decoded image against the (height, width) that were measured before.

    Raises:
        BadImage: they differ.
    """
    if image.shape[:2] != tuple(measured):
        (height, width), (old_height, old_width) = image.shape[:2], measured
        raise BadImage(f"it has {width}x{height} pixels, and had {old_width}x{old_height} when it was measured")


def _read(encoded: Encoded) -> Mapping[str, Any]:
    """The image with its bytes: all of them are needed, and PIL would read a file a few at a time."""
    if encoded is None or (encoded.get("bytes") is None and encoded.get("path") is None):
        raise BadImage("there is no image (None)")
    if encoded.get("bytes") is not None:
        return encoded
    with _told(encoded):
        return {"bytes": Path(encoded["path"]).read_bytes(), "path": encoded["path"]}


def _opened(encoded: Encoded) -> Image.Image:
    from PIL import Image

    if encoded is None or (encoded.get("bytes") is None and encoded.get("path") is None):
        raise BadImage("there is no image (None)")
    content = encoded.get("bytes")
    _warn_of_no_bombs()
    with _told(encoded):
        image = Image.open(encoded["path"] if content is None else io.BytesIO(content))
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise BadImage(f"{image.width}x{image.height} pixels are more than PIL's limit of {limit}{_place(encoded)}")
    return image


def _plain_jpeg(image: Image.Image, content: bytes) -> np.ndarray | None:
    """A grey or coloured JPEG that is upright and whole, at half of PIL's cost and with its pixels; else None.

    Both call libjpeg-turbo with the same settings. PIL has the last word on whatever is not plain.
    """
    import simplejpeg

    if image.format != "JPEG" or image.mode not in ("L", "RGB") or image.getexif().get(_ORIENTATION, 1) != 1:
        return None
    try:
        return np.asarray(simplejpeg.decode_jpeg(content, strict=True))
    except ValueError:
        return None


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        levels = (np.asarray(image, np.int64) + 128) // 257  # 0..65535 to 0..255, rounded
        return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} (32 bits a pixel) has no known range")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _told(encoded: Encoded) -> Iterator[None]:
    """Whatever goes wrong meanwhile is a bad image."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except (*_BROKEN, Image.DecompressionBombError) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        words = "not an image" if unknown else str(error) or type(error).__name__
        raise BadImage(f"{words}{_place(encoded)}") from error


@cache
def _warn_of_no_bombs() -> None:
    """PIL's warning would only double our own error."""
    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _place(encoded: Encoded) -> str:
    path = encoded.get("path") if encoded else None
    return f" (file {path})" if path else ""
