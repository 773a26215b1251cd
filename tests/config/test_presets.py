"""The published systems, against the table of the reports in docs/presets.md and their papers."""

from pathlib import Path

import pytest

from jaxnst.config.build import at_scale, to_learning_rate, to_loss_weights
from jaxnst.config.config import Config
from jaxnst.config.presets import LOOKS, PRESETS

pytestmark = pytest.mark.fast

FIRST_RELU_OF_EACH_BLOCK = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
TUTORIAL = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
NAMES = (
    "content_layers",
    "style_layers",
    "pooling",
    "gram",
    "content_loss",
    "norm",
    "optimizer",
    "steps",
    "start",
)

SYSTEMS = {
    "gatys": ("relu4_2", FIRST_RELU_OF_EACH_BLOCK, "average", "gatys", "sum", "l2", "lbfgs", 500, "noise"),
    "ranka": ("relu4_2", FIRST_RELU_OF_EACH_BLOCK, "max", "hw", "mean", "l2", "lbfgs", 1000, "blend"),
    "jaiswal": ("conv2_2", TUTORIAL, "max", "chw", "mean", "l2", "lbfgs", 300, "content"),
    "wang": ("relu3_1", FIRST_RELU_OF_EACH_BLOCK, "max", "gatys", "sum", "l2", "lbfgs", 1000, "noise"),
    "danayak": ("relu4_2", FIRST_RELU_OF_EACH_BLOCK, "max", "dhw", "mean", "l2", "adam", 2000, "content"),
    "joshi-hu": ("conv2_2", TUTORIAL, "average", "chw", "mean", "l2", "lbfgs", 300, "content"),
    "joshi-hu-revised": (
        *("relu3_1", ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")),
        *("average", "chw", "mean", "l1", "adam", 600, "content"),
    ),
}

STYLE_TO_CONTENT = {"gatys": 1e3, "jaiswal": 1e5, "wang": 1e3, "danayak": 1e6, "joshi-hu": 1e6}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_preset_is_what_the_report_describes(name):
    content, *others = SYSTEMS[name]
    preset = PRESETS[name]
    assert [getattr(preset, setting) for setting in NAMES] == [(content,), *others]
    assert (preset.tv_weight == 0) == (name != "ranka")
    if name in STYLE_TO_CONTENT:
        assert preset.style_weight / preset.content_weight == STYLE_TO_CONTENT[name]


def test_numbers_that_single_reports_give():
    assert PRESETS["gatys"].style_layer_weights == (1 / 5,)
    assert PRESETS["danayak"].style_layer_weights == (1, 0.75, 0.2, 0.2, 0.2)
    assert (PRESETS["danayak"].learning_rate, PRESETS["joshi-hu-revised"].learning_rate) == (0.003, 0.05)
    assert (PRESETS["ranka"].learning_rate, PRESETS["ranka"].blend) == (0.7, 0.5)
    assert PRESETS["joshi-hu-revised"].random_shift == 0.97
    assert PRESETS["wang"].seed == 0
    assert [name for name in SYSTEMS if PRESETS[name].clamp] == ["jaiswal"]


@pytest.mark.parametrize("name", ["gatys", "jaiswal", "wang", "joshi-hu"])
def test_presets_without_a_learning_rate_have_that_of_torch_optim_lbfgs(name):
    """Keeps the rate of `torch.optim.LBFGS`, whatever the optimiser's own rate becomes."""
    assert PRESETS[name].optimizer == "lbfgs"
    assert to_learning_rate(PRESETS[name]) == 1.0


def test_the_two_systems_of_hypercolumns():
    """VGG16's layers to the third block's end and relu4_1, relu5_1, or to the fourth block's end."""
    to_block_3 = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_4")
    strotss, nnst = PRESETS["strotss"], PRESETS["nnst"]
    assert strotss.style_layers == strotss.content_layers == (*to_block_3, "relu4_1", "relu5_1")
    assert nnst.style_layers == (*to_block_3, "relu4_1", "relu4_2", "relu4_4")
    for preset, optimizer in ((strotss, "rmsprop"), (nnst, "adam")):
        assert (preset.optimizer, preset.learning_rate) == (optimizer, 0.002)
        assert preset.parametrisation == "laplacian"
        assert preset.sides == [64, 128, 256]
        assert [preset.steps_at(scale) for scale in range(3)] == [200, 200, 200]
    weights = to_loss_weights(strotss, 1)
    scales = [at_scale(strotss, weights, scale) for scale in range(3)]
    assert [float(scale["content"].factor) for scale in scales] == [16, 8, 4]
    assert [float(1 / scale["palette"].factor) for scale in scales] == [16, 8, 4]
    assert {float(scale["style"].factor) for scale in scales} == {1}
    of_nnst = to_loss_weights(nnst, 1)
    assert [float(at_scale(nnst, of_nnst, scale)["style"].within.split) for scale in range(3)] == [0, 0, 1]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_used(name):
    assert PRESETS[name].checked() == PRESETS[name]


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_is_a_small_change_that_can_be_used(name):
    look = LOOKS[name]
    assert Config().replace(**look.settings).checked() != Config().checked()
    assert len(look.settings) <= 3
    assert look.description
    assert "\n" not in look.description


def test_no_look_has_the_name_of_a_system():
    assert not LOOKS.keys() & PRESETS.keys()


def test_the_docs_list_the_looks_as_they_are():
    page = (Path(__file__).parents[2] / "docs" / "presets.md").read_text("utf-8")
    for name, look in LOOKS.items():
        settings = ", ".join(f"`{key} {_short(value)}`" for key, value in look.settings.items())
        assert f"| `{name}` | {look.description} | {settings} |" in page


def _short(value):
    return f"{value:g}".replace("e+0", "e") if isinstance(value, float) else value
