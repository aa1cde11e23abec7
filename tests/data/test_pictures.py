"""Pictures as a viewer shows them: constant colours and chance, against arithmetic and Pillow's own conversions."""

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from dmp_lightning.data.pictures.colours import COMPOSED, CONVERTED
from dmp_lightning.data.pictures.read import FIRST_FRAME, TURNED, LeftOut, decode_picture, is_picture
from tests.picture_files import SRGB, chunk, icc_profile, png_of, png_of_16_bits, tiff_of

CHANCE = np.random.default_rng(0)
RGB = CHANCE.integers(0, 256, (6, 5, 3), np.uint8)
DEEP = CHANCE.integers(0, 65536, (6, 5, 4), np.uint16)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def shown(content: bytes) -> np.ndarray:
    return np.asarray(decode_picture(content).image)


DEEP_FILES = {
    "png": png_of_16_bits,
    "tiff, little-endian": lambda values: tiff_of(values, "II"),
    "tiff, big-endian": lambda values: tiff_of(values, "MM"),
}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("file", DEEP_FILES)
def test_16_bits_are_divided_by_257_and_rounded(file: str, channels: int) -> None:
    values = DEEP[..., :channels].copy()
    if channels in (2, 4):
        if file != "png" and channels == 2:
            return  # Pillow reads no such TIFF
        values[..., -1] = 65535
    colours = values[..., :-1] if channels in (2, 4) else values
    expected = np.round(colours / 257).squeeze()
    assert np.array_equal(shown(DEEP_FILES[file](values)), expected)


def test_16_bits_are_the_8_bits_that_they_repeat() -> None:
    for image in (RGB, RGB[..., :1]):
        assert np.array_equal(shown(png_of_16_bits(image.astype(np.uint16) * 257)), image.squeeze())
    compressed = saved(Image.fromarray(RGB[..., 0].astype(np.uint16) * 257), "TIFF", compression="tiff_lzw")
    assert np.array_equal(shown(compressed), RGB[..., 0])
    assert np.array_equal(shown(b"P5 5 6 65535\n" + (RGB[..., 0].astype(">u2") * 257).tobytes()), RGB[..., 0])


def test_white_is_zero_where_a_tiff_says_so() -> None:
    values = DEEP[..., :1]
    assert np.array_equal(shown(tiff_of(values, "II", photometric=0)), np.round((65535 - values[..., 0]) / 257))


def test_floats_of_0_to_1_are_shown_and_others_are_refused() -> None:
    values = CHANCE.random((6, 5), np.float32)
    assert np.abs(shown(saved(Image.fromarray(values), "TIFF")) - values * 255).max() <= 0.5001
    for factor in (255, np.nan, -1):
        with pytest.raises(ValueError, match="floating-point values outside of 0 to 1"):
            decode_picture(saved(Image.fromarray(values * np.float32(factor)), "TIFF"))


@pytest.mark.parametrize(
    "content",
    [tiff_of(DEEP[..., :1].astype("i2"), "II", kind=2), tiff_of(DEEP[..., :1].astype("i4"), "II", 32, kind=2)],
)
def test_integers_without_a_range_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="whose range is unknown"):
        decode_picture(content)


def test_deep_planes_that_pillow_would_mistake_are_refused() -> None:
    planes = bytearray(tiff_of(DEEP[..., :3], "II"))
    tag = planes.index((284).to_bytes(2, "little"), 8)
    planes[tag + 8] = 2
    with pytest.raises(ValueError, match="in separate planes"):
        decode_picture(bytes(planes))


@pytest.mark.parametrize("alpha", [0, 1, 77, 128, 254, 255])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 20, 30)])
@pytest.mark.parametrize("kind", ["RGBA PNG", "LA PNG", "RGBA WEBP", "RGBA TIFF", "16 bits"])
def test_what_shows_through_is_composed_on_white(kind: str, colour: tuple[int, int, int], alpha: int) -> None:
    mode, _, form = kind.partition(" ")
    if mode == "LA":
        colour = (colour[1],) * 3
    if mode == "16":
        content = png_of_16_bits(np.broadcast_to(np.array([*colour, alpha], np.uint16) * 257, (4, 4, 4)))
    else:
        options = {"lossless": True, "exact": True} if form == "WEBP" else {}
        content = saved(Image.new("RGBA", (4, 4), (*colour, alpha)).convert(mode), form, **options)
    picture = decode_picture(content)
    expected = (np.array(colour) * alpha + 255 * (255 - alpha)) / 255
    assert np.abs(np.asarray(picture.image.convert("RGB")) - expected).max() <= 0.5001
    assert (COMPOSED in picture.notes) == (alpha < 255)


def test_a_single_transparent_colour_is_white() -> None:
    palette = Image.fromarray(RGB).quantize(8)
    hidden = int(np.asarray(palette)[0, 0])
    expected = np.asarray(palette.convert("RGB")).copy()
    expected[np.asarray(palette) == hidden] = 255
    assert np.array_equal(shown(saved(palette, "PNG", transparency=hidden)), expected)
    assert np.array_equal(shown(saved(palette, "GIF", transparency=hidden)), expected)
    key = chunk(b"tRNS", struct.pack(">H", 2))
    for depth, values in ((2, [2, 1, 3, 0]), (4, [2, 1]), (8, [2]), (16, [2, 1])):
        packed = sum(value << depth * place for place, value in enumerate(reversed(values)))
        rows = b"\0" + packed.to_bytes(-(-depth * len(values) // 8), "big")
        white = np.round(np.array(values) * 255 / (2**depth - 1))
        white[0] = 255
        assert np.array_equal(shown(png_of(len(values), 1, depth, 0, rows, key))[0], white), depth
    key = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    rows = b"\0" + struct.pack(">6H", 1, 2, 3, 1, 2, 4)  # which are one colour in 8 bits
    assert shown(png_of(2, 1, 16, 2, rows, key)).tolist() == [[[255, 255, 255], [0, 0, 0]]]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(orientation: int, form: str) -> None:
    quarters = np.kron(np.array([[255, 0, 0], [0, 90, 0]], np.uint8), np.ones((16, 16), np.uint8))
    stored = {
        1: quarters,
        2: quarters[:, ::-1],
        3: quarters[::-1, ::-1],
        4: quarters[::-1],
        5: quarters.T,
        6: np.rot90(quarters),
        7: np.rot90(quarters, 2).T,
        8: np.rot90(quarters, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode_picture(saved(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif))
    assert picture.image.size == (48, 32)
    assert np.abs(np.asarray(picture.image.convert("L")).astype(int) - quarters).max() < 40
    assert (TURNED in picture.notes) == (orientation > 1)


def test_damaged_exif_leaves_a_picture_as_it_is() -> None:
    content = saved(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40)
    assert np.array_equal(shown(content), RGB)
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation=\xa8\xff")
    content = saved(Image.fromarray(RGB), "PNG")
    assert np.array_equal(shown(content[:33] + xmp + content[33:]), RGB)


def test_colours_of_another_profile_become_srgb() -> None:
    swapped = icc_profile(b"RGB ", 2.2, {b"rXYZ": SRGB[b"gXYZ"], b"gXYZ": SRGB[b"rXYZ"], b"bXYZ": SRGB[b"bXYZ"]})
    for mode, white in (("RGB", 0), ("RGBA", 255)):
        for form in ("PNG", "TIFF", "WEBP"):
            image = Image.fromarray(RGB).convert(mode)
            options = {"lossless": True} if form == "WEBP" else {}
            if white:
                image.putpixel((0, 0), (9, 9, 9, 0))
            picture = decode_picture(saved(image, form, icc_profile=swapped, **options))
            expected = RGB[..., [1, 0, 2]].astype(int)
            expected[0, 0] = 255 if white else expected[0, 0]
            bright = expected.min(-1) > 40  # below, sRGB's curve is not the power of 2.2
            assert np.abs(np.asarray(picture.image) - expected)[bright].max() <= 4
            assert CONVERTED in picture.notes


def test_grey_of_another_profile_becomes_that_of_srgb() -> None:
    linear = icc_profile(b"GRAY", 1.0, {})
    picture = decode_picture(saved(Image.new("L", (4, 4), 128), "PNG", icc_profile=linear))
    assert picture.image.mode == "L"
    assert abs(int(np.asarray(picture.image)[0, 0]) - 188) <= 1  # 255 * (1.055 * 0.502 ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "GIF"])
def test_modes_are_as_pillow_converts_them(mode: str, form: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    try:
        content = saved(image, form)
    except (OSError, ValueError):
        pytest.skip("the format has no such mode")
    with Image.open(io.BytesIO(content)) as again:
        assert np.array_equal(
            np.asarray(decode_picture(content).image.convert("RGB")), np.asarray(again.convert("RGB"))
        )


def test_cmyk_of_adobe_is_not_inverted() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.abs(shown(saved(red, "JPEG", quality=100)).astype(int) - [255, 0, 0]).max() < 8


@pytest.mark.parametrize("name", ["sRGB", "LAB"])
def test_a_profile_of_srgb_changes_nothing(name: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()
    for image in (Image.fromarray(RGB), Image.fromarray(RGB[..., 0]), Image.fromarray(RGB).convert("RGBA")):
        picture = decode_picture(saved(image, "PNG", icc_profile=profile))
        assert np.array_equal(np.asarray(picture.image), np.asarray(image.convert(picture.image.mode)))
        assert len(picture.notes) == (name == "LAB")  # it is of other colours than the picture


def test_a_damaged_profile_is_left_aside() -> None:
    picture = decode_picture(saved(Image.fromarray(RGB), "PNG", icc_profile=b"no profile" * 20))
    assert np.array_equal(np.asarray(picture.image), RGB)
    assert "profile is damaged" in picture.notes[0]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    picture = decode_picture(saved(frames[0], form, save_all=True, append_images=frames[1:], **options))
    assert np.array_equal(np.asarray(picture.image), np.asarray(frames[0]))
    assert picture.notes == (FIRST_FRAME,)


UNREADABLE = {
    "empty": (b"", "the file is empty"),
    "text": (b"text", "it is none of PNG, JPEG"),
    "a program's": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "it is none of PNG"),
    "cut PNG": (saved(Image.fromarray(RGB), "PNG")[:80], ""),
    "cut JPEG": (saved(Image.fromarray(np.tile(RGB, (20, 20, 1))), "JPEG")[:-900], "truncated"),
    "200 megapixels": (png_of(20_000, 10_000, 1, 0, b"\0"), "but the limit is 134,217,728"),
    "140 megapixels": (png_of(14_000, 10_000, 1, 0, b"\0"), r"it has 14,000 x 10,000 pixels"),
    "a text that unpacks to much": (
        png_of(2, 1, 8, 0, b"\0\1\2", chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))),
        "too large",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_shown_is_refused_in_a_sentence(name: str, recwarn: pytest.WarningsRecorder) -> None:
    content, sentence = UNREADABLE[name]
    with pytest.raises((ValueError, OSError), match=f"(?i){sentence}"):
        decode_picture(content)
    assert not [warning for warning in recwarn if "Decompression" in str(warning.category)]


@given(
    st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]), st.integers(0, 400)
)
def test_damage_is_an_error_or_a_picture(noise: bytes, form: str, place: int) -> None:
    content = bytearray(saved(Image.fromarray(RGB), form))
    content[place : place + len(noise)] = noise
    picture = None
    with suppress(Exception):  # what damaged images raise is of many kinds
        picture = decode_picture(bytes(content))
    assert picture is None or picture.image.mode in ("L", "RGB")


@pytest.mark.parametrize("name", ["a.PNG", "b/c.JPEG", "a.jfif", "a.gif", "a.avif", "a.jp2", "a.b.tif", "é.webp"])
def test_these_are_pictures_by_name(name: str) -> None:
    assert is_picture(name)


@pytest.mark.parametrize(
    "name", ["._a.png", ".a.png", "__MACOSX/a.png", ".git/a.png", "a.heic", "a.eps", "png", "a.npy"]
)
def test_these_are_none(name: str) -> None:
    assert not is_picture(name)


def test_what_is_left_out_is_counted_by_kind() -> None:
    left_out = LeftOut()
    for name in (
        "a.heic",
        "b.HEIC",
        "c.zip",
        "d.tar.gz",
        ".hidden",
        "x/.DS_Store",
        "Thumbs.db",
        "._a.png",
        "README",
        "e.txt",
    ):
        left_out.add_file(name)
    left_out["link to a folder above it"] += 2
    assert (
        str(left_out)
        == "2 .heic, 1 .txt, 2 archives, 1 file without a suffix, 1 hidden file, 2 links to a folder above it"
    )


@pytest.mark.parametrize(("exponent", "level"), [(1.0, 186), (1 / 2.2, 128), (0.45, 128)])
def test_gamma_of_a_png_is_heeded(exponent: float, level: int) -> None:
    gamma = chunk(b"gAMA", struct.pack(">I", round(100_000 * exponent)))
    assert abs(int(shown(png_of(1, 1, 8, 0, b"\0\x80", gamma))[0, 0]) - level) <= 1  # 255 * 0.502 ** (1 / 2.2)
    named = png_of(1, 1, 8, 0, b"\0\x80", chunk(b"sRGB", b"\0"), gamma)
    assert shown(named)[0, 0] == 128
