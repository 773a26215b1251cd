"""A run that was stopped, killed or out of memory goes on as if it had not been."""

import contextlib
import dataclasses
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace

import h5py
import jax
import numpy as np
import pytest
from pictures import refusal
from PIL import Image
from runs import FailingSteps, as_on_an_accelerator

import jaxnst
from jaxnst.cli import main as cli
from jaxnst.cli.output import INTERRUPTED
from jaxnst.config.presets import PLAIN
from jaxnst.io import array_file, images, save
from jaxnst.run.checkpoint import Checkpoint
from jaxnst.run.hooks import StopWhen
from jaxnst.run.interrupts import stop_on_interrupt
from jaxnst.run.loop import Hook
from jaxnst.run.plan import Pictures, prepare
from jaxnst.run.result import run_plan
from jaxnst.run.steps import Steps

CONFIG = {
    "size": 32,
    "steps": 6,
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "history_size": 4,
    "precision": "float32",
}

FAST = CONFIG | {"progress": False}

TWO_SCALES = {"start_size": 16, "random_shift": 0.95}

RUNS = {
    "lbfgs": TWO_SCALES,
    "adam": {"start_size": 16, "optimizer": "adam", "learning_rate": 0.02, "start": "noise", "seed": 3},
    "fourier": {"parametrisation": "fourier", "color": "luminance", "snapshots": 2},
    "tile": {"tile": 64, "size": 96, "start_size": 48},
    "devices": {"devices": 4, "size": 90, "start_size": 45},
}


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(0)
    return generator.random((24, 32, 3), np.float32), generator.random((40, 30, 3), np.float32)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run.h5"


@pytest.fixture(scope="module")
def two_scales(pictures):
    """The result of a run that nothing stops, and the picture after each of its steps."""
    seen = []
    result = jaxnst.stylize(*pictures, **FAST | TWO_SCALES, callback=lambda p: seen.append(p.image))
    return result, seen


def assert_same(found, expected):
    assert found.ended == expected.ended
    np.testing.assert_array_equal(found.array, expected.array)
    assert found.history.keys() == expected.history.keys()
    for name, losses in expected.history.items():
        np.testing.assert_array_equal(found.history[name], losses)
    assert found.snapshots.keys() == expected.snapshots.keys()
    for step, picture in expected.snapshots.items():
        np.testing.assert_array_equal(found.snapshots[step], picture)


def stopped_after(last, pictures, settings):
    """Returns the result of a call whose callback stops it after a step, and the steps of the call."""
    steps = []

    def callback(progress):
        steps.append(progress.step)
        return progress.step < last

    return jaxnst.stylize(*pictures, **settings, callback=callback), steps


def never(progress):
    """Fails as a callback, because no step may be done."""
    raise AssertionError(f"step {progress.step} was done")


@contextlib.contextmanager
def ready(pictures, file, settings=TWO_SCALES, steps=None, **options):
    """Yields a plan, whose steps `steps` may replace, and its checkpoint, as `stylize` prepares them."""
    plan = prepare(
        Pictures(pictures[0], [pictures[1]]), jaxnst.Config(**CONFIG | settings).checked(), **options
    )
    if steps is not None:
        plan = dataclasses.replace(plan, steps=steps(plan.steps.problem))
    checkpoint = Checkpoint(file, 10)
    with checkpoint.alone():
        checkpoint.load(plan)
        yield plan, checkpoint


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow) if kind in ("tile", "devices") else kind for kind in RUNS],
)
def test_goes_on_bit_for_bit(pictures, file, kind):
    """Stopped in the middle of the first scale, at its end, in the second, and after the last step."""
    settings = FAST | RUNS[kind]
    expected = jaxnst.stylize(*pictures, **settings)
    settings |= {"checkpoint": file}
    for first, last in ((1, 2), (3, 3), (4, 5), (6, 6)):
        stopped, steps = stopped_after(last, pictures, settings)
        assert stopped.ended == "stopped"
        assert steps == list(range(first, last + 1))
        assert len(stopped.history["total"]) == last
    assert_same(jaxnst.stylize(*pictures, **settings, callback=never), expected)


class PressCtrlC(Hook):
    """Presses Ctrl-C after one step."""

    def __init__(self, step):
        self._step = step

    def __call__(self, progress, state, scale):
        if progress.step == self._step:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_with_steps_in_flight(pictures, file, monkeypatch):
    """Runs as on an accelerator: dispatched steps are done, and all that follows is the same."""
    settings = TWO_SCALES | {"steps": 12}
    expected = jaxnst.stylize(*pictures, **FAST | settings)
    with ready(pictures, file, settings) as (plan, checkpoint), monkeypatch.context() as patch:
        as_on_an_accelerator(patch, in_flight=3)
        with stop_on_interrupt() as flag:
            hooks = [StopWhen(flag.is_set, plan.steps.placement), PressCtrlC(2)]
            stopped = run_plan(plan, hooks, file=checkpoint)
    assert stopped.ended == "interrupted"
    # The second step is read when the fifth is on its way, and Ctrl-C is noticed at the sixth.
    assert len(stopped.history["total"]) == array_file.about(file)["step"] == 6
    assert_same(jaxnst.stylize(*pictures, **FAST | settings, checkpoint=file), expected)


def test_a_finished_run_is_returned_at_once(pictures, file):
    expected = jaxnst.stylize(*pictures, **FAST, checkpoint=file, snapshots=3)
    found = jaxnst.stylize(*pictures, **FAST, checkpoint=file, snapshots=3, callback=never)
    assert_same(found, expected)
    assert found.seconds > expected.seconds / 2  # compilation, which this call had none of


def test_it_is_written_every_so_many_minutes(pictures, file, monkeypatch):
    """A minute a step by this clock; and at the end of the first scale, and of the run."""
    minutes, written = [0], []
    monkeypatch.setattr(time, "monotonic", lambda: 60 * minutes[0])

    def minute(_):
        minutes[0] += 1
        written.append((array_file.about(file) or {}).get("step"))

    settings = FAST | {"steps": 14, "start_size": 16, "checkpoint_minutes": 3}
    jaxnst.stylize(*pictures, **settings, checkpoint=file, callback=minute)
    assert list(dict.fromkeys(written)) == [None, 3, 6, 7, 10, 13]
    assert written.index(13) == 13  # after the callback of step 13, before that of step 14
    assert array_file.about(file)["ended"] == "finished"


def test_people_can_look_at_the_picture(pictures, file):
    stopped, _ = stopped_after(4, pictures, FAST | {"checkpoint": file})
    with h5py.File(file) as found:
        np.testing.assert_array_equal(found["arrays/picture"], stopped.array)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, INTERRUPTED)],
    ids=["kill -9", "Ctrl-C"],
)
def test_a_stopped_command_goes_on(pictures, tmp_path, monkeypatch, number, status):
    """`kill -9` costs only what came after the last checkpoint, Ctrl-C nothing."""
    monkeypatch.setenv("JAXNST_CACHE", str(tmp_path / "cache"))
    paths = [tmp_path / "content.png", tmp_path / "style.png"]
    for path, picture in zip(paths, pictures, strict=True):
        save.save_image(path, picture)
    resumed, whole, file = (tmp_path / name for name in ("resumed.png", "whole.png", "run.h5"))
    command = [
        *(sys.executable, "-m", "jaxnst", "stylize", *paths, "--out", resumed, "--quiet"),
        *("--checkpoint", file, "--checkpoint-minutes", 0, "--size", 32, "--history-size", 4),
        *("--steps", 200, "--content-layers", "relu2_1", "--style-layers", "relu1_1", "relu2_1"),
        *("--start-size", 16, "--random-shift", 0.95, "--precision", "float32"),
    ]
    command = [str(word) for word in command]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    # As soon as the checkpoint has so many steps, which may be while the next one is written.
    deadline = time.monotonic() + 120
    while ((array_file.about(file) or {}).get("step") or 0) < 120:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == status
    assert 120 <= array_file.about(file)["step"] < 200
    assert resumed.exists() == ("goes on from here" in messages) == (number == signal.SIGINT)
    subprocess.run(command, check=True)
    jaxnst.stylize(*paths, **FAST | TWO_SCALES | {"steps": 200}).save(whole)
    assert resumed.read_bytes() == whole.read_bytes()
    assert list(tmp_path.glob(".*")) == [tmp_path / ".run.h5.lock"]


@pytest.fixture(scope="module")
def begun(pictures, tmp_path_factory):
    """A checkpoint after the first of six steps."""
    path = tmp_path_factory.mktemp("begun") / "run.h5"
    stopped_after(1, pictures, FAST | {"checkpoint": path})
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"learning_rate": 0.5}, "learning_rate 0.0 there and 0.5 here"),
        ({"steps": 7, "style_layers": ("relu1_1",)}, "steps 6 there and 7 here, style_layers .*relu2_1"),
        ({"weights": "caffe-unit"}, "weights caffe there and caffe-unit here"),
        ({"tile": 64, "size": 96}, "tile None there and 64 here"),
        ({"snapshots": 2}, "snapshots 0 there and 2 here"),
        ({"content": np.zeros((24, 32, 3))}, "not the same content"),
        ({"style": np.zeros((24, 32, 3))}, "not the same style 1"),
        ({"content_masks": [np.ones((24, 32))]}, "not the same content_masks 1"),
    ],
)
def test_another_run_is_refused(pictures, begun, changed, message):
    """Before the first step, and the file stays as it is."""
    before = begun.read_bytes()
    given = dict(zip(("content", "style"), pictures, strict=True)) | FAST | changed
    told = refusal(jaxnst.stylize, **given, checkpoint=begun, callback=never)
    assert re.search(f"^checkpoint: .*run.h5.*{message}.* delete it", told), told
    assert begun.read_bytes() == before


def of_another_release(owner):
    owner["jaxnst"] = "0.0.9"


def of_another_jax(owner):
    owner["run"]["jax"] = "0.10.99"


def before_a_setting_was_renamed(owner):
    owner["config"]["memory"] = owner["config"].pop("history_size")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_another_release, r"jaxnst 0\.0\.9 there and .* here"),
        (of_another_jax, r"jax 0\.10\.99 there and .* here"),
        (before_a_setting_was_renamed, "history_size None there and 4 here"),
    ],
)
def test_a_checkpoint_of_another_version_is_refused(pictures, begun, file, change, message):
    arrays, about = array_file.load(begun)
    change(about["owner"])
    array_file.save(file, arrays, about)
    assert re.search(message, refusal(jaxnst.stylize, *pictures, **FAST, checkpoint=file, callback=never))


def damaged(data, how):
    middle = len(data) // 2
    flipped = bytes(byte ^ 255 for byte in data[middle : middle + 64])
    return {
        "empty": b"",
        "text": b"step 1\n" * 99,
        "cut": data[:middle],
        "flipped": data[:middle] + flipped + data[middle + 64 :],
    }[how]


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "of a study"])
def test_a_file_that_is_no_checkpoint_is_refused(pictures, begun, file, damage):
    if damage == "of a study":
        array_file.save(file, {"leaves/0000": np.zeros(3)}, {"runs": [], "step": 1})
    else:
        file.write_bytes(damaged(begun.read_bytes(), damage))
    told = refusal(jaxnst.stylize, *pictures, **FAST, checkpoint=file, callback=never)
    assert re.search("^checkpoint: .*run.h5.* damaged", told), told


@pytest.mark.parametrize("damage", ["empty", "flipped", None])
def test_a_batch_ignores_a_checkpoint_that_it_cannot_use(pictures, begun, file, damage):
    """It is damaged, or another run's."""
    file.write_bytes(begun.read_bytes() if damage is None else damaged(begun.read_bytes(), damage))
    with ready(pictures, file.with_name("other.h5")) as (plan, _):
        checkpoint = Checkpoint(file, 10, strict=False)
        assert checkpoint.load(plan) == 0
        assert checkpoint.take_state() is None


def test_a_place_that_will_not_do_is_refused_before_the_pictures_are_read(file, tmp_path, monkeypatch):
    def told(path, **settings):
        return refusal(jaxnst.stylize, "no.png", "no.png", **FAST, checkpoint=path, **settings)

    assert "there is no folder" in told(tmp_path / "none" / "run.h5")
    assert "must end in .h5" in told(tmp_path / "run.png")
    assert "is a folder" in told(tmp_path)
    for minutes in (-1, float("nan"), "10"):
        assert told(file, checkpoint_minutes=minutes).startswith("checkpoint_minutes: ")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "no permission" in told(file)


def test_what_auto_chose_for_tiles_stays(pictures, file):
    """Even if there is more memory by then, or less."""
    settings = FAST | {"size": 96, "steps": 3}
    expected = jaxnst.stylize(*pictures, **settings, tile=64)
    settings |= {"checkpoint": file}
    stopped_after(1, pictures, settings | {"tile": 64})
    assert_same(jaxnst.stylize(*pictures, **settings, tile="auto"), expected)


def test_what_auto_chose_for_another_run_does_not_count(pictures, file):
    """The refusal names the setting that differs, not that a line search goes with no tiles."""
    stopped_after(1, pictures, FAST | {"size": 96, "tile": 64, "checkpoint": file})
    told = refusal(jaxnst.stylize, *pictures, **FAST | {"size": 96}, line_search="zoom", checkpoint=file)
    assert "line_search none there and zoom here" in told


@pytest.mark.parametrize("fault", ["no space", "no folder"])
def test_a_checkpoint_that_cannot_be_written_costs_no_picture(pictures, tmp_path, monkeypatch, fault):
    """The disk is full, or the folder is no longer there."""
    expected = jaxnst.stylize(*pictures, **FAST)
    folder = tmp_path / "folder"
    folder.mkdir()

    def spoil(_):
        if fault == "no space":
            monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        else:
            shutil.rmtree(folder, ignore_errors=True)

    message = {"no space": "No space left", "no folder": "No such file"}[fault]
    with pytest.warns(UserWarning, match=f"the checkpoint could not be written .*{message}"):
        found = jaxnst.stylize(*pictures, **FAST, checkpoint=folder / "run.h5", callback=spoil)
    assert_same(found, expected)


DESCENT = {"optimizer": "sgd", "learning_rate": 1e-5, "clamp": False, "steps": 9}

DIVERGING = DESCENT | {"config": PLAIN}


def test_a_run_that_diverged_is_over(pictures, file):
    """Its last good picture is kept; the same call would come to the same."""
    settings = FAST | DIVERGING
    with pytest.warns(UserWarning, match="no longer a finite number"):
        expected = jaxnst.stylize(*pictures, **settings)
    assert 1 < len(expected.history["total"]) < 9
    with pytest.warns(UserWarning, match="no longer a finite number"):
        assert_same(jaxnst.stylize(*pictures, **settings, checkpoint=file), expected)
    with pytest.warns(UserWarning, match="no longer a finite number"):
        assert_same(jaxnst.stylize(*pictures, **settings, checkpoint=file, callback=never), expected)


def test_a_run_that_diverges_just_after_it_went_on_has_its_last_good_picture(pictures, file):
    settings = FAST | DIVERGING
    with pytest.warns(UserWarning, match="no longer a finite number"):
        expected = jaxnst.stylize(*pictures, **settings)
    settings |= {"checkpoint": file}
    stopped_after(len(expected.history["total"]), pictures, settings)
    with pytest.warns(UserWarning, match="no longer a finite number"):
        assert_same(jaxnst.stylize(*pictures, **settings), expected)


def failing(at, uses_up_state=False):
    """Returns what makes steps of which one has no memory."""
    return lambda problem: FailingSteps(problem, fails_at=at, uses_up_state=uses_up_state)


@pytest.mark.parametrize("in_flight", [0, 3])
@pytest.mark.parametrize("at", [3, 4, 6])
def test_memory_that_runs_out_ends_the_run_with_the_last_good_picture(
    pictures, file, monkeypatch, two_scales, at, in_flight
):
    """In a scale, at the first step of the next, and in that; the same call goes on."""
    expected, seen = two_scales
    with (
        ready(pictures, file, steps=failing(at)) as (plan, checkpoint),
        monkeypatch.context() as patch,
        pytest.warns(UserWarning, match=f"ran out at step {at}.* goes on after step {at - 1}$"),
    ):
        if in_flight:
            as_on_an_accelerator(patch, in_flight)
        ended = run_plan(plan, file=checkpoint)
    assert ended.ended == "out of memory"
    assert len(ended.history["total"]) == at - 1
    np.testing.assert_array_equal(ended.array, images.resize(seen[at - 2], (24, 32)))
    assert_same(jaxnst.stylize(*pictures, **FAST | TWO_SCALES, checkpoint=file), expected)


def test_where_memory_took_the_state_along_the_last_checkpoint_stands(pictures, file, two_scales):
    with (
        ready(pictures, file, steps=failing(5, uses_up_state=True)) as (plan, checkpoint),
        pytest.warns(UserWarning, match="goes on after step 3"),
    ):
        assert len(run_plan(plan, file=checkpoint).history["total"]) == 4
    assert_same(jaxnst.stylize(*pictures, **FAST | TWO_SCALES, checkpoint=file), two_scales[0])


@pytest.mark.parametrize("last", [2, 3])
def test_memory_that_runs_out_just_after_a_run_went_on_costs_nothing(pictures, file, two_scales, last):
    """In a scale, and at the first step of the next: there is the picture of the checkpoint."""
    expected, seen = two_scales
    stopped_after(last, pictures, FAST | TWO_SCALES | {"checkpoint": file})
    with (
        ready(pictures, file, steps=failing(last + 1)) as (plan, checkpoint),
        pytest.warns(UserWarning, match=f"ran out at step {last + 1}.* goes on after step {last}$"),
    ):
        ended = run_plan(plan, file=checkpoint)
    assert ended.ended == "out of memory"
    assert len(ended.history["total"]) == last
    np.testing.assert_array_equal(ended.array, images.resize(seen[last - 1], (24, 32)))
    assert_same(jaxnst.stylize(*pictures, **FAST | TWO_SCALES, checkpoint=file), expected)


@pytest.mark.usefixtures("own_cache")
def test_memory_that_runs_out_exits_with_1(photo, painting, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.png"
    whole_step = Steps.step

    def short_of_memory(self, size, inputs, state):
        if state.step == 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        return whole_step(self, size, inputs, state)

    monkeypatch.setattr(Steps, "step", short_of_memory)
    settings = ("--size", "32", "--steps", "6", "--content-layers", "relu2_1", "--style-layers", "relu2_1")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main(["stylize", str(photo), str(painting), "--quiet", "--out", str(out), *settings]) == 1
    assert "memory ran out at step 3" in capsys.readouterr().err
    assert save.read_metadata(out)["steps_done"] == 2
    with Image.open(out) as picture:
        assert picture.size == (32, 32)


def test_no_memory_for_a_first_picture_is_one_sentence(pictures, file):
    with ready(pictures, file, steps=failing(1)) as (plan, checkpoint):
        assert "memory ran out before there was a picture" in refusal(run_plan, plan, file=checkpoint)


def test_two_runs_do_not_share_a_file(pictures, file):
    def another(progress):
        del progress
        assert "another run is at work" in refusal(jaxnst.stylize, *pictures, checkpoint=file, **FAST)
        return False

    jaxnst.stylize(*pictures, checkpoint=file, callback=another, **FAST)
    assert jaxnst.stylize(*pictures, checkpoint=file, **FAST).ended == "finished"
    # The lock stays: whoever removed it could let two later runs in at once.
    assert set(file.parent.iterdir()) == {file, file.with_name(f".{file.name}.lock")}


def test_a_strip_has_no_checkpoint(pictures, file):
    told = refusal(jaxnst.interpolate, pictures[0], [pictures[1], pictures[1]], **FAST, checkpoint=file)
    assert told.startswith("checkpoint: ")
