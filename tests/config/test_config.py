"""A Config: names, copies, JSON, and the scales that follow from it."""

import dataclasses
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from pictures import refusal

import jaxnst
from jaxnst.config.config import RENAMED, Config, canonical_name
from jaxnst.config.version import version

pytestmark = pytest.mark.fast


def test_settings_survive_json():
    config = Config(size=48, style_weights=(0.7, 0.3), clamp=False, seed=5).checked()
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_settings_that_are_missing_keep_their_defaults():
    assert Config.from_dict({"size": 48}) == Config(size=48).checked()


def test_values_from_numpy_lists_and_paths_become_plain(tmp_path):
    config = Config(
        size=np.int64(48),
        style_weight=np.float32(2),
        style_layers=["relu1_1"],
        style_weights=np.array([1.0, 2.0]),
        content_layers="relu2_1",
        start=Path("a.png"),
    ).checked()
    assert config.size == 48 and type(config.size) is int
    assert type(config.style_weight) is float
    assert config.style_layers == ("relu1_1",)
    assert config.style_weights == (1.0, 2.0)
    assert config.content_layers == ("relu2_1",)
    assert config.start == "a.png"


def test_an_unknown_setting_names_the_nearest():
    message = refusal(Config().replace, stile_weight=1.0)
    assert message.startswith("settings: there is no 'stile_weight'; did you mean style_weight")


def test_every_old_name_is_a_setting_now():
    names = {field.name for field in dataclasses.fields(Config)}
    assert set(RENAMED.values()) <= names
    assert names.isdisjoint(RENAMED)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Config().replace(memory=5),
        lambda: Config.from_dict({"memory": 5}),
        lambda: Config().replace(**{canonical_name("memory"): 5}),
    ],
)
def test_an_old_name_is_accepted_with_a_notice(make):
    with pytest.warns(UserWarning, match="^the setting memory is now called history_size.$"):
        assert make().checked() == Config(history_size=5).checked()


@pytest.mark.filterwarnings("ignore:the setting memory")
def test_an_old_name_beside_the_new_one_is_refused():
    assert "keep history_size only" in refusal(Config().replace, memory=5, history_size=5)


def test_stylize_accepts_an_old_name():
    with pytest.warns(UserWarning, match="history_size"):
        message = refusal(jaxnst.stylize, "a.png", "b.png", memory=0)
    assert message.startswith("history_size: 0 is too small")


@pytest.mark.parametrize(
    ("settings", "sides", "steps"),
    [
        ({"quality": "none", "size": 256, "steps": 10}, [256], [10]),
        ({"quality": "none", "size": 256, "start_size": 64, "steps": 10}, [64, 128, 256], [3, 3, 4]),
        ({"quality": "none", "size": 200, "start_size": 64, "steps": 9}, [64, 128, 200], [3, 3, 3]),
        (
            {"quality": "none", "size": 170, "start_size": 64, "steps": 9},
            [64, 170],
            [4, 5],
        ),  # 128 is nearly 170
        (
            {"quality": "none", "size": 96, "start_size": 24, "scale_factor": 4.0, "scale_steps": (5, 2)},
            [24, 96],
            [5, 2],
        ),
    ],
)
def test_scales_and_their_steps(settings, sides, steps):
    config = Config(**settings).checked()
    assert config.sides == sides
    assert [config.steps_at(scale) for scale in range(len(sides))] == steps
    assert config.steps == sum(steps)


def test_the_version_is_that_of_the_package():
    assert version() == metadata.version("jaxnst")
