"""The losses against the formulas of the papers, written out in NumPy or by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.core import losses, statistics

pytestmark = pytest.mark.fast

DIFFERENCE = {"l2": np.square, "l1": np.abs}


@pytest.fixture
def maps():
    generator = np.random.default_rng(1)
    return generator.standard_normal((2, 6, 5, 7)).astype(np.float32)


@pytest.mark.parametrize("norm", DIFFERENCE)
def test_content_forms(maps, norm):
    F, P = maps.astype(np.float64)
    summed = losses.content_loss(*maps, losses.content_sum, losses.NORMS[norm])
    mean = losses.content_loss(*maps, losses.content_mean, losses.NORMS[norm])
    assert float(summed) == pytest.approx(0.5 * np.sum(DIFFERENCE[norm](F - P)), rel=1e-5)
    assert float(mean) == pytest.approx(np.mean(DIFFERENCE[norm](F - P)), rel=1e-5)


def test_the_scaled_norm_gives_a_gradient_of_one(maps):
    """The loss is sum d^2 / sum |d|; the L1 norm of its gradient is 1 to 3 for features of any size."""
    F, P = maps.astype(np.float64)
    for scale in (1e-2, 1.0, 1e3):
        loss = lambda x: losses.content_loss(x, P * scale, losses.content_mean, losses.NORMS["scaled"])  # noqa: B023, E731
        expected = scale * np.sum((F - P) ** 2) / np.sum(np.abs(F - P))
        assert float(loss(F * scale)) == pytest.approx(expected, rel=1e-4)
        assert 1 <= float(jnp.abs(jax.grad(loss)(jnp.asarray(F * scale))).sum()) <= 3


def test_total_variation_by_hand():
    ramp = np.zeros((3, 4, 3), np.float32)
    ramp[..., 0] = [[0, 1, 2, 3]] * 3  # dx = 1 in one channel of three, dy = 0
    assert float(losses.total_variation(ramp)) == pytest.approx(1 / 3)
    assert float(losses.total_variation(ramp.swapaxes(0, 1))) == pytest.approx(1 / 3)


def test_total_variation_l2_by_hand():
    ramp = np.zeros((3, 4, 3), np.float32)
    ramp[..., 0] = [[0, 2, 4, 6]] * 3  # dx = 2 in one channel of three, dy = 0
    assert float(losses.total_variation_l2(ramp)) == pytest.approx(4 / 3)


def test_out_of_range_counts_what_clipping_cuts_off():
    image = np.array([-0.5, 0.0, 0.4, 1.0, 1.2, 3.0], np.float32).reshape(1, 2, 3)
    assert float(losses.out_of_range(image)) == pytest.approx((0.25 + 0.04 + 4) / 6)
    np.testing.assert_allclose(
        jax.grad(losses.out_of_range)(image).ravel(), np.array([-1, 0, 0, 0, 0.4, 4]) / 6, atol=1e-6
    )


@pytest.mark.parametrize("window", [1, 3])
def test_laplacian_is_scipys_of_the_mean_over_windows(window):
    ndimage = pytest.importorskip("scipy.ndimage")
    image = np.random.default_rng(0).random((19, 23, 3))
    means = ndimage.uniform_filter(image, (window, window, 1))[window // 2 :: window, window // 2 :: window]
    means = means[: 19 // window, : 23 // window].sum(-1)
    expected = -ndimage.laplace(means)[1:-1, 1:-1]
    np.testing.assert_allclose(losses.laplacian(image.astype(np.float32), window), expected, atol=1e-5)


def test_total_variation_of_a_single_pixel_is_zero():
    assert float(losses.total_variation(np.ones((1, 1, 3), np.float32))) == 0


def test_content_gradient_is_gatys_equation_2(maps):
    before_relu, P = maps[0], np.maximum(maps[1], 0)
    gradient = jax.grad(lambda x: losses.content_loss(jax.nn.relu(x), P, losses.content_sum))(before_relu)
    expected = np.where(before_relu > 0, before_relu - P, 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_style_gradient_is_gatys_equation_6(maps):
    before_relu, style = maps[0], np.maximum(maps[1], 0)
    gram, whole = statistics.Gram(losses.gram_gatys), np.ones((6, 5), np.float32)
    target = gram(style, whole)
    gradient = jax.grad(lambda x: gram.distance(gram(jax.nn.relu(x), whole), target))(before_relu)
    F, S = (np.maximum(x, 0).reshape(30, 7).astype(np.float64) for x in maps)
    expected = F @ (F.T @ F - S.T @ S) / (7**2 * 30**2)
    np.testing.assert_allclose(
        np.asarray(gradient).reshape(30, 7), np.where(before_relu.reshape(30, 7) > 0, expected, 0), atol=1e-6
    )


def test_losses_vmap_and_jit(maps):
    ours, style = jnp.stack([maps[0], maps[1]]), jnp.stack([maps[1], maps[0]])
    together = jax.jit(jax.vmap(losses.content_loss))(ours, style)
    one_by_one = [losses.content_loss(a, b) for a, b in zip(ours, style, strict=True)]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-6)
