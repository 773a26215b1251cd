"""The preview and the evolution of a run, which never waits for them, nor fails with them; no network."""

import numpy as np
import pytest
from PIL import Image
from runs import SIZES, Watch, as_on_an_accelerator, smoothing

from jaxnst.core.sharding import ONE_DEVICE
from jaxnst.io.bit_depth import to_bytes
from jaxnst.io.images import read_image, resize
from jaxnst.run.ended import Ended
from jaxnst.run.loop import optimise
from jaxnst.run.preview import Evolution, Preview

pytestmark = pytest.mark.fast


class Clock:
    """Stands still but for what a test adds."""

    def __init__(self):
        """Begins at an arbitrary moment."""
        self.now = 100.0

    def __call__(self):
        """Returns the time."""
        return self.now


class Ticks(Watch):
    """Lets a clock run a second at each step, and looks at the preview."""

    def __init__(self, clock, path):
        """Keeps the clock."""
        super().__init__()
        self._clock, self._path, self.shown = clock, path, []

    def __call__(self, progress, state, scale):
        """Notes what the preview shows after the step before."""
        self.shown.append(read_image(self._path) if self._path.exists() else None)
        self._clock.now += 1
        return super().__call__(progress, state, scale)


@pytest.fixture
def previewed(tmp_path):
    """Runs six steps of a second each, with a preview; returns the hooks."""

    def run(path=tmp_path / "out.preview.png", seconds=2.0, ends=(3, 6)):
        clock, work = Clock(), smoothing(ends=list(ends))
        ticks = Ticks(clock, path)
        preview = Preview(path, ONE_DEVICE, seconds, clock)
        return ticks, preview, optimise(*work, [ticks, preview])

    return run


def test_the_preview_is_the_picture_so_far_every_few_seconds(previewed, tmp_path):
    ticks, _, outcome = previewed()
    assert outcome.ended is Ended.finished
    pictures = {progress.step: progress.image for progress in ticks.seen}
    # Written after steps 2, 4 and 6: each hook sees the preview that an earlier step left.
    assert [None if shown is None else shown.shape[:2] for shown in ticks.shown] == [
        *(None, None, SIZES[0], SIZES[0], SIZES[1], SIZES[1])
    ]
    np.testing.assert_allclose(ticks.shown[2], pictures[2], atol=0.51 / 255)
    np.testing.assert_allclose(ticks.shown[5], pictures[4], atol=0.51 / 255)
    np.testing.assert_allclose(read_image(tmp_path / "out.preview.png"), pictures[6], atol=0.51 / 255)
    assert [path.name for path in tmp_path.iterdir()] == ["out.preview.png"]


def test_previews_take_at_most_a_twentieth_of_the_time(previewed, monkeypatch, tmp_path):
    written, clocks = [], []

    def slow(path, picture):
        written.append(clocks[0].now)
        clocks[0].now += 1

    monkeypatch.setattr("jaxnst.io.save.save_image", slow)
    clock, work = Clock(), smoothing(ends=[3, 60])
    clocks.append(clock)
    path = tmp_path / "p.png"
    optimise(*work, [Ticks(clock, path), Preview(path, ONE_DEVICE, 2.0, clock)])
    assert np.diff(written).min() >= 20


def test_a_preview_that_cannot_be_written_warns_once_and_the_run_goes_on(previewed, tmp_path):
    with pytest.warns(UserWarning) as warned:
        _, _, outcome = previewed(tmp_path / "none" / "out.preview.png", seconds=0.0)
    assert [str(warning.message).split(":")[0] for warning in warned] == ["preview"]
    assert outcome.ended is Ended.finished
    assert outcome.state.step == 6


def test_a_full_disk_does_not_stop_a_run_either(previewed, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.warns(UserWarning, match="No space left on device") as warned:
        _, _, outcome = previewed(seconds=0.0)
    assert len(warned) == 1
    assert outcome.ended is Ended.finished


def test_an_accelerator_never_waits(monkeypatch, tmp_path):
    """No state but the last can be read, because later steps are always on their way."""
    optimise(*smoothing(), [])
    as_on_an_accelerator(monkeypatch)
    work, watch, alone = smoothing(ends=[7, 12]), Watch(), Watch()
    evolution = Evolution.of(tmp_path / "film.gif", SIZES[-1], work[1][-1])
    optimise(*work, [watch, Preview(tmp_path / "p.png", ONE_DEVICE, 0.0, Clock()), evolution])
    optimise(*smoothing(ends=[7, 12]), [alone])
    assert watch.readable == alone.readable == [12]
    np.testing.assert_allclose(read_image(tmp_path / "p.png"), watch.seen[-1].image, atol=0.51 / 255)
    assert list(evolution.frames) == list(range(1, 13))


def test_the_evolution_has_frames_of_one_size_from_the_first_step_to_the_last(tmp_path):
    work, watch = smoothing(), Watch()
    evolution = Evolution.of(tmp_path / "film.webp", SIZES[-1], work[1][-1])
    optimise(*work, [watch, evolution])
    for progress in watch.seen:
        expected = to_bytes(resize(progress.image, SIZES[1]))
        np.testing.assert_array_equal(evolution.frames[progress.step], expected)
    evolution.write()
    with Image.open(tmp_path / "film.webp") as film:
        assert film.size == SIZES[1][::-1]
        assert film.n_frames == 6


def test_the_evolution_of_a_long_run_in_a_large_size_is_bounded(tmp_path):
    evolution = Evolution.of(tmp_path / "film.gif", (3000, 2000), 5000)
    assert evolution.size == (512, 341)
    assert len(evolution.steps) == 60
    assert {1, 5000} <= evolution.steps


def test_the_evolution_of_a_run_that_was_stopped_ends_with_its_last_picture(tmp_path):
    work, watch = smoothing(ends=[100, 200]), Watch(stop_at=5)
    evolution = Evolution.of(tmp_path / "film.webp", SIZES[-1], work[1][-1])
    optimise(*work, [watch, evolution])
    evolution.write()
    assert list(evolution.frames) == [1, 4, 5]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_film_that_cannot_be_written_costs_no_picture(monkeypatch, tmp_path, error):
    def fail(path, frames):
        raise error

    monkeypatch.setattr("jaxnst.io.film.save_film", fail)
    evolution = Evolution.of(tmp_path / "film.gif", SIZES[-1], 6)
    optimise(*smoothing(), [evolution])
    with pytest.warns(UserWarning, match="evolution: the film cannot be written"):
        evolution.write()


def test_a_run_without_a_step_has_no_film(tmp_path):
    Evolution.of(tmp_path / "film.gif", SIZES[-1], 6).write()
    assert not list(tmp_path.iterdir())
