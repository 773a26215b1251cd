"""Masks in: kinds, sizes, and what is refused."""

import numpy as np
import pytest
from pictures import refusal
from PIL import Image

from jaxnst import masks


@pytest.fixture
def picture():
    return np.zeros((12, 20, 3), np.float32)


def test_files_truth_values_bytes_and_floats_are_one_mask(picture, tmp_path):
    half = np.zeros((12, 20), bool)
    half[:, :10] = True
    Image.fromarray(half.astype(np.uint8) * 255).save(tmp_path / "half.png")
    kinds = [half, half.astype(np.uint8) * 255, half.astype(np.float32), str(tmp_path / "half.png")]
    for mask in masks.read_masks(kinds, [picture] * 4, "content_masks"):
        assert mask.dtype == np.float32
        np.testing.assert_allclose(mask, half, atol=1e-6)


def test_soft_edges_stay_soft(picture):
    ramp = np.tile(np.linspace(0, 1, 20, dtype=np.float32), (12, 1))
    [found] = masks.read_masks([ramp], [picture], "content_masks")
    np.testing.assert_allclose(found, ramp, atol=1e-6)


def test_another_size_is_resized_with_a_warning(picture):
    half = np.zeros((24, 40), bool)
    half[:, :20] = True
    with pytest.warns(UserWarning, match="content_masks 1: 40x24 pixels, resized to its picture's 20x12"):
        [found] = masks.read_masks([half], [picture], "content_masks")
    assert found.shape == (12, 20)
    assert found[:, :8].min() > 0.99
    assert found[:, 12:].max() < 0.01


def test_an_empty_region_is_refused(picture):
    message = refusal(
        masks.read_masks, [np.ones((12, 20)), np.zeros((12, 20))], [picture] * 2, "content_masks"
    )
    assert message == "content_masks 2: the region is empty; mark it with white."


def test_a_region_that_vanishes_at_a_layer_is_refused():
    guides = {"relu1_1": np.ones((8, 8)), "relu5_1": np.zeros((1, 1))}
    message = refusal(masks.check_regions, guides, "style_masks 1", (16, 24))
    assert message.startswith("style_masks 1: at 24x16 pixels the region is empty at relu5_1")


def test_coverage_adds_up_to_one_at_most():
    parts = [np.array([[1.0, 0.5, 0.0]]), np.array([[1.0, 0.25, 0.0]])]
    np.testing.assert_allclose(masks.coverage(parts), [[1, 0.75, 0]])
