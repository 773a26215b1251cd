"""Small objectives with every kind of term, for tests that compute them in several ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.core import losses, objective, terms

SHALLOW = ("relu1_1", "relu2_1", "relu3_1")
SIZE = (91, 70)


def picture(height, width, seed=0):
    """Returns a smooth picture with some noise, so that no layer's features are all zero."""
    generator = np.random.default_rng(seed)
    coarse = jax.image.resize(generator.random((5, 4, 3)), (height, width, 3), "cubic")
    noise = 0.1 * generator.standard_normal((height, width, 3))
    return np.clip(np.asarray(coarse) + noise, 0, 1).astype(np.float32)


def half(height, width):
    """Returns a mask of the left half, with a soft edge."""
    mask = np.zeros((height, width), np.float32)
    mask[:, : width // 2] = 1
    mask[:, width // 2] = 0.5
    return mask


def weights_of(described, styles):
    """Returns loss weights for the terms of an objective with so many style pictures."""
    within = {"content": jnp.ones(1), "style": terms.StyleWeights(jnp.ones((styles, 3)), jnp.float32(0.5))}
    return {
        term.name: objective.TermWeights(jnp.float32(factor), within.get(term.name, ()))
        for term, factor in zip(described.terms, (1, 30, 1e4, 1e-3), strict=False)
    }


def objective_of(statistic, norm="l2"):
    """Returns an objective with every kind of term, which compares styles by one statistic."""
    return objective.Objective(
        terms=(
            terms.Content(("relu3_1",), losses.content_mean, losses.NORMS[norm]),
            terms.Style(SHALLOW, (statistic,) * 3),
            terms.Regulariser(),
            terms.Laplacian(),
        )
    )


def assert_equal(expected, computed):
    """Compares two pairs of losses and gradient."""
    (expected_parts, expected_gradient), (parts, gradient) = expected, computed
    for name, loss in expected_parts.items():
        assert float(parts[name]) == pytest.approx(float(loss), rel=1e-5), name
    largest = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-5 * largest)
