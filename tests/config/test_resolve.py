"""Settings that hold: a preset, saved settings or the defaults, and above them what the user wrote."""

import pytest
from pictures import refusal

from jaxnst.config.config import Config
from jaxnst.config.presets import LOOKS, PRESETS
from jaxnst.config.resolve import resolve, resolve_config

pytestmark = pytest.mark.fast

SAVED = {"size": 64, "clamp": False, "quality": "none"}


@pytest.mark.parametrize(
    ("preset", "saved", "options", "expected"),
    [
        (None, None, {}, Config()),
        (None, None, {"size": 48}, Config(size=48)),
        ("gatys", None, {}, PRESETS["gatys"]),
        ("gatys", None, {"clamp": True}, PRESETS["gatys"].replace(clamp=True)),
        (None, SAVED, {}, Config(quality="none", size=64, clamp=False)),
        (None, SAVED, {"size": 256}, Config(quality="none", size=256, steps=60, clamp=False)),  # as written
    ],
)
def test_a_command_starts_from_one_set_and_changes_it(preset, saved, options, expected):
    assert resolve(preset, saved, options).checked() == expected.checked()


def test_a_look_keeps_what_it_does_not_name():
    assert resolve("sketch", None, {"size": 48}) == Config(size=48, **LOOKS["sketch"].settings)
    assert resolve("sketch", None, {"color": "pca"}).color == "pca"
    assert resolve_config("sketch", None, {}) == Config(**LOOKS["sketch"].settings).checked()


def test_a_command_has_defaults_of_its_own():
    noise = Config(start="noise")
    assert resolve("sketch", None, {}, noise) == noise.replace(**LOOKS["sketch"].settings)
    assert resolve(None, None, {"size": 48}, noise) == noise.replace(size=48)
    assert resolve("jaiswal", None, {}, noise) == PRESETS["jaiswal"]
    assert resolve(None, {}, {}, noise) == Config().checked()


def test_saved_settings_of_an_older_version():
    with pytest.warns(UserWarning, match="history_size"):
        assert resolve(None, {"memory": 7}, {}) == Config(history_size=7).checked()


def test_what_a_command_resolves_may_still_be_changed_by_a_row():
    assert (
        resolve(None, None, {"scale_steps": (2, 3), "size": 256}).replace(start_size=128).checked().steps == 5
    )


def test_python_callers_get_checked_settings():
    assert resolve_config(None, None, {"style_layers": ["relu1_1"]}).style_layers == ("relu1_1",)
    assert resolve_config("gatys", None, {"size": 48}) == PRESETS["gatys"].replace(size=48)
    assert resolve_config(None, Config(size=48), {"seed": 1}) == Config(size=48, seed=1).checked()
    assert refusal(resolve_config, None, None, {"size": -1}).startswith("size: -1 is too small")


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (resolve_config, ("gatys", Config(), {}), "preset and config are both given"),
        (resolve, ("gatys", SAVED, {}), "preset and config are both given"),
        (resolve_config, ("gatis", None, {}), "preset: there is no 'gatis'; did you mean gatys"),
        (resolve, ("gatis", None, {}), "preset: there is no 'gatis'; did you mean gatys"),
        (resolve_config, (None, "gatys", {}), "config: 'gatys' is not a jaxnst.Config"),
        (resolve_config, (None, {"size": 3}, {}), "config: {'size': 3} is not a jaxnst.Config"),
        (resolve_config, (None, None, {"sise": 3}), "settings: there is no 'sise'; did you mean size"),
        (resolve, (None, {"sise": 3}, {}), "settings: there is no 'sise'; did you mean size"),
        (resolve, (None, {"size": "48"}, {}), "size: '48' is not of the type int"),
    ],
)
def test_what_cannot_be_resolved(call, arguments, message):
    assert refusal(call, *arguments).startswith(message)
