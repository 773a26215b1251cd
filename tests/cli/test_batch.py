"""`jaxnst batch`: the pictures of a manifest, in parts that processes share, and nothing twice."""

import contextlib
import csv
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from jaxnst.io.images import read_image
from jaxnst.io.save import read_metadata

pytestmark = pytest.mark.usefixtures("own_cache")

SMALL = ["--size", "32", "--content-layers", "relu1_1", "--style-layers", "relu1_1"]


@pytest.fixture
def manifest(tmp_path):
    """Makes a manifest of this many pairs, of which the sixth has no content picture."""
    folder = tmp_path / "given"
    folder.mkdir()
    generator = np.random.default_rng(1)
    for name in ("content", "style"):
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{name}.png")

    def make(count, first_steps):
        with (folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["content", "style", "out", "steps"])
            for index in range(count):
                content = "missing.png" if index == 5 else "content.png"
                # No two pairs have as many steps, so that none are computed together.
                writer.writerow([content, "style.png", f"{index:02d}.png", first_steps + index])
        return folder / "manifest.csv"

    return make


def failures_in(folder):
    with (folder / "failures.csv").open() as file:
        return [row["out"] for row in csv.DictReader(file)]


def test_shards_make_every_picture_once(run, manifest, tmp_path, capsys):
    path, out = manifest(6, 1), tmp_path / "out"
    arguments = ("batch", path, "--out", out, *SMALL, "--shard")
    assert run(*arguments, "1/2") == 0
    assert f"{out}: 3 of 3 pictures in shard 1/2" in capsys.readouterr().err
    names = sorted(picture.name for picture in out.glob("*.png"))
    assert len(names) == 3
    assert run(*arguments, "2/2", "--quiet") == 1
    message = capsys.readouterr().err
    assert message.startswith("jaxnst: 05.png: content: there is no file")
    assert message.count("\n") == 1
    assert sorted(picture.name for picture in out.glob("*.png")) == [f"{index:02d}.png" for index in range(5)]
    assert failures_in(out) == ["05.png"]


@pytest.mark.filterwarnings("always")
def test_a_row_overrides_the_options_and_an_old_name_is_accepted(run, manifest, tmp_path, capsys):
    path, out = manifest(1, 2), tmp_path / "out"
    path.write_text(path.read_text().replace("steps", "memory"))
    assert run("batch", path, "--out", out, *SMALL, "--steps", 1, "--history-size", 7, "--quiet") == 0
    assert "the setting memory is now called history_size" in capsys.readouterr().err
    config = read_metadata(out / "00.png")["config"]
    assert (config["steps"], config["history_size"]) == (1, 2)


PAIRS = 24


@pytest.fixture
def start(manifest, tmp_path):
    """Starts one of two processes that share the batch; kills what is left at the end."""
    command = [
        sys.executable,
        "-m",
        "jaxnst",
        "batch",
        str(manifest(PAIRS, 50)),
        "--out",
        str(tmp_path / "out"),
    ]
    with contextlib.ExitStack() as children:

        def start(shard):
            words = [*command, *SMALL, "--shard", shard]
            child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
            children.callback(child.communicate)
            children.callback(child.kill)
            return child

        yield start


def last_line(child):
    _, messages = child.communicate(timeout=120)
    return child.returncode, messages.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_continues_while_the_other_works(start, tmp_path, killed):
    out = tmp_path / "out"
    children = [start("1/2"), start("2/2")]
    deadline = time.monotonic() + 120
    while len(list(out.glob("[0-9]*.png"))) < 4:
        assert children[killed].poll() is None, children[killed].stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children[killed].send_signal(signal.SIGKILL)
    children[killed].wait()
    written = {path: path.stat().st_mtime_ns for path in out.glob("[0-9]*.png")}
    children[killed] = start(f"{killed + 1}/2")
    assert last_line(children[0]) == (0, f"{out}: 12 of 12 pictures in shard 1/2")
    assert last_line(children[1]) == (1, f"{out}: 11 of 12 pictures in shard 2/2")
    for path, changed in written.items():
        assert path.stat().st_mtime_ns == changed, f"{path.name} was made twice"
    for index in set(range(PAIRS)) - {5}:
        assert read_image(out / f"{index:02d}.png").shape == (32, 32, 3)
    assert failures_in(out) == ["05.png"]
    assert not list(out.glob(".*.tmp"))
