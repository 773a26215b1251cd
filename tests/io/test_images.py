"""Tests of reading pictures, against NumPy, published colour formulas, and Pillow at 8 bits."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import noise, refusal
from PIL import Image

from jaxnst.io.images import fit_size, read_image, resize
from jaxnst.io.save import to_pil

pytestmark = pytest.mark.fast

UPRIGHT = {  # EXIF 2.32, tag 0x0112: how to turn the stored pixels upright
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
# Columns are the XYZ of the primaries, adapted to D50 (Lindbloom's tables).
SRGB = np.array([[0.43607, 0.38506, 0.14308], [0.22250, 0.71688, 0.06062], [0.01393, 0.09710, 0.71417]])
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])


def encode_srgb(linear):
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def icc_profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """Builds an ICC version 2 profile byte by byte."""
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"", 0x02100000, kind, space, pcs)
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return (header + xyz(0.9642, 1, 0.8249)[8:]).ljust(128, b"\0") + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def rgb_profile(primaries, gamma: float) -> bytes:
    tags = {b"wtpt": xyz(0.9642, 1, 0.8249)}
    for letter, column in zip((b"r", b"g", b"b"), primaries.T, strict=True):
        tags |= {letter + b"XYZ": xyz(*column), letter + b"TRC": curve(gamma)}
    return icc_profile(b"RGB ", tags)


def gray_profile(gamma: float) -> bytes:
    return icc_profile(b"GRAY", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": curve(gamma)})


def cmyk_profile(ink_lightness: int) -> bytes:
    """Builds the profile of a printer whose coloured inks all give one gray of this L*, alone or mixed."""
    ramp = bytes(range(256))
    black, gray = bytes([0, 128, 128]), bytes([round(ink_lightness * 2.55), 128, 128])
    lab = bytes([255, 128, 128]) + black + (gray + black) * 7  # black ink varies fastest
    unit = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + ramp * 4 + lab + ramp * 3
    return icc_profile(b"CMYK", {b"wtpt": xyz(0.9642, 1, 0.8249), b"A2B0": table}, b"prtr", b"Lab ")


# Files and PIL images


@pytest.mark.parametrize("extension", [".png", ".tiff", ".bmp", ".ppm"])
def test_paths_pil_images_and_arrays_of_one_picture_read_the_same(tmp_path, extension):
    pixels = noise()
    path = tmp_path / f"picture{extension}"
    Image.fromarray(pixels).save(path)
    with Image.open(path) as opened:
        for picture in (path, str(path), Image.fromarray(pixels), opened, pixels):
            read = read_image(picture)
            assert read.dtype == np.float32
            np.testing.assert_array_equal(read, pixels.astype(np.float32) / 255)


def test_a_tilde_is_the_home_folder_unless_no_user_has_the_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("home.png", "~nobody-of-this-name.png"):
        Image.fromarray(noise()).save(tmp_path / name)
    for name in ("~/home.png", "~nobody-of-this-name.png"):
        assert read_image(name).shape == (9, 13, 3)


@pytest.mark.parametrize("extension", [".png", ".tiff", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation, extension):
    pixels = noise()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / f"a{extension}", exif=exif, lossless=True)
    upright = UPRIGHT[orientation](pixels)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{extension}"), upright.astype(np.float32) / 255)


def test_broken_exif_does_not_keep_a_picture_from_being_read():
    file = io.BytesIO()
    Image.fromarray(noise()).save(file, "PNG", exif=b"Exif\0\0no such thing")
    np.testing.assert_array_equal(read_image(Image.open(file)), noise().astype(np.float32) / 255)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_sixteen_bit_gray_keeps_its_levels(tmp_path, extension):
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / f"ramp{extension}")
    read = read_image(tmp_path / f"ramp{extension}")
    np.testing.assert_allclose(read, np.repeat(ramp[..., None] / 65535, 3, axis=-1), atol=1e-7)
    assert len(np.unique(read)) == 4096


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I", "F"])
def test_every_deep_gray_mode_gives_the_same_shade(mode):
    image = Image.new(mode, (3, 2))
    image.putpixel((1, 0), 0.25 if mode == "F" else 16384)
    read = read_image(image)
    np.testing.assert_allclose(read[0, 1], 0.25, atol=1e-5)
    assert np.count_nonzero(read) == 3


def test_transparent_sixteen_bit_gray_is_white():
    image = Image.fromarray(np.array([[500, 40000]], dtype=np.uint16))
    file = io.BytesIO()
    image.save(file, "PNG", transparency=500)
    np.testing.assert_allclose(read_image(Image.open(file))[0, :, 0], [1, 40000 / 65535], atol=1e-6)


def test_integers_and_floats_of_unknown_range_are_refused():
    message = refusal(read_image, Image.new("I", (2, 2), 70000), "style")
    assert message == "style: arrays of type int32 are not supported; use uint8 or float."
    assert "not 0 to 200; divide by 255" in refusal(
        read_image, Image.fromarray(np.array([[0, 200]], dtype=np.float32))
    )


@pytest.mark.parametrize(
    ("ink", "rgb"),
    [
        ((0, 0, 0, 0), (1, 1, 1)),
        ((255, 0, 0, 0), (0, 1, 1)),
        ((0, 255, 0, 0), (1, 0, 1)),
        ((0, 0, 255, 0), (1, 1, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((51, 102, 0, 51), (0.64, 0.48, 0.8)),
    ],
)
def test_cmyk_without_profile_is_ink_over_white(tmp_path, ink, rgb):
    image = Image.new("CMYK", (16, 16), ink)
    image.save(tmp_path / "adobe.jpg", quality=100)  # stored inverted, as Adobe does
    image.save(tmp_path / "plain.tiff")
    for picture in (image, tmp_path / "adobe.jpg", tmp_path / "plain.tiff"):
        np.testing.assert_allclose(read_image(picture)[8, 8], rgb, atol=2 / 255)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV", "RGBX", "RGBa", "PA", "P"])
def test_other_colour_spaces_are_converted_to_rgb(mode):
    colour = Image.new("RGB", (4, 4), (200, 100, 50))
    via = colour.convert("RGBA") if mode == "RGBa" else colour.convert("P") if mode == "PA" else colour
    tolerance = 26 if mode in ("P", "PA") else 4  # the web palette is coarse
    np.testing.assert_allclose(read_image(via.convert(mode)) * 255, read_image(colour) * 255, atol=tolerance)


def test_one_bit_and_gray_pictures_have_three_equal_channels():
    bits = np.array([[True, False]])
    np.testing.assert_array_equal(read_image(Image.fromarray(bits))[0], [[1, 1, 1], [0, 0, 0]])
    gray = noise(channels=1)[..., 0]
    np.testing.assert_array_equal(
        read_image(Image.fromarray(gray)), np.repeat(gray[..., None] / np.float32(255), 3, axis=-1)
    )


def test_alpha_is_composited_over_white():
    pixels = noise(channels=4).astype(np.float64)
    alpha = pixels[..., 3:] / 255
    expected = pixels[..., :3] / 255 * alpha + 1 - alpha
    image = Image.fromarray(pixels.astype(np.uint8))
    for picture in (image, pixels.astype(np.uint8), pixels / 255):
        np.testing.assert_allclose(read_image(picture), expected, atol=1e-6)
    np.testing.assert_allclose(read_image(image.convert("RGBa")), expected, atol=1.01 / 255)
    luma, opacity = image.convert("LA").split()
    expected = np.asarray(luma) / 255 * alpha[..., 0] + 1 - alpha[..., 0]
    for picture in (Image.merge("LA", (luma, opacity)), Image.merge("LA", (luma, opacity)).convert("La")):
        np.testing.assert_allclose(read_image(picture)[..., 2], expected, atol=1.01 / 255)


@pytest.mark.parametrize("extension", [".png", ".gif"])
def test_a_palettes_transparent_entry_is_white(tmp_path, extension):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / f"p{extension}", transparency=0)
    np.testing.assert_allclose(read_image(tmp_path / f"p{extension}")[0] * 255, [[255] * 3, [200, 100, 50]])
    image.save(tmp_path / f"opaque{extension}")
    np.testing.assert_allclose(read_image(tmp_path / f"opaque{extension}")[0, 0] * 255, [10, 20, 30])


def test_the_transparent_colour_of_a_png_is_white():
    for mode, clear, other in (("RGB", (1, 2, 3), (9, 9, 9)), ("L", 7, 9)):
        image = Image.new(mode, (2, 1), clear)
        image.putpixel((1, 0), other)
        file = io.BytesIO()
        image.save(file, "PNG", transparency=clear)
        np.testing.assert_allclose(read_image(Image.open(file))[0] * 255, [[255] * 3, [9] * 3], atol=1e-5)


@pytest.mark.parametrize("extension", [".gif", ".png", ".webp", ".tiff"])
def test_an_animation_gives_its_first_frame(tmp_path, extension):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a{extension}", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_allclose(
        read_image(tmp_path / f"a{extension}"), np.tile([1.0, 0, 0], (8, 8, 1)), atol=0.01
    )


def test_reading_does_not_change_the_callers_image_or_array():
    image = Image.fromarray(noise())
    image.getexif()[0x0112] = 6
    array = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 2, 3)
    read_image(image)[:] = 0
    read_image(array)[:] = 0
    assert image.size == (13, 9)
    assert array[-1, -1, -1] == 1
    np.testing.assert_array_equal(np.asarray(image), noise())


# Colour profiles


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tiff", ".webp"])
@pytest.mark.parametrize(("primaries", "gamma"), [(ADOBE_RGB, 563 / 256), (SRGB[:, ::-1], 1.0)])
def test_an_rgb_profile_is_converted_to_srgb(tmp_path, primaries, gamma, extension):
    for colour in ((200, 100, 50), (100, 150, 120), (255, 255, 255), (30, 30, 60)):
        image = Image.new("RGB", (16, 16), colour)
        options = {"quality": 100} if extension == ".jpg" else {"lossless": True}
        image.save(tmp_path / f"a{extension}", icc_profile=rgb_profile(primaries, gamma), **options)
        linear = np.linalg.solve(SRGB, primaries @ (np.array(colour) / 255) ** gamma)
        np.testing.assert_allclose(
            read_image(tmp_path / f"a{extension}")[8, 8], encode_srgb(linear), atol=2.5 / 255
        )


def test_a_cmyk_profile_is_converted_to_srgb(tmp_path):
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    cyan.save(tmp_path / "a.jpg", icc_profile=cmyk_profile(ink_lightness=50), quality=100)
    gray = encode_srgb(((50 + 16) / 116) ** 3)  # CIE 1976 lightness
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), np.full((16, 16, 3), gray), atol=2 / 255)


def test_a_profile_applies_to_colour_and_not_to_alpha():
    image = Image.new("RGBA", (4, 4), (128, 128, 128, 128))
    image.info["icc_profile"] = rgb_profile(SRGB, 1.0)
    alpha = 128 / 255
    expected = encode_srgb(128 / 255) * alpha + 1 - alpha
    np.testing.assert_allclose(read_image(image), np.full((4, 4, 3), expected), atol=1.5 / 255)


@pytest.mark.parametrize("profile", [gray_profile(1.0), rgb_profile(SRGB, 1.0)], ids=["gray", "rgb"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "F"])
def test_gray_pictures_follow_gray_and_rgb_profiles(mode, profile):
    levels = np.linspace(0, 1, 256, dtype=np.float32)[None]
    if mode == "I;16":
        image = Image.fromarray(np.rint(levels * 65535).astype(np.uint16))
    else:
        image = Image.fromarray(levels if mode == "F" else np.rint(levels * 255).astype(np.uint8)).convert(
            mode
        )
    expected = levels[0] >= 0.5 if mode == "1" else encode_srgb(levels[0])
    if mode == "1":
        image = Image.fromarray(levels >= 0.5)
    image.info["icc_profile"] = profile
    np.testing.assert_allclose(read_image(image)[0], np.repeat(expected[:, None], 3, axis=-1), atol=1.5 / 255)


def test_a_profile_keeps_sixteen_bit_gray_deep():
    image = Image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64))
    image.info["icc_profile"] = gray_profile(1.8)
    assert len(np.unique(read_image(image))) > 3000


@pytest.mark.parametrize(
    ("mode", "profile"),
    [("RGB", b"not a profile"), ("RGB", gray_profile(1.0)), ("CMYK", rgb_profile(SRGB, 1.0))],
    ids=["garbage", "gray-for-rgb", "rgb-for-cmyk"],
)
def test_a_profile_that_cannot_be_used_is_ignored_with_a_warning(mode, profile):
    image = Image.new("RGB", (4, 4), (200, 100, 50)).convert(mode)
    plain = read_image(image)
    image.info["icc_profile"] = profile
    with pytest.warns(UserWarning, match=r"^content: its colour profile is ignored \(.+\)\.$") as caught:
        np.testing.assert_array_equal(read_image(image, "content"), plain)
    assert caught[0].filename == __file__


# Unusable files


def test_a_missing_file_suggests_similar_names(tmp_path):
    for name in ("Photo.JPG", "painting.png"):
        (tmp_path / name).touch()
    message = refusal(read_image, tmp_path / "photo.jpeg", "content")
    assert message == (
        f"content: there is no file {str(tmp_path / 'photo.jpeg')!r}; did you mean {tmp_path / 'Photo.JPG'}?"
    )
    assert refusal(read_image, tmp_path / "zzz").endswith("; check the path.")
    message = refusal(read_image, str(tmp_path / "nowhere" / "photo.jpg"))
    assert message.endswith(f"; there is no folder {str(tmp_path / 'nowhere')!r} either.")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is an empty file; give a picture."),
        (b"hello " * 99, "is not a picture Pillow can read; use PNG or JPEG."),
    ],
    ids=["empty", "text"],
)
def test_a_file_that_is_not_a_picture_is_refused(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert refusal(read_image, path, "style") == f"style: {str(path)!r} {reason}"


def test_a_folder_and_an_impossible_path_are_refused(tmp_path):
    assert (
        refusal(read_image, tmp_path)
        == f"image: {str(tmp_path)!r} is a folder; give the path of one picture."
    )
    assert "cannot be read" in refusal(read_image, "a\0b.png")
    assert "cannot be read" in refusal(read_image, "a" * 5000)
    (tmp_path / "a.png").touch()
    assert "cannot be read (Not a directory)" in refusal(read_image, tmp_path / "a.png" / "b.png")


def test_a_file_without_permission_is_refused(monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert (
        refusal(read_image, "a.png") == "image: 'a.png' cannot be read (Permission denied); check the path."
    )


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".tiff", ".bmp", ".gif", ".ppm"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_picture_is_refused_when_it_is_read(tmp_path, extension, kept):
    path = tmp_path / f"a{extension}"
    Image.fromarray(noise(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    message = refusal(read_image, path, "content")
    assert message.startswith(f"content: {str(path)!r} is ")
    assert "truncated or damaged" in message or "not a picture" in message
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of a cut TIFF directory
        try:
            lazy = Image.open(io.BytesIO(path.read_bytes()))
        except OSError:
            return
    assert refusal(read_image, lazy, "content").startswith("content: the PIL image is truncated or damaged (")


def test_a_closed_or_empty_pil_image_is_refused(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as closed:
        pass
    assert "the PIL image is truncated or damaged" in refusal(read_image, closed)
    message = refusal(read_image, Image.new("RGB", (0, 5)))
    assert message == "image: the picture is 0x5; use one with pixels."


def test_twice_pillows_pixel_limit_is_an_error_and_less_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for width in (15, 30):
        Image.fromarray(noise(10, width)).save(tmp_path / f"{width}.png")
    assert read_image(tmp_path / "15.png").shape == (10, 15, 3)
    assert "has more pixels than Pillow allows; make it smaller" in refusal(read_image, tmp_path / "30.png")


# Arrays


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)))
@settings(max_examples=40, deadline=None)
def test_gray_arrays_read_alike_in_every_number_type(gray):
    expected = np.repeat(gray[..., None] / 255, 3, axis=-1)
    for scale in (np.uint8(1), np.float64(1 / 255), np.float32(1 / 255), np.uint16(257)):
        np.testing.assert_allclose(read_image(gray * scale), expected, atol=1e-6)
    np.testing.assert_allclose(read_image((gray / 255).astype(np.float16)[..., None]), expected, atol=1e-3)
    np.testing.assert_allclose(read_image(gray.astype(">u2") * np.uint16(257)), expected, atol=1e-6)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
@settings(max_examples=40, deadline=None)
def test_eight_bit_pixels_survive_the_round_trip_exactly(pixels):
    np.testing.assert_array_equal(np.asarray(to_pil(read_image(pixels))), pixels)


def test_jax_and_pytorch_arrays_are_pictures():
    jnp = pytest.importorskip("jax.numpy")
    torch = pytest.importorskip("torch")
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(4, 5, 3)
    leaf = torch.tensor(values, requires_grad=True)
    for array in (jnp.asarray(values), leaf, leaf * 1):
        np.testing.assert_array_equal(read_image(array), values)
    for array in (jnp.asarray(values, jnp.bfloat16), leaf.bfloat16(), leaf.half()):
        np.testing.assert_allclose(read_image(array), values, atol=2**-8)
    np.testing.assert_array_equal(read_image(torch.tensor(noise())), noise().astype(np.float32) / 255)
    message = refusal(read_image, torch.zeros(3, 4, 5), "content")
    assert message == "content: an array of shape [3, 4, 5] is not a picture; move the channels last."
    assert "Tensor cannot be converted to a NumPy array" in refusal(
        read_image, torch.zeros(4, 4, device="meta")
    )


def test_a_float_overshoot_within_tolerance_is_clipped():
    read = read_image(np.array([[-0.0009, 0.5, 1.0009]]))
    np.testing.assert_array_equal(read[0, :, 0], np.array([0, 0.5, 1], dtype=np.float32))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((2, 2), 200.0), "floats must be in [0, 1], not 200 to 200; divide by 255."),
        (np.array([[-1.0, 1.0]]), "floats must be in [0, 1], not -1 to 1; use (x + 1) / 2."),
        (np.array([[-2.1, 2.6]]), "floats must be in [0, 1], not -2.1 to 2.6; rescale them."),
        (np.array([[0, 1e300]]), "floats must be in [0, 1], not 0 to 1e+300; rescale them."),
        (np.array([[0, np.nan]]), "it has NaN or infinite values; replace them with numbers in [0, 1]."),
        (np.array([[0, np.inf]]), "it has NaN or infinite values; replace them with numbers in [0, 1]."),
        (np.zeros((2, 2), bool), "arrays of type bool are not supported; use uint8 or float."),
        (np.zeros((2, 2), int), "arrays of type int64 are not supported; use uint8 or float."),
        (np.zeros((2, 2), complex), "arrays of type complex128 are not supported; use uint8 or float."),
        (np.zeros((0, 2, 3)), "an array of shape [0, 2, 3] has no pixels; use one with pixels."),
        (np.zeros(5), "[5] is not a picture; use [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]."),
        (np.zeros((5, 5, 2)), "[5, 5, 2] is not a picture; use [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]."),
        (np.zeros((3, 5, 6)), "[3, 5, 6] is not a picture; move the channels last."),
        (np.zeros((1, 5, 6, 3)), "is not a picture; pass one picture at a time, without the batch axis."),
        (np.zeros((1, 3, 5, 6)), "pass one picture at a time, without the batch axis, channels last."),
        (None, "NoneType is not a picture; give a path, a PIL image or an array."),
        (0.5, "float is not a picture; give a path, a PIL image or an array."),
        (
            [[1, 2], [3]],
            "list cannot be converted to a NumPy array (setting an array element with a sequence.",
        ),
    ],
)
def test_unusable_arrays_are_refused(array, reason):
    message = refusal(read_image, array, "style")
    assert message.startswith("style: ")
    assert reason in message


# Sizes


@pytest.mark.parametrize(
    ("shape", "size", "fitted"),
    [((300, 400), 256, (192, 256)), ((400, 300), 256, (256, 192)), ((7, 7), 512, (512, 512)),
     ((5000, 3), 256, (256, 1)), ((1080, 1920), 256, (144, 256)), ((333, 500), 256, (170, 256))],
)  # fmt: skip
def test_the_longer_side_becomes_the_size(shape, size, fitted):
    assert fit_size(shape, size) == fitted


def test_resizing_to_the_same_size_changes_nothing():
    array = np.random.default_rng(0).random((5, 6, 3), dtype=np.float32)
    np.testing.assert_array_equal(resize(array, (5, 6)), array)


@given(st.floats(0, 1, width=32), st.tuples(st.integers(1, 40), st.integers(1, 40)))
@settings(max_examples=40, deadline=None)
def test_a_constant_picture_stays_constant_at_any_size(value, size):
    resized = resize(np.full((7, 11, 3), value, np.float32), size)
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, value, atol=1e-6)


@pytest.mark.parametrize("size", [(20, 30), (90, 120), (64, 17)])
def test_resizing_agrees_with_pillows_eight_bits_but_is_finer(size):
    pixels = noise(60, 80) // 4 + 96  # so that Pillow does not clip between its two passes
    ours = resize(pixels.astype(np.float32) / 255, size)
    pillow = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS)) / 255
    np.testing.assert_allclose(ours, pillow, atol=1.5 / 255)  # it rounds after each pass
    assert np.mean(np.abs(ours - pillow)) < 0.5 / 255
    ramp = np.tile(np.linspace(0.5, 0.51, 400, dtype=np.float32)[None, :, None], (4, 1, 3))
    assert len(np.unique(resize(ramp, (4, 200))[0, :, 0])) == 200


def test_lanczos_overshoot_is_clipped():
    edges = np.indices((8, 8)).sum(axis=0)[..., None].repeat(3, -1) % 2
    resized = resize(edges.astype(np.float32), (31, 31))
    assert resized.min() == 0
    assert resized.max() == 1


def test_an_input_error_is_a_value_error():
    with pytest.raises(ValueError, match="is not a picture"):
        read_image(None)
