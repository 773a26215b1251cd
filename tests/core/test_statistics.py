"""Style statistics against their formulas, written out in NumPy and SciPy in float64."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg
from scipy.spatial.distance import cdist

from jaxnst.core import losses
from jaxnst.core import statistics as st
from jaxnst.core.statistics import moments, nearest

HEIGHT, WIDTH, CHANNELS = 6, 5, 7
ONES = np.ones((HEIGHT, WIDTH), np.float32)
STATISTICS = {name: make(losses.gram_gatys, losses.NORMS["l2"]) for name, make in st.STATISTICS.items()}
SUMS = ("gram", "covariance", "mean_std", "mean_covariance", "wasserstein")
every_name_but_patches = pytest.mark.parametrize("name", [name for name in STATISTICS if name != "patches"])
every_statistic = pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS)

LITERAL = {  # the published formulas for pictures of equal size; d takes G - A to the norm's power
    "gatys": lambda F, S, d: np.sum(d(F.T @ F - S.T @ S)) / (4 * F.shape[1] ** 2 * F.shape[0] ** 2),
    "hw": lambda F, S, d: np.mean(d(F.T @ F / F.shape[0] - S.T @ S / F.shape[0])),
    "chw": lambda F, S, d: np.mean(d((F.T @ F - S.T @ S) / (F.shape[0] * F.shape[1]))),
    "dhw": lambda F, S, d: np.mean(d(F.T @ F - S.T @ S)) / (F.shape[0] * F.shape[1]),
}
DIFFERENCE = {"l2": np.square, "l1": np.abs}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gram_has_the_gradient_of_the_plain_product(dtype):
    """This holds for asymmetric cotangents too, and bfloat16 is summed in float32."""
    x = jax.random.normal(jax.random.key(0), (4000, 3)).astype(dtype)
    cotangent = jnp.arange(9.0).reshape(3, 3)
    exact = np.asarray(x, np.float64)
    value, back = jax.vjp(moments.gram, x)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, exact.T @ exact, rtol=1e-5, atol=0.01)
    expected = exact @ np.asarray(cotangent + cotangent.T)
    tolerance = 1e-5 if dtype == jnp.float32 else 1e-2
    np.testing.assert_allclose(
        np.asarray(back(cotangent)[0], np.float64), expected, rtol=tolerance, atol=tolerance * 30
    )
    _, forward = jax.jvp(moments.gram, (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(forward, exact.T @ np.ones((4000, 3)) + np.ones((3, 4000)) @ exact, atol=0.5)


def flat(features):
    return np.asarray(features, np.float64).reshape(-1, features.shape[-1])


def distance(statistic, ours, style, guide=None, style_guide=None):
    guide = np.ones(ours.shape[:2], ours.dtype) if guide is None else guide
    style_guide = np.ones(style.shape[:2], style.dtype) if style_guide is None else style_guide
    return _distance(statistic, ours, style, guide, style_guide)


def compare(statistic, ours, style, guide, style_guide):
    return statistic.distance(statistic(ours, guide), statistic(style, style_guide))


_distance = jax.jit(compare, static_argnums=0)
value_and_gradient = jax.jit(jax.value_and_grad(compare, argnums=1), static_argnums=0)


@pytest.fixture
def maps():
    """Returns features of a picture and of a style, of equal size."""
    generator = np.random.default_rng(1)
    picture = generator.standard_normal((HEIGHT, WIDTH, CHANNELS))
    style = 0.5 + 1.5 * generator.standard_normal((HEIGHT, WIDTH, CHANNELS)) @ np.diag(np.arange(1, 8) / 4)
    return picture.astype(np.float32), style.astype(np.float32)


@pytest.fixture
def left():
    """Returns a mask of the two leftmost columns."""
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[:, :2] = 1
    return mask


# Each statistic against its formula


@pytest.mark.parametrize("norm", DIFFERENCE)
@pytest.mark.parametrize("form", losses.GRAM_FORMS)
def test_gram_forms_are_the_published_formulas(maps, form, norm):
    loss = compare(st.Gram(losses.GRAM_FORMS[form], losses.NORMS[norm]), *maps, ONES, ONES)
    assert float(loss) == pytest.approx(LITERAL[form](*map(flat, maps), DIFFERENCE[norm]), rel=1e-5)


@pytest.mark.parametrize("form", losses.GRAM_FORMS)
def test_the_scaled_norm_is_the_same_for_every_form(maps, form):
    F, S = map(flat, maps)
    difference = np.abs(F.T @ F - S.T @ S) / len(F)
    loss = compare(st.Gram(losses.GRAM_FORMS[form], losses.NORMS["scaled"]), *maps, ONES, ONES)
    assert float(loss) == pytest.approx(np.sum(difference**2) / np.sum(difference), rel=1e-5)


@pytest.mark.parametrize("norm", DIFFERENCE)
@pytest.mark.parametrize("form", losses.GRAM_FORMS)
def test_covariance_is_the_gram_loss_of_centred_features(maps, form, norm):
    centred = [features - features.mean(axis=0) for features in map(flat, maps)]
    loss = compare(st.Covariance(losses.GRAM_FORMS[form], losses.NORMS[norm]), *maps, ONES, ONES)
    assert float(loss) == pytest.approx(LITERAL[form](*centred, DIFFERENCE[norm]), rel=1e-5)


def test_mean_and_std(maps):
    F, S = map(flat, maps)
    expected = np.mean((F.mean(0) - S.mean(0)) ** 2 + (F.std(0) - S.std(0)) ** 2)
    assert float(distance(st.MeanStd(), *maps)) == pytest.approx(expected, rel=1e-5)


def blurred(F, S, blur):
    square = blur * (np.mean(F**2) + np.mean(S**2)) / 2
    return [np.cov(features.T, bias=True) + square * np.eye(features.shape[1]) for features in (F, S)]


@pytest.mark.parametrize("positions", [30, 3])
def test_wasserstein_is_the_distance_of_gaussians(maps, positions):
    """This holds for covariances without full rank too: 3 positions of 7 channels."""
    F, S = flat(maps[0])[:positions], flat(maps[1])
    with jax.enable_x64(True):
        loss = float(distance(st.Wasserstein(), F[None], S[None]))
    covariance, style_covariance = blurred(F, S, 1e-3)
    root = linalg.sqrtm(style_covariance)
    trace = np.trace(covariance + style_covariance - 2 * np.real(linalg.sqrtm(root @ covariance @ root)))
    assert loss == pytest.approx((np.sum((F.mean(0) - S.mean(0)) ** 2) + trace) / CHANNELS, rel=1e-7)


def test_blur_hardly_changes_the_wasserstein_distance(maps):
    F, S = map(flat, maps)
    covariance, style_covariance = blurred(F, S, 0)
    trace = np.trace(covariance + style_covariance - 2 * np.real(linalg.sqrtm(covariance @ style_covariance)))
    expected = (np.sum((F.mean(0) - S.mean(0)) ** 2) + trace) / CHANNELS
    assert float(distance(st.Wasserstein(), *maps)) == pytest.approx(expected, rel=1e-2)


def test_wasserstein_of_uncorrelated_channels_compares_standard_deviations():
    signs = linalg.hadamard(8)[:, 1:4].astype(np.float32)[None]  # mean 0, variance 1, no correlation
    ours, style = signs * np.float32([1, 2, 3]), 1 + signs * np.float32([2, 2, 5])
    expected = 1 + np.mean(np.square([1 - 2, 2 - 2, 3 - 5]))
    assert float(distance(st.Wasserstein(blur=1e-7), ours, style)) == pytest.approx(expected, rel=1e-5)


def test_histogram_of_equal_sizes_pairs_sorted_values(maps):
    F, S = (np.sort(features, axis=0) for features in map(flat, maps))
    assert float(distance(st.Histogram(), *maps)) == pytest.approx(np.mean((F - S) ** 2), rel=1e-5)


def test_histogram_of_one_channel_and_two_values_by_hand():
    """Levels 1/4 and 3/4 of (0, 4) lie at 0.5 and 2.5 between the style's (1/6, 0), (1/2, 2), (5/6, 3)."""
    loss = distance(st.Histogram(), np.float32([[[4], [0]]]), np.float32([[[3], [0], [2]]]))
    assert float(loss) == pytest.approx((0.5**2 + (4 - 2.75) ** 2) / 2, rel=1e-5)


def test_sliced_wasserstein_along_orthonormal_directions(maps):
    """Along an orthonormal basis, the distances of a shift add up to its squared length."""
    shift = np.arange(CHANNELS, dtype=np.float32)
    for directions, seed in [(None, 0), (3 * CHANNELS, 1)]:
        loss = distance(st.SlicedWasserstein(directions, seed), maps[0] + shift, maps[0])
        assert float(loss) == pytest.approx(np.mean(shift**2), rel=1e-4)


def test_sliced_wasserstein_of_two_channels_is_the_mean_over_all_angles():
    generator = np.random.default_rng(3)
    ours, style = generator.exponential(size=(2, 1, 20, 2)).astype(np.float32)
    angles = np.linspace(0, np.pi, 500, endpoint=False)
    along = np.stack([np.cos(angles), np.sin(angles)])
    F, S = (np.sort(features @ along, axis=0) for features in map(flat, (ours, style)))
    loss = distance(st.SlicedWasserstein(4000), ours, style)
    assert float(loss) == pytest.approx(np.mean((F - S) ** 2), rel=0.05)


def test_the_seed_fixes_the_directions(maps):
    first, again, other = (
        jax.jit(st.SlicedWasserstein(3, seed))(maps[0], ONES).values.tolist() for seed in (0, 0, 1)
    )
    assert first == again != other


def test_the_gradient_pulls_each_value_to_its_match(maps):
    """The gradient is `2 w (v - Q')`, where `Q'` is the style's value of the same rank."""
    F, S = map(flat, maps)
    matched = np.take_along_axis(np.sort(S, axis=0), np.argsort(np.argsort(F, axis=0), axis=0), axis=0)
    gradient = flat(value_and_gradient(st.Histogram(), *maps, ONES, ONES)[1])
    np.testing.assert_allclose(gradient, 2 * (F - matched) / F.size, atol=1e-6)


def patches_of(features, size):
    height, width = (side - size + 1 for side in features.shape[:2])
    return np.array(
        [
            features[i : i + size, j : j + size].astype(float).ravel()
            for i in range(height)
            for j in range(width)
        ]
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_nearest_patches_by_exhaustive_search(maps, size):
    ours, theirs = (patches_of(features, size) for features in maps)
    errors = []
    for patch in ours:
        similar = [patch @ other / np.linalg.norm(other) for other in theirs]
        errors.append(np.mean((patch - theirs[np.argmax(similar)]) ** 2))
    assert float(distance(st.NearestPatches(size), *maps)) == pytest.approx(np.mean(errors), rel=1e-5)


def test_nearest_features_by_exhaustive_search(maps):
    F, S = map(flat, maps)
    cosines = F @ S.T / np.linalg.norm(F, axis=1)[:, None] / np.linalg.norm(S, axis=1)
    assert float(distance(st.NearestFeatures(), *maps)) == pytest.approx(
        np.mean(1 - cosines.max(1)), rel=1e-5
    )


def test_nearest_neighbours_are_right_in_every_batch_of_queries():
    """There are so many candidates that the queries need several batches and do not fill the last."""
    generator = np.random.default_rng(0)
    queries, candidates = generator.standard_normal((300, 2)), generator.standard_normal((2**17, 2))
    eligible = np.arange(2**17) % 3 == 0
    indices = np.asarray(nearest.find_nearest(*map(np.float32, (queries, candidates)), eligible))
    unit = candidates / np.linalg.norm(candidates, axis=1, keepdims=True)
    best = np.max(queries @ unit[eligible].T, axis=1)
    assert indices.shape == (300,)
    assert eligible[indices].all()
    np.testing.assert_allclose(np.sum(queries * unit[indices], axis=1), best, rtol=1e-5)


def test_relaxed_emd_is_the_larger_of_two_means_of_nearest_distances(maps):
    """A part of a picture is near to the whole, but the whole is not near to the part."""
    ours, style = maps
    for statistic, metric in (
        (st.RelaxedEMD(), "cosine"),
        (st.RelaxedEMD(nearest.euclidean_distances), "euclidean"),
    ):
        costs = cdist(flat(ours), flat(style), metric)
        expected = max(costs.min(axis=0).mean(), costs.min(axis=1).mean())
        assert float(distance(statistic, ours, style)) == pytest.approx(expected, rel=1e-5)
        part = float(distance(statistic, style[:1], style))
        costs = cdist(flat(style[:1]), flat(style), metric)
        assert costs.min(axis=1).mean() < 1e-6 < 1e-3 < part
        assert part == pytest.approx(costs.min(axis=0).mean(), rel=1e-5)


def test_mean_covariance_by_its_formula(maps):
    F, S = map(flat, maps)
    expected = np.abs(F.mean(0) - S.mean(0)).mean() + np.abs(np.cov(F.T, ddof=0) - np.cov(S.T, ddof=0)).mean()
    assert float(distance(st.MeanCovariance(), *maps)) == pytest.approx(expected, rel=1e-5)


# What all statistics have in common


@every_statistic
def test_a_picture_has_its_own_style(maps, statistic):
    assert 0 <= float(distance(statistic, maps[1], maps[1])) < 1e-5
    assert float(distance(statistic, *maps)) > 1e-3


@every_name_but_patches
def test_a_mask_is_as_good_as_scissors(maps, left, name):
    """This holds for pictures of different shape too, but not for patches, which reach beyond a region."""
    ours, style = maps
    top = np.zeros_like(ONES)
    top[:4] = 1
    cut = distance(STATISTICS[name], ours[:4], style[:, :2])
    assert float(distance(STATISTICS[name], *maps, top, left)) == pytest.approx(float(cut), rel=1e-4)


@every_name_but_patches
def test_what_lies_outside_the_region_does_not_matter(maps, left, name):
    ours, style = maps
    outside = np.where(left[..., None] > 0, 0, 1e3).astype(np.float32)
    loss = distance(STATISTICS[name], ours + outside, style + outside, left, left)
    expected = distance(STATISTICS[name], ours, style, left, left)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@every_statistic
def test_shares_are_relative(maps, left, statistic):
    loss = distance(statistic, *maps, guide=0.25 * (1 + left), style_guide=0.5 * ONES)
    expected = distance(statistic, *maps, guide=0.5 * (1 + left))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_tiles_are_the_pictures(maps, name):
    statistic = STATISTICS[name]
    ours, style = maps
    guide = np.random.default_rng(0).uniform(size=(HEIGHT, WIDTH)).astype(np.float32)
    summed = jax.jit(statistic)
    tiles = [summed(ours[rows], guide[rows]) for rows in (slice(2), slice(2, None))]
    target = summed(style, ONES)
    together = statistic.distance(jax.tree.map(jnp.add, *tiles), target)
    assert float(together) == pytest.approx(float(distance(statistic, ours, style, guide)), rel=1e-5)


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_regions_that_partition_the_picture_are_the_pictures(maps, name):
    statistic = STATISTICS[name]
    soft = np.random.default_rng(0).uniform(size=(HEIGHT, WIDTH)).astype(np.float32)
    summed = jax.jit(statistic)
    parts = [summed(maps[0], guide) for guide in (soft, 1 - soft)]
    whole = summed(maps[0], ONES)
    for added, expected in zip(jax.tree.map(jnp.add, *parts), whole, strict=True):
        np.testing.assert_allclose(added, expected, rtol=1e-5, atol=1e-5)


@every_name_but_patches
def test_a_style_tiled_twice_is_the_same_style(maps, name):
    """Patches are left out, because patches across the seam are new."""
    ours, style = maps
    top = np.zeros_like(ONES)
    top[:3] = 1
    once = float(distance(STATISTICS[name], ours, style, style_guide=top))
    twice = float(distance(STATISTICS[name], ours, np.concatenate([style[:3], style[:3]])))
    # Quantiles are interpolated, here between 15 values.
    assert twice == pytest.approx(once, rel=0.15 if name in ("sliced_wasserstein", "histogram") else 1e-4)


def test_shares_count_as_repetitions():
    """Equality is approximate, because quantiles are interpolated between samples."""
    ours, style = np.random.default_rng(0).standard_normal((2, 20, 20, 3)).astype(np.float32)
    ours[:10] += 1
    style[:10] *= 2
    thrice = np.where(np.arange(20) < 10, 3, 1)[:, None] * np.ones((1, 20), np.float32)
    repeated = [np.concatenate([x, x[:10], x[:10]]) for x in (ours, style)]
    loss = float(distance(st.Histogram(), ours, style, thrice, thrice))
    assert loss == pytest.approx(float(distance(st.Histogram(), *repeated)), rel=1e-2)
    assert loss != pytest.approx(float(distance(st.Histogram(), ours, style)), rel=5e-2)


def test_patches_come_from_the_region(maps, left):
    """The picture is the style, so a patch would match itself if it were not outside the style's region."""
    style = maps[1]
    left[:, 2] = 1
    loss = distance(st.NearestPatches(), style, style, guide=1 - left, style_guide=left)
    inside, outside = (
        patches_of(style, 3).reshape(4, 3, -1)[:, :2],
        patches_of(style, 3).reshape(4, 3, -1)[:, 2],
    )
    inside = inside.reshape(8, -1)
    errors = []
    for patch in outside:
        similar = [patch @ other / np.linalg.norm(other) for other in inside]
        errors.append(np.mean((patch - inside[np.argmax(similar)]) ** 2))
    assert float(loss) == pytest.approx(np.mean(errors), rel=1e-5)
    assert float(distance(st.NearestPatches(), style, style, guide=left, style_guide=left)) == 0


@every_statistic
def test_an_empty_region_costs_nothing(maps, statistic):
    for guides in [(0 * ONES, ONES), (ONES, 0 * ONES)]:
        value, gradient = value_and_gradient(statistic, *maps, *guides)
        assert float(value) == 0
        np.testing.assert_array_equal(gradient, 0)


@every_statistic
def test_gradients_are_finite_where_features_or_guides_vanish(maps, statistic):
    corner = np.zeros_like(ONES)
    corner[2, 2] = 1e-3  # fewer positions than channels: a single one
    blank = np.zeros_like(maps[0])
    ramp = blank + np.arange(CHANNELS, dtype=np.float32)  # no variance
    for ours in (*maps, blank, ramp, 1e4 * maps[0]):
        for style in (maps[1], blank, ramp):
            for guide, style_guide in [(ONES, ONES), (corner, ONES), (ONES, corner), (corner, corner)]:
                results = value_and_gradient(statistic, ours, style, guide, style_guide)
                assert all(np.isfinite(result).all() for result in results)


@every_statistic
def test_statistics_are_static_arguments(statistic):
    assert hash(statistic) == hash(type(statistic)()) and statistic == type(statistic)()


def test_names_choose_form_and_norm():
    form, norm = losses.gram_hw, losses.NORMS["l1"]
    assert st.STATISTICS["gram"](form, norm) == st.Gram(form, norm)
    assert st.STATISTICS["covariance"](form, norm) == st.Covariance(form, norm)


def test_nothing_to_compare_is_an_error(maps):
    with pytest.raises(ValueError, match="directions is 0; at least 1"):
        st.SlicedWasserstein(0)
    with pytest.raises(ValueError, match="size is 0"):
        st.NearestPatches(0)
    with pytest.raises(ValueError, match=r"feature map, 2x5, has no patch of 3x3"):
        st.NearestPatches()(maps[0][:2], ONES[:2])


@every_statistic
def test_slopes_in_double_precision_of_several_pictures_at_once(maps, left, statistic):
    """Under `jit` and `vmap`, gradients equal differences of values, and values equal those in float32."""
    along = np.random.default_rng(2).standard_normal(maps[0].shape)
    steps = np.array([-1e-6, 0, 1e-6])
    with jax.enable_x64(True):
        ours, style = maps[0] + steps[:, None, None, None] * along, maps[1].astype(float)
        loss = functools.partial(compare, statistic, style=style, guide=0.5 + left, style_guide=ONES)
        values, gradients = map(np.asarray, jax.jit(jax.vmap(jax.value_and_grad(loss)))(ours))
    assert gradients.dtype == values.dtype == np.float64
    assert np.sum(gradients[1] * along) == pytest.approx((values[2] - values[0]) / 2e-6, rel=1e-4)
    assert float(distance(statistic, *maps, 0.5 + left)) == pytest.approx(values[1], rel=1e-4)


class Mean(NamedTuple):
    """Compares the mean of the features; a user's own statistic."""

    scale: float = 1.0

    def __call__(self, features, guide):
        return jnp.einsum("hwc,hw->c", features, guide) / jnp.sum(guide)

    def distance(self, summary, target):
        return self.scale * jnp.sum(jnp.square(summary - target))


def test_a_statistic_of_your_own(maps):
    own: st.Statistic = Mean(2.0)
    expected = 2 * np.sum((flat(maps[0]).mean(0) - flat(maps[1]).mean(0)) ** 2)
    assert float(distance(own, *maps)) == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(value_and_gradient(own, *maps, ONES, ONES)[1]).all()
