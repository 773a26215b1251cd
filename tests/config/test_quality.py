"""The quality levels: scales and steps that follow from the size."""

import pytest

from jaxnst import PRESETS, Config
from jaxnst.config.config import EARLIER
from jaxnst.config.presets import PLAIN
from jaxnst.config.quality import QUALITIES, share_out, steps_of

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


@pytest.mark.parametrize("side", [64, 128, 256, 512, 1024, 4096])
def test_a_better_level_does_more_steps_at_every_scale(side):
    draft, good, best = (steps_of(QUALITIES[name], side) for name in ("draft", "good", "best"))
    assert draft < good < best


@pytest.mark.parametrize("size", SIZES)
def test_settings_that_were_saved_have_the_same_steps(size):
    for settings in (
        {"quality": "good"},
        {"quality": "best", "steps": 200},
        {"quality": "draft", "steps": 61},
    ):
        config = Config(size=size, **settings).checked()
        again = Config.from_dict(config.to_dict())
        assert again == config
        assert [again.steps_at(scale) for scale in range(len(again.sides))] == [
            config.steps_at(scale) for scale in range(len(config.sides))
        ]


def test_steps_of_ones_own_are_shared_in_the_ratio_of_the_level():
    config = Config(quality="good", size=256, steps=88).checked()
    assert [config.steps_at(scale) for scale in range(2)] == [64, 24]


@pytest.mark.parametrize(
    ("total", "parts"), [(3, (60, 40, 30)), (4, (60, 40, 30)), (7, (1, 100)), (130, (60, 40, 30))]
)
def test_steps_are_shared_out_whole(total, parts):
    shares = share_out(total, parts)
    assert sum(shares) == total
    assert min(shares) >= 1


def test_the_published_systems_have_one_scale_and_literal_weights():
    for preset in PRESETS.values():
        assert (preset.quality, preset.weighting, preset.edges) == ("none", "absolute", "drop")


def test_without_a_level_there_is_one_scale_with_sixty_steps():
    config = Config(quality="none", size=512).checked()
    assert (config.sides, config.steps) == ([512], 60)


def test_zero_pixels_are_those_that_suit_the_machine():
    assert Config(size=0).checked().size == 256  # of a CPU


def test_a_picture_that_was_saved_before_there_were_levels_keeps_its_meaning():
    saved = {name: value for name, value in PLAIN.replace(size=96).to_dict().items() if name not in EARLIER}
    assert Config.from_dict(saved) == PLAIN.replace(size=96)
    assert Config.from_dict({"size": 96}) == Config(size=96).checked()
