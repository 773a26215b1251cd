"""Pictures out: formats, settings inside, and files that appear whole or not at all."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from pictures import EXTENSIONS, noise, refusal
from PIL import Image

from jaxnst.images import read_image
from jaxnst.saving import check_output, read_metadata, save_image, to_pil


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


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_saving_twice_gives_the_same_bytes(tmp_path, extension):
    paths = [tmp_path / f"{name}{extension}" for name in "ab"]
    for path in paths:
        save_image(path, noise() / 255, {"seed": 1})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_quality_is_obeyed_and_jpeg_keeps_full_colour(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    sizes = []
    for quality in (30, 95):
        save_image(path, noise(64, 64) / 255, quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1] / 2
    if extension == ".jpg":
        with Image.open(path) as image:
            assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, failure):
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
        save_image(path, noise(seed=2) / 255)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_has_the_usual_permissions_and_keeps_a_link_a_link(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    save_image(tmp_path / "link.png", noise() / 255)
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_output_path_that_will_not_do_is_refused_before_the_work(tmp_path, monkeypatch):
    assert check_output(tmp_path / "new.PNG") is None
    assert refusal(check_output, tmp_path / "a.bmp") == (
        f"out: the extension '.bmp' is unknown in {str(tmp_path / 'a.bmp')!r}; "
        "use one of: .png, .jpg, .jpeg, .webp, .tif, .tiff."
    )
    assert "cannot be a path (File name too long)" in refusal(check_output, tmp_path / ("a" * 999 + ".png"))
    assert "cannot be a path (embedded null byte)" in refusal(check_output, "a\0.png")
    assert "there is no extension in 'result'; use one of: .png" in refusal(check_output, "result")
    assert refusal(check_output, tmp_path / "no" / "a.png", "history") == (
        f"history: there is no folder {str(tmp_path / 'no')!r}; create it first."
    )
    (tmp_path / "folder.png").mkdir()
    assert "is a folder; give the path of a file in it." in refusal(check_output, tmp_path / "folder.png")
    assert refusal(check_output, tmp_path / "a.webp", size=(16384, 2)).startswith(
        "out: WEBP ends at 16383 pixels"
    )
    assert "use .png or .tiff" in refusal(save_image, tmp_path / "a.jpg", np.zeros((1, 65501, 3)))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refusal(check_output, tmp_path / "a.png") == (
        f"out: no permission to write to {str(tmp_path)!r}; choose another."
    )


def test_the_largest_sizes_that_pass_the_check_can_be_written(tmp_path):
    save_image(tmp_path / "a.webp", np.zeros((1, 16383, 3)))
    save_image(tmp_path / "a.jpg", np.zeros((65500, 1, 3)))


def test_metadata_beyond_what_jpeg_holds_is_refused_and_nothing_is_written(tmp_path):
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
