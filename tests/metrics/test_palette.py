"""Tests of the palette ratio, against SciPy's transport in one dimension and shifts of known length."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from jaxnst.io import images
from jaxnst.metrics import palette_distance, palette_ratio

pytestmark = pytest.mark.fast


def picture(seed, *shape):
    return np.random.default_rng(seed).uniform(0.2, 0.6, (*(shape or (160, 160)), 3)).astype(np.float32)


def test_palette_distance_is_that_of_the_best_assignment_along_each_direction():
    """Blocks of 10 x 10 pixels, one colour each, leave 256 colours to assign."""
    ours, theirs = (np.kron(picture(seed, 16, 16), np.ones((10, 10, 1), np.float32)) for seed in (0, 1))
    normal = np.random.default_rng(0).standard_normal((64, 3))
    squares = []
    for direction in normal / np.linalg.norm(normal, axis=1, keepdims=True):
        x, y = (colors[::10, ::10].reshape(-1, 3).astype(np.float64) @ direction for colors in (ours, theirs))
        costs = np.square(x[:, None] - y)
        squares.append(costs[linear_sum_assignment(costs)].mean())
    assert palette_distance(ours, [theirs]) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6)


def test_a_shift_of_all_colours_is_measured_by_its_length():
    shift = np.float32([0.1, -0.2, 0.2])  # of length 0.3
    assert palette_distance(picture(0) + shift, [picture(0)]) == pytest.approx(0.3 / np.sqrt(3), rel=0.1)


def test_palette_ratio_is_0_for_the_painting_1_for_the_photo_and_more_beyond():
    painting = picture(0)
    photo, half, beyond = (painting + np.float32(shift) for shift in (0.2, 0.1, 0.3))
    for image, ratio in ((painting, 0), (half, 0.5), (photo, 1), (beyond, 1.5)):
        assert palette_ratio(image, photo, [painting]) == pytest.approx(ratio, abs=1e-4)
    assert palette_ratio(photo, painting, [painting]) > 1  # a photo that has the painting's palette already


def test_pictures_are_compared_at_160_pixels():
    ours, theirs = picture(0, 64, 200), picture(1, 90, 70)
    resized = (images.resize(x, (160, 160)) for x in (ours, theirs))
    assert palette_distance(ours, [theirs]) == palette_distance(next(resized), [next(resized)])


def test_the_colours_of_several_paintings_are_pooled():
    dark, light = (np.full((160, 160, 3), value, np.float32) for value in (0.2, 0.8))
    both = np.concatenate([dark[:80], light[:80]])
    assert palette_distance(both, [dark, light]) == pytest.approx(0, abs=1e-6)
    assert palette_distance(dark, [dark, light]) > 0.1
