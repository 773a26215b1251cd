"""The objective in tiles is the objective: value and gradient, whatever is compared, also at the borders."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from objectives import SHALLOW, SIZE, assert_equal, half, objective_of, picture, weights_of
from pictures import refusal

import jaxnst
from jaxnst.config.build import to_loss_weights, to_objective
from jaxnst.config.presets import PLAIN
from jaxnst.core import losses, objective, solver, terms, tiling, transforms, vgg
from jaxnst.core import statistics as st
from jaxnst.core.tiling import tiles
from jaxnst.io.weights.load import load_weights

TILE = 24


@pytest.fixture(scope="module")
def params():
    return load_weights("caffe").params


def both(described, params, weights, given, image, tile=TILE, keep=True):
    """Losses and gradients, untiled and tiled."""

    def total(image, params, targets):
        found = objective.evaluate(described, params, targets, weights, image)
        return found["total"], found

    targets = jax.jit(objective.make_targets, static_argnums=0)(described, params, *given)
    (_, expected), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(image, params, targets)
    targets = tiling.make_targets(described, params, *given, tile=tile, keep=keep)
    return (expected, gradient), tiling.value_and_grad(described, params, targets, weights, image, tile)


@pytest.mark.parametrize(
    ("statistic", "norm"),
    [
        ("gram", "l2"),  # the test of masks has this one too
        ("gram", "l1"),
        ("covariance", "scaled"),
        ("mean_std", "l2"),
    ],
)
@pytest.mark.slow
def test_tiles_add_up_to_the_whole(params, statistic, norm):
    described = objective_of(st.STATISTICS[statistic](losses.gram_chw, losses.NORMS[norm]), norm)
    given = (picture(*SIZE), [picture(80, 101, 2)])
    assert_equal(*both(described, params, weights_of(described, 1), given, picture(*SIZE, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
def test_tiles_of_a_mirrored_frame_add_up_to_the_whole(params, keep):
    """At an odd size, where pooling would drop edges, with regions in the frame and salient content too."""
    plain = objective_of(st.Gram())
    content, *others = plain.terms
    salient = (dataclasses.replace(content, saliency=1.0), *others)
    described = dataclasses.replace(plain, terms=salient, frame=transforms.Mirrored(16))
    masks = [half(*SIZE), 1 - half(*SIZE)], [half(80, 101), half(64, 64)]
    given = (picture(*SIZE), [picture(80, 101, 2), picture(64, 64, 3)], *masks)
    assert_equal(*both(described, params, weights_of(described, 2), given, picture(*SIZE, 1), keep=keep))


@pytest.mark.slow
def test_a_texture_has_no_content(painting):
    given = {"size": 160, "steps": 2, "style_layers": SHALLOW, "start": "noise", "progress": False}
    whole, tiled = (jaxnst.stylize(None, painting, tile=tile, **given) for tile in (None, 64))
    np.testing.assert_allclose(tiled.array, whole.array, rtol=0, atol=1e-4)


def test_content_features_are_exact_though_steps_are_not(params):
    """In bfloat16 the picture's features are rounded; what they are compared with is not, kept or not."""
    described, rounded = objective_of(st.Gram(losses.gram_hw)), vgg.in_bfloat16(params)
    image, given = picture(*SIZE, 1), (picture(*SIZE), [picture(80, 101, 2)])
    found = []
    for keep in (True, False):
        targets = tiling.make_targets(described, params, *given, tile=TILE, keep=keep)
        found.append(tiling.evaluate(described, rounded, targets, weights_of(described, 1), image, TILE))
    assert float(found[1]["content"]) == pytest.approx(float(found[0]["content"]), rel=1e-6)


@pytest.mark.parametrize("keep", [pytest.param(True, marks=pytest.mark.slow), False])
def test_masks_and_several_styles(params, keep):
    described = objective_of(st.Gram(losses.gram_hw))
    mask = half(*SIZE)
    styles = [picture(80, 101, 2), picture(60, 40, 3)]
    given = (picture(*SIZE), styles, [mask, 1 - mask], [half(80, 101), np.ones((60, 40), np.float32)])
    assert_equal(*both(described, params, weights_of(described, 2), given, picture(*SIZE, 1), keep=keep))


@pytest.mark.slow
def test_wasserstein_distance_of_tiles(params):
    """Its gradient, through a singular value decomposition, is less exact by itself."""
    described = objective.Objective(terms=(terms.Style(("relu1_1", "relu2_1"), (st.Wasserstein(),) * 2),))
    within = terms.StyleWeights(jnp.ones((1, 2)), jnp.float32(0))
    weights = {"style": objective.TermWeights(jnp.float32(1), within)}
    untiled, tiled = both(described, params, weights, (None, [picture(80, 101, 2)]), picture(*SIZE, 1))
    assert float(tiled[0]["total"]) == pytest.approx(float(untiled[0]["total"]), rel=1e-5)
    np.testing.assert_allclose(tiled[1], untiled[1], rtol=0, atol=1e-3 * np.abs(untiled[1]).max())


@pytest.fixture(scope="module")
def deep(params):
    """An objective whose halo is 80 pixels, in six tiles, as a CPU computes it."""
    config = PLAIN.replace(tv_weight=1e3)
    described = to_objective(config)
    given = (picture(395, 310), [picture(300, 257, 2)])
    call = partial(
        both, described, vgg.for_cpu(params), to_loss_weights(config, 1), given, picture(395, 310, 1), 64
    )
    return described, call


@pytest.mark.slow
def test_at_the_tiles_borders_there_is_no_seam(deep):
    described, call = deep
    untiled, tiled = call()
    assert_equal(untiled, tiled)
    _, found = tiles.places(described.layers, (395, 310), 64)
    assert len(found) >= 6
    error = np.abs(np.asarray(tiled[1]) - untiled[1]).max(axis=2)
    rows, columns = (sorted({int(place.begin[axis]) for place in found} - {0}) for axis in (0, 1))
    either_side = [error[[row - 1, row]] for row in rows] + [error[:, [at - 1, at]] for at in columns]
    at_borders = max(each.max() for each in either_side)
    assert at_borders <= 1e-5 * np.abs(untiled[1]).max()


@pytest.mark.slow
def test_with_a_narrower_halo_there_would_be_one(deep, monkeypatch):
    monkeypatch.setattr(tiles, "halo", lambda layers: 16)
    untiled, tiled = deep[1]()
    assert np.abs(np.asarray(tiled[1]) - untiled[1]).max() > 1e-4 * np.abs(untiled[1]).max()


@pytest.mark.fast
@settings(deadline=None, max_examples=200)
@given(
    length=some.integers(32, 700),
    tile=some.integers(16, 300),
    layers=some.sampled_from([("relu1_1",), ("relu3_1",), ("relu4_2", "relu5_1"), ("pool5",)]),
)
def test_every_position_counts_once_and_sees_all_that_it_depends_on(length, tile, layers):
    (window, _), found = tiles.places(layers, (length, length), tile)
    stride, around = max(map(vgg.stride, layers)), tiles.halo(layers)
    spans = sorted({tuple(int(ends[0]) for ends in place) for place in found})
    assert [begin for _, begin, _ in spans] == [0, *(end for _, _, end in spans[:-1])]
    assert spans[-1][2] == length
    for start, begin, end in spans:
        assert start % (4 * stride) == begin % stride == 0
        assert 0 <= start <= begin < end <= start + window <= length
        assert start == 0 or begin - start >= around
        assert start + window == length or start + window - end >= around
        assert window < max(tile, 4 * stride) + 2 * around + 4 * stride or window == length


def test_the_halo_is_the_receptive_field(params):
    """A pixel one halo away from a position changes nothing there; DESIGN's 80 pixels for conv5_1."""
    assert tiles.halo(("relu5_1", "relu1_1")) == 80
    assert tiles.halo(("relu1_1",)) == 1
    gradient = jax.grad(
        lambda image: jnp.sum(vgg.features(params, image, ("relu3_1",))["relu3_1"][16:17, 16:17])
    )(picture(128, 128))
    rows = np.flatnonzero(np.abs(gradient).sum(axis=(1, 2)))
    assert 64 - rows.min() <= tiles.halo(("relu3_1",)) == 12
    assert rows.max() - 67 <= 12


@pytest.mark.slow
def test_steps_in_tiles_are_steps(params):
    """With the optimiser, a photo that stays in places, and a random window."""
    described = objective_of(st.Gram(losses.gram_chw))
    problem = solver.Problem(described, project=solver.clamped)
    content, style = picture(*SIZE), picture(80, 101, 2)
    stays = transforms.KeepPhoto(jnp.asarray(content), jnp.asarray(half(*SIZE)))
    common = (
        weights_of(described, 1),
        jnp.float32(1),
        (stays,),
        (transforms.RandomShift(jnp.float32(0.95)),),
    )
    whole = solver.Inputs(params, objective.make_targets(described, params, content, [style]), *common)
    tiled = solver.Inputs(
        params, tiling.make_targets(described, params, content, [style], tile=TILE), *common
    )
    found = []
    for inputs, step in (
        (whole, jax.jit(solver.step, static_argnums=0)),
        (tiled, partial(tiling.step, tile=TILE)),
    ):
        start = jax.jit(solver.start, static_argnums=0)
        state = start(problem, inputs, jnp.asarray(content), jax.random.key(0))
        for _ in range(3):
            state, _ = step(problem, inputs, state)
        found.append(np.asarray(state.variable))
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-4)
    assert np.abs(found[0] - content).max() > 0.01


@pytest.mark.slow
def test_stylize_and_evaluate_take_a_tile(photo, painting):
    """Over two scales, with the photo's colours; without the kinks of the total variation in flat areas."""
    given = {"size": 160, "start_size": 80, "scale_steps": (1, 1), "color": "luminance", "progress": False}
    given["tv_weight"] = 0.0
    given |= {"content_layers": ("relu3_1",), "style_layers": SHALLOW}
    assert len(tiles.places((*SHALLOW, "relu3_1"), (160, 160), 64)[1]) > 1
    whole = jaxnst.stylize(photo, painting, tile=None, **given)
    tiled = jaxnst.stylize(photo, painting, tile=64, **given)
    np.testing.assert_allclose(tiled.array, whole.array, rtol=0, atol=1e-4)
    found = jaxnst.evaluate(whole.array, photo, painting, whole.config, tile=64)
    assert found == pytest.approx(jaxnst.evaluate(whole.array, photo, painting, whole.config), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tile": 7}, "64"),
        ({"tile": "large"}, "auto"),
        ({"tile": 64, "statistic": "patches"}, "NearestPatches"),
        ({"tile": 64, "line_search": "zoom"}, "line_search"),
    ],
)
def test_tiles_that_cannot_be(photo, painting, given, named):
    message = refusal(jaxnst.stylize, photo, painting, progress=False, **given)
    assert message.startswith("tile:")
    assert named in message
