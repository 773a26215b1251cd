"""Films are read back by Pillow: frames, sizes, times and colours."""

import numpy as np
import pytest
from pictures import refusal
from PIL import Image, ImageSequence
from scipy.ndimage import gaussian_filter

from jaxnst.io.film import check_film, save_film, spread

pytestmark = pytest.mark.fast


def gradient(shift, height=96, width=128):
    """Returns a smooth picture, which shows bands where there are too few colours."""
    y, x = np.mgrid[:height, :width] / 128
    channels = [0.5 + 0.5 * np.sin(3 * x + shift), 0.5 + 0.5 * np.cos(2 * y - shift), 0.5 + 0.3 * x * y]
    return (255 * np.stack(channels, axis=-1)).clip(0, 255).astype(np.uint8)


FRAMES = {step: gradient(step / 10) for step in (1, 3, 5, 8, 10)}


def read(path):
    """Returns the frames of a film, and how long each is shown, in milliseconds."""
    frames, times = [], []
    with Image.open(path) as film:
        for frame in ImageSequence.Iterator(film):
            frames.append(np.asarray(frame.convert("RGB"), np.float32))
            times.append(frame.info["duration"])
    return frames, times


@pytest.mark.parametrize(("name", "worst"), [("film.gif", 12), ("film.webp", 3), ("FILM.GIF", 12)])
def test_a_film_has_every_frame_in_order_and_holds_the_last(tmp_path, name, worst):
    path = tmp_path / name
    save_film(path, FRAMES)
    frames, times = read(path)
    assert len(frames) == len(FRAMES)
    for frame, expected in zip(frames, FRAMES.values(), strict=True):
        assert np.sqrt(np.mean((frame - expected) ** 2)) < worst
    assert len(set(times[:-1])) == 1
    assert 4 * times[0] <= times[-1] == 2000
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_gif_shows_no_bands(tmp_path, photo):
    """Seen from afar, which a blur stands for, it has the colours of a photo; undithered it has not."""
    picture = Image.open(photo).resize((256, 256))
    save_film(tmp_path / "film.gif", {1: np.asarray(picture)})
    [frame], _ = read(tmp_path / "film.gif")

    def error(frame):
        difference = np.float32(frame) - np.float32(picture)
        return np.sqrt(np.mean(gaussian_filter(difference, (2, 2, 0)) ** 2))

    undithered = picture.quantize(256, dither=Image.Dither.NONE).convert("RGB")
    assert error(frame) < 0.8 < 1.5 < error(undithered)


def test_a_single_frame_is_a_film_too(tmp_path):
    for name in ("film.gif", "film.webp", "film.png"):
        save_film(tmp_path / name, {1: FRAMES[1]})
        with Image.open(tmp_path / name) as film:
            assert getattr(film, "n_frames", 1) == 1


def test_a_png_is_a_contact_sheet_of_at_most_sixteen_frames(tmp_path):
    frames = {step: np.full((8, 8, 3), step, np.uint8) for step in range(1, 61)}
    save_film(tmp_path / "sheet.png", frames)
    levels, counts = np.unique(np.asarray(Image.open(tmp_path / "sheet.png"))[..., 0], return_counts=True)
    shown = levels[counts >= 256 * 256]
    assert shown[0] == 1
    assert shown[-1] in (60, 255)
    assert set(spread(60, 16)) == {*shown.tolist()} - {255}


@pytest.mark.parametrize("count", [1, 2, 59, 60, 61, 100, 119, 2000])
def test_frames_are_spread_evenly_from_the_first_step_to_the_last(count):
    chosen = spread(count, 60)
    assert chosen[0] == 1
    assert chosen[-1] == count
    assert len(chosen) == min(count, 60)
    assert len(set(np.diff(chosen))) <= 2
    assert np.ptp(np.diff(chosen)) <= 1 if count > 1 else True


def test_what_is_no_film(tmp_path):
    assert refusal(check_film, tmp_path / "film.mp4").startswith("evolution: ")
    assert ".gif" in refusal(check_film, tmp_path / "film")
    assert "there is no folder" in refusal(check_film, tmp_path / "none" / "film.gif")
    check_film(tmp_path / "film.WEBP")
