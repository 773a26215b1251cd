"""Tests of the grain of colour, against patterns whose energy is known."""

import numpy as np
import pytest
from scipy.signal import convolve2d

from jaxnst.io import images
from jaxnst.metrics import chroma_grain, speckle

pytestmark = pytest.mark.fast

GRAY = np.full((32, 48, 3), 0.5, np.float32)
ROWS, COLUMNS = np.mgrid[:32, :48]


def with_red(pattern):
    """Adds a pattern to red: R - G changes by 1, (R + G) / 2 - B by 1/2."""
    return GRAY + np.stack([pattern, 0 * pattern, 0 * pattern], axis=-1).astype(np.float32)


ENERGY_OF_RED = np.sqrt((1 + 0.25) / 2)


def test_a_checkerboard_counts_whole_and_a_period_of_four_by_three_quarters():
    checkerboard = 0.1 * (-1.0) ** (ROWS + COLUMNS)
    stripes = 0.1 * np.sqrt(2) * np.sin(np.pi / 2 * COLUMNS + np.pi / 4)
    assert chroma_grain(with_red(checkerboard)) == pytest.approx(0.1 * ENERGY_OF_RED, rel=1e-5)
    assert chroma_grain(with_red(stripes)) == pytest.approx(0.75 * 0.1 * ENERGY_OF_RED, rel=0.03)


def test_a_ramp_and_gray_noise_have_no_grain_of_colour():
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (32, 48, 1)).astype(np.float32)
    assert chroma_grain(GRAY + noise) == pytest.approx(0, abs=1e-7)
    assert chroma_grain(with_red(0.005 * COLUMNS)) < 0.003  # only the border


def test_grain_is_the_picture_less_its_low_pass():
    image = np.random.default_rng(1).uniform(size=(20, 24, 3)).astype(np.float32)
    r, g, b = np.moveaxis(image.astype(np.float64), -1, 0)
    window = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    bands = [x - convolve2d(np.pad(x, 2, "reflect"), window, "valid") for x in (r - g, (r + g) / 2 - b)]
    assert chroma_grain(image) == pytest.approx(np.sqrt(np.mean(np.square(bands))), rel=1e-6)


def test_speckle_is_relative_to_the_painting_which_is_shrunk_but_never_enlarged():
    checkerboard = 0.05 * (-1.0) ** (ROWS + COLUMNS)
    assert speckle(with_red(2 * checkerboard), [with_red(checkerboard)]) == pytest.approx(2, rel=1e-4)
    assert speckle(np.tile(with_red(checkerboard), (2, 2, 1)), [with_red(checkerboard)]) == pytest.approx(
        1, rel=1e-4
    )
    blocks = np.kron(with_red(checkerboard), np.ones((2, 2, 1), np.float32))
    shrunk = images.resize(blocks, (32, 48))
    assert speckle(with_red(checkerboard), [blocks]) == speckle(with_red(checkerboard), [shrunk]) > 1


def test_a_gray_painting_counts_as_one_level_of_grain():
    checkerboard = (-1.0) ** (ROWS + COLUMNS) / 255
    assert speckle(with_red(checkerboard), [GRAY]) == pytest.approx(ENERGY_OF_RED, rel=1e-4)


def test_of_several_paintings_the_mean_square_counts():
    checkerboard = (-1.0) ** (ROWS + COLUMNS)
    paintings = [with_red(0.03 * checkerboard), with_red(0.04 * checkerboard)]
    assert speckle(with_red(0.05 * checkerboard), paintings) == pytest.approx(np.sqrt(2), rel=1e-4)
