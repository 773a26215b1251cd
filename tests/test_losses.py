"""The formulas of the papers, written out in NumPy or by hand, against `jaxnst.core.losses`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnst.core import losses

LITERAL = {  # DESIGN's table for pictures of equal size; d is |G - A| to the power of the norm
    "gatys": lambda F, S, d: np.sum(d(F.T @ F - S.T @ S)) / (4 * F.shape[1] ** 2 * F.shape[0] ** 2),
    "hw": lambda F, S, d: np.mean(d(F.T @ F / F.shape[0] - S.T @ S / F.shape[0])),
    "chw": lambda F, S, d: np.mean(d((F.T @ F - S.T @ S) / (F.shape[0] * F.shape[1]))),
    "dhw": lambda F, S, d: np.mean(d(F.T @ F - S.T @ S)) / (F.shape[0] * F.shape[1]),
}
DIFFERENCE = {"l2": np.square, "l1": np.abs}


@pytest.fixture
def maps():
    generator = np.random.default_rng(1)
    return generator.standard_normal((2, 6, 5, 7)).astype(np.float32)


@pytest.mark.parametrize("norm", losses.NORMS)
@pytest.mark.parametrize("form", losses.GRAM_FORMS)
def test_gram_forms_are_the_published_formulas(maps, form, norm):
    ours, style = maps
    found = losses.style_loss(
        ours, losses.gram_matrix(style) / 30, losses.GRAM_FORMS[form], losses.NORMS[norm]
    )
    flat = [of.reshape(30, 7).astype(np.float64) for of in maps]
    assert float(found) == pytest.approx(LITERAL[form](*flat, DIFFERENCE[norm]), rel=1e-5)


@pytest.mark.parametrize("form", losses.GRAM_FORMS)
def test_a_style_picture_tiled_twice_is_the_same_style(maps, form):
    """Per position: a style of other size counts as if it had the picture's."""
    ours, style = maps
    twice = np.concatenate([style, style])
    once = losses.style_loss(ours, losses.gram_matrix(style) / 30, losses.GRAM_FORMS[form])
    again = losses.style_loss(ours, losses.gram_matrix(twice) / 60, losses.GRAM_FORMS[form])
    assert float(once) == pytest.approx(float(again), rel=1e-5)


@pytest.mark.parametrize("norm", losses.NORMS)
def test_content_forms(maps, norm):
    F, P = maps.astype(np.float64)
    summed = losses.content_loss(*maps, losses.content_sum, losses.NORMS[norm])
    mean = losses.content_loss(*maps, losses.content_mean, losses.NORMS[norm])
    assert float(summed) == pytest.approx(0.5 * np.sum(DIFFERENCE[norm](F - P)), rel=1e-5)
    assert float(mean) == pytest.approx(np.mean(DIFFERENCE[norm](F - P)), rel=1e-5)


def test_total_variation_by_hand():
    ramp = np.zeros((3, 4, 3), np.float32)
    ramp[..., 0] = [[0, 1, 2, 3]] * 3  # dx = 1 in one channel of three, dy = 0
    assert float(losses.total_variation(ramp)) == pytest.approx(1 / 3)
    assert float(losses.total_variation(ramp.swapaxes(0, 1))) == pytest.approx(1 / 3)


def test_total_variation_of_a_single_pixel_is_zero():
    assert float(losses.total_variation(np.ones((1, 1, 3), np.float32))) == 0


def test_content_gradient_is_gatys_equation_2(maps):
    before_relu, P = maps[0], np.maximum(maps[1], 0)
    found = jax.grad(lambda x: losses.content_loss(jax.nn.relu(x), P, losses.content_sum))(before_relu)
    expected = np.where(before_relu > 0, before_relu - P, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_style_gradient_is_gatys_equation_6(maps):
    before_relu, style = maps[0], np.maximum(maps[1], 0)
    target = losses.gram_matrix(style) / 30
    found = jax.grad(lambda x: losses.style_loss(jax.nn.relu(x), target, losses.gram_gatys))(before_relu)
    F, S = (np.maximum(x, 0).reshape(30, 7).astype(np.float64) for x in maps)
    expected = F @ (F.T @ F - S.T @ S) / (7**2 * 30**2)
    np.testing.assert_allclose(
        np.asarray(found).reshape(30, 7), np.where(before_relu.reshape(30, 7) > 0, expected, 0), atol=1e-6
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_gram_matrices_of_tiles_add_up(height, width, channels):
    features = np.random.default_rng(height).standard_normal((height + 3, width, channels)).astype(np.float32)
    whole = losses.gram_matrix(features)
    parts = losses.gram_matrix(features[:3]) + losses.gram_matrix(features[3:])
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-5)


def test_losses_vmap_and_jit(maps):
    ours, style = jnp.stack([maps[0], maps[1]]), jnp.stack([maps[1], maps[0]])
    together = jax.jit(jax.vmap(losses.content_loss))(ours, style)
    one_by_one = [losses.content_loss(a, b) for a, b in zip(ours, style, strict=True)]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-6)
