"""Relative loss weights mean the same whatever the size of features and formulas; and edges that count."""

import numpy as np
import pytest

import jaxnst
from jaxnst.io.images import read_image, resize
from jaxnst.run.plan import Pictures, prepare
from jaxnst.run.scale import inputs_at, photo_at

SMALL = {"style_layers": ("relu1_1", "relu2_1", "relu3_1"), "content_layers": ("relu3_1",)}


@pytest.fixture(scope="module")
def pictures():
    """A photo, a painting, and a third picture to judge, 48 pixels high."""
    generator = np.random.default_rng(0)
    return [generator.random((48, width, 3), np.float32) for width in (40, 64, 40)]


def relative(pictures, **settings):
    photo, painting, image = pictures
    return jaxnst.evaluate(image, photo, painting, weighting="relative", **SMALL | settings)


@pytest.mark.parametrize(
    "settings",
    [{"gram": "hw"}, {"gram": "gatys"}, {"content_loss": "sum"}, {"weights": "caffe-unit"}],
    ids=str,
)
def test_relative_losses_do_not_depend_on_factors(pictures, settings):
    expected, losses = relative(pictures), relative(pictures, **settings)
    assert expected["style"] > 0
    for name in ("content", "style"):
        assert losses[name] == pytest.approx(expected[name], rel=1e-3)


def test_a_relative_loss_of_the_pictures_themselves_is_zero(pictures):
    photo, painting, _ = pictures
    losses = relative([photo, photo, photo])
    assert losses["content"] == 0
    assert losses["style"] == pytest.approx(0, abs=1e-9)
    assert relative([photo, painting, photo])["content"] == 0


def test_the_total_variation_counts_relative_to_the_paintings(pictures):
    photo, painting, _ = pictures
    config = jaxnst.Config(size=48, weighting="relative", tv_weight=2.0, tv_norm="l2", **SMALL).checked()
    plan = prepare(Pictures(photo, [painting]), config)
    inputs = inputs_at(plan, plan.sizes[-1], photo_at(plan, plan.sizes[-1]))
    shown = np.float64(resize(painting, (36, 48)))
    variation = sum(np.mean(np.square(np.diff(shown, axis=axis))) for axis in (0, 1))
    factor, within = inputs.loss_weights["tv"]
    assert float(factor) == 2
    assert float(within) == pytest.approx(1 / variation, rel=1e-3)


def test_large_pictures_show_less_of_the_photo(pictures):
    """A doubled size sees finer details, which equal weights would put back."""
    photo, painting, _ = pictures
    settings = {"laplacian_weight": 1.0, "tv_weight": 1.0, **SMALL}

    def factors(side, **more):
        plan = prepare(Pictures(photo, [painting]), jaxnst.Config(size=side, **settings | more).checked())
        inputs = inputs_at(plan, plan.sizes[-1], photo_at(plan, plan.sizes[-1]))
        return {
            name: float(inputs.loss_weights[name].factor) for name in ("content", "laplacian", "tv", "style")
        }

    expected = factors(256)
    assert factors(64) == expected
    assert factors(512) == {
        "content": expected["content"] / 2,
        "laplacian": expected["laplacian"] / 4,
        "tv": expected["tv"] * 2,
        "style": expected["style"],
    }
    absolute = {"quality": "none", "weighting": "absolute"}
    assert factors(512, **absolute) == factors(256, **absolute)


def test_a_flat_photo_gets_strokes(painting):
    """Its edges, by which the Laplacian loss is divided, are none."""
    white = np.ones((64, 96, 3), np.float32)
    picture = jaxnst.stylize(white, painting, size=96, progress=False).array
    assert picture.std(axis=(0, 1)).mean() > 0.03


def test_shares_of_styles_and_layers_count_by_their_ratios(pictures):
    photo, painting, image = pictures
    losses = [
        jaxnst.evaluate(image, photo, [painting, photo], weighting="relative", style_weights=shares, **SMALL)[
            "style"
        ]
        for shares in ((1, 3), (0.25, 0.75), (2, 6))
    ]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [97, 104, 111])
def test_every_pixel_is_painted_at_every_size(photo, painting, size):
    """Compares the strips at the right and at the bottom, which pooling would drop, with the middle."""
    settings = {"size": size, "steps": 30, "start": "content", "edges": "mirror", "progress": False}
    change = np.abs(
        jaxnst.stylize(photo, painting, **settings).array - resize(read_image(photo, "photo"), (size, size))
    ).mean(axis=-1)
    middle = change[size // 4 : -size // 4, size // 4 : -size // 4].mean()
    assert change[:, -8:].mean() > 0.8 * middle
    assert change[-8:].mean() > 0.8 * middle
