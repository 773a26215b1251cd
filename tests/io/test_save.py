"""Tests of writing pictures: formats, settings in EXIF, bit depth, and files that appear whole."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from pictures import EXTENSIONS, noise, refusal
from PIL import Image

from jaxnst.io import bit_depth
from jaxnst.io.images import read_image
from jaxnst.io.save import check_output, read_metadata, save_image, to_pil

pytestmark = pytest.mark.fast

DEEP_EXTENSIONS = (".png", ".tif", ".tiff")


def deep_levels(path):
    """Reads a 16-bit RGB file; Pillow would reduce it to 8 bits."""
    if path.suffix != ".png":
        return pytest.importorskip("tifffile").imread(path)
    width, height, rows, info = pytest.importorskip("png").Reader(bytes=path.read_bytes()).read()
    assert (info["bitdepth"], info["planes"], info["greyscale"]) == (16, 3, False)
    return np.array([list(row) for row in rows], np.uint16).reshape(height, width, 3)


def slow_gradient():
    return np.linspace(0.5, 0.51, 600, dtype=np.float32)[None, :, None].repeat(7, 0).repeat(3, -1)


def test_to_pil_rounds_to_nearest_and_clips():
    array = np.array([[-0.2, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.7]])[..., None].repeat(3, -1)
    image = to_pil(array)
    assert image.mode == "RGB"
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_saved_picture_comes_back_with_its_metadata(tmp_path, extension):
    rows, columns = np.mgrid[0:32, 0:48] / 48
    array = np.stack([rows, columns, 1 - columns], axis=-1).astype(np.float32)
    metadata = {
        "version": "0.1.0",
        "size": 256,
        "layers": ["relu1_1"],
        "tv": 1e-3,
        "note": "Gemälde \0 \U0001f5bc",
    }
    path = tmp_path / f"out{extension}"
    save_image(path, array, metadata)
    np.testing.assert_allclose(
        read_image(path), array, atol=0.51 / 255 if extension in (".png", ".tif") else 0.03
    )
    assert read_metadata(path) == metadata
    with Image.open(path) as image:
        exif = image.getexif()
        assert exif[0x0131] == "jaxnst 0.1.0"
        assert exif[0x010E].isascii()
        assert json.loads(exif[0x010E]) == metadata


@pytest.mark.parametrize(
    ("extension", "how"),
    [(extension, {}) for extension in EXTENSIONS]
    + [(extension, {"bits": 16}) for extension in DEEP_EXTENSIONS]
    + [(".png", {"dither": True}), (".jpg", {"dither": True})],
)
def test_saving_twice_gives_the_same_bytes(tmp_path, extension, how):
    paths = [tmp_path / f"{name}{extension}" for name in "ab"]
    for path in paths:
        save_image(path, noise() / 255.3, {"seed": 1}, **how)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_quality_changes_the_size_and_jpeg_keeps_full_colour(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    sizes = []
    for quality in (30, 95):
        save_image(path, noise(64, 64) / 255, quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1] / 2
    if extension == ".jpg":
        with Image.open(path) as image:
            assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("step", ["write_bytes", "replace"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, failure, bits):
    path = tmp_path / "out.png"
    save_image(path, noise(seed=1) / 255)
    before = path.read_bytes()
    write = Path.write_bytes

    def fail(self, data):
        if step == "write_bytes":
            write(self, data[: len(data) // 2])
        raise failure

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(type(failure)):
        save_image(path, noise(seed=2) / 255, bits=bits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_has_the_usual_permissions_and_keeps_a_link_a_link(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    save_image(tmp_path / "link.png", noise() / 255)
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_unusable_output_path_is_refused_before_the_work(tmp_path, monkeypatch):
    assert check_output(tmp_path / "new.PNG") is None
    assert refusal(check_output, tmp_path / "a.bmp") == (
        f"out: the extension '.bmp' is unknown in {str(tmp_path / 'a.bmp')!r}; "
        "use one of: .png, .jpg, .jpeg, .webp, .tif, .tiff."
    )
    assert "cannot be a path (File name too long)" in refusal(check_output, tmp_path / ("a" * 999 + ".png"))
    assert "cannot be a path (embedded null" in refusal(check_output, "a\0.png").replace("lstat: ", "")
    assert "there is no extension in 'result'; use one of: .png" in refusal(check_output, "result")
    assert refusal(check_output, tmp_path / "no" / "a.png", "history") == (
        f"history: there is no folder {str(tmp_path / 'no')!r}; create it first."
    )
    (tmp_path / "folder.png").mkdir()
    assert "is a folder; give the path of a file in it." in refusal(check_output, tmp_path / "folder.png")
    message = refusal(check_output, tmp_path / "a.webp", size=(16384, 2))
    assert message == "out: WEBP holds up to 16383 pixels on a side, not 16384; use .png or .tiff."
    assert "use .png or .tiff" in refusal(save_image, tmp_path / "a.jpg", np.zeros((1, 65501, 3)))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refusal(check_output, tmp_path / "a.png") == (
        f"out: no permission to write to {str(tmp_path)!r}; choose another."
    )


def test_the_largest_sizes_that_pass_the_check_can_be_written(tmp_path):
    save_image(tmp_path / "a.webp", np.zeros((1, 16383, 3)))
    save_image(tmp_path / "a.jpg", np.zeros((65500, 1, 3)))


def test_metadata_too_long_for_jpeg_is_refused_and_nothing_is_written(tmp_path):
    message = refusal(save_image, tmp_path / "a.jpg", noise() / 255, {"history": "x" * 70000})
    assert message == "path: JPEG cannot hold this (EXIF data is too long); use .png or .tiff."
    assert list(tmp_path.iterdir()) == []


def test_a_picture_without_our_metadata_is_refused(tmp_path):
    path = tmp_path / "a.png"
    for description in (None, "my holiday", "[1, 2]"):
        exif = Image.Exif()
        if description:
            exif[0x010E] = description
        Image.fromarray(noise()).save(path, exif=exif)
        assert refusal(read_metadata, path) == (
            f"config: {str(path)!r} has no settings; give a picture saved by jaxnst."
        )
    assert refusal(read_metadata, tmp_path / "b.png", "other").startswith("other: there is no file")


# Sixteen bits


@pytest.mark.parametrize("extension", DEEP_EXTENSIONS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (33, 1), (31, 47)])
def test_sixteen_bits_keep_a_picture_to_half_a_level(tmp_path, extension, shape):
    array = np.random.default_rng(0).random((*shape, 3), dtype=np.float32)
    array[0, 0] = [0, 1.2, -0.1]
    path = tmp_path / f"a{extension}"
    save_image(path, array, bits=16)
    levels = deep_levels(path)
    assert levels.dtype == np.uint16
    np.testing.assert_allclose(levels, array.astype(np.float64).clip(0, 1) * 65535, atol=0.505, rtol=0)
    # Pillow's decoders, zlib and libtiff, read the same file and keep the high byte.
    np.testing.assert_array_equal(np.asarray(Image.open(path)), levels >> 8)
    np.testing.assert_allclose(read_image(path), array.clip(0, 1), atol=1.01 / 255)


@pytest.mark.parametrize("extension", DEEP_EXTENSIONS)
def test_the_memory_layout_does_not_change_the_file(tmp_path, extension):
    array = np.random.default_rng(0).random((3, 5, 7))  # channels first, doubles
    paths = [tmp_path / f"{name}{extension}" for name in "ab"]
    save_image(paths[0], array.transpose(2, 1, 0)[::-1], bits=16)
    save_image(paths[1], np.ascontiguousarray(array.transpose(2, 1, 0)[::-1]), bits=16)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("extension", DEEP_EXTENSIONS)
def test_a_slow_gradient_has_steps_in_eight_bits_and_none_in_sixteen(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    save_image(path, slow_gradient(), bits=16)
    assert len(np.unique(deep_levels(path))) == 600
    save_image(path, slow_gradient())
    assert len(np.unique(read_image(path))) == 3


@pytest.mark.parametrize("extension", DEEP_EXTENSIONS)
@pytest.mark.parametrize(
    "metadata", [{"version": "0.1.0", "note": "Gemälde \0", "history": "x" * 70000}, {}, None]
)
def test_sixteen_bits_carry_the_metadata_of_eight(tmp_path, extension, metadata):
    path = tmp_path / f"a{extension}"
    tags = []
    for bits in (8, 16):
        save_image(path, noise() / 255, metadata, bits=bits)
        if metadata is None:
            assert "has no settings" in refusal(read_metadata, path)
        else:
            assert read_metadata(path) == metadata
        with Image.open(path) as image:
            tags.append([image.getexif().get(tag) for tag in (0x010E, 0x0131, 0x0132)])
    assert tags[0] == tags[1]
    assert tags[0][2] is None  # a date would make each file differ


def test_the_exif_chunk_of_a_deep_png_is_the_one_pillow_writes(tmp_path):
    chunks = []
    for bits in (8, 16):
        save_image(tmp_path / "a.png", noise() / 255, {"seed": 1}, bits=bits)
        reader = pytest.importorskip("png").Reader(bytes=(tmp_path / "a.png").read_bytes())
        chunks.append(list(reader.chunks()))
    assert [kind for kind, _ in chunks[1]] == [b"IHDR", b"eXIf", b"IDAT", b"IEND"]
    assert dict(chunks[1])[b"eXIf"] == dict(chunks[0])[b"eXIf"]


def test_a_large_png_is_cut_into_chunks(tmp_path, monkeypatch):
    array = np.random.default_rng(0).random((20, 30, 3))
    for name, limit in (("whole.png", 2**30), ("cut.png", 1000)):
        monkeypatch.setattr(bit_depth, "PNG_CHUNK", limit)
        save_image(tmp_path / name, array, bits=16)
    cut = pytest.importorskip("png").Reader(bytes=(tmp_path / "cut.png").read_bytes())
    assert [kind for kind, _ in cut.chunks()] == [b"IHDR", b"IDAT", b"IDAT", b"IDAT", b"IDAT", b"IEND"]
    np.testing.assert_array_equal(deep_levels(tmp_path / "cut.png"), deep_levels(tmp_path / "whole.png"))


def test_a_tiff_beyond_four_gigabytes_is_a_bigtiff(tmp_path, monkeypatch):
    assert bit_depth.CLASSIC_TIFF < 2**32
    headers = {b"II*\0": 12 * 10 * 6, b"II+\0": 12 * 10 * 6 - 1}
    for header, limit in headers.items():
        monkeypatch.setattr(bit_depth, "CLASSIC_TIFF", limit)
        save_image(tmp_path / "a.tif", noise(12, 10) / 255, {"seed": 1}, bits=16)
        assert (tmp_path / "a.tif").read_bytes()[:4] == header
        np.testing.assert_array_equal(deep_levels(tmp_path / "a.tif"), noise(12, 10) * np.uint16(257))
        np.testing.assert_allclose(read_image(tmp_path / "a.tif"), noise(12, 10) / 255, atol=1e-6)
        assert read_metadata(tmp_path / "a.tif") == {"seed": 1}


def test_an_unusable_bit_depth_is_refused_before_the_work(tmp_path):
    for extension in DEEP_EXTENSIONS:
        assert check_output(tmp_path / f"a{extension}", bits=16) is None
    for call in (check_output, lambda path, **how: save_image(path, noise() / 255, **how)):
        assert refusal(call, tmp_path / "a.jpg", bits=16) == (
            "bits: JPEG holds 8 bits per channel, not 16; use .png or .tif."
        )
        assert refusal(call, tmp_path / "a.webp", bits=16).startswith("bits: WEBP holds 8 bits per channel")
        assert refusal(call, tmp_path / "a.png", bits=12) == (
            "bits: 12 bits per channel are not supported; use 8 or 16."
        )
        assert refusal(call, tmp_path / "a.png", bits=16, dither=True) == (
            "dither: dithering is for 8 bits and has no effect on 16; leave out dither or bits."
        )
    assert list(tmp_path.iterdir()) == []


# Dither


@pytest.mark.parametrize("level", [0.1, 0.3, 0.49, 0.51, 0.9, 1.3, 7.5, 100.3, 200.0, 253.7, 254.3, 254.8])
def test_dither_keeps_the_mean_and_rounding_does_not(level):
    patch = np.full((200, 300, 3), level / 255)
    assert np.asarray(to_pil(patch, dither=True)).mean() == pytest.approx(level, abs=0.01)
    assert np.asarray(to_pil(patch)).mean() == np.rint(level)


@pytest.mark.parametrize("level", [0.6, 1.3, 7.5, 100.3, 200.0, 253.7])
def test_the_noise_of_dither_is_the_same_at_every_level(level):
    patch = np.full((200, 300, 3), level / 255)
    errors = np.asarray(to_pil(patch, dither=True)) - level
    assert errors.var() == pytest.approx(1 / 6 + 1 / 12, abs=0.01)  # two uniform noises, and the rounding
    assert np.abs(errors).max() < 1.5
    shifted = [errors[1:, :, 0] * errors[:-1, :, 0], errors[..., 0] * errors[..., 1]]
    # No correlation along rows or between channels.
    assert np.abs([product.mean() for product in shifted]).max() < 0.01


def test_the_error_of_dither_does_not_depend_on_the_picture():
    ramp = np.linspace(0.5, 0.51, 600)[None, :, None].repeat(300, 0).repeat(3, -1)
    rounded, dithered = (np.asarray(to_pil(ramp, dither)) - ramp * 255 for dither in (False, True))
    assert np.abs(rounded.mean(axis=(0, 2))).max() > 0.49  # bands: a column has the same error in every row
    assert np.abs(dithered.mean(axis=(0, 2))).max() < 0.1
    assert abs(np.corrcoef(dithered.ravel(), rounded.ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(dithered.ravel(), ramp.ravel())[0, 1]) < 0.01


def test_dither_leaves_black_and_white_without_specks():
    ends = np.array([-0.5, 0, 1, 1.5], np.float32).repeat(30000).reshape(4, 100, 100, 3)
    for picture, level in zip(ends, (0, 0, 255, 255), strict=True):
        assert (np.asarray(to_pil(picture, dither=True)) == level).all()


def test_pictures_are_dithered_only_on_request(tmp_path):
    for extension in (".png", ".tif"):
        path = tmp_path / f"a{extension}"
        save_image(path, slow_gradient())
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(to_pil(slow_gradient())))
        save_image(path, slow_gradient(), dither=True)
        np.testing.assert_array_equal(
            np.asarray(Image.open(path)), np.asarray(to_pil(slow_gradient(), dither=True))
        )
    assert (np.asarray(to_pil(slow_gradient(), dither=True)) != np.asarray(to_pil(slow_gradient()))).any()
