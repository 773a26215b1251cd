"""Tests of structural similarity and gradient magnitudes, against scikit-image."""

import numpy as np
import pytest

from jaxnst.core.color import luminance
from jaxnst.io.images import read_image
from jaxnst.metrics.similarity import gradient_magnitude, structural_similarity

pytestmark = pytest.mark.fast


@pytest.fixture(params=["random", "small", "flat", "photo"])
def pair(request, photo):
    random = np.random.default_rng(0).random
    if request.param == "photo":
        x = luminance(read_image(photo)).astype(np.float64)
        return x, np.clip(x + 0.2 * (random(x.shape) - 0.5), 0, 1)
    shape = {"random": (40, 57), "small": (11, 12), "flat": (20, 20)}[request.param]
    return (np.zeros(shape), np.full(shape, 0.5)) if request.param == "flat" else random((2, *shape))


def test_structural_similarity_is_that_of_scikit_image(pair):
    reference = pytest.importorskip("skimage.metrics").structural_similarity
    expected = reference(*pair, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    assert structural_similarity(*pair) == pytest.approx(expected, abs=1e-9)
    assert structural_similarity(pair[0], pair[0]) == 1


def test_gradient_magnitude_is_that_of_scikit_image(pair):
    sobel = pytest.importorskip("skimage.filters").sobel
    for image in pair:
        np.testing.assert_allclose(gradient_magnitude(image), sobel(image), atol=1e-12)
