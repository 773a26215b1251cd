"""The quality levels: scales and steps that follow from the size."""

import pytest

from jaxnst import PRESETS, Config
from jaxnst.config.config import EARLIER
from jaxnst.config.quality import QUALITIES, share_out

pytestmark = pytest.mark.fast

SIZES = (48, 64, 100, 128, 256, 384, 512, 1000, 4000)


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("size", SIZES)
def test_a_level_goes_from_coarse_to_fine_with_fewer_steps_where_they_cost_more(quality, size):
    config = Config(quality=quality, size=size).checked()
    steps = [config.steps_at(scale) for scale in range(len(config.sides))]
    assert config.sides[-1] == size
    assert config.sides == sorted(config.sides)
    assert steps == sorted(steps, reverse=True)
    assert config.steps == sum(steps)


def test_a_better_level_does_more_steps_at_every_scale():
    draft, good, best = (Config(quality=quality, size=512).checked() for quality in ("draft", "good", "best"))
    assert draft.sides == good.sides == best.sides
    for scale in range(len(good.sides)):
        assert draft.steps_at(scale) < good.steps_at(scale) < best.steps_at(scale)


@pytest.mark.parametrize("size", SIZES)
def test_settings_that_were_saved_have_the_same_steps(size):
    for settings in ({}, {"steps": 200}, {"quality": "draft", "steps": 61}):
        config = Config(size=size, **settings).checked()
        again = Config.from_dict(config.to_dict())
        assert again == config
        assert [again.steps_at(scale) for scale in range(len(again.sides))] == [
            config.steps_at(scale) for scale in range(len(config.sides))
        ]


def test_steps_of_ones_own_are_shared_in_the_ratio_of_the_level():
    config = Config(size=256, steps=260).checked()
    assert [config.steps_at(scale) for scale in range(3)] == [120, 80, 60]


@pytest.mark.parametrize(
    ("total", "parts"), [(3, (60, 40, 30)), (4, (60, 40, 30)), (7, (1, 100)), (130, (60, 40, 30))]
)
def test_steps_are_shared_out_whole(total, parts):
    shares = share_out(total, parts)
    assert sum(shares) == total
    assert min(shares) >= 1


def test_the_published_systems_have_one_scale_and_literal_weights():
    for preset in PRESETS.values():
        if preset.quality == "none":
            assert preset.checked().sides == [256]
            assert preset.weighting == "absolute"


def test_a_picture_from_before_the_levels_keeps_its_meaning():
    saved = PRESETS["ranka"].checked().to_dict()
    for name in EARLIER:
        del saved[name]
    assert Config.from_dict(saved) == PRESETS["ranka"].checked()


def test_settings_that_are_few_are_no_old_picture():
    assert Config.from_dict({"size": 64}) == Config(size=64).checked()
