"""`jaxnst stylize`: pictures, tables, snapshots and saved settings; nothing is lost, whatever happens."""

import csv
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxnst.io.save import read_metadata

pytestmark = pytest.mark.usefixtures("own_cache")

SMALL = [
    *("--size", "48", "--steps", "4", "--content-layers", "relu2_1"),
    *("--style-layers", "relu1_1", "relu2_1", "--style-layer-weights", "1"),
]


def test_makes_a_picture_a_table_and_snapshots(run, photo, painting, out, capsys):
    table = out.with_name("losses.csv")
    options = ("--out", out, "--history", table, "--snapshots", 2, "--verbose")
    assert run("stylize", photo, painting, *options, *SMALL) == 0
    with Image.open(out) as picture:
        assert picture.size == (48, 48)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "total", "content", "style", "tv", "laplacian"]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["total"]) < float(rows[0]["total"])
    names = ["losses.csv", "picture-0002.png", "picture-0004.png", "picture.png"]
    assert sorted(path.name for path in out.parent.iterdir()) == names
    assert out.read_bytes() != (out.parent / "picture-0002.png").read_bytes()
    messages = capsys.readouterr().err
    for word in ("device", "48x48", "memory", "compile time", "total=", "content=", "4 steps"):
        assert word in messages


def test_quiet_prints_nothing(run, photo, painting, out, capfd):
    assert run("stylize", photo, painting, "--out", out, "--quiet", *SMALL) == 0
    assert capfd.readouterr() == ("", "")


def test_a_saved_picture_repeats_itself_and_can_be_changed(run, photo, painting, out):
    again, changed = out.with_name("again.png"), out.with_name("changed.png")
    run("stylize", photo, painting, "--out", out, "--quiet", "--seed", 5, "--start", "noise", *SMALL)
    assert run("stylize", photo, painting, "--config", out, "--out", again, "--quiet") == 0
    assert again.read_bytes() == out.read_bytes()
    run("stylize", photo, painting, "--config", out, "--seed", 6, "--out", changed, "--quiet")
    assert read_metadata(changed)["config"] == read_metadata(out)["config"] | {"seed": 6}


def test_a_preset_with_changes_and_two_styles(run, photo, painting, out):
    options = ("--preset", "jaiswal", "--size", 40, "--steps", 2, "--style-weights", 0.7, 0.3)
    assert run("stylize", photo, painting, photo, "--out", out, "--quiet", *options) == 0
    config = read_metadata(out)["config"]
    assert (config["gram"], config["steps"], config["style_weights"]) == ("chw", 2, [0.7, 0.3])


def test_controls_and_masks_stay_in_the_saved_settings(run, photo, painting, out):
    """With masks from files, into 16 bits; and again from the saved settings."""
    masks = []
    for name, half in (("left", np.s_[:, :24]), ("right", np.s_[:, 24:])):
        mask = np.zeros((48, 48), np.uint8)
        mask[half] = 255
        masks.append(out.with_name(f"{name}.png"))
        Image.fromarray(mask).resize((512, 512), 0).save(masks[-1])
    controls = [
        *("--content-masks", *masks, "--statistic", "mean_std", "--no-clamp", "--random-shift", 0.98),
        *("--style-balance", 1, "--tv-norm", "l2", "--tile", "None", "--history-size", 5),
    ]
    pictures, common = (photo, painting, photo), ("--bits", 16, "--quiet")
    assert run("stylize", *pictures, "--out", out, *common, *SMALL, *controls) == 0
    config = read_metadata(out)["config"]
    assert config["content_masks"] == [str(path) for path in masks]
    expected = {"statistic": ["mean_std"], "style_balance": 1.0, "clamp": False, "history_size": 5}
    assert expected.items() <= config.items()
    again = out.with_name("again.png")
    assert run("stylize", *pictures, "--out", again, *common, "--config", out) == 0
    assert again.read_bytes() == out.read_bytes()


def test_a_full_disk_leaves_the_old_picture_and_saves_the_new_elsewhere(
    run, photo, painting, out, tmp_path, capsys, monkeypatch
):
    out.write_bytes(b"the old one")
    write = Path.write_bytes

    def full(path, data):
        if path.parent == out.parent:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("stylize", photo, painting, "--out", out, "--quiet", *SMALL) == 1
    message = capsys.readouterr().err
    [rescued] = re.findall(f"{out}: No space left on device; the picture is in (.*)", message)
    with Image.open(rescued) as picture:
        assert picture.size == (48, 48)
    assert out.read_bytes() == b"the old one"
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.fixture
def long_run(photo, painting, out):
    """A long run in a process of its own, which has made its first steps."""
    command = [sys.executable, "-m", "jaxnst", "stylize", photo, painting, "--out", out, *SMALL]
    command[command.index("4")] = "100000"
    snapshot = out.with_name("picture-000001.png")
    with subprocess.Popen(
        [*map(str, command), "--snapshots", "1"], stderr=subprocess.PIPE, text=True
    ) as child:
        deadline = time.monotonic() + 120
        while not snapshot.exists():
            assert time.monotonic() < deadline
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.1)
        yield child
        child.kill()


@pytest.mark.slow
def test_ctrl_c_saves_what_exists(long_run, out):
    long_run.send_signal(signal.SIGINT)
    _, messages = long_run.communicate(timeout=60)
    assert long_run.returncode == 130
    assert "Traceback" not in messages
    assert np.asarray(Image.open(out)).shape == (48, 48, 3)


@pytest.mark.slow
def test_kill_9_leaves_no_broken_picture(long_run, out):
    out.write_bytes(b"the old one")
    long_run.kill()
    long_run.communicate()
    assert out.read_bytes() == b"the old one"
    for path in out.parent.glob("picture-*.png"):
        Image.open(path).load()
