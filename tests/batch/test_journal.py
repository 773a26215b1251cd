"""A folder of many pictures: what is done stays, what failed is listed, and a stopped batch goes on."""

import contextlib
import csv
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from failing import FLAT, FailsOnFlat
from pictures import noise, refusal
from PIL import Image

import jaxnst
from jaxnst.batch import journal
from jaxnst.batch.manifest import read_jobs
from jaxnst.io import array_file
from jaxnst.io.images import read_image
from jaxnst.io.save import read_metadata
from jaxnst.run import vectorised
from jaxnst.run.interrupts import Interrupted

SMALL = {
    "size": 32,
    "steps": 2,
    "content_layers": ("conv1_1",),
    "style_layers": ("conv1_1",),
    "optimizer": "adam",
    "learning_rate": 0.02,
}
OPTIONS = ["--content-layers", "relu2_1", "--style-layers", "relu1_1", "relu2_1", "--steps", "3"]

make_all = partial(journal.make_all, progress=False)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def sources(tmp_path):
    """A folder with the pictures a.png, b.png, c.png and style.png."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for seed, name in enumerate(("a", "b", "c", "style")):
        Image.fromarray(noise(32, 32, seed=seed)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def read(sources):
    """Reads jobs whose pictures are called as the content pictures, under shared settings."""

    def read(*names, **settings):
        rows = [f"{name}.png,style.png,{name}.png\n" for name in names]
        (sources / "manifest.csv").write_text("content,style,out\n" + "".join(rows))
        return read_jobs([str(sources / "manifest.csv")], jaxnst.Config(**SMALL | settings))

    return read


@pytest.fixture
def one_at_a_time(monkeypatch):
    """Computes each picture alone, as if it were large."""
    monkeypatch.setattr(vectorised, "MOST_LANES", 1)


def pictures_in(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def times_in(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def failures_in(folder):
    with (folder / "failures.csv").open(newline="") as file:
        return [(row["out"], row["why"]) for row in csv.DictReader(file)]


@contextlib.contextmanager
def ctrl_c_when(condition):
    """Presses Ctrl-C once the condition holds."""
    over = threading.Event()

    def wait():
        while not over.is_set():
            if condition():
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def step_in(folder):
    """Returns how many steps the checkpoint in a folder has; 0 without one."""
    return max(
        [(array_file.about(path) or {}).get("step", 0) for path in folder.glob(".checkpoint-*.h5")] + [0]
    )


def step_gone_on_from(caplog):
    """Returns how many steps the checkpoint had that a run was resumed from."""
    [steps] = re.findall(r"checkpoint: \S+, after (\d+) steps", caplog.text)
    return int(steps)


def test_a_picture_is_done_if_it_carries_the_key_of_its_job(read, sources, out):
    jobs = read("a", "b", "c")
    assert make_all(jobs, out) == []
    assert [read_metadata(out / job.out)["key"] for job in jobs] == [job.key for job in jobs]
    whole, before = (out / "b.png").read_bytes(), times_in(out)
    assert make_all(read("a", "b", "c"), out) == []
    assert times_in(out) == before

    (out / "a.png").unlink()
    (out / "b.png").write_bytes(b"damaged")
    assert make_all(jobs, out) == []
    assert times_in(out)["c.png"] == before["c.png"]
    assert (out / "b.png").read_bytes() == whole

    shutil.copy(out / "c.png", out / "a.png")  # another job's
    (out / "b.png").write_bytes(whole[: len(whole) // 2])
    assert make_all(jobs, out) == []
    assert (out / "b.png").read_bytes() == whole
    assert (out / "a.png").read_bytes() != (out / "c.png").read_bytes()
    assert times_in(out)["c.png"] == before["c.png"]

    before = times_in(out)
    assert make_all(read("a", "b", "c", tv_weight=2.0), out) == []
    assert all(times_in(out)[name] > before[name] for name in before)
    before = times_in(out)
    os.utime(sources / "a.png", (1, 1))
    assert make_all(read("a", "b", "c", tv_weight=2.0), out) == []
    assert [name for name in before if times_in(out)[name] > before[name]] == ["a.png"]
    assert {path.name for path in out.iterdir()} == {"a.png", "b.png", "c.png", ".lock"}


def test_failures_are_listed_and_tried_again_by_the_next_run(read, sources, out):
    shutil.move(sources / "a.png", sources / "elsewhere.png")
    (sources / "broken.png").write_text("not a picture")
    jobs = read("a", "b", "broken")
    failures = make_all(jobs, out)
    assert [job.out for job, _ in failures] == ["a.png", "broken.png"]
    assert [why.split(":")[0] for _, why in failures] == ["content", "content"]
    assert sorted(failures_in(out)) == [(job.out, why) for job, why in failures]
    with (out / "failures.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["out"] == "a.png")
    assert (row["content"], row["style"]) == (str(sources / "a.png"), str(sources / "style.png"))
    assert pictures_in(out) == ["b.png"]

    before = times_in(out)
    shutil.move(sources / "elsewhere.png", sources / "a.png")
    [(_, why)] = make_all(read("a", "b", "broken"), out)
    assert failures_in(out) == [("broken.png", why)]
    assert pictures_in(out) == ["a.png", "b.png"]
    assert times_in(out)["b.png"] == before["b.png"]

    assert make_all(read("a", "b"), out) == []
    assert not (out / "failures.csv").exists()


def test_a_failed_job_with_an_older_picture_is_listed(read, sources, out):
    """The picture is of a content picture that has been replaced by a broken one since."""
    assert make_all(read("a"), out) == []
    (sources / "a.png").write_text("not a picture")
    [(_, why)] = make_all(read("a"), out)
    assert failures_in(out) == [("a.png", why)]
    assert pictures_in(out) == ["a.png"]


def test_every_kind_of_error_is_a_failure_of_its_job(read, sources, out):
    """Covers settings, memory, and a statistic of the user's own."""
    statistic = FailsOnFlat(ZeroDivisionError, "for a reason of its own")
    jobs = [
        *read("a", quality="none", size=10**6),
        *read("b", **FLAT, statistic=(statistic,)),
        *read("c", style_layers=("relu5_1",), statistic=("patches",)),
    ]
    reasons = {job.out: why for job, why in make_all(jobs, out, tile=None)}
    assert re.match(r"size: 1000000x1000000 pixels need about .* GB are free; ", reasons["a.png"])
    assert re.match("[A-Za-z]*Error: .*INTERNAL", reasons["b.png"])
    assert reasons["c.png"].startswith("statistic: at relu5_1 of 32x32 pixels")
    assert sorted(failures_in(out)) == sorted(reasons.items())
    assert pictures_in(out) == []


@pytest.mark.usefixtures("one_at_a_time")
def test_when_memory_runs_out_the_last_good_picture_is_kept_until_there_is_a_better_one(read, out):
    statistic = FailsOnFlat(MemoryError, "out of memory", at=(2,))
    jobs = read("a", **FLAT, statistic=(statistic,))
    with pytest.warns(UserWarning, match="memory ran out at step 2"):
        [(_, why)] = make_all(jobs, out, checkpoint_minutes=0)
    assert why == "out of memory after 1 steps; the picture is the last good one."
    assert failures_in(out) == [("a.png", why)]
    metadata = read_metadata(out / "a.png")
    assert (metadata["steps_done"], metadata["why"]) == (1, why)
    assert make_all(jobs, out) == []  # memory may be there next time
    assert read_metadata(out / "a.png")["steps_done"] == 2
    assert not (out / "failures.csv").exists()
    assert statistic.evaluations == 3  # the first step was not done again
    assert not list(out.glob(".checkpoint-*"))


def test_a_run_that_diverges_is_done_and_stays_listed(read, out):
    jobs = read("a", optimizer="sgd", learning_rate=1e30, clamp=False, steps=9)
    with pytest.warns(UserWarning, match="no longer a finite number"):
        [(_, why)] = make_all(jobs, out)
    assert re.fullmatch(r"diverged after \d steps; the picture is the last good one.", why)
    before = times_in(out)
    [(_, again)] = make_all(jobs, out)  # and it would diverge again
    assert again == why
    assert times_in(out) == before
    assert failures_in(out) == [("a.png", why)]
    assert make_all(read("a"), out) == []
    assert not (out / "failures.csv").exists()


def test_a_second_run_in_the_same_folder_is_refused(read, out):
    jobs = read("a")
    with journal.at_work(out):
        assert "another process works in" in refusal(make_all, jobs, out)
    assert pictures_in(out) == []
    assert make_all(jobs, out) == []


def test_a_run_removes_the_files_that_a_killed_one_left_half_written(read, out):
    out.mkdir()
    half_written = out / f".{'0' * 32}.tmp"
    half_written.touch()
    make_all(read("a"), out)
    assert not half_written.exists()


def test_shards_make_all_pictures_and_list_all_failures(read, sources, out):
    jobs = read("a", "missing", "c", "b", "absent")
    assert [job.out for job, _ in make_all(jobs, out, shard=(2, 2))] == ["missing.png"]
    assert pictures_in(out) == ["b.png"]
    assert [job.out for job, _ in make_all(jobs, out, shard=(1, 2))] == ["absent.png"]
    assert pictures_in(out) == ["a.png", "b.png", "c.png"]
    assert [name for name, _ in failures_in(out)] == ["missing.png", "absent.png"]

    before = times_in(out)
    shutil.copy(sources / "a.png", sources / "missing.png")
    jobs = read("a", "missing", "c", "b", "absent")
    assert make_all(jobs, out, shard=(2, 2)) == []
    assert [name for name, _ in failures_in(out)] == ["absent.png"]
    assert {name: times_in(out)[name] for name in before} == before


def test_a_shard_beyond_the_manifest_has_nothing_to_do(read, out):
    assert make_all(read("a", "b"), out, shard=(3, 9)) == []
    assert pictures_in(out) == []


def test_a_shard_leaves_the_checkpoints_of_the_others(read, out):
    """Even where an older picture is there, which another shard makes again at this moment."""
    make_all(read("a", "b"), out)
    jobs = read("a", "b", seed=1)
    others = out / f".checkpoint-{jobs[1].key}.h5"
    others.touch()
    make_all(jobs, out, shard=(1, 2))
    assert others.exists()
    make_all(jobs, out, shard=(2, 2))
    assert not others.exists()


@pytest.mark.usefixtures("one_at_a_time")
def test_after_ctrl_c_the_same_call_goes_on(read, out, caplog):
    """With the pictures that are done, and in the middle of the one that was at work."""
    caplog.set_level(logging.INFO, "jaxnst")
    settings = {"steps": 150, "checkpoint_minutes": 0}
    jobs = read("a", "b", steps=settings.pop("steps"))
    whole = out.with_name("whole")
    make_all(jobs, whole)
    with ctrl_c_when(lambda: pictures_in(out) and step_in(out) > 2), pytest.raises(Interrupted):
        make_all(jobs, out, **settings)
    assert len(pictures_in(out)) == 1
    before, step = times_in(out), step_in(out)
    assert step > 2
    caplog.clear()
    assert make_all(jobs, out) == []
    assert step_gone_on_from(caplog) == step
    assert {name: times_in(out)[name] for name in before} == before
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(read_image(out / name), read_image(whole / name))
    assert not list(out.glob(".checkpoint-*"))


@pytest.fixture
def interrupted(read, out):
    """Jobs of a batch with one picture, which has been interrupted, and its checkpoint."""
    jobs = read("a", steps=100)
    with ctrl_c_when(lambda: step_in(out) > 2), pytest.raises(Interrupted):
        make_all(jobs, out, checkpoint_minutes=0)
    return jobs, out / f".checkpoint-{jobs[0].key}.h5"


@pytest.mark.usefixtures("one_at_a_time")
def test_a_checkpoint_that_is_damaged_or_of_another_version_counts_for_nothing(interrupted, out, caplog):
    jobs, checkpoint = interrupted
    caplog.set_level(logging.INFO, "jaxnst")
    arrays, about = array_file.load(checkpoint)
    array_file.save(checkpoint, arrays, about | {"owner": about["owner"] | {"jaxnst": "another"}})
    assert make_all(jobs, out) == []
    assert step_gone_on_from(caplog) == 0
    assert not checkpoint.exists()
    for damaged in (b"no checkpoint", b""):
        (out / "a.png").unlink()
        checkpoint.write_bytes(damaged)
        caplog.clear()
        assert make_all(jobs, out) == []
        assert step_gone_on_from(caplog) == 0


@pytest.mark.usefixtures("one_at_a_time")
def test_checkpoints_that_no_job_needs_are_removed(interrupted, read, out):
    _, checkpoint = interrupted
    others = [*read("a"), *read("missing")]
    assert len(make_all(others, out)) == 1
    assert not checkpoint.exists()


def test_minutes_that_are_no_duration_are_refused_before_the_work(read, out):
    assert "no duration" in refusal(make_all, read("a"), out, checkpoint_minutes=np.inf)
    assert not out.exists()


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(read, out):
    """Both pictures are computed together, so that only pictures are written."""
    resource = pytest.importorskip("resource")
    jobs, limits = read("a", "b"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            make_all(jobs, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in out.iterdir()] == [".lock"]
    assert make_all(jobs, out) == []
    assert pictures_in(out) == ["a.png", "b.png"]


def test_names_that_are_no_utf_8(sources, out):
    """Linux allows any bytes in a name."""
    name = os.fsdecode(b"bad\xe9")
    contents, styles = sources / "contents", sources / "styles"
    contents.mkdir()
    styles.mkdir()
    try:
        shutil.copy(sources / "a.png", contents / f"{name}.png")
    except OSError:
        pytest.skip("this file system allows no such names")
    (contents / f"broken {name}.png").write_text("not a picture")
    shutil.copy(sources / "style.png", styles)
    jobs = read_jobs([str(contents), str(styles)], jaxnst.Config(**SMALL))
    for _ in range(2):
        assert [job.out for job, _ in make_all(jobs, out)] == [f"broken {name}--style.png"]
        assert pictures_in(out) == [f"{name}--style.png"]
        table = (out / "failures.csv").read_bytes().splitlines()
        assert len(table) == 2
        assert b"broken bad\xe9--style.png" in table[1]
    (contents / f"broken {name}.png").unlink()
    jobs = read_jobs([str(contents), str(styles)], jaxnst.Config(**SMALL))
    assert make_all(jobs, out) == []
    assert not (out / "failures.csv").exists()


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00\x01", b"a,b\n1,2\n", b'content,style,out,why\n"a', b"\r,\r"]
)
def test_a_list_of_failures_that_cannot_be_read_is_begun_again(read, out, content):
    out.mkdir()
    (out / "failures.csv").write_bytes(content)
    assert make_all(read("a"), out) == []
    assert not (out / "failures.csv").exists()
    (out / "failures.csv").write_bytes(content)
    make_all(read("a", "missing"), out)
    make_all(read("a", "missing"), out)
    assert [name for name, _ in failures_in(out)] == ["missing.png"]


@pytest.mark.parametrize("relative", [False, True])
def test_a_folder_that_cannot_hold_pictures_is_refused_before_the_work(read, sources, monkeypatch, relative):
    monkeypatch.chdir(sources.parent)
    jobs, out = read("a"), Path("out") if relative else sources.parent / "out"
    assert refusal(make_all, jobs, sources).startswith("out: pictures in")
    assert "there is no folder" in refusal(make_all, jobs, out / "inner")
    (sources.parent / "file").touch()
    assert "is a file" in refusal(make_all, jobs, sources.parent / "file")
    (out / "a.png").mkdir(parents=True)
    assert "a.png' is a folder" in refusal(make_all, jobs, out)
    (out / "a.png").rmdir()
    (out / ".lock").unlink()
    (out / ".lock").mkdir()
    assert "cannot be used" in refusal(make_all, jobs, out)


def test_a_folder_that_may_not_be_written_is_refused(read, sources, monkeypatch):
    monkeypatch.chdir(sources.parent)
    jobs, out = read("a"), Path("out")
    out.mkdir(0o500)
    try:
        if os.access(out, os.W_OK):
            pytest.skip("this user may write everywhere")
        assert "Permission denied" in refusal(make_all, jobs, out)
    finally:
        out.chmod(0o700)


@pytest.fixture
def manifest(tmp_path):
    """Makes a manifest of this many pairs at 64 pixels, the last ten of them broken in different ways."""

    def make(count):
        folder = tmp_path / "sources"
        folder.mkdir()
        for seed, (name, height) in enumerate((("tall", 64), ("wide", 48), ("style", 64))):
            Image.fromarray(noise(height, 112 - height, seed=seed)).save(folder / f"{name}.png")
        whole = (folder / "tall.png").read_bytes()
        (folder / "empty.png").write_bytes(b"")
        (folder / "text.png").write_text("not a picture")
        (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
        (folder / "folder.png").mkdir()
        np.save(folder / "array.npy", np.zeros((4, 4)))
        broken = [
            *[
                (f"{name}.png", "style.png")
                for name in ("missing", "empty", "text", "cut", "folder", "vanished_long_ago")
            ],
            ("array.npy", "style.png"),
            *[("tall.png", f"{name}.png") for name in ("missing", "empty", "text")],
        ]
        sound = [(("tall.png", "wide.png")[index % 3 == 0], "style.png") for index in range(count - 10)]
        rows = [*sound, *broken]
        random.Random(0).shuffle(rows)
        with (folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["content", "style", "out", "seed"])
            writer.writerows([*row, f"{index:03d}.png", index] for index, row in enumerate(rows))
        return folder / "manifest.csv"

    return make


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_two_hundred_pairs_killed_twice(manifest, out):
    """Loses nothing, makes nothing twice, leaves nothing half written; lists ten broken pairs."""
    command = [sys.executable, "-m", "jaxnst", "batch", str(manifest(200)), "--out", str(out), "--size", "64"]
    generator = random.Random(time.time_ns())
    for _ in range(2):
        running = subprocess.Popen([*command, *OPTIONS], stderr=subprocess.DEVNULL)
        count = len(pictures_in(out))
        while running.poll() is None and len(pictures_in(out)) <= count:
            time.sleep(0.05)
        time.sleep(generator.uniform(0, 1))
        running.send_signal(signal.SIGKILL)
        running.wait()
    before = times_in(out)
    assert 0 < len(before) < 190
    completed = subprocess.run([*command, *OPTIONS], capture_output=True, text=True, check=False)
    assert completed.returncode == 1, completed.stderr
    assert "190 of 200 pictures" in completed.stderr
    failed = {name for name, _ in failures_in(out)}
    assert len(failures_in(out)) == len(failed) == 10
    assert [why for _, why in failures_in(out) if not why.endswith(".")] == []
    assert set(pictures_in(out)) == {f"{index:03d}.png" for index in range(200)} - failed
    after = times_in(out)
    assert [name for name in before if after[name] != before[name]] == [], "made twice"
    for name in pictures_in(out):
        assert read_image(out / name).shape in ((64, 48, 3), (48, 64, 3))
    assert {path.name for path in out.glob(".*")} == {".lock"}


@pytest.mark.slow
def test_processes_at_once_lose_no_failure(sources, out):
    """Each of three processes has hundreds of failures, and rewrites the list at its end."""
    rows = [f"missing.png,style.png,{index}.png\n" for index in range(600)]
    (sources / "manifest.csv").write_text("content,style,out\n" + "".join(rows))
    words = ["batch", str(sources / "manifest.csv"), "--out", str(out), "--quiet", "--shard"]
    processes = [
        subprocess.Popen([sys.executable, "-m", "jaxnst", *words, f"{index}/3"], stderr=subprocess.PIPE)
        for index in (1, 2, 3)
    ]
    messages = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 1, 1]
    assert [message.count(b"\n") for message in messages] == [200, 200, 200]
    assert sorted(int(name.removesuffix(".png")) for name, _ in failures_in(out)) == list(range(600))


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_a_large_picture_goes_on_from_its_checkpoint_after_a_kill(read, sources, out, caplog):
    """It is computed in tiles."""
    jobs = read("a", size=96, steps=40)
    assert make_all(jobs, out.with_name("whole"), tile=64) == []
    words = ["--size", "96", "--steps", "40", "--content-layers", "conv1_1", "--style-layers", "conv1_1"]
    words += ["--optimizer", "adam", "--learning-rate", "0.02", "--tile", "64", "--checkpoint-minutes", "0"]
    command = [sys.executable, "-m", "jaxnst", "batch", str(sources / "manifest.csv"), "--out", str(out)]
    running = subprocess.Popen([*command, *words], stderr=subprocess.PIPE)
    while step_in(out) < 3:
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.01)
    running.kill()
    running.communicate()
    step = step_in(out)
    assert [path.name for path in out.glob(".checkpoint-*")] == [f".checkpoint-{jobs[0].key}.h5"]
    assert pictures_in(out) == []
    caplog.set_level(logging.INFO, "jaxnst")
    assert make_all(jobs, out, tile=64) == []
    assert step_gone_on_from(caplog) == step
    whole = read_image(out.with_name("whole") / "a.png")
    np.testing.assert_array_equal(read_image(out / "a.png"), whole)
    assert {path.name for path in out.iterdir()} == {".lock", "a.png"}
