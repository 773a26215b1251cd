"""The direct convolution and Winograd's, against a sum written out and against each other."""

import jax
import numpy as np
import pytest

from jaxnst.core import conv

pytestmark = pytest.mark.fast

SHAPES = [(8, 8), (5, 7), (1, 1), (4, 13)]


@pytest.fixture
def kernel():
    return np.random.default_rng(0).standard_normal((3, 3, 6, 4)).astype(np.float32)


def by_hand(x, kernel):
    """Sums nine shifted products, in float64."""
    height, width, _ = x.shape
    padded = np.pad(x.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    return sum(
        padded[row : row + height, column : column + width] @ kernel[row, column].astype(np.float64)
        for row in range(3)
        for column in range(3)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_both_convolutions_are_the_sum_of_nine_products(kernel, shape):
    x = np.random.default_rng(1).standard_normal((*shape, 6)).astype(np.float32)
    expected = by_hand(x, kernel)
    np.testing.assert_allclose(conv.direct(x, kernel), expected, atol=1e-5)
    np.testing.assert_allclose(conv.winograd(x, conv.winograd_filters(kernel)), expected, atol=3e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_agree(kernel, shape):
    generator = np.random.default_rng(2)
    x = generator.standard_normal((*shape, 6)).astype(np.float32)
    direction = generator.standard_normal((*shape, 4)).astype(np.float32)
    filters = conv.winograd_filters(kernel)
    plain = jax.grad(lambda x: (conv.direct(x, kernel) * direction).sum())(x)
    fast = jax.grad(lambda x: (conv.winograd(x, filters) * direction).sum())(x)
    np.testing.assert_allclose(fast, plain, atol=3e-5)


def test_winograd_vmaps(kernel):
    x = np.random.default_rng(3).standard_normal((3, 6, 9, 6)).astype(np.float32)
    filters = conv.winograd_filters(kernel)
    together = jax.vmap(conv.winograd, in_axes=(0, None))(x, filters)
    for image, result in zip(x, together, strict=True):
        np.testing.assert_allclose(result, conv.winograd(image, filters), atol=3e-5)
