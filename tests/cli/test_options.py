"""Every setting is an option, with help and a default; old spellings work; nothing is computed here."""

import dataclasses
import re
import subprocess
import sys
from importlib import metadata

import pytest

from jaxnst.config.config import RENAMED, Config
from jaxnst.io.save import save_image

pytestmark = pytest.mark.fast

COMMANDS = (
    "stylize",
    "reconstruct",
    "interpolate",
    "batch",
    "evaluate",
    "compare",
    "study",
    "weights",
    "presets",
)


@pytest.fixture
def options(run, capsys, monkeypatch):
    """Reads `jaxnst COMMAND --help-all` into `{name of the option: its help}`."""
    monkeypatch.setenv("COLUMNS", "300")

    def read(command):
        with pytest.raises(SystemExit) as stopped:
            run(command, "--help-all")
        assert stopped.value.code == 0
        texts, name = {}, None
        for line in capsys.readouterr().out.splitlines():
            words = line.strip("│ ")
            if option := re.fullmatch(
                r"--([a-z][a-z-]*)(?:, --no-[a-z-]+)?(?: \S.*?)?(?:\s{2,}(.*))?", words
            ):
                name = option[1]
                texts[name] = option[2] or ""
            elif line.startswith("╰"):
                name = None
            elif name is not None:
                texts[name] += words
        return texts

    return read


def test_every_setting_is_an_option_of_stylize(options):
    names = {field.name.replace("_", "-") for field in dataclasses.fields(Config)}
    assert names | set(RENAMED) <= options("stylize").keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help_beside_its_default(options, command):
    for name, text in options(command).items():
        assert re.sub(r"\((default: .*|required)\)", "", text).strip(), name


def test_the_help_shows_the_defaults_of_its_command(options):
    stylize, reconstruct = options("stylize"), options("reconstruct")
    for name, default, reconstruction in (
        ("quality", "good", "good"),
        ("size", "0", "0"),
        ("start", "recolored", "noise"),
        ("tv-weight", "1.0", "0.0"),
        ("style-layers", "relu1_1 relu2_1 relu3_1 relu4_1 relu5_1", None),
        ("scale-steps", "none", "none"),
        ("clamp", "True", "True"),
    ):
        assert stylize[name].endswith(f"(default: {default})")
        assert reconstruct[name].endswith(f"(default: {reconstruction or default})")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--history-size=0"], "history_size: 0 is too small"),
        (["--no-clamp", "--clamp", "--range-weight", "1"], "range_weight: with clamp"),
        (["--style-layers", "relu1_1", "relu1_1"], "style_layers: a layer is named twice"),
        (["--style-layers", "relu1_1", "--style-layer-weights", "1", "2"], "2 values for 1 style_layers"),
        (["--random-shift", "0.2"], "random_shift: 0.2 is outside"),
        (["--tile", "None", "--size", "-1"], "size: -1 is too small"),
        (["--tile", "7"], "tile: 7"),
        (["--preset", "gatys", "--clamp", "--range-weight=1"], "range_weight: with clamp"),
    ],
)
def test_spellings(run, photo, painting, out, capsys, words, message):
    """Passes each option to the settings, which refuse it by name."""
    assert run("stylize", photo, painting, "--out", out, *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.filterwarnings("always")
def test_the_old_name_of_an_option_comes_with_a_notice(run, photo, painting, out, capsys):
    assert run("stylize", photo, painting, "--out", out, "--memory", 0) == 2
    notice, _ = capsys.readouterr().err.splitlines()
    assert notice == "jaxnst: warning: the setting memory is now called history_size."


@pytest.mark.filterwarnings("always")
def test_the_old_name_and_the_new_one_contradict_each_other(run, photo, painting, out, capsys):
    assert run("stylize", photo, painting, "--out", out, "--memory", 5, "--history-size", 6) == 2
    assert "keep history_size only" in capsys.readouterr().err


@pytest.mark.filterwarnings("always")
def test_options_change_the_settings_of_a_saved_picture(run, photo, painting, tmp_path, out, capsys):
    saved = tmp_path / "saved.png"
    old = {
        name: value
        for name, value in Config(clamp=False, steps=60).to_dict().items()
        if name != "history_size"
    }
    save_image(saved, [[[0, 0, 0]]], {"config": old | {"memory": 5}, "steps_done": 3})
    assert (
        run("stylize", photo, painting, "--out", out, "--config", saved, "--clamp", "--range-weight", 1) == 2
    )
    messages = capsys.readouterr().err.splitlines()
    assert messages[:2] == [
        "jaxnst: warning: the setting memory is now called history_size.",
        f"jaxnst: warning: {saved} was saved after 3 of its 60 steps.",
    ]
    assert messages[2].startswith("jaxnst: range_weight: with clamp")


def test_the_version(run, capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"jaxnst {metadata.version('jaxnst')}\n"


def test_no_arguments_print_the_commands(run, capsys):
    with pytest.raises(SystemExit):
        run()
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert command in text


def test_runs_as_a_module():
    command = [sys.executable, "-m", "jaxnst", "presets"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "joshi-hu-revised\n" in text


def test_lists_and_verifies_weights(run, own_cache, capsys):
    del own_cache
    assert run("weights", "list") == 0
    assert "torchvision: not fetched" in capsys.readouterr().out
    assert run("weights", "verify") == 0
    assert capsys.readouterr().out.startswith("caffe: ")
    assert run("weights", "lits") == 2
    assert "did you mean list?" in capsys.readouterr().err


def test_the_command_imports_only_what_it_needs():
    """Plots, other frameworks and the libraries of single functions are imported where they are used."""
    heavy = "matplotlib torch skimage tifffile jinja2 gradio pooch requests tqdm"
    program = f"""
import sys
import jaxnst.cli.main
print(*[name for name in {heavy!r}.split() if name in sys.modules])
"""
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"
