"""A study from the declaration to the report: stopped and continued, failing in part, and its page."""

import base64
import csv
import html.parser
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import refusal
from PIL import Image

import jaxnst
from jaxnst.batch.journal import at_work
from jaxnst.cli import main as cli
from jaxnst.io.images import read_image, resize
from jaxnst.io.save import read_metadata
from jaxnst.run.interrupts import Interrupted
from jaxnst.studies import names
from jaxnst.studies.table import best

pytestmark = pytest.mark.usefixtures("own_cache")

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS = [EXAMPLES / "astronaut.jpg", EXAMPLES / "chelsea.jpg"]
PAINTINGS = [EXAMPLES / "great_wave.jpg", EXAMPLES / "village_street_in_auvers.jpg"]

STUDY = """
title = "Small"
[settings]
size = 32
content_layers = ["relu2_1"]
style_layers = ["relu1_1", "relu2_1"]
style_weight = 500
[[grids]]
name = "grid"
title = "Weights & <steps>"
feature_maps = ["relu2_1"]
[grids.axes]
style_weight = [50, 5e3]
steps = [2, 5]
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the finished study, to read; tests that write copy it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "mine.toml").write_text(STUDY)
    run(folder / "mine.toml", folder / "out")
    return folder / "out"


def run(study, out, **settings):
    return jaxnst.run_study(study, PHOTOS, PAINTINGS, out, progress=False, **settings)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def whole(folder):
    """Returns the contents of all files that do not depend on the clock."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.glob("runs/*/*")
        if path.suffix in (".png", ".csv")
    }


def written(folder):
    """Returns when each finished run was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")}


def wait_for_a_run(folder, ended):
    deadline = time.monotonic() + 300
    while not written(folder) and ended() is None and time.monotonic() < deadline:
        time.sleep(0.02)


class Page(html.parser.HTMLParser):
    """Collects what a page refers to, and the tags that do not close."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.refers, self.sources = [], set(), [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        self.refers += [attributes["data-cell"]] if "data-cell" in attributes else []
        self.refers += [attributes["href"].removeprefix("#")] if "href" in attributes else []
        self.sources += [attributes["src"]] if "src" in attributes else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open[-1] != tag and self.open[-1] in ("dt", "dd", "li"):
            self.open.pop()
        assert self.open.pop() == tag


@pytest.mark.slow
def test_cells_are_what_single_runs_make(mine, tmp_path):
    studied = run(mine, tmp_path / "out")
    assert not studied.failed
    table = read(tmp_path / "out" / "cells.csv")
    assert [(row["style_weight"], row["steps"], row["ended"]) for row in table] == [
        (weight, steps, "finished") for weight in ("50", "5000") for steps in ("2", "5")
    ]
    for row, line in zip(studied.rows, table, strict=True):
        single = jaxnst.stylize(PHOTOS[0], PAINTINGS[0], config=row.cell.config, progress=False)
        np.testing.assert_allclose(read_image(row.picture), single.array, atol=0.01)
        # The losses are those of the picture itself, not of the one before the last step.
        losses = jaxnst.evaluate(row.picture, PHOTOS[0], PAINTINGS[0], row.cell.config)
        for name, value in losses.items():
            assert float(line[f"loss/{name}"]) == pytest.approx(value, rel=0.05), name
        measured = jaxnst.metrics.measure(row.picture, PHOTOS[0], PAINTINGS[0], 32)
        assert row.measured == pytest.approx(measured)
        assert float(line["evaluations"]) == row.cell.config.steps
        assert 0 < float(line["seconds"]) < 600
        settings = read_metadata(row.picture)["config"]
        assert jaxnst.Config.from_dict(settings) == row.cell.config


@pytest.mark.slow
def test_the_losses_of_every_step_are_in_a_table(mine, tmp_path):
    rows = run(mine, tmp_path).rows
    lines = read(tmp_path / "losses.csv")
    assert {line["run"] for line in lines} == {row.key for row in rows}
    assert [int(line["step"]) for line in lines] == 2 * list(range(6))
    totals = [float(line["total"]) for line in lines[:6]]
    assert totals[-1] < totals[0]
    for row in rows[:2]:
        assert row.losses["total"] == pytest.approx(totals[row.cell.config.steps])


def test_the_page_is_whole_and_needs_no_other_file(mine, finished):
    rows = run(mine, finished).rows
    text = (finished / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert set(page.refers) <= page.ids
    assert len([link for link in page.refers if link.startswith("cell-")]) >= 2 * len(rows)
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "http" not in text.replace("http-equiv", "")
    assert "Weights &amp; &lt;steps&gt;" in text
    for row in rows:
        assert f"{row.losses['total']:.4g}" in text
    for name in ("grid.png", "grid-losses.png"):
        with Image.open(finished / name) as picture:
            assert min(picture.size) > 200
            assert np.asarray(picture).std() > 10


@pytest.mark.slow
def test_finished_runs_are_not_computed_again(mine, tmp_path):
    run(mine, tmp_path)
    before, first = whole(tmp_path), written(tmp_path)
    mine.write_text(STUDY.replace("[50, 5e3]", "[50, 5e3, 1]"))
    assert len(run(mine, tmp_path).rows) == 6
    after, second = whole(tmp_path), written(tmp_path)
    assert {path: after[path] for path in before} == before
    assert {key: second[key] for key in first} == first
    assert len(second) == len(first) + 1
    # A run passes through fewer steps, but not through more.
    mine.write_text(STUDY.replace("[2, 5]", "[2]"))
    run(mine, tmp_path)
    assert written(tmp_path) == second
    mine.write_text(STUDY.replace("[2, 5]", "[2, 6]"))
    run(mine, tmp_path)
    again = written(tmp_path)
    assert {key for key in again if again[key] != second[key]} == first.keys()


def test_measures_again_when_a_run_is_computed_again(mine, finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    kept = {path: path.read_text() for path in tmp_path.glob("runs/*/metrics.json")}
    for path in kept:
        path.write_text(kept[path].replace("0.", "0.5"))
    mine.write_text(STUDY.replace("[2, 5]", "[2, 5, 6]"))
    run(mine, tmp_path)
    for path, text in kept.items():
        now, then = json.loads(path.read_text()), json.loads(text)
        assert {step: now[step] for step in then} == {
            step: pytest.approx(then[step], rel=1e-3) for step in then
        }


def goes_on(stopped, straight, arguments, before):
    """Completes a stopped study: its finished runs stay, and all is as without the stop."""
    assert before
    resumed = jaxnst.run_study(*arguments, stopped, progress=False)
    after = written(stopped)
    assert {key: after[key] for key in before} == before
    assert len(after) == 3
    uncut = jaxnst.run_study(*arguments, straight, progress=False)
    assert whole(stopped) == whole(straight)
    assert [row.losses for row in resumed.rows] == [row.losses for row in uncut.rows]
    assert not list(stopped.rglob("*.tmp"))


THREE_PROGRAMS = STUDY.replace("style_weight = [50, 5e3]\nsteps = [2, 5]", "size = [32, 48, 64]")
"""Their runs are computed one after another."""


@pytest.mark.slow
def test_goes_on_after_kill_minus_nine(mine, tmp_path):
    mine.write_text(THREE_PROGRAMS.replace("size = 32", "steps = 20"))
    arguments = [str(mine), str(PHOTOS[0]), str(PAINTINGS[0])]
    killed = tmp_path / "killed"
    script = "import sys; from jaxnst.studies import run_study; run_study(*sys.argv[1:], progress=False)"
    process = subprocess.Popen([sys.executable, "-c", script, *arguments, str(killed)])
    wait_for_a_run(killed, process.poll)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = written(killed)
    assert len(before) < 3
    assert not (killed / "report.html").exists()
    goes_on(killed, tmp_path / "straight", arguments, before)


@pytest.mark.slow
def test_ctrl_c_writes_the_report_and_the_next_call_goes_on(mine, tmp_path):
    mine.write_text(THREE_PROGRAMS.replace("size = 32", "steps = 20"))
    arguments = [str(mine), str(PHOTOS[0]), str(PAINTINGS[0])]
    cut = tmp_path / "cut"

    def press() -> None:
        wait_for_a_run(cut, lambda: None)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(Interrupted):
        jaxnst.run_study(*arguments, cut, progress=False)
    finger.join()
    before = written(cut)
    ends = [row["ended"] for row in read(cut / "cells.csv")]
    assert ends.count("finished") == len(before) < 3
    assert ends.count("not run yet") == 3 - len(before)
    assert "not run yet" in (cut / "report.html").read_text()
    goes_on(cut, tmp_path / "straight", arguments, before)


def test_an_error_while_a_run_is_written_costs_only_that_run(mine, finished, tmp_path):
    """A file is where the folder of a run must be; a full disk gives the same kind of error."""
    straight = run(mine, finished).rows
    in_the_way = tmp_path / "cut" / "runs" / straight[-1].key
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    with pytest.raises(OSError, match=in_the_way.name):
        run(mine, tmp_path / "cut")
    in_the_way.unlink()
    before = written(tmp_path / "cut")
    rows = run(mine, tmp_path / "cut").rows
    assert written(tmp_path / "cut").items() >= before.items()
    for row, uncut in zip(rows, straight, strict=True):
        assert row.losses == pytest.approx(uncut.losses, rel=1e-3)


def test_a_second_process_is_refused(mine, tmp_path):
    with at_work(tmp_path / "out"):
        assert "another process works in" in refusal(run, mine, tmp_path / "out")


def test_masks_and_a_start_from_a_file_count(mine, tmp_path):
    """Pictures are those of single runs, and another mask of the same name makes another run."""
    mine.write_text(STUDY.replace("[50, 5e3]", "[50]"))
    mask, start = tmp_path / "mask.png", tmp_path / "start.png"
    half = np.zeros((512, 512), np.uint8)
    half[:, 256:] = 255
    Image.fromarray(half).save(mask)
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(start)
    settings = {"content_masks": [str(mask)], "start": str(start)}
    row = run(mine, tmp_path / "out", **settings).rows[1]
    single = jaxnst.stylize(PHOTOS[0], PAINTINGS[0], config=row.cell.config, progress=False)
    first = read_image(row.picture)
    np.testing.assert_allclose(first, single.array, atol=0.01)
    Image.fromarray(half.T.copy()).save(mask)
    again = run(mine, tmp_path / "out", **settings).rows[1]
    assert again.key != row.key
    assert np.abs(first - read_image(again.picture)).max() > 0.1


def test_the_home_folder(mine, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(mine, "~/out").folder == tmp_path / "out"
    assert (tmp_path / "out" / "report.html").exists()


def test_a_cell_that_fails_does_not_stop_the_others(mine, tmp_path, capsys):
    text = STUDY.replace("[50, 5e3]", "[50, 1e38]")
    mine.write_text(text.replace("[settings]", '[settings]\nweighting = "absolute"'))
    arguments = ["study", mine, "--content", PHOTOS[0], "--style", PAINTINGS[0], "--out", tmp_path, "--quiet"]
    assert cli.main([str(argument) for argument in arguments]) == 1
    messages = capsys.readouterr().err
    assert "grid, style_weight 1e+38, steps 5" in messages
    assert "not a finite number" in messages
    table = read(tmp_path / "cells.csv")
    assert [row["ended"].partition(":")[0] for row in table] == ["finished", "finished", "failed", "failed"]
    assert "not a finite number" in (tmp_path / "report.html").read_text()
    assert len(written(tmp_path)) == 1
    assert cli.main([str(argument) for argument in arguments]) == 1  # it is tried again


SGD = STUDY.replace(
    "[grids.axes]",
    '[grids.settings]\nstart = "content"\noptimizer = "sgd"\nclamp = false\n[grids.axes]',
)


@pytest.mark.filterwarnings("ignore:the loss is no longer a finite number")
@pytest.mark.parametrize("rates", ["[1e-9, 1e9]", "[1e9]"], ids=["together", "alone"])
def test_a_run_that_diverges_keeps_its_last_good_picture(mine, tmp_path, rates):
    mine.write_text(SGD.replace("style_weight = [50, 5e3]", f"learning_rate = {rates}"))
    rows = run(mine, tmp_path).rows
    assert all(row.ended == "finished" for row in rows[:-2])
    assert all(row.ended == "diverged after 0" for row in rows[-2:])
    assert all(np.isfinite(list(row.losses.values())).all() for row in rows)
    first = resize(read_image(PHOTOS[0]), (32, 32))
    for row in rows[-2:]:
        np.testing.assert_allclose(read_image(row.picture), first, atol=0.01)
    assert "diverged after" in (tmp_path / "report.html").read_text()
    assert all(rows[index].ended == "finished" for index in best(rows).values())


@pytest.mark.parametrize(
    ("content", "style", "says"),
    [
        ([], PAINTINGS[0], "content: no picture is given"),
        ("missing.jpg", PAINTINGS[0], "content: there is no file"),
        (PHOTOS[0], __file__, "style: "),
        (PHOTOS[0], np.zeros((3, 3, 7)), "style: "),
    ],
)
def test_pictures_are_read_before_anything_runs(mine, tmp_path, content, style, says):
    out = tmp_path / "out"
    assert says in refusal(jaxnst.run_study, mine, content, style, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("size = 32", "size = 12"), "too few to measure"),
        (("style_weight = [50, 5e3]", "size = [32, 20]"), "style: 20x13 pixels, as it is compared"),
        (
            ("[grids.axes]", '[grids.axes]\ncontent = ["content 1", "content 2"]'),
            "32x21 pixels are too few for pool5",
        ),
        (("style_weight = [50, 5e3]", 'edges = ["drop"]\nsize = [32, 1]'), "size 1, steps 2"),
        (
            ("[grids.axes]", '[grids.axes]\ncontent = ["content 1", "content 3"]'),
            "asks for content 3, and there are 2",
        ),
        (
            ("[grids.axes]", '[grids.axes]\ncontent = ["none"]\ncolor = ["luminance"]'),
            "needs a content picture",
        ),
        (('"relu2_1"]\nstyle', '"relu2_1"]\nweights = "nowhere.h5"\nstyle'), "weights"),
    ],
)
def test_every_cell_is_checked_before_anything_runs(mine, tmp_path, change, says):
    assert change[0] in STUDY
    text = STUDY.replace(*change, 1)
    mine.write_text(text.replace('feature_maps = ["relu2_1"]', 'feature_maps = ["pool5"]'))
    out = tmp_path / "out"
    assert says in refusal(run, mine, out)
    assert not out.exists()


def test_a_style_too_narrow_to_measure_is_refused_before_anything_runs(mine, tmp_path):
    narrow = np.zeros((300, 40, 3), np.uint8)
    assert "style: 4x32 pixels" in refusal(jaxnst.run_study, mine, PHOTOS[0], narrow, tmp_path / "out")


def test_an_output_that_cannot_be_a_folder(mine, tmp_path):
    assert "is a file" in refusal(run, mine, mine)
    assert "there is no folder" in refusal(run, mine, tmp_path / "no" / "out")


def test_a_missing_extra_is_named_before_anything_runs(mine, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "jaxnst.studies.report", raising=False)
    assert "pip install 'jaxnst[report]'" in refusal(run, mine, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_results_are_made_again(mine, finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = whole(tmp_path)
    folders = sorted((tmp_path / "runs").iterdir())
    (folders[0] / "run.json").write_text("{")
    next(folders[1].glob("*.png")).unlink()
    run(mine, tmp_path)
    assert whole(tmp_path) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the loss is no longer a finite number")
@pytest.mark.parametrize("name", names())
def test_the_quick_form_of_each_study_runs(name, tmp_path):
    studied = run(name, tmp_path, quick=True, size=32)
    assert not studied.failed
    assert (tmp_path / "report.html").stat().st_size > 50_000
    for row in studied.rows:
        assert row.measured
        assert np.isfinite(list(row.numbers.values())).all(), row.cell.name


def test_feature_maps_are_those_of_each_picture(mine, finished):
    rows = run(mine, finished).rows
    text = (finished / "report.html").read_text()
    maps = re.findall(r'<img class="features" src="data:image/png;base64,([^"]+)"', text)
    assert len(maps) == len(rows)
    assert len(set(maps)) == len(maps)
    explanation = re.search(r"relu2_1: ([0-9, ]+);", text)
    channels = [int(channel) for channel in explanation[1].split(",")]
    features = jaxnst.features(rows[-1].picture, ["relu2_1"])["relu2_1"][..., channels]
    tiles = np.asarray(Image.open(io.BytesIO(base64.b64decode(maps[-1]))).convert("L"), float) / 255
    tiles = tiles[:64].reshape(64, len(channels), 66)[:, :, :64].mean((0, 2))
    content = jaxnst.features(resize(read_image(PHOTOS[0]), (32, 32)), ["relu2_1"])["relu2_1"][..., channels]
    expected = np.clip(features / content.max((0, 1)), 0, 1).mean((0, 1))
    np.testing.assert_allclose(tiles, expected, atol=0.03)
