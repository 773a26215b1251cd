"""The language of studies: what a file declares, and a sentence for every mistake in it."""

import itertools
from pathlib import Path

import pytest
from pictures import refusal

import jaxnst
from jaxnst.studies import names
from jaxnst.studies.sheet import sheet_of, spans
from jaxnst.studies.study import read_study

pytestmark = pytest.mark.fast

HEAD = 'preset = "ranka"\n[settings]\nsize = 64\n[quick]\nsteps = 3\n'
GRID = '[[grids]]\nname = "one"\n'


MEASURED = Path(__file__).parents[2] / "docs" / "studies" / "data"


@pytest.fixture
def write(tmp_path):
    """Writes a study and returns its path."""

    def make(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return make


def test_axes_multiply_and_the_last_changes_fastest(write):
    study = read_study(write(HEAD + GRID + "[grids.axes]\nblend = [0.3, 0.7]\nlearning_rate = [0.4, 1, 2.5]"))
    points = [(cell.config.blend, cell.config.learning_rate) for cell in study.cells]
    assert points == list(itertools.product((0.3, 0.7), (0.4, 1, 2.5)))
    assert {cell.config.size for cell in study.cells} == {64}
    assert study.cells[1].config == jaxnst.PRESETS["ranka"].replace(size=64, blend=0.3, learning_rate=1)
    assert study.cells[2].labels == {"blend": "0.3", "learning_rate": "2.5"}
    assert (study.cells[0].content, study.cells[0].styles) == ("content 1", ("style 1",))


def test_labelled_points_pictures_presets_and_subsets(write):
    text = """
    [[grids]]
    name = "labelled"
    [grids.axes.what]
    "a b" = { preset = "wang", style = ["style 2", "style 1"], style_weights = [0.3, 0.7] }
    texture = { preset = "jaiswal", content = "none", start = "noise" }
    [[grids]]
    name = "subsets"
    [grids.settings]
    style = "none"
    [grids.axes.content_layers]
    subsets = ["relu1_1", "relu2_1", "relu3_1"]
    """
    study = read_study(write(text))
    mixed, texture = study.grids[0].cells
    assert mixed.config == jaxnst.PRESETS["wang"].replace(style_weights=(0.3, 0.7)).checked()
    assert mixed.styles == ("style 2", "style 1")
    assert (texture.content, texture.config.gram, texture.labels) == (None, "chw", {"what": "texture"})
    layers = [cell.config.content_layers for cell in study.grids[1].cells]
    assert len(layers) == len(set(layers)) == 7
    assert all(cell.styles == () for cell in study.grids[1].cells)


def test_the_quick_form_replaces_settings_values_and_labels(write):
    text = (
        HEAD
        + GRID
        + (
            "[grids.axes]\nblend = [0.3, 0.7]\n[grids.axes.who]\na = { seed = 1 }\nb = { seed = 2 }\n"
            '[grids.quick]\nblend = [0.5]\nwho = ["b"]\nsize = 32\n'
        )
    )
    assert len(read_study(write(text)).cells) == 4
    [cell] = read_study(write(text), quick=True).cells
    assert (cell.config.blend, cell.config.seed, cell.config.size, cell.config.steps) == (0.5, 2, 32, 3)


def test_the_callers_settings_replace_a_grids_too(write):
    text = HEAD + GRID + "[grids.settings]\nseed = 3\n[grids.quick]\nhistory_size = 4\n" + AXES
    for quick in (False, True):
        [cell] = read_study(write(text), quick, settings={"seed": 7, "history_size": 9}).cells
        assert (cell.config.seed, cell.config.history_size) == (7, 9)


def test_the_callers_settings_replace_the_studys_but_not_an_axis(write):
    path = write(HEAD + GRID + "[grids.axes]\nsize = [64, 96]")
    assert [cell.config.size for cell in read_study(path, settings={"size": 80, "seed": 5}).cells] == [64, 96]
    assert {cell.config.seed for cell in read_study(path, settings={"seed": 5}).cells} == {5}


def test_old_names_of_settings_are_accepted_with_a_notice(write):
    text = "[settings]\nmemory = 3\n" + GRID + AXES
    with pytest.warns(UserWarning, match="memory is now called history_size"):
        [cell] = read_study(write(text)).cells
    assert cell.config.history_size == 3
    with pytest.warns(UserWarning, match="history_size"):
        [cell] = read_study(write(text.replace("memory", "history_size")), settings={"memory": 9}).cells
    assert cell.config.history_size == 9
    with pytest.warns(UserWarning, match="history_size"):
        study = read_study(write(GRID + "[grids.axes]\nmemory = [4, 5]\n"))
    assert [(cell.labels["memory"], cell.config.history_size) for cell in study.cells] == [("4", 4), ("5", 5)]
    with pytest.warns(UserWarning, match="history_size"):
        text = GRID + "[grids.settings]\nhistory_size = 1\n[grids.axes]\nmemory = [4, 5]\n"
        assert "axis memory and settings both set history_size" in refusal(read_study, write(text))


AXES = "[grids.axes]\nblend = [0.3]\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title = ", "is not TOML"),
        ("", "no grids"),
        ("grids = 3", "no grids"),
        ("grids = [3]", "not a table"),
        ('titel = "x"\n' + GRID + AXES, "'titel'; did you mean title"),
        (GRID + 'abuot = "x"\n' + AXES, "'abuot'; did you mean about"),
        ("[settings]\nsise = 3\n" + GRID + AXES, "'sise'; did you mean size"),
        ("settings = 3\n" + GRID + AXES, "settings is not a table"),
        ("[quick]\nstpes = 3\n" + GRID + AXES, "did you mean steps"),
        (GRID + AXES + "[grids.quick]\nstpes = 3\n", "'stpes'; did you mean steps"),
        (GRID, "no axes"),
        (GRID + "[grids.axes]\n", "no axes"),
        (GRID + "[grids.axes]\nblend = []\n", "blend has no values"),
        (GRID + "[grids.axes]\nblend = 0.3\n", "blend has no values"),
        (GRID + "[grids.axes]\nbelnd = [0.3]\n", "'belnd'; did you mean blend"),
        (GRID + "[grids.axes]\nblend = [0.3, 0.3]\n", "a value twice"),
        (GRID + "[grids.axes.who]\na = 3\n", "'a' is not a table of settings"),
        (GRID + "[grids.axes.who]\na = { sead = 3 }\n", "'sead'; did you mean seed"),
        (
            GRID + "[grids.axes]\nseed = [1]\n[grids.axes.who]\na = { seed = 3 }\n",
            "the axis who and the axis seed both set seed",
        ),
        (GRID + "[grids.axes.weights]\na = { seed = 3 }\n", "'a' does not set weights"),
        (GRID + "[grids.axes.steps]\na = { steps = 3 }\n", "axis steps has the name of a column"),
        (GRID + "[grids.axes.ssim]\na = { seed = 3 }\n", "axis ssim has the name of a column"),
        (
            GRID + "[grids.axes.who]\na = { seed = 3 }\n[grids.quick]\nseed = 5\n",
            "axis who and settings both set seed",
        ),
        (
            GRID + 'preset = "wang"\n[grids.axes]\npreset = ["gatys", "ranka"]\n',
            "axis preset and settings both set preset",
        ),
        (
            GRID + 'preset = "wang"\n[grids.settings]\npreset = "gatys"\n' + AXES,
            "preset and settings both name a preset",
        ),
        ('preset = "wang"\n[settings]\npreset = "gatys"\n' + GRID + AXES, "both name a preset"),
        (GRID + 'columns = ["blend", "blend"]\n' + AXES, "columns has a name twice"),
        (GRID + "[grids.settings]\nblend = 0.1\n" + AXES, "axis blend and settings both set blend"),
        (GRID + "[grids.axes]\nblend = [0.3, 1.3]\n", "at blend 1.3: blend: 1.3"),
        (GRID + '[grids.axes]\noptimizer = ["adam", "lbfg"]\n', "at optimizer lbfg: optimizer: there is no"),
        (GRID + '[grids.settings]\noptimizer = "adam"\n[grids.axes]\nline_search = ["zoom"]\n', "lbfgs only"),
        (GRID + '[grids.axes]\npreset = ["gatis"]\n', "did you mean gatys"),
        (GRID + '[grids.axes]\ncontent = ["content one"]\n', "there is no picture 'content one'"),
        (GRID + 'columns = ["seed"]\n' + AXES, "columns: there is no 'seed'"),
        (GRID + 'feature_maps = ["relu9_1"]\n' + AXES, "there is no 'relu9_1'"),
        (GRID + AXES + GRID + AXES, "two grids would write one.png"),
        ("[[grids]]\n" + AXES, "needs a name"),
        ('[[grids]]\nname = "../x"\n' + AXES, "needs a name"),
        (GRID + "title = 3\n" + AXES, "title must be text"),
        (GRID + "[grids.settings]\nseed = 1\n[grids.axes.who]\na = { seed = 3 }\n", "both set seed"),
        (GRID + "[grids.axes.seed]\nsubsets = 3\n", "subsets must be a list"),
        (GRID + f"[grids.axes.seed]\nsubsets = {list(range(30))}\n", "too many subsets"),
        (GRID + 'columns = "blend"\n' + AXES, "columns must be a list of names"),
        (GRID + "feature_maps = 3\n" + AXES, "feature_maps must be a list of names"),
        (GRID + "[grids.axes.who]\na = { seed = 3 }\n[grids.quick]\nwho = 3\n", "has no labels"),
        (GRID + '[grids.axes.who]\na = { seed = 3 }\n[grids.quick]\nwho = ["b"]\n', "there is no 'b'"),
        (GRID + '[grids.axes]\ncontent = ["content 01"]\n', "there is no picture 'content 01'"),
        (GRID + '[grids.axes]\nstyle = ["style 0"]\n', "there is no picture 'style 0'"),
        (GRID + AXES + '[[grids]]\nname = "one-losses"\n' + AXES, "two grids would write one-losses.png"),
        (GRID + "[grids.axes.content_layers]\nsubsets = []\n", "no values"),
        (
            GRID + f"[grids.axes]\nseed = {list(range(400))}\nhistory_size = {list(range(1, 400))}\n",
            "at most 100000 are possible",
        ),
    ],
)
def test_each_mistake_gets_one_sentence(write, text, says):
    message = refusal(read_study, write(text), quick="quick]" in text and "stpes" not in text)
    assert says in message
    assert "mine" in message or "quick]" in text


def test_unknown_studies_and_grids(tmp_path, write):
    assert "did you mean ranka" in refusal(read_study, "rankaa")
    assert "no file" in refusal(read_study, tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "cannot be read" in refusal(read_study, tmp_path / "folder.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(read_study, tmp_path / "bytes.toml")
    assert "did you mean one" in refusal(read_study, write(GRID + AXES), grids=["ome"])


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("quick", [False, True], ids=["full", "quick"])
def test_studies_of_the_package_can_be_read(name, quick):
    study = read_study(name, quick)
    assert study.title != name
    assert all(grid.title != grid.name for grid in study.grids)
    sizes = {cell.config.size for cell in study.cells}
    assert sizes <= ({64, 96, 128} if quick else {128, 512})


@pytest.mark.parametrize("path", sorted(MEASURED.glob("*/*.toml")), ids=lambda path: path.stem)
def test_studies_behind_the_pages_are_those_of_the_same_name(path):
    """At another size, and with weights that make up for it."""
    measured, shipped = (
        [(cell.grid, cell.labels) for cell in read_study(name).cells] for name in (path, path.stem)
    )
    assert measured == shipped


def test_joshi_hu_has_every_trial_of_the_report():
    """124 trials of layers, and every value of every axis."""
    grids = {grid.name: grid for grid in read_study("joshi-hu").grids}
    layers = [name for name in grids if name.startswith(("content-", "style-")) and "weight" not in name]
    assert sum(len(grids[name].cells) for name in layers) == 124
    assert grids["iterations"].axes["steps"] == ("100", "200", "300", "600", "1000", "2000")
    assert [cell.config.style_weight for cell in grids["style-weight"].cells] == [1e6, 1e5, 1e3, 100]
    assert [cell.config.content_weight for cell in grids["content-weight"].cells] == [1, 5, 10, 20, 100]
    assert grids["shift"].axes["random_shift"] == ("0.95", "0.96", "0.97", "0.98", "0.99")
    assert len(grids["pairs"].cells) == 32


def test_a_sheet_has_every_cell_in_its_place(write):
    axes = "blend = [0.1, 0.2]\nseed = [1, 2, 3]\nhistory_size = [4, 5]"
    text = HEAD + GRID + f'columns = ["seed", "blend"]\n[grids.axes]\n{axes}'
    [grid] = read_study(write(text)).grids
    sheet = sheet_of(grid)
    assert (len(sheet.rows), len(sheet.columns)) == (2, 6)
    for row, line in zip(sheet.rows, sheet.cells, strict=True):
        for column, place in zip(sheet.columns, line, strict=True):
            assert grid.cells[place].labels == dict(row + column)
    assert spans(sheet.columns, 0) == [("seed", "1", 2), ("seed", "2", 2), ("seed", "3", 2)]
    assert [span for *_, span in spans(sheet.columns, 1)] == [1] * 6


def test_one_long_axis_is_broken_into_lines(write):
    [grid] = read_study(write(HEAD + GRID + f"[grids.axes]\nseed = {list(range(19))}")).grids
    sheet = sheet_of(grid)
    assert [place for line in sheet.cells for place in line if place is not None] == list(range(19))
    assert not sheet.columns
    assert len({len(line) for line in sheet.cells}) == 1
