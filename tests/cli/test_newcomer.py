"""Tests what a newcomer meets: default names, mistakes, short help, looks, and pictures to look at."""

import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

from jaxnst.cli.main import COMMANDS
from jaxnst.cli.options import MAIN
from jaxnst.config.presets import LOOKS, PRESETS
from jaxnst.io.images import read_image
from jaxnst.io.save import read_metadata
from jaxnst.run.preview import Preview

pytestmark = pytest.mark.usefixtures("own_cache")

SMALL = [
    *("--size", "32", "--steps", "3", "--content-layers", "relu1_1", "--style-layers", "relu1_1", "--quiet"),
]

OPTION = r"^[│ ] --([a-z-]+)"


@pytest.fixture
def desk(tmp_path, monkeypatch, photo, painting):
    """Enters a folder with a photo and two paintings."""
    monkeypatch.chdir(tmp_path)
    for path, name in ((photo, "photo"), (painting, "painting"), (painting, "wave")):
        with Image.open(path) as picture:
            picture.resize((64, 48)).save(f"{name}.jpg")
    return tmp_path


@pytest.fixture
def refused(run, desk, capsys):
    """Runs a command that must end with one sentence, before any work; returns the sentence."""

    def check(*words):
        before = sorted(path.name for path in desk.iterdir())
        assert run(*words) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("jaxnst: ")
        assert output.err.count("\n") == 1
        assert sorted(path.name for path in desk.iterdir()) == before
        return output.err[len("jaxnst: ") : -1]

    return check


# --- Names of files


def test_a_picture_gets_a_name_that_no_file_has(run, desk):
    for expected in ("photo-painting.png", "photo-painting-2.png", "photo-painting-3.png"):
        before = {path: path.read_bytes() for path in desk.iterdir()}
        assert run("stylize", "photo.jpg", "painting.jpg", *SMALL) == 0
        assert {path.name for path in desk.iterdir()} - {path.name for path in before} == {expected}
        assert all(path.read_bytes() == data for path, data in before.items())
    assert run("stylize", "photo.jpg", "painting.jpg", "wave.jpg", *SMALL) == 0
    assert (desk / "photo-painting-wave.png").exists()


def test_the_name_is_for_the_current_folder(run, desk, monkeypatch):
    (desk / "elsewhere").mkdir()
    monkeypatch.chdir(desk / "elsewhere")
    assert run("stylize", "../photo.jpg", "../painting.jpg", *SMALL) == 0
    assert [path.name for path in (desk / "elsewhere").iterdir()] == ["photo-painting.png"]


def test_other_commands_name_their_pictures_too(run, desk):
    options = [*SMALL[:4], "--quiet"]
    assert run("reconstruct", "photo.jpg", "--layer", "relu1_1", *options) == 0
    assert run("reconstruct", "painting.jpg", *SMALL[:4], "--style-layers", "relu1_1", "--quiet") == 0
    assert run("interpolate", "photo.jpg", "painting.jpg", "wave.jpg", "--count", "2", *SMALL) == 0
    names = {"photo-relu1_1.png", "painting-texture.png", "photo-painting-wave.png"}
    assert names <= {path.name for path in desk.iterdir()}


def test_a_name_that_is_taken_during_the_run_is_not_overwritten(run, desk, monkeypatch):
    from jaxnst.cli import stylize

    make = stylize.make_picture

    def make_while_another_writes(*arguments, **options):
        result = make(*arguments, **options)
        (desk / "photo-painting.png").write_bytes(b"of another command")
        return result

    monkeypatch.setattr(stylize, "make_picture", make_while_another_writes)
    assert run("stylize", "photo.jpg", "painting.jpg", *SMALL) == 0
    assert (desk / "photo-painting.png").read_bytes() == b"of another command"
    assert (desk / "photo-painting-2.png").exists()


def test_an_explicit_name_overwrites_as_before(run, desk):
    (desk / "out.png").write_bytes(b"old")
    assert run("stylize", "photo.jpg", "painting.jpg", "--out", "out.png", *SMALL) == 0
    assert read_image(desk / "out.png").shape == (24, 32, 3)


# --- Mistakes


@pytest.mark.fast
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stylize photo.jpg", "style: no painting is given; add one"),
        ("stylize", "CONTENT is missing"),
        ("reconstruct", "PICTURE is missing"),
        (
            "interpolate photo.jpg painting.jpg",
            "style: give two paintings, to go from one to the other, not 1.",
        ),
        ("batch a b", "--out DIR is missing"),
        ("evaluate", "image: no picture is given"),
        ("compare", "image: no picture is given"),
        ("stylise photo.jpg painting.jpg", "command: there is no 'stylise'; did you mean stylize?"),
        ("photo.jpg painting.jpg", "command: there is no 'photo.jpg'; choose one of: stylize, "),
        ("stylize photo.jpg painting.jpg --size big", "--size: 'big' is not a whole number"),
        ("stylize photo.jpg painting.jpg --style-weight x", "--style-weight: 'x' is not a number"),
        ("stylize photo.jpg painting.jpg --size", "--size has no value"),
        ("stylize photo.jpg painting.jpg --devices some", "--devices: 'some' cannot be used"),
        ("stylize photo.jpg painting.jpg --clamp=3", "3: there is no place for this"),
        ("weights list a b c", "b, c: there is no place for this"),
        ("stylize photo.jpg panting.jpg", "style: there is no file 'panting.jpg'; did you mean painting.jpg"),
    ],
)
def test_mistakes_are_one_sentence(refused, words, message):
    assert refused(*words.split()).startswith(message)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("--style-wieght", "--style-weight"),
        ("--style-wieght=5", "--style-weight"),
        ("--sise", "--size"),
        ("--ouput", "--out"),
        ("--cofig", "--config"),
        ("--hlep", None),
        ("--no-clmap", "--no-clamp"),
        ("--devcies", "--devices"),
        ("-s", None),
        ("--something-else", None),
    ],
)
def test_an_unknown_option_gets_the_nearest_names(refused, option, near):
    message = refused("stylize", "photo.jpg", "painting.jpg", option, "5")
    name = option.partition("=")[0]
    assert message.startswith(f"there is no option {name}; ")
    expected = f"did you mean .*{near}\\b.*\\?$" if near else "`jaxnst stylize --help-all` lists all.$"
    assert re.search(expected, message), message


@pytest.mark.fast
@pytest.mark.parametrize("word", ["--style_weight", "--style-weight", "--style_weight=-1"])
def test_spellings_that_are_right_are_not_refused_as_unknown(refused, word):
    words = [word] if "=" in word else [word, "-1"]
    assert refused("stylize", "photo.jpg", "painting.jpg", *words).startswith(
        "style_weight: -1.0 is negative"
    )


@pytest.mark.fast
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out photo.jpg", "out: 'photo.jpg' is the file of content too"),
        ("--out ./painting.jpg", "out: './painting.jpg' is the file of style too"),
        ("--out a.png --evolution a.png", "evolution: 'a.png' is the file of out too"),
        ("--out a.png --preview --evolution a.preview.png", "evolution: .* is the file of preview too"),
        ("--out a.png --history wave.jpg --start wave.jpg", "history: 'wave.jpg' is the file of start too"),
        ("--out a.png --history c.h5 --checkpoint c.h5", "checkpoint: 'c.h5' is the file of history too"),
        ("--out wave.jpg --content-masks wave.jpg", "out: 'wave.jpg' is the file of content_masks too"),
        ("--evolution film.mp4", "evolution: 'film.mp4' is no film; use .gif or .webp"),
        ("--evolution none/film.gif", "evolution: there is no folder"),
    ],
)
def test_outputs_are_checked_before_the_work(refused, options, message):
    assert re.match(message, refused("stylize", "photo.jpg", "painting.jpg", *options.split()))


@pytest.mark.fast
def test_a_link_to_the_photo_is_the_photo(refused, desk):
    (desk / "link.jpg").symlink_to("photo.jpg")
    assert "is the file of content too" in refused(
        "stylize", "photo.jpg", "painting.jpg", "--out", "link.jpg"
    )


@pytest.mark.slow
def test_a_newcomer_in_a_shell(desk):
    """Runs the command as a process: an exit status, a sentence on standard error, a picture."""

    def shell(*words):
        command = [sys.executable, "-m", "jaxnst", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    status, message = shell("stylize", "photo.jpg")
    assert status == 2
    assert message.startswith("jaxnst: style: no painting is given; add one, ")
    assert shell("stylize", "photo.jpg", "painting.jpg", "--stesp", "5")[0] == 2
    status, messages = shell("stylize", "photo.jpg", "painting.jpg", "--size", "64", "--steps", "2")
    assert status == 0
    assert messages.splitlines()[-1].startswith("photo-painting.png: 64x48, 2 steps")


# --- Help


def helped(run, capsys, command, option):
    """Returns what a command prints for `--help` or `--help-all`."""
    with pytest.raises(SystemExit) as stopped:
        run(command, option)
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.fast
@pytest.mark.parametrize("command", ["stylize", "reconstruct", "interpolate", "batch"])
def test_the_help_is_short_and_names_the_long_one(run, capsys, command):
    short, whole = (helped(run, capsys, command, option) for option in ("--help", "--help-all"))
    options = [set(re.findall(OPTION, text, re.MULTILINE)) for text in (short, whole)]
    assert 12 <= len(options[0] & {name.replace("_", "-") for name in MAIN}) <= len(MAIN)
    assert options[0] < options[1]
    assert len(options[0]) <= 24 < 45 < len(options[1])
    assert short.endswith(f"`jaxnst {command} --help-all` shows the other options too.\n")
    assert "--help-all" not in whole


@pytest.mark.fast
def test_the_names_of_the_short_help_exist(run, capsys):
    whole = helped(run, capsys, "stylize", "--help-all")
    for name in MAIN:
        assert name.replace("_", "-") in re.findall(OPTION, whole, re.MULTILINE)


@pytest.mark.fast
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_both_helps(run, capsys, command):
    assert helped(run, capsys, command, "--help").startswith(f"usage: jaxnst {command}")
    assert helped(run, capsys, command, "--help-all").startswith(f"usage: jaxnst {command}")


@pytest.mark.fast
def test_the_short_help_hides_nothing_from_the_parser(refused):
    """Options that the short help leaves out work: this one is refused by the settings, by name."""
    assert refused("stylize", "photo.jpg", "painting.jpg", "--history-size", "0").startswith(
        "history_size: 0"
    )


# --- Looks


def test_a_look_changes_the_defaults_and_the_options_change_it(run, desk):
    options = [*SMALL, "--preset", "sketch", "--style-scale", "0.7"]
    assert run("stylize", "photo.jpg", "painting.jpg", "--out", "out.png", *options) == 0
    config = read_metadata("out.png")["config"]
    assert (config["color"], config["style_scale"], config["size"]) == ("luminance", 0.7, 32)


@pytest.mark.fast
def test_presets_lists_looks_and_systems(run, capsys):
    assert run("presets") == 0
    lines = capsys.readouterr().out.splitlines()
    for name, look in LOOKS.items():
        assert f"{name}: {look.description}" in lines
    assert set(PRESETS) <= set(lines)
    assert lines.index("gatys") > lines.index("Published systems")


@pytest.mark.fast
def test_an_unknown_preset_gets_the_nearest_names_of_both(refused):
    for word, near in (("scetch", "sketch"), ("gatis", "gatys")):
        message = refused("stylize", "photo.jpg", "painting.jpg", "--preset", word)
        assert message.startswith(f"preset: there is no '{word}'; did you mean {near}")


# --- Pictures to look at


def test_a_preview_is_removed_when_the_picture_is_written_and_a_film_stays(run, desk, monkeypatch):
    seen = []
    monkeypatch.setattr("jaxnst.api.stylize.Preview", partial(Preview, seconds=0.0))

    def save(path, *arguments, **options):
        seen.append(str(path))
        return written(path, *arguments, **options)

    from jaxnst.io import save as module

    written = module.save_image
    monkeypatch.setattr(module, "save_image", save)
    options = ["--out", "out.png", "--preview", "--evolution", "film.gif", *SMALL]
    assert run("stylize", "photo.jpg", "painting.jpg", *options) == 0
    assert "out.preview.png" in seen
    assert seen[-1] == "out.png"
    assert not (desk / "out.preview.png").exists()
    assert (desk / "out.png").exists()
    with Image.open(desk / "film.gif") as film:
        assert (film.size, film.n_frames) == ((32, 24), 3)


def test_a_preview_stays_when_the_run_fails(run, desk, monkeypatch):
    monkeypatch.setattr("jaxnst.api.stylize.Preview", partial(Preview, seconds=0.0))

    def fail(*arguments, **options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("jaxnst.cli.output.save_picture", fail)
    options = ["--out", "out.png", "--preview", *SMALL]
    assert run("stylize", "photo.jpg", "painting.jpg", *options) == 1
    assert read_image("out.preview.png").shape == (24, 32, 3)


def test_a_reconstruction_has_a_film_too(run, desk):
    options = ["--layer", "relu1_1", "--size", "32", "--steps", "3", "--evolution", "film.webp", "--quiet"]
    assert run("reconstruct", "photo.jpg", *options) == 0
    with Image.open("film.webp") as film:
        assert film.n_frames == 3


@pytest.mark.fast
def test_a_strip_has_no_film(refused):
    words = ("photo.jpg", "painting.jpg", "wave.jpg", "--evolution", "film.gif")
    assert "preview and evolution" in refused("interpolate", *words)


@pytest.mark.fast
def test_compare_makes_a_sheet_of_pictures(run, desk, capsys):
    assert run("compare", "photo.jpg", "painting.jpg", "wave.jpg", "--side", 64) == 0
    assert run("compare", "photo.jpg", "painting.jpg", "--labels", "before", "after", "--columns", 1) == 0
    assert capsys.readouterr().err.splitlines()[0].startswith("sheet.png: ")
    first, second = read_image("sheet.png"), read_image("sheet-2.png")
    assert 3 * 64 < first.shape[1] < 4 * 64
    assert second.shape[0] > 2 * 288
    windows = np.lib.stride_tricks.sliding_window_view(first, (48, 64, 3)).reshape(-1, 48, 64, 3)
    for name in ("photo.jpg", "painting.jpg"):
        assert np.abs(windows - read_image(name)).max(axis=(1, 2, 3)).min() < 1e-6


@pytest.mark.fast
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--labels a b c", "labels: 3 texts for 2 pictures"),
        ("--columns 0", "columns: 0 is too small"),
        ("--side 1", "side: 1 is too small"),
        ("--out photo.jpg", "out: 'photo.jpg' is the file of image too"),
        ("--out sheet.gif", "out: the extension '.gif' is unknown"),
    ],
)
def test_sheets_that_cannot_be_made(refused, words, message):
    assert refused("compare", "photo.jpg", "painting.jpg", *words.split()).startswith(message)
