"""One knob from a tint to a full painting, which means the same whatever else is set."""

import pytest

import jaxnst
from jaxnst import metrics

pytestmark = pytest.mark.slow


@pytest.fixture
def numbers(photo, painting):
    """Makes a picture from settings, and measures it."""

    def measure(size=128, **settings):
        result = jaxnst.stylize(photo, painting, size=size, progress=False, **settings)
        return metrics.summary(result.image, photo, painting)

    return measure


def test_more_strength_is_nearer_to_the_painting(numbers):
    rows = [numbers(strength=strength) for strength in (0.0, 0.25, 0.5, 0.75, 1.0)]
    palette, style, structure = ([row[name] for row in rows] for name in ("palette", "style", "structure"))
    assert palette[0] > 0.5
    assert palette[2] < 0.3
    for distances in (palette, style):  # which end at the nearest that so few steps reach
        assert distances[:4] == sorted(distances[:4], reverse=True)
        assert distances[4] < distances[3] + 0.02
    assert structure == sorted(structure, reverse=True)


def test_one_strength_is_as_strong_with_other_networks_poolings_and_statistics(numbers):
    """With absolute weights some of these change the style loss a thousand times."""
    expected = numbers()
    for settings in (
        {"pooling": "average"},
        {"pooling": "l2"},
        {"weights": "caffe-unit"},
        {"statistic": "gram"},
        {"statistic": "covariance"},
        {"gram": "gatys"},
    ):
        row = numbers(**settings)
        assert row["palette"] == pytest.approx(expected["palette"], abs=0.15), settings
        assert row["style"] == pytest.approx(expected["style"], abs=0.15), settings


def test_one_strength_is_as_strong_at_other_sizes(numbers):
    expected = numbers()
    for size in (256, 512):
        row = numbers(size=size)
        for name in ("palette", "style", "structure"):
            assert row[name] == pytest.approx(expected[name], abs=0.12), (size, name)
