"""Every kind of image becomes upright uint8 RGB, and what can't be trusted is refused with its reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from framework.data.decode import BadImage, decode, size_of


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> dict[str, object]:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return {"bytes": file.getvalue(), "path": None}


COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [0, 0, 0]]], np.uint8)


def test_rgb_is_unchanged() -> None:
    image = decode(saved(Image.fromarray(COLOURS)))
    np.testing.assert_array_equal(image, COLOURS)
    assert image.flags.writeable


@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_grey_and_bilevel_are_repeated_in_three_channels(dtype: type) -> None:
    grey = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype) * (255 if dtype is np.uint8 else True)
    expected = np.repeat((grey.astype(int) * (1 if dtype is np.uint8 else 255))[:, :, None], 3, 2)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(grey))), expected)


def test_a_palette_gives_its_colours() -> None:
    np.testing.assert_array_equal(
        decode(saved(Image.fromarray(COLOURS).convert("P", palette=Image.Palette.ADAPTIVE))), COLOURS
    )


def test_transparency_is_composited_over_white() -> None:
    alpha = np.array([[255, 0, 255], [0, 255, 0]], np.uint8)
    expected = np.where(alpha[:, :, None] == 255, COLOURS, 255)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(np.dstack([COLOURS, alpha])))), expected)


def test_half_transparency_is_half_white() -> None:
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert abs(int(decode(saved(half))[0, 0, 0]) - 127) <= 1


def test_a_transparent_palette_colour_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 80, 90, 100])
    image.putdata([0, 1])
    np.testing.assert_array_equal(decode(saved(image, transparency=0)), [[[255] * 3, [80, 90, 100]]])


def test_cmyk_is_converted() -> None:
    flat = Image.new("RGB", (8, 8), (200, 30, 60)).convert("CMYK")
    assert np.abs(decode(saved(flat, "JPEG", quality=95)).astype(int) - (200, 30, 60)).max() <= 6  # JPEG's own loss


def test_sixteen_bits_are_scaled_not_cut() -> None:
    values = np.array([[0, 257, 32768, 65535], [128, 129, 65406, 65407]], np.uint16)
    image = decode(saved(Image.fromarray(values)))
    np.testing.assert_array_equal(image[:, :, 0], [[0, 1, 128, 255], [0, 1, 254, 255]])
    np.testing.assert_array_equal(image[:, :, 0], image[:, :, 2])


@pytest.mark.parametrize("kind", ["I", "F"])
def test_thirty_two_bits_have_no_known_range(kind: str) -> None:
    with pytest.raises(BadImage, match=f"mode {kind} .*no known range"):
        decode(saved(Image.new(kind, (3, 3), 7), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = Image.fromarray(np.kron(COLOURS, np.ones((16, 16, 1), np.uint8)))
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = saved(stored, kind, exif=exif, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    image = decode(encoded)
    assert size_of(encoded) == image.shape[:2] == (32, 48)
    assert np.abs(image.astype(int) - np.asarray(upright)).max() <= (0 if kind == "PNG" else 40)  # JPEG rings at edges


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_file_is_refused(kind: str, paint: Callable[..., np.ndarray]) -> None:
    content = saved(Image.fromarray(paint(1, 64, 64)), kind)["bytes"]
    assert isinstance(content, bytes)
    with pytest.raises(BadImage, match=r"(?i)truncated|broken|incomplete|not an image"):
        decode({"bytes": content[: len(content) // 2], "path": None})


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (37, 50), (64, 48)])
def test_a_plain_jpeg_has_pils_pixels(
    mode: str, subsampling: int, progressive: bool, height: int, width: int, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    smooth = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1)).convert(mode)
    encoded = saved(smooth, "JPEG", quality=80, subsampling=subsampling, progressive=progressive)
    content = encoded["bytes"]
    assert isinstance(content, bytes)
    (tmp_path / "a.jpg").write_bytes(content)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    for source in (encoded, {"bytes": None, "path": str(tmp_path / "a.jpg")}):
        found = decode(source)
        np.testing.assert_array_equal(found, expected)
        assert found.flags.writeable
        assert size_of(source) == found.shape[:2]


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    for function in (decode, size_of):
        with pytest.raises(BadImage, match="not an image"):
            function({"bytes": content, "path": None})


@pytest.mark.parametrize("nothing", [None, {"bytes": None, "path": None}])
def test_a_missing_image_is_refused(nothing: None) -> None:
    with pytest.raises(BadImage, match="there is no image"):
        decode(nothing)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(BadImage, match=r"nowhere\.png"):
        decode({"bytes": None, "path": "nowhere.png"})


def test_pils_limit_on_pixels_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = saved(Image.new("L", (20, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert decode(encoded).shape == (30, 20, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    for function in (decode, size_of):
        with pytest.raises(BadImage, match="limit of 599"):
            function(encoded)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadImage, match="600 pixels"):
        decode(encoded)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_every_format_is_measured_as_it_is_decoded(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored = Image.new("RGB", (20, 10))
    stored.paste((255, 255, 255), (0, 0, 10, 10))
    stored.save(file, kind, exif=exif)
    encoded = {"bytes": file.getvalue(), "path": None}
    found = decode(encoded)
    assert size_of(encoded) == found.shape[:2] == ((20, 10) if orientation in (6, 8) else (10, 20))
    rotations = {1: 0, 3: 2, 6: 3, 8: 1}
    expected = np.rot90(np.asarray(stored), rotations[orientation])
    assert np.abs(found.astype(int) - expected).mean() < 10  # lossy formats blur the edge
