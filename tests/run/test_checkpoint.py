"""A run that was stopped, killed or out of memory goes on as if it had not been."""

import re
import signal
import subprocess
import sys
import time
import warnings

import h5py
import jax
import numpy as np
import pytest
from pictures import refusal
from PIL import Image

import jaxnst
from jaxnst.cli.main import main as cli
from jaxnst.io import array_file as checkpoint
from jaxnst.io import save as saving
from jaxnst.run import loop as run

FAST = {
    "size": 32,
    "steps": 6,
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "memory": 4,
    "progress": False,
}

RUNS = {
    "lbfgs": {"start_size": 16, "random_shift": 0.95},
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


def assert_same(found, expected):
    assert found.ended == expected.ended
    np.testing.assert_array_equal(found.array, expected.array)
    assert found.history.keys() == expected.history.keys()
    for name, losses in expected.history.items():
        np.testing.assert_array_equal(found.history[name], losses)
    assert found.snapshots.keys() == expected.snapshots.keys()
    for step, picture in expected.snapshots.items():
        np.testing.assert_array_equal(found.snapshots[step], picture)


@pytest.mark.parametrize("kind", RUNS)
def test_goes_on_bit_for_bit(pictures, file, kind):
    """Stopped in the middle of the first scale, at its end, and in the second; each part is a call."""
    settings = FAST | RUNS[kind]
    expected = jaxnst.stylize(*pictures, **settings)
    settings |= {"checkpoint": file}
    for first, last in ((1, 2), (3, 3), (4, 5)):
        stopped, steps = _stopped(pictures, settings, last)
        assert stopped.ended == "stopped"
        assert steps == list(range(first, last + 1))
        assert len(stopped.history["total"]) == last
    assert_same(jaxnst.stylize(*pictures, **settings), expected)


def _stopped(pictures, settings, last):
    """What a callback gets that stops after this step, and the steps that it was told."""
    steps = []

    def callback(progress):
        steps.append(progress.step)
        return progress.step < last

    return jaxnst.stylize(*pictures, **settings, callback=callback), steps


def test_steps_in_flight_change_nothing(pictures, file, monkeypatch):
    """As on an accelerator, which is steps ahead of what is told; Ctrl-C comes at any time."""
    settings = FAST | RUNS["lbfgs"] | {"steps": 12}
    expected = jaxnst.stylize(*pictures, **settings)
    monkeypatch.setattr(run, "_ahead", lambda: 3)
    show = _interrupting(monkeypatch, at=2)
    stopped = jaxnst.stylize(*pictures, **settings, checkpoint=file)
    assert stopped.ended == "interrupted"
    assert show == list(range(1, len(show) + 1))
    assert len(show) == len(stopped.history["total"]) == checkpoint.about(file)["step"] == 6
    assert_same(jaxnst.stylize(*pictures, **settings, checkpoint=file), expected)


def _interrupting(monkeypatch, at):
    """Ctrl-C after a step is told; the list of steps told."""
    told, add = [], jaxnst.record.Record.add

    def adding(record, progress, snapshots):
        told.append(progress.step)
        if progress.step == at:
            signal.raise_signal(signal.SIGINT)
        add(record, progress, snapshots)

    monkeypatch.setattr(jaxnst.record.Record, "add", adding)
    return told


def test_a_finished_run_is_returned_at_once(pictures, file, monkeypatch):
    expected = jaxnst.stylize(*pictures, **FAST, checkpoint=file, snapshots=3)
    monkeypatch.setattr(run, "_dispatched", None)
    found = jaxnst.stylize(*pictures, **FAST, checkpoint=file, snapshots=3)
    assert_same(found, expected)
    assert found.seconds > expected.seconds / 2  # compilation, which this call had none of


def test_it_is_written_every_so_many_minutes(pictures, file, monkeypatch):
    """A minute a step by this clock; and at the end of the first scale, and of the run."""
    minutes, written = [0], []
    monkeypatch.setattr("jaxnst.run.checkpoint.time.monotonic", lambda: 60 * minutes[0])
    save = checkpoint.save

    def saving_(path, arrays, about):
        written.append(about.get("step", about["ended"]))
        save(path, arrays, about)

    monkeypatch.setattr(checkpoint, "save", saving_)

    def minute(_):
        minutes[0] += 1

    settings = FAST | {"steps": 14, "start_size": 16, "checkpoint_minutes": 3}
    jaxnst.stylize(*pictures, **settings, checkpoint=file, callback=minute)
    assert written == [3, 6, 7, 10, 13, "finished"]


def test_people_can_look_at_the_picture(pictures, file):
    stopped = jaxnst.stylize(*pictures, **FAST, checkpoint=file, callback=lambda p: p.step < 4)
    with h5py.File(file) as found:
        np.testing.assert_array_equal(found["arrays/picture"], stopped.array)


def test_kill_9_costs_only_what_came_after_the_last_checkpoint(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNST_CACHE", str(tmp_path / "cache"))
    paths = [tmp_path / "content.png", tmp_path / "style.png"]
    for path, picture in zip(paths, pictures, strict=True):
        saving.save_image(path, picture)
    resumed, whole, file = (tmp_path / name for name in ("resumed.png", "whole.png", "run.h5"))
    command = [
        *(sys.executable, "-m", "jaxnst", "stylize", *paths, "--out", resumed, "--quiet"),
        *("--checkpoint", file, "--checkpoint-minutes", 0, "--size", 32, "--memory", 4, "--steps", 200),
        *("--content-layers", "relu2_1", "--style-layers", "relu1_1", "relu2_1"),
        *("--start-size", 16, "--random-shift", 0.95),
    ]
    command = [str(each) for each in command]
    assert 120 <= _kill_after(subprocess.Popen(command), file, 120) < 200
    assert not resumed.exists()
    subprocess.run(command, check=True)
    jaxnst.stylize(*paths, **FAST | RUNS["lbfgs"] | {"steps": 200}).save(whole)
    assert resumed.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*"))


def _kill_after(process, file, step):
    """Kill -9 as soon as the checkpoint has so many steps, which may be while it writes the next one."""
    deadline = time.monotonic() + 120
    while ((checkpoint.about(file) or {}).get("step") or 0) < step:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    return checkpoint.about(file)["step"]


@pytest.mark.usefixtures("own_cache")
def test_ctrl_c_and_the_same_command(photo, painting, tmp_path, monkeypatch, capsys):
    settings = ("--size", "32", "--steps", "6", "--content-layers", "relu2_1", "--style-layers", "relu2_1")
    command = ["stylize", str(photo), str(painting), "--quiet", *settings, "--out"]
    assert cli.main([*command, str(tmp_path / "whole.png")]) == 0
    resumed = [*command, str(tmp_path / "resumed.png"), "--checkpoint", str(tmp_path / "run.h5")]
    with monkeypatch.context() as patch:
        _interrupting(patch, at=4)
        assert cli.main(resumed) == cli.INTERRUPTED
    assert "goes on from here" in capsys.readouterr().err
    assert (tmp_path / "resumed.png").read_bytes() != (tmp_path / "whole.png").read_bytes()
    assert cli.main(resumed) == 0
    assert (tmp_path / "resumed.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


@pytest.fixture(scope="module")
def begun(pictures, tmp_path_factory):
    """A checkpoint after the first of six steps."""
    path = tmp_path_factory.mktemp("begun") / "run.h5"
    jaxnst.stylize(*pictures, **FAST, checkpoint=path, callback=lambda _: False)
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"learning_rate": 0.5}, "learning_rate 1.0 there and 0.5 here"),
        ({"steps": 7, "style_layers": ("relu1_1",)}, "steps 6 there and 7 here, style_layers .*relu2_1"),
        ({"weights": "caffe-unit"}, "weights caffe there and caffe-unit here"),
        ({"tile": 64, "size": 96}, "tile None there and 64 here"),
        ({"snapshots": 2}, "snapshots 0 there and 2 here"),
        ({"content": np.zeros((24, 32, 3))}, "not the same content"),
        ({"style": np.zeros((24, 32, 3))}, "not the same style 1"),
        ({"content_masks": [np.ones((24, 32))]}, "not the same content_masks 1"),
    ],
)
def test_another_run_is_refused(pictures, begun, monkeypatch, changed, message):
    """Before anything is compiled, and the file stays as it is."""
    monkeypatch.setattr("jaxnst.api.stylize.run_plan", None)
    before = begun.read_bytes()
    given = dict(zip(("content", "style"), pictures, strict=True)) | FAST | changed
    told = refusal(jaxnst.stylize, **given, checkpoint=begun)
    assert re.search(f"^checkpoint: .*run.h5.*{message}.* delete it", told), told
    assert begun.read_bytes() == before


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("jaxnst.__version__", "0.0.9", "jaxnst .* there and 0.0.9 here"),
        ("jax.__version__", "0.10.99", "jax .* there and 0.10.99 here"),
    ],
)
def test_another_version_is_refused(pictures, begun, monkeypatch, where, value, message):
    monkeypatch.setattr(where, value)
    assert re.search(message, refusal(jaxnst.stylize, *pictures, **FAST, checkpoint=begun))


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "of a study"])
def test_a_file_that_is_no_checkpoint_is_refused(pictures, begun, file, damage):
    data = begun.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes(byte ^ 255 for byte in data[middle : middle + 64]) + data[middle + 64 :]
    found = {"empty": b"", "text": b"step 1\n" * 99, "cut": data[:middle], "flipped": flipped}
    if damage in found:
        file.write_bytes(found[damage])
    else:
        checkpoint.save(file, {"leaves/0000": np.zeros(3)}, {"runs": [], "step": 1})
    told = refusal(jaxnst.stylize, *pictures, **FAST, checkpoint=file)
    assert re.search("^checkpoint: .*run.h5.* damaged", told), told


def test_a_place_that_will_not_do_is_refused_before_the_work(pictures, file, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxnst.api.stylize.prepare", None)

    def told(path, **settings):
        return refusal(jaxnst.stylize, *pictures, **FAST, checkpoint=path, **settings)

    assert "there is no folder" in told(tmp_path / "none" / "run.h5")
    assert "must end in .h5" in told(tmp_path / "run.png")
    assert "is a folder" in told(tmp_path)
    for minutes in (-1, float("nan"), "10"):
        assert told(file, checkpoint_minutes=minutes).startswith("checkpoint_minutes: ")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "no permission" in told(file)


def test_what_auto_chose_for_tiles_stays(pictures, file, monkeypatch):
    """Though by then there is more memory, or less."""
    settings = FAST | {"size": 96}
    expected = jaxnst.stylize(*pictures, **settings, tile=64)
    with monkeypatch.context() as patch:
        patch.setattr("jaxnst.run.plan.fit_in_memory", lambda *_: (64, None))
        jaxnst.stylize(*pictures, **settings, tile="auto", checkpoint=file, callback=lambda p: p.step < 3)
    assert_same(jaxnst.stylize(*pictures, **settings, tile="auto", checkpoint=file), expected)


def test_what_auto_chose_for_another_run_is_no_matter(pictures, file):
    """Its settings are: a line search goes with no tiles."""
    jaxnst.stylize(*pictures, **FAST | {"size": 96}, tile=64, checkpoint=file, callback=lambda _: False)
    told = refusal(jaxnst.stylize, *pictures, **FAST | {"size": 96}, line_search="zoom", checkpoint=file)
    assert "line_search none there and zoom here" in told


def test_a_disk_that_is_full_costs_no_picture(pictures, file, monkeypatch):
    expected = jaxnst.stylize(*pictures, **FAST)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.warns(UserWarning, match="could not be written .*No space left"):
        found = jaxnst.stylize(*pictures, **FAST, checkpoint=file)
    assert_same(found, expected)


DIVERGING = FAST | {"optimizer": "sgd", "learning_rate": 1e-5, "clamp": False, "steps": 9}


def test_a_run_that_diverged_is_over(pictures, file, monkeypatch):
    """Its last good picture is kept; the same call would come to the same."""
    with pytest.warns(UserWarning, match="no longer a finite number"):
        expected = jaxnst.stylize(*pictures, **DIVERGING)
    assert 1 < len(expected.history["total"]) < 9
    with pytest.warns(UserWarning, match="no longer a finite number"):
        assert_same(jaxnst.stylize(*pictures, **DIVERGING, checkpoint=file), expected)
    monkeypatch.setattr(run, "_dispatched", None)
    with pytest.warns(UserWarning, match="no longer a finite number"):
        assert_same(jaxnst.stylize(*pictures, **DIVERGING, checkpoint=file), expected)


def test_a_run_that_diverges_just_after_it_went_on_has_its_last_good_picture(pictures, file):
    with pytest.warns(UserWarning, match="no longer a finite number"):
        expected = jaxnst.stylize(*pictures, **DIVERGING)
    last = len(expected.history["total"])
    jaxnst.stylize(*pictures, **DIVERGING, checkpoint=file, callback=lambda p: p.step < last)
    with pytest.warns(UserWarning, match="no longer a finite number"):
        assert_same(jaxnst.stylize(*pictures, **DIVERGING, checkpoint=file), expected)


def _out_of_memory(monkeypatch, at, lost=False):
    """Memory runs out at this call of a step; lost: after the step has used up what it was given."""
    step, calls = run._step, []

    def short(*arguments):
        calls.append(1)
        if len(calls) == at:
            if lost:
                step(*arguments)
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        return step(*arguments)

    monkeypatch.setattr(run, "_step", short)


@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize("at", [3, 4, 6])
def test_memory_that_runs_out_ends_the_run_with_the_last_good_picture(pictures, file, monkeypatch, at, ahead):
    """In a scale, at the first step of the next, and in that; the same call goes on."""
    settings = FAST | RUNS["lbfgs"] | {"checkpoint": file}
    images = []
    expected = jaxnst.stylize(
        *pictures, **FAST | RUNS["lbfgs"], callback=lambda p: images.append((p.image, p.losses["total"]))
    )
    monkeypatch.setattr(run, "_ahead", lambda: ahead)
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match=f"ran out at step {at}.* {at - 1}$"):
        _out_of_memory(patch, at)
        ended = jaxnst.stylize(*pictures, **settings)
    assert ended.ended == "out of memory"
    assert len(ended.history["total"]) == at - 1
    image = jaxnst.images.resize(images[at - 2][0], (24, 32))
    np.testing.assert_array_equal(ended.array, image)
    assert_same(jaxnst.stylize(*pictures, **settings), expected)


def test_where_memory_took_the_state_along_the_last_checkpoint_stands(pictures, file, monkeypatch):
    settings = FAST | RUNS["lbfgs"] | {"checkpoint": file}
    expected = jaxnst.stylize(*pictures, **FAST | RUNS["lbfgs"])
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="goes on after step 3"):
        _out_of_memory(patch, 5, lost=True)
        assert len(jaxnst.stylize(*pictures, **settings).history["total"]) == 4
    assert_same(jaxnst.stylize(*pictures, **settings), expected)


@pytest.mark.usefixtures("own_cache")
def test_memory_that_runs_out_exits_with_1(photo, painting, tmp_path, monkeypatch, capsys):
    settings = ("--size", "32", "--steps", "6", "--content-layers", "relu2_1", "--style-layers", "relu2_1")
    out = tmp_path / "out.png"
    _out_of_memory(monkeypatch, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main(["stylize", str(photo), str(painting), "--quiet", "--out", str(out), *settings]) == 1
    assert "memory ran out at step 3" in capsys.readouterr().err
    assert saving.read_metadata(out)["steps_done"] == 2
    with Image.open(out) as picture:
        assert picture.size == (32, 32)


def test_no_memory_for_a_first_picture_is_one_sentence(pictures, monkeypatch):
    _out_of_memory(monkeypatch, 1)
    assert "memory ran out before there was a picture" in refusal(jaxnst.stylize, *pictures, **FAST)


def test_other_errors_of_the_device_are_not_memory(pictures, monkeypatch):
    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: the device is gone")

    monkeypatch.setattr(run, "_step", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="is gone"):
        jaxnst.stylize(*pictures, **FAST)


def test_two_runs_do_not_share_a_file(pictures, file):
    def another(progress):
        del progress
        assert "another run is at work" in refusal(jaxnst.stylize, *pictures, checkpoint=file, **FAST)
        return False

    jaxnst.stylize(*pictures, checkpoint=file, callback=another, **FAST)
    assert jaxnst.stylize(*pictures, checkpoint=file, **FAST).ended == "finished"
    assert list(file.parent.iterdir()) == [file]


def test_a_strip_has_no_checkpoint(pictures, file):
    told = refusal(jaxnst.interpolate, pictures[0], [pictures[1], pictures[1]], **FAST, checkpoint=file)
    assert told.startswith("checkpoint: ")
