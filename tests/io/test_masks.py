"""Tests of reading masks: kinds, sizes and refusals."""

import numpy as np
import pytest
from pictures import refusal
from PIL import Image

from jaxnst.io import masks

pytestmark = pytest.mark.fast


@pytest.fixture
def shape():
    return (12, 20)


def test_files_booleans_bytes_and_floats_give_the_same_mask(shape, tmp_path):
    half = np.zeros((12, 20), bool)
    half[:, :10] = True
    Image.fromarray(half.astype(np.uint8) * 255).save(tmp_path / "half.png")
    kinds = [half, half.astype(np.uint8) * 255, half.astype(np.float32), str(tmp_path / "half.png")]
    for mask in masks.read_masks(kinds, [shape] * 4, "content_masks"):
        assert mask.dtype == np.float32
        np.testing.assert_allclose(mask, half, atol=1e-6)


def test_soft_edges_stay_soft(shape):
    ramp = np.tile(np.linspace(0, 1, 20, dtype=np.float32), (12, 1))
    [mask] = masks.read_masks([ramp], [shape], "content_masks")
    np.testing.assert_allclose(mask, ramp, atol=1e-6)


def test_another_size_is_resized_with_a_warning(shape):
    half = np.zeros((24, 40), bool)
    half[:, :20] = True
    with pytest.warns(UserWarning, match="content_masks 1: 40x24 pixels, resized to its picture's 20x12"):
        [mask] = masks.read_masks([half], [shape], "content_masks")
    assert mask.shape == (12, 20)
    assert mask[:, :8].min() > 0.99
    assert mask[:, 12:].max() < 0.01


def test_an_empty_region_is_refused(shape):
    message = refusal(masks.read_masks, [np.ones((12, 20)), np.zeros((12, 20))], [shape] * 2, "content_masks")
    assert message == "content_masks 2: the region is empty; mark it with white."


def test_a_region_that_vanishes_at_a_layer_is_refused():
    guides = {"relu1_1": np.ones((8, 8)), "relu5_1": np.zeros((1, 1))}
    message = refusal(masks.check_regions, guides, "style_masks 1", (16, 24))
    assert message.startswith("style_masks 1: at 24x16 pixels the region is empty at relu5_1")


def test_coverage_is_a_sum_of_at_most_one():
    parts = [np.array([[1.0, 0.5, 0.0]]), np.array([[1.0, 0.25, 0.0]])]
    np.testing.assert_allclose(masks.coverage(parts), [[1, 0.75, 0]])


def test_transparent_pixels_are_outside(shape, tmp_path):
    pixels = np.full((12, 20, 4), 255, np.uint8)
    pixels[:, 10:, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    [mask] = masks.read_masks([tmp_path / "mask.png"], [shape], "content_masks")
    np.testing.assert_array_equal(mask, np.broadcast_to(np.arange(20) < 10, (12, 20)))


def test_bytes_of_zero_and_one_give_a_warning(shape):
    with pytest.warns(UserWarning, match="content_masks 1: its brightest value is 0.0039; white is 1"):
        masks.read_masks([np.ones((12, 20), np.uint8)], [shape], "content_masks")


def test_a_hard_edge_leaves_nothing_outside_when_resized():
    mask = np.zeros((40, 40), np.float32)
    mask[:, :20] = 1
    small = masks.resize(mask, (10, 10))
    assert small[:, 6:].max() == 0
    assert small[:, :4].min() == 1


def test_a_faint_region_has_a_core():
    faint = np.array([[0.0, 0.1, 0.19, 0.3, 0.2]], np.float32)
    np.testing.assert_array_equal(masks.core(faint), [[False, False, True, True, True]])
