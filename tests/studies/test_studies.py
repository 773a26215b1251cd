"""A study from the declaration to the report: resumed, failing in part, and looked at."""

import base64
import csv
import html.parser
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import refusal
from PIL import Image

import jaxnst
from jaxnst.cli.main import main as cli
from jaxnst.io import array_file as checkpoint
from jaxnst.io.images import read_image, resize
from jaxnst.io.save import read_metadata
from jaxnst.run import vectorised as lanes
from jaxnst.run.interrupts import Interrupted
from jaxnst.studies import names, results, runner
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


def run(study, out, **settings):
    return jaxnst.run_study(study, PHOTOS, PAINTINGS, out, progress=False, **settings)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def whole(folder):
    """Everything that does not depend on the clock."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.glob("runs/*/*")
        if path.suffix in (".png", ".csv")
    }


class Page(html.parser.HTMLParser):
    """What a page refers to, and whether its tags close."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.refers, self.sources = [], set(), [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        of = dict(attrs)
        self.ids |= {of["id"]} if "id" in of else set()
        self.refers += [of["data-cell"]] if "data-cell" in of else []
        self.refers += [of["href"].removeprefix("#")] if "href" in of else []
        self.sources += [of["src"]] if "src" in of else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open[-1] != tag and self.open[-1] in ("dt", "dd", "li"):
            self.open.pop()
        assert self.open.pop() == tag


def test_finds_what_single_runs_find(mine, tmp_path):
    found = run(mine, tmp_path / "out")
    assert not found.failed
    table = read(tmp_path / "out" / "cells.csv")
    assert [(row["style_weight"], row["steps"], row["ended"]) for row in table] == [
        (weight, steps, "finished") for weight in ("50", "5000") for steps in ("2", "5")
    ]
    for row, line in zip(found.rows, table, strict=True):
        single = jaxnst.stylize(PHOTOS[0], PAINTINGS[0], config=row.cell.config, progress=False)
        picture = row.done.picture(row.cell.config.steps)
        np.testing.assert_allclose(np.asarray(Image.open(picture)) / 255, single.array, atol=0.01)
        # The losses are those of the picture that is shown, which no step of the single run had before it.
        judged = jaxnst.evaluate(picture, PHOTOS[0], PAINTINGS[0], row.cell.config)
        for name, value in judged.items():
            assert float(line[f"loss/{name}"]) == pytest.approx(value, rel=0.05), name
        measured = jaxnst.metrics.measure(picture, PHOTOS[0], PAINTINGS[0], 32)
        assert row.measured == pytest.approx(measured)
        assert float(line["evaluations"]) == row.cell.config.steps
        assert 0 < float(line["seconds"]) < 600
        # And the picture says how to make it again.
        settings = read_metadata(picture)["config"]
        assert jaxnst.Config.from_dict(settings) == row.cell.config


def test_the_losses_of_every_step_are_in_a_table(mine, tmp_path):
    found = run(mine, tmp_path)
    lines = read(tmp_path / "losses.csv")
    assert {line["run"] for line in lines} == {row.key for row in found.rows}
    assert [int(line["step"]) for line in lines] == 2 * list(range(6))
    totals = [float(line["total"]) for line in lines[:6]]
    assert totals[-1] < totals[0]
    for row in found.rows[:2]:
        assert row.losses["total"] == pytest.approx(totals[row.cell.config.steps])


def test_the_page_is_whole_and_stands_alone(mine, tmp_path):
    found = run(mine, tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert set(page.refers) <= page.ids
    assert len([one for one in page.refers if one.startswith("cell-")]) >= 2 * len(found.rows)
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "http" not in text.replace("http-equiv", "")
    assert "Weights &amp; &lt;steps&gt;" in text
    for row in found.rows:
        assert f"{row.losses['total']:.4g}" in text
    for name in ("grid.png", "grid-losses.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
            assert np.asarray(picture).std() > 10


def test_nothing_is_done_twice(mine, tmp_path, monkeypatch):
    run(mine, tmp_path)
    before = whole(tmp_path)
    mine.write_text(STUDY.replace("[50, 5e3]", "[50, 5e3, 1]"))
    computed = []
    optimise = lanes.optimise

    def counting(plans, resume=None):
        computed.append(len(plans))
        return optimise(plans, resume)

    monkeypatch.setattr(lanes, "optimise", counting)
    found = run(mine, tmp_path)
    assert computed == [1]
    assert len(found.rows) == 6
    after = whole(tmp_path)
    assert {path: after[path] for path in before} == before
    # Fewer steps are on the way of what is there; more are another run.
    run(mine, tmp_path, grids=["grid"])
    mine.write_text(STUDY.replace("[2, 5]", "[2]"))
    run(mine, tmp_path)
    assert computed == [1]
    mine.write_text(STUDY.replace("[2, 5]", "[2, 6]"))
    run(mine, tmp_path)
    assert computed == [1, 2]


def test_measured_anew_when_a_run_is_made_anew(mine, tmp_path):
    run(mine, tmp_path)
    kept = {path: path.read_text() for path in tmp_path.glob("runs/*/metrics.json")}
    for path in kept:
        path.write_text(kept[path].replace("0.", "0.5"))
    mine.write_text(STUDY.replace("[2, 5]", "[2, 5, 6]"))
    run(mine, tmp_path)
    for path, text in kept.items():
        now, then = json.loads(path.read_text()), json.loads(text)
        assert {look: now[look] for look in then} == {
            look: pytest.approx(then[look], rel=1e-3) for look in then
        }


def test_goes_on_after_kill_minus_nine(mine, tmp_path):
    """The process dies in mid-run; what comes out is what would have, byte for byte."""
    long = STUDY.replace("steps = [2, 5]", "steps = [4, 40]")
    mine.write_text(long)
    script = (
        "import sys; from jaxnst.studies import runner, run_study\n"
        "runner.SECONDS_BETWEEN_CHECKPOINTS, runner.SHARE_FOR_CHECKPOINTS = 0, 1e9\n"
        "run_study(*sys.argv[1:], progress=False)"
    )
    given = [str(mine), str(PHOTOS[0]), str(PAINTINGS[0])]
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", script, *given, str(killed)])
    deadline = time.monotonic() + 300
    while not list(killed.glob("unfinished-*.h5")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list(killed.glob("runs/*/run.json"))
    [left] = killed.glob("unfinished-*.h5")
    assert 0 < checkpoint.about(left)["step"] < 41
    resumed = jaxnst.run_study(*given, killed, progress=False)
    straight = jaxnst.run_study(*given, tmp_path / "straight", progress=False)
    assert whole(killed) == whole(tmp_path / "straight")
    assert [row.losses for row in resumed.rows] == [row.losses for row in straight.rows]
    assert not list(killed.glob("unfinished-*.h5"))
    assert not list(killed.rglob("*.tmp"))


def test_interrupted_and_continued(mine, tmp_path, monkeypatch):
    optimise = lanes.optimise

    def pressed(plans, resume=None):
        for progress in optimise(plans, resume):
            if progress.step == 3:
                signal.raise_signal(signal.SIGINT)
            yield progress

    monkeypatch.setattr(lanes, "optimise", pressed)
    with pytest.raises(Interrupted):
        run(mine, tmp_path / "cut")
    assert "not run yet" in (tmp_path / "cut" / "report.html").read_text()
    monkeypatch.setattr(lanes, "optimise", optimise)
    # Another selection, other settings: what was begun is not theirs, and is kept.
    run(mine, tmp_path / "cut", style_weight=70, seed=3)
    assert list((tmp_path / "cut").glob("unfinished-*.h5"))
    # Less memory is free than before: enough to go on with what was begun, if not to begin it.
    begun = []
    monkeypatch.setattr(lanes, "most", lambda plan, share=0.5: 2 if share == 1 else 1)
    monkeypatch.setattr(lanes, "optimise", lambda *given: begun.append(len(given)) or optimise(*given))
    run(mine, tmp_path / "cut")
    assert begun == [2]
    monkeypatch.undo()
    run(mine, tmp_path / "straight")
    for other in (tmp_path / "cut").glob("runs/*"):
        if not (tmp_path / "straight" / "runs" / other.name).exists():
            shutil.rmtree(other)
    assert whole(tmp_path / "cut") == whole(tmp_path / "straight")


def test_a_full_disk_while_writing_costs_no_steps(mine, tmp_path, monkeypatch):
    """Of two lanes one is written; the next call takes the other from the checkpoint."""
    monkeypatch.setattr(runner, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(runner, "SHARE_FOR_CHECKPOINTS", 1e9)
    write, written = results.write_run, []

    def full(folder, *others):
        if written:
            raise OSError(28, "No space left on device", str(folder))
        written.append(write(folder, *others))

    monkeypatch.setattr(results, "write_run", full)
    with pytest.raises(OSError, match="No space left"):
        run(mine, tmp_path / "cut")
    assert len(list((tmp_path / "cut").glob("runs/*/run.json"))) == 1
    monkeypatch.setattr(results, "write_run", write)
    optimise, steps = lanes.optimise, []

    def counting(plans, resume=None):
        for progress in optimise(plans, resume):
            steps.append(progress.step)
            yield progress

    monkeypatch.setattr(lanes, "optimise", counting)
    run(mine, tmp_path / "cut")
    assert len(steps) <= 1
    run(mine, tmp_path / "straight")
    assert whole(tmp_path / "cut") == whole(tmp_path / "straight")


def test_one_process_at_a_time(mine, tmp_path):
    with results.opened(tmp_path / "out"):
        assert "another process works in" in refusal(run, mine, tmp_path / "out")


def test_masks_and_a_start_from_a_file_count(mine, tmp_path):
    """As in a single run; and another mask under the same name is another run."""
    mask, start = tmp_path / "mask.png", tmp_path / "start.png"
    half = np.zeros((512, 512), np.uint8)
    half[:, 256:] = 255
    Image.fromarray(half).save(mask)
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(start)
    given = {"content_masks": [str(mask)], "start": str(start)}
    found = run(mine, tmp_path / "out", **given)
    row = found.rows[1]
    single = jaxnst.stylize(PHOTOS[0], PAINTINGS[0], config=row.cell.config, progress=False)
    first = np.asarray(Image.open(row.done.picture(5))) / 255
    np.testing.assert_allclose(first, single.array, atol=0.01)
    Image.fromarray(half.T.copy()).save(mask)
    again = run(mine, tmp_path / "out", **given)
    assert {row.key for row in again.rows}.isdisjoint({row.key for row in found.rows})
    second = np.asarray(Image.open(again.rows[1].done.picture(5))) / 255
    assert np.abs(first - second).max() > 0.1


def test_the_home_folder(mine, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = run(mine, "~/out")
    assert found.folder == tmp_path / "out"
    assert (tmp_path / "out" / "report.html").exists()


def test_a_cell_that_fails_does_not_stop_the_others(mine, tmp_path, monkeypatch, capsys):
    optimise = lanes.optimise

    def failing(plans, resume=None):
        if any(float(plan.loss_weights["style"].factor) == 5e3 for plan in plans):
            raise MemoryError("out of memory")
        return optimise(plans, resume)

    monkeypatch.setattr(lanes, "optimise", failing)
    arguments = ["study", mine, "--content", PHOTOS[0], "--style", PAINTINGS[0], "--out", tmp_path, "--quiet"]
    assert cli.main([str(each) for each in arguments]) == 1
    told = capsys.readouterr().err
    assert "grid, style_weight 5000.0, steps 5" in told.replace("5000,", "5000.0,")
    assert "MemoryError: out of memory" in told
    table = read(tmp_path / "cells.csv")
    assert [row["ended"].partition(":")[0] for row in table] == ["finished", "finished", "failed", "failed"]
    assert "out of memory" in (tmp_path / "report.html").read_text()
    monkeypatch.setattr(lanes, "optimise", optimise)
    assert cli.main([str(each) for each in arguments]) == 0  # and it is tried again


def test_what_failed_before_ctrl_c_is_told(mine, tmp_path, monkeypatch):
    def failing(plans, resume=None):
        if len(plans) == 1 and float(plans[0].loss_weights["style"].factor) == 5e3:
            signal.raise_signal(signal.SIGINT)
            yield from optimise(plans, resume)
        raise MemoryError("out of memory")

    optimise = lanes.optimise
    monkeypatch.setattr(lanes, "optimise", failing)
    with pytest.raises(Interrupted):
        run(mine, tmp_path)
    ends = [row["ended"] for row in read(tmp_path / "cells.csv")]
    assert ends == ["failed: MemoryError: out of memory"] * 2 + ["not run yet"] * 2


def test_a_run_that_diverges_is_told(mine, tmp_path):
    text = STUDY.replace("[grids.axes]", '[grids.settings]\noptimizer = "sgd"\nclamp = false\n[grids.axes]')
    mine.write_text(text.replace("style_weight = [50, 5e3]", "learning_rate = [1e-9, 1e9]"))
    found = run(mine, tmp_path)
    assert [row.ended for row in found.rows[:2]] == ["finished", "finished"]
    assert all(row.ended.startswith("diverged after") for row in found.rows[2:])
    assert all(np.isfinite(list(row.losses.values())).all() for row in found.rows)
    assert "diverged after" in (tmp_path / "report.html").read_text()
    assert not found.failed
    assert all(row.ended == "finished" for row in (found.rows[index] for index in best(found.rows).values()))


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
        (("style_weight = [50, 5e3]", "size = [32, 1]"), "grid, size 1, steps 2"),
        (("[grids.axes]", '[grids.axes]\ncontent = ["content 1", "content 3"]'), "asks for content 3, and 2"),
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


def test_a_style_too_narrow_to_measure_is_told_before_anything_runs(mine, tmp_path):
    narrow = np.zeros((300, 40, 3), np.uint8)
    assert "style: 4x32 pixels" in refusal(jaxnst.run_study, mine, PHOTOS[0], narrow, tmp_path / "out")


def test_an_output_that_will_not_do(mine, tmp_path):
    assert "is a file" in refusal(run, mine, mine)
    assert "there is no folder" in refusal(run, mine, tmp_path / "no" / "out")


def test_a_missing_extra_is_told_before_anything_runs(mine, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "jaxnst.studies.report", raising=False)
    assert "pip install 'jaxnst[report]'" in refusal(run, mine, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_results_are_made_again(mine, tmp_path):
    run(mine, tmp_path)
    before = whole(tmp_path)
    folders = sorted((tmp_path / "runs").iterdir())
    (folders[0] / "run.json").write_text("{")
    next(folders[1].glob("*.png")).unlink()
    (tmp_path / "unfinished.h5").write_bytes(b"damaged")
    run(mine, tmp_path)
    assert whole(tmp_path) == before


@pytest.mark.parametrize("name", names())
def test_the_quick_form_of_each_study_runs(name, tmp_path):
    """At the smallest size at which the deepest layer has a position."""
    found = run(name, tmp_path, quick=True, size=32)
    assert not found.failed
    assert (tmp_path / "report.html").stat().st_size > 50_000
    for row in found.rows:
        assert row.measured
        assert np.isfinite(list(row.numbers.values())).all(), row.cell.name


def test_feature_maps_are_those_of_each_picture(mine, tmp_path):
    found = run(mine, tmp_path)
    text = (tmp_path / "report.html").read_text()
    maps = re.findall(r'<img class="features" src="data:image/png;base64,([^"]+)"', text)
    assert len(maps) == len(found.rows)
    assert len(set(maps)) == len(maps)
    told = re.search(r"relu2_1: ([0-9, ]+);", text)
    channels = [int(channel) for channel in told[1].split(",")]
    row = found.rows[-1]
    features = jaxnst.features(row.done.picture(5), ["relu2_1"])["relu2_1"][..., channels]
    tiles = np.asarray(Image.open(io.BytesIO(base64.b64decode(maps[-1]))).convert("L"), float) / 255
    tiles = tiles[:64].reshape(64, len(channels), 66)[:, :, :64].mean((0, 2))
    # How bright each tile is, among the others.
    content = jaxnst.features(resize(read_image(PHOTOS[0]), (32, 32)), ["relu2_1"])["relu2_1"][..., channels]
    expected = np.clip(features / content.max((0, 1)), 0, 1).mean((0, 1))
    np.testing.assert_allclose(tiles, expected, atol=0.03)
