"""`jaxnst batch` goes on where it was stopped or killed, and does nothing twice."""

import contextlib
import csv
import json
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
from pictures import refusal
from PIL import Image

import jaxnst
from jaxnst.batch import folders
from jaxnst.batch.journal import make_all, opened
from jaxnst.batch.manifest import read
from jaxnst.cli.main import main as cli
from jaxnst.errors import InputError, TooLargeError
from jaxnst.io.images import read_image
from jaxnst.run import result

SETTINGS = ["--content-layers", "relu2_1", "--style-layers", "relu1_1", "relu2_1", "--steps", "3"]


@pytest.fixture
def manifest(tmp_path):
    """Makes a manifest of this many pairs at 64 pixels, the last ten of them broken in different ways."""

    def make(count):
        folder = tmp_path / "given"
        folder.mkdir()
        generator = np.random.default_rng(1)
        for name, height in (("tall", 64), ("wide", 48), ("style", 64)):
            array = generator.integers(0, 256, (height, 112 - height, 3), np.uint8)
            Image.fromarray(array).save(folder / f"{name}.png")
        whole = (folder / "tall.png").read_bytes()
        (folder / "empty.png").write_bytes(b"")
        (folder / "text.png").write_text("not a picture")
        (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
        (folder / "folder.png").mkdir()
        Image.new("RGB", (64, 1)).save(folder / "flat.png")
        np.save(folder / "array.npy", np.zeros((4, 4)))
        broken = [
            *[(f"{name}.png", "style.png") for name in ("missing", "empty", "text", "cut", "folder", "flat")],
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


def lines_of(out):
    texts = [path.read_text() for path in out.glob("journal-*.jsonl")]
    return [json.loads(line) for text in texts for line in text.splitlines() if line.endswith("}")]


def finished_of(out):
    return [record["out"] for record in lines_of(out) if record["ended"] == "finished"]


def test_two_hundred_pairs_killed_twice(manifest, tmp_path, own_cache):
    """Nothing is lost, done twice or half written; ten broken pairs are reported."""
    del own_cache
    out, given = tmp_path / "out", manifest(200)
    command = [
        sys.executable,
        "-m",
        "jaxnst.cli.main",
        "batch",
        str(given),
        "--out",
        str(out),
        "--size",
        "64",
    ]
    generator = random.Random(time.time_ns())
    for _ in range(2):
        running = subprocess.Popen([*command, *SETTINGS], stderr=subprocess.DEVNULL)
        written = len(finished_of(out))
        while running.poll() is None and len(finished_of(out)) <= written:
            time.sleep(0.05)
        time.sleep(generator.uniform(0, 1))
        running.send_signal(signal.SIGKILL)
        running.wait()
    before = {name: (out / name).stat().st_mtime_ns for name in finished_of(out)}
    assert 0 < len(before) < 190
    done = subprocess.run([*command, *SETTINGS], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "190 of 200 pictures" in done.stderr
    records = lines_of(out)
    assert sorted(record["out"] for record in records) == [f"{index:03d}.png" for index in range(200)]
    assert sum(record["ended"] == "broken" for record in records) == 10
    for name, changed in before.items():
        assert (out / name).stat().st_mtime_ns == changed, f"{name} was made twice"
    for record in records:
        if record["ended"] == "finished":
            assert read_image(out / record["out"]).shape in ((64, 48, 3), (48, 64, 3))
    with (out / "failures.csv").open() as file:
        failures = list(csv.DictReader(file))
    assert len(failures) == 10
    assert all(row["why"].endswith(".") for row in failures)
    assert not list(out.glob(".*.tmp"))


def test_a_picture_without_its_line_is_not_made_again(manifest, tmp_path, own_cache, capsys):
    """As a kill between the two leaves it; a line that is cut off counts as none."""
    del own_cache
    out, given = tmp_path / "out", manifest(13)
    command = ["batch", str(given), "--out", str(out), "--size", "48", "--quiet", *SETTINGS]
    assert cli.main(command) == 1
    journal = out / "journal-0.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    finished = [json.loads(line)["out"] for line in lines if b'"finished"' in line]
    times = {name: (out / name).stat().st_mtime_ns for name in finished}
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    assert cli.main(command) == 1
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == times
    # Another setting is another picture.
    assert cli.main([*command, "--tv-weight", "1"]) == 1
    others = {name: (out / name).stat().st_mtime_ns for name in finished}
    assert all(others[name] > times[name] for name in finished)
    assert cli.main(command) == 1
    assert all((out / name).stat().st_mtime_ns > others[name] for name in finished)
    capsys.readouterr()


def test_a_picture_computed_alone_goes_on_from_its_checkpoint(photo, painting, tmp_path, monkeypatch):
    """After a kill in the middle; what checkpoints there are of pairs no longer asked for are removed."""
    (tmp_path / "manifest.csv").write_text(f"content,style,out\n{photo},{painting},a.png\n")
    config = jaxnst.Config(content_layers=("relu2_1",), style_layers=("relu1_1",), size=96, steps=5)
    entries, steps, optimise = read([str(tmp_path / "manifest.csv")], config), [], result.optimise

    def watched(killed_at, *given):
        for progress in optimise(*given):
            steps.append(progress.step)
            yield progress
            if progress.step == killed_at:
                raise SystemExit

    make = partial(make_all, entries, tile=64, progress=False, checkpoint_minutes=0)
    assert make(tmp_path / "whole") == []
    monkeypatch.setattr(result, "optimise", partial(watched, 3))
    with pytest.raises(SystemExit):
        make(tmp_path / "out")
    [checkpoint] = (tmp_path / "out").glob(".checkpoint-*.h5")
    stale = checkpoint.with_name(".checkpoint-0.h5")
    stale.touch()
    monkeypatch.setattr(result, "optimise", partial(watched, 0))
    assert make(tmp_path / "out") == []
    assert steps == [1, 2, 3, 4, 5]
    assert not list((tmp_path / "out").glob(".checkpoint-*"))
    whole, found = (read_image(tmp_path / folder / "a.png") for folder in ("whole", "out"))
    np.testing.assert_array_equal(found, whole)
    # One that is damaged, or of another version, counts for nothing.
    (tmp_path / "out" / "a.png").unlink()
    checkpoint.write_bytes(b"no checkpoint")
    monkeypatch.setattr(result, "optimise", partial(watched, 3))
    with pytest.raises(SystemExit):
        make(tmp_path / "out")
    assert checkpoint.is_file()
    monkeypatch.setattr(jaxnst, "__version__", "another")
    monkeypatch.setattr(result, "optimise", partial(watched, 0))
    assert make(tmp_path / "out") == []
    assert steps[5:] == [1, 2, 3, 1, 2, 3, 4, 5]


def test_minutes_that_are_none_are_refused_before_the_work(manifest, tmp_path):
    entries = read([str(manifest(12))], jaxnst.Config())
    assert "no duration" in refusal(make_all, entries, tmp_path / "out", None, checkpoint_minutes=np.inf)
    assert not (tmp_path / "out").exists()


def test_what_is_not_the_files_fault_is_tried_again(manifest, tmp_path):
    entries = read([str(manifest(13))], jaxnst.Config())[:3]
    errors = (
        RuntimeError("out of memory"),
        TooLargeError("size: too large."),
        InputError("content: broken."),
    )
    with opened(tmp_path / "out") as journal:
        for entry, error in zip(entries, errors, strict=True):
            journal.fail(entry, error)
        assert [journal.is_done(entry) for entry in entries] == [False, False, True]
    with opened(tmp_path / "out") as journal:
        assert [journal.is_done(entry) for entry in entries] == [False, False, True]
        assert [why for _, why in journal.failures(entries)] == [
            "RuntimeError: out of memory",
            "size: too large.",
            "content: broken.",
        ]


def test_the_last_good_picture_is_kept_until_there_is_a_better_one(manifest, tmp_path):
    """Memory may be there next time; a run that diverged would again."""
    entries = read([str(manifest(12))], jaxnst.Config())[:2]
    array, history = np.zeros((8, 8, 3), np.float32), {"total": np.zeros(5, np.float32)}
    with opened(tmp_path / "out") as journal:
        for entry, ended in zip(entries, ("out of memory", "diverged"), strict=True):
            journal.save(entry, jaxnst.Result(array, history, entry.config, 1.0, ended, "", {}))
    with opened(tmp_path / "out") as journal:
        assert [journal.is_done(entry) for entry in entries] == [False, True]
        for (entry, why), ended in zip(journal.failures(entries), ("out of memory", "diverged"), strict=True):
            assert why == f"{ended} after 5 steps; the picture is the last good one."
            assert (journal.folder / entry.out).is_file()


def test_two_processes_do_not_share_a_journal(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "PATIENCE", 0.2)
    with (
        opened(tmp_path / "out"),
        pytest.raises(jaxnst.InputError, match="another process"),
        opened(tmp_path / "out"),
    ):
        pass
    with opened(tmp_path / "out", 0), opened(tmp_path / "out", 1):
        with pytest.raises(jaxnst.InputError, match="another process"), opened(tmp_path / "out", 1):
            pass
        # One started again waits for its first self, whose lock may outlast it for a moment.
        monkeypatch.setattr(folders, "PATIENCE", 60)
        first = contextlib.ExitStack()
        first.enter_context(opened(tmp_path / "out", 2))
        threading.Timer(0.5, first.close).start()
        with opened(tmp_path / "out", 2):
            pass
        monkeypatch.setattr(folders, "PATIENCE", 0.2)
    with (
        opened(tmp_path / "out", 1),
        pytest.raises(jaxnst.InputError, match="another process"),
        opened(tmp_path / "out"),
    ):
        pass


def test_the_last_to_leave_tidies_up(tmp_path):
    """After a process that was killed while it wrote, and came back while another was at work."""
    aside = tmp_path / "out" / f".{'0' * 32}.tmp"
    with opened(tmp_path / "out", 0):
        with opened(tmp_path / "out", 1):
            aside.touch()
        assert aside.exists()
    assert not aside.exists()
