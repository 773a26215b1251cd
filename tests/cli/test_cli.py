"""The command as a user meets it: pictures, tables and one sentence for every mistake."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import live as parity
import numpy as np
import pytest
from PIL import Image

from jaxnst.cli.main import main as cli
from jaxnst.config.config import Config
from jaxnst.io.save import read_metadata, save_image

pytestmark = pytest.mark.usefixtures("own_cache")

FAST = [
    *("--size", "48", "--steps", "4", "--content-layers", "relu2_1"),
    *("--style-layers", "relu1_1", "relu2_1", "--style-layer-weights", "1"),
]


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "picture.png"


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def test_makes_a_picture_a_table_and_snapshots(photo, painting, out, capsys):
    table = out.with_name("losses.csv")
    status = run(
        "stylize", photo, painting, "--out", out, "--history", table, "--snapshots", 2, "--verbose", *FAST
    )
    assert status == 0
    with Image.open(out) as picture:
        assert picture.size == (48, 48)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "total", "content", "style", "tv"]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["total"]) < float(rows[0]["total"])
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "losses.csv",
        "picture-0002.png",
        "picture-0004.png",
        "picture.png",
    ]
    assert out.read_bytes() != (out.parent / "picture-0002.png").read_bytes()
    told = capsys.readouterr().err
    for word in ("device", "48x48", "memory", "compile time", "total=", "content=", "4 steps"):
        assert word in told


def test_quiet_says_nothing(photo, painting, out, capfd):
    assert run("stylize", photo, painting, "--out", out, "--quiet", *FAST) == 0
    assert capfd.readouterr() == ("", "")


def test_repeats_a_picture_from_its_own_settings(photo, painting, out):
    again = out.with_name("again.png")
    run("stylize", photo, painting, "--out", out, "--quiet", "--seed", 5, "--start", "noise", *FAST)
    assert run("stylize", photo, painting, "--config", out, "--out", again, "--quiet") == 0
    assert again.read_bytes() == out.read_bytes()
    changed = out.with_name("changed.png")
    run("stylize", photo, painting, "--config", out, "--seed", 6, "--out", changed, "--quiet")
    assert read_metadata(changed)["config"] == read_metadata(out)["config"] | {"seed": 6}


def test_presets_with_changes_and_several_styles(photo, painting, out):
    status = run(
        *("stylize", photo, painting, photo, "--out", out, "--quiet", "--preset", "jaiswal"),
        *("--size", 40, "--steps", 2, "--style-weights", 0.7, 0.3),
    )
    assert status == 0
    config = read_metadata(out)["config"]
    assert (config["gram"], config["steps"], config["style_weights"]) == ("chw", 2, [0.7, 0.3])


def test_every_control_is_a_flag_and_stays_in_the_saved_settings(photo, painting, out):
    """Controls of every kind at once, with masks from files, into 16 bits; and again from its settings."""
    paths = []
    for name, half in (("left", np.s_[:, :24]), ("right", np.s_[:, 24:])):
        mask = np.zeros((48, 48), np.uint8)
        mask[half] = 255
        paths.append(out.with_name(f"{name}.png"))
        Image.fromarray(mask).resize((512, 512), 0).save(paths[-1])
    controls = [
        *(
            "--bits",
            16,
            "--quiet",
            *FAST,
            "--content-masks",
            *paths,
            "--guidance",
            "all",
            "--color",
            "histogram",
            "--statistic",
            "mean_std",
        ),
        *(
            "--start-size",
            24,
            "--style-scale",
            1.5,
            "--pooling",
            "l2",
            "--pooling-rescale",
            "--padding",
            "reflect",
        ),
        *(
            "--laplacian-weight",
            1,
            "--tv-norm",
            "l2",
            "--range-weight",
            1,
            "--no-clamp",
            "--style-balance",
            1,
        ),
        *("--parametrisation", "fourier", "--decorrelate", "--random-shift", 0.98),
    ]
    assert run("stylize", photo, painting, photo, "--out", out, *controls) == 0
    config = read_metadata(out)["config"]
    assert config["content_masks"] == [str(path) for path in paths]
    assert (config["statistic"], config["parametrisation"], config["style_balance"]) == (
        ["mean_std"],
        "fourier",
        1.0,
    )
    again = out.with_name("again.png")
    settings = ("--config", out, "--bits", 16, "--quiet")
    assert run("stylize", photo, painting, photo, "--out", again, *settings) == 0
    assert again.read_bytes() == out.read_bytes()


def test_reconstructs_content_and_style(painting, out):
    small = ("--size", 48, "--steps", 3, "--quiet")
    assert run("reconstruct", painting, "--layer", "relu2_1", "--out", out, *small) == 0
    config = read_metadata(out)["config"]
    assert (config["content_layers"], config["style_layers"], config["start"]) == (["relu2_1"], [], "noise")
    assert run("reconstruct", painting, "--style-layers", "relu1_1", "relu2_1", "--out", out, *small) == 0
    config = read_metadata(out)["config"]
    assert (config["content_layers"], config["style_layers"]) == ([], ["relu1_1", "relu2_1"])
    with Image.open(out) as picture:
        assert picture.size == (48, 32)


def test_interpolates_into_a_strip(photo, painting, out):
    status = run("interpolate", photo, painting, photo, "--count", 3, "--out", out, "--quiet", *FAST)
    assert status == 0
    with Image.open(out) as picture:
        assert picture.size == (3 * 48 + 2 * 4, 48)
    again = out.with_name("again.png")
    assert (
        run("interpolate", photo, painting, photo, "--count", 3, "--out", again, "--quiet", "--config", out)
        == 0
    )
    np.testing.assert_array_equal(np.asarray(Image.open(again)), np.asarray(Image.open(out)))


def test_evaluates_pictures_side_by_side(photo, painting, out, capsys):
    rows = out.with_name("found.json")
    small = out.with_name("small.png")
    Image.open(photo).resize((64, 64)).save(small)
    Image.open(painting).resize((64, 64)).save(out)
    assert (
        run("evaluate", out, small, "--content", photo, "--style", painting, "--size", 64, "--out", rows) == 0
    )
    told = capsys.readouterr().out
    assert "picture.png" in told
    assert "small.png" in told
    found = json.loads(rows.read_text())
    assert found[str(small)]["ssim"] > 0.9 > found[str(out)]["ssim"]
    assert found[str(small)]["style/relu3_1"] > found[str(out)]["style/relu3_1"]


def test_lists_presets_and_weights(capsys):
    assert run("presets") == 0
    assert "joshi-hu-revised\n" in capsys.readouterr().out
    assert run("weights", "list") == 0
    assert "torchvision: not fetched" in capsys.readouterr().out
    assert run("weights", "verify") == 0
    assert capsys.readouterr().out.startswith("caffe: ")


def mistakes(tmp_path):
    """Arguments that cannot work, and what the sentence must have."""
    photo, painting = parity.GOLDEN.parents[2] / "examples/astronaut.jpg", tmp_path / "painting.png"
    Image.new("RGB", (64, 64), (9, 80, 200)).save(painting)
    truncated, text, empty = tmp_path / "cut.jpg", tmp_path / "text.png", tmp_path / "empty.png"
    truncated.write_bytes(photo.read_bytes()[:20000])
    text.write_text("not a picture")
    empty.touch()
    strip = tmp_path / "strip.png"
    Image.new("RGB", (512, 3)).save(strip)
    damaged = tmp_path / "damaged.h5"
    shutil.copy(parity.WEIGHTS, damaged)
    with h5py.File(damaged, "r+") as file:
        file["conv3_1/bias"][0] += 1
    no_weights = tmp_path / "no.h5"
    no_weights.write_bytes(b"no")
    saved, foreign = tmp_path / "saved.png", tmp_path / "foreign.tif"
    save_image(saved, np.zeros((4, 4, 3)), {"config": Config().to_dict()})
    save_image(foreign, np.zeros((4, 4, 3)), {"shape": [4, 4, 3]})
    fine = [photo, painting]
    return {
        "missing content": ([tmp_path / "paintin.png", painting], "content: .*did you mean .*painting.png"),
        "missing style": ([photo, "nowhere/else.png"], "style: .*nowhere"),
        "truncated": ([truncated, painting], "content: .*truncated"),
        "not an image": ([text, painting], "content: .*no picture"),
        "empty file": ([empty, painting], "content: .*empty"),
        "a folder": ([tmp_path, painting], "content: .*folder"),
        "size zero": ([*fine, "--size", 0], "size: 0 is too small"),
        "tiny size": ([*fine, "--size", 8], "content: 8x8 pixels .*relu5_1, which needs at least 16"),
        "thin picture": ([strip, painting], "content: .*relu5_1"),
        "thin style": ([photo, strip], "style: .*relu5_1"),
        "too large": ([*fine, "--size", 400000], "size: .*GB.* a size of [0-9]+ would fit"),
        "unknown layer": ([*fine, "--style-layers", "relu1_1", "relu6_1"], "style_layers: .*relu5_1"),
        "unknown preset": ([*fine, "--preset", "gatis"], "preset: .*did you mean gatys"),
        "unknown optimizer": ([*fine, "--optimizer", "lbgfs"], "optimizer: .*did you mean lbfgs"),
        "unknown pooling": ([*fine, "--pooling", "median"], "pooling: .*max, average"),
        "unknown weights": ([*fine, "--weights", "cafe"], "weights: .*did you mean caffe"),
        "unknown start": ([*fine, "--start", "nois"], "start: .*did you mean noise"),
        "weights not fetched": ([*fine, "--weights", "torchvision"], "jaxnst weights fetch torchvision"),
        "damaged weights": ([*fine, "--weights", damaged], "weights: .*damaged"),
        "weights not HDF5": ([*fine, "--weights", no_weights], "weights: .*not an HDF5 file"),
        "no output folder": ([*fine, "--out", tmp_path / "none/x.png"], "out: there is no folder"),
        "unknown extension": ([*fine, "--out", tmp_path / "x.bmp"], "out: .*.bmp"),
        "no history folder": ([*fine, "--history", tmp_path / "none/x.csv"], "history: .*none"),
        "negative snapshots": ([*fine, "--snapshots", -1], "snapshots: -1"),
        "config without settings": ([*fine, "--config", photo], "config: .*no settings"),
        "preset and config": ([*fine, "--preset", "gatys", "--config", saved], "both given"),
        "foreign settings": ([*fine, "--config", foreign], "config: .*no settings"),
        "out is a folder": ([*fine, "--out", tmp_path], "out: .*is a folder"),
        "history is a folder": ([*fine, "--history", tmp_path], "history: .*is a folder"),
        "weight beyond float32": ([*fine, "--style-weight", 1e39], "style_weight: 1e[+]39"),
        "negative layer weight": (
            [*fine, "--style-layer-weights=-1"],
            "style_layer_weights: -1.0 is negative",
        ),
    }


MISTAKES = (
    *("missing content", "missing style", "truncated", "not an image", "empty file", "a folder", "size zero"),
    *("tiny size", "thin picture", "thin style", "too large", "unknown layer", "unknown preset"),
    *("unknown optimizer", "unknown pooling", "unknown weights", "unknown start", "weights not fetched"),
    *("damaged weights", "weights not HDF5", "no output folder", "unknown extension", "no history folder"),
    *("negative snapshots", "config without settings", "preset and config"),
    *("foreign settings", "out is a folder", "history is a folder", "weight beyond float32"),
    "negative layer weight",
)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_sentence_and_exit_code_2(mistake, tmp_path, out, capsys):
    arguments, message = mistakes(tmp_path)[mistake]
    before = sorted(tmp_path.rglob("*"))
    given = [] if "--out" in arguments else ["--out", out]
    assert run("stylize", *arguments, *given) == 2
    told = capsys.readouterr().err
    assert told.startswith("jaxnst: ")
    assert told.count("\n") == 1
    assert re.search(message, told), told
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_the_old_picture_and_saves_the_new_elsewhere(
    photo, painting, out, tmp_path, capsys, monkeypatch
):
    out.write_bytes(b"the old one")
    write = Path.write_bytes

    def full(path, data):
        if path.parent == out.parent:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("stylize", photo, painting, "--out", out, "--quiet", *FAST) == 1
    [rescued] = re.findall(f"{out}: No space left on device; the picture is in (.*)", capsys.readouterr().err)
    with Image.open(rescued) as picture:
        assert picture.size == (48, 48)
    assert out.read_bytes() == b"the old one"
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def _start(photo, painting, out):
    """A long run in a process of its own, once it has made its first steps."""
    command = [sys.executable, "-m", "jaxnst", "stylize", photo, painting, "--out", out, *FAST]
    command[command.index("4")] = "100000"
    snapshot = out.with_name("picture-000001.png")
    process = subprocess.Popen([*map(str, command), "--snapshots", "1"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not snapshot.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    return process


def test_ctrl_c_saves_what_exists(photo, painting, out):
    process = _start(photo, painting, out)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert "Traceback" not in told
    assert np.asarray(Image.open(out)).shape == (48, 48, 3)


def test_kill_9_leaves_no_broken_picture(photo, painting, out):
    out.write_bytes(b"the old one")
    process = _start(photo, painting, out)
    process.kill()
    process.communicate()
    assert out.read_bytes() == b"the old one"
    for path in out.parent.glob("picture-*.png"):
        Image.open(path).load()


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit) as stopped:
        run("stylize", "--help")
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    for word in ("--out", "--preset", "--content-weight", "--line-search", "--snapshots", "--quiet"):
        assert word in told
