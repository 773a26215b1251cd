"""Hypercolumns, and the presets made of them, as a Python caller meets them."""

import numpy as np
import pytest
from pictures import refusal

import jaxnst
from jaxnst.io.images import fit_size, read_image, resize
from jaxnst.run.plan import Pictures, prepare
from jaxnst.run.result import run_plan
from jaxnst.run.vectorised import program, run_plans

SHALLOW = {
    "size": 32,
    "steps": 4,
    "weights": "caffe-unit",
    "style_weight": 1.0,
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "hypercolumns": True,
    "samples": 100,
    "tv_weight": 0.0,
    "clamp": False,
    "parametrisation": "laplacian",
}
STROTSS = {
    "statistic": ("remd", "mean_covariance"),
    "style_layer_weights": (1.0, 0.1),
    "content_loss": "self_similarity",
    "palette_weight": 0.1,
    "optimizer": "rmsprop",
    "learning_rate": 0.002,
}
NNST = {"statistic": ("neighbors",), "style_rotations": True, "optimizer": "adam", "learning_rate": 0.002}


def quantiles(image):
    """Returns where a picture's colours lie: 20 quantiles of each channel."""
    return np.quantile(np.asarray(image, np.float64).reshape(-1, 3), np.linspace(0.025, 0.975, 20), axis=0)


def edges(image):
    """Returns how much brightness changes at each of 16x16 places, without mean and contrast."""
    brightness = np.asarray(image, np.float32).mean(axis=-1)
    steepness = np.hypot(*np.gradient(brightness))[..., None].repeat(3, axis=-1)
    coarse = resize(steepness.astype(np.float32), (16, 16))[..., 0]
    return (coarse - coarse.mean()) / coarse.std()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["strotss", "nnst"])
def test_a_picture_with_the_paintings_colours_and_the_photos_shapes(photo, painting, preset):
    """A rate of five times the published one does in 40 steps what that does in 200."""
    result = jaxnst.stylize(
        photo, painting, preset=preset, size=64, steps=40, learning_rate=0.01, progress=False
    )
    content, style = (read_image(path, "picture") for path in (photo, painting))
    content = resize(content, fit_size(content.shape[:2], 64))
    before = np.abs(quantiles(content) - quantiles(style)).mean()
    after = np.abs(quantiles(result.array) - quantiles(style)).mean()
    assert after < 0.8 * before
    # Bright may become dark; edges stay where they are.
    assert np.mean(edges(result.array) * edges(content)) > 0.4
    assert result.history["style"][-1] < 0.8 * result.history["style"][0]


def test_the_detail_of_the_content_comes_back_at_the_next_scale(photo):
    """The steps move nothing; the picture comes from half the size."""
    content = resize(read_image(photo, "photo"), (48, 48))
    still = {
        "size": 48,
        "start_size": 24,
        "steps": 2,
        "content_layers": ("relu1_1",),
        "optimizer": "sgd",
        "learning_rate": 1e-30,
        "start": "content",
        "tv_weight": 0.0,
        "clamp": False,
        "progress": False,
    }
    errors = []
    for detail in (False, True):
        result = jaxnst.stylize(content, None, **still, content_detail=detail)
        errors.append(np.abs(result.array - content).mean())
    assert errors[1] < 1e-4 < 0.01 < errors[0]


def test_the_start_detail_has_the_mean_colour_of_the_style(photo, painting):
    config = jaxnst.Config(**SHALLOW | STROTSS | {"start": "detail", "steps": 1, "learning_rate": 1e-30})
    result = jaxnst.stylize(photo, painting, config=config, progress=False)
    style = read_image(painting, "painting")
    np.testing.assert_allclose(result.array.mean(axis=(0, 1)), style.mean(axis=(0, 1)), atol=0.02)
    content = resize(read_image(photo, "photo"), (32, 32))
    assert 0.02 < result.array.std(axis=(0, 1)).mean() < 0.6 * content.std(axis=(0, 1)).mean()


@pytest.mark.parametrize("settings", [STROTSS, NNST], ids=["strotss", "nnst"])
def test_places_without_style_stay_the_photo(photo, painting, settings):
    mask = np.zeros((512, 512), np.float32)
    mask[:, :256] = 1
    content = resize(read_image(photo, "photo"), (32, 32))
    result = jaxnst.stylize(
        photo, painting, content_masks=mask, **SHALLOW | settings | {"learning_rate": 0.02}, progress=False
    )
    np.testing.assert_allclose(result.array[:, 17:], content[:, 17:], atol=1e-6)
    assert np.abs(result.array[:, :15] - content[:, :15]).mean() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("settings", [STROTSS, NNST], ids=["strotss", "nnst"])
def test_lanes_are_the_runs_that_they_would_be_alone(photo, painting, settings):
    scales = {"start_size": 16, "start": "detail", "content_detail": True, "precision": "float32"}
    lanes = [{"content_decay": 0.5, "content_share": 0.9}, {"content_weight": 16.0, "seed": 3}]
    plans = [
        prepare(Pictures(photo, [painting]), jaxnst.Config(**SHALLOW | settings | scales | lane).checked())
        for lane in lanes
    ]
    assert program(plans[0]) == program(plans[1])
    together = [result.array for result in run_plans(plans)]
    alone = [run_plan(plan).array for plan in plans]
    error = max(np.abs(a - b).mean() for a, b in zip(together, alone, strict=True))
    assert error < 0.05 * np.abs(alone[0] - alone[1]).mean()


@pytest.mark.parametrize("preset", ["strotss", "nnst"])
def test_tiles_are_refused(photo, painting, preset):
    message = refusal(jaxnst.stylize, photo, painting, preset=preset, size=64, tile=64, progress=False)
    assert message.startswith("tile: ")
    assert "needs pictures as a whole" in message


def test_neighbours_need_a_content(painting):
    message = refusal(jaxnst.stylize, None, painting, **SHALLOW | NNST | {"start": "noise"})
    assert message.startswith("statistic: ('neighbors',) needs a content picture")
