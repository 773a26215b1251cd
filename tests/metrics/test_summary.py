"""Tests of the four numbers: by brute force, and by pictures on which a person's choice is plain.

`pictures/make.py` made the pictures and says what a person sees in them.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from pictures import noise, refusal
from scipy import ndimage

from jaxnst import metrics
from jaxnst.core.color import match_covariance, match_histogram
from jaxnst.io import images

FOLDER, EXAMPLES, SIZE = Path(__file__).parent / "pictures", Path(__file__).parents[2] / "examples", 128
PAIRS = {
    "astronaut_van_gogh": (EXAMPLES / "astronaut.jpg", EXAMPLES / "village_street_in_auvers.jpg"),
    "chelsea_hokusai": (EXAMPLES / "chelsea.jpg", EXAMPLES / "great_wave.jpg"),
    "astronaut_kandinsky": (EXAMPLES / "astronaut.jpg", FOLDER / "kandinsky.jpg"),
}
MOUTH = {"astronaut": (36, 58), "chelsea": (53, 62)}
"""Row and column between mouth and nose."""


def small(path):
    picture = images.read_image(path)
    return images.resize(picture, images.fit_size(picture.shape[:2], SIZE))


# Formulas


def random_features(seed, height=5, width=6):
    values = np.random.default_rng(seed).uniform(size=(height, width, 3)).astype(np.float32)
    return dict.fromkeys(metrics.SUMMARY_LAYERS, values)


@pytest.mark.fast
def test_structure_is_the_correlation_of_cosine_similarities_of_near_positions():
    ours, theirs = random_features(0), random_features(1)
    pairs = {}
    for (y, x), (v, u) in product(product(range(5), range(6)), repeat=2):
        if (y, x) < (v, u) and v - y <= 3 and abs(u - x) <= 3:
            similarities = []
            for features in (ours, theirs):
                here, there = (features["relu3_3"][position].astype(float) for position in ((y, x), (v, u)))
                similarities.append(here @ there / np.linalg.norm(here) / np.linalg.norm(there))
            pairs.setdefault((v - y, u - x), []).append(similarities)
    assert len(pairs) == 24
    x, y = np.concatenate([np.subtract(values, np.mean(values, axis=0)) for values in pairs.values()]).T
    expected = (x @ y) / np.sqrt((x @ x) * (y @ y))
    assert metrics.structure_kept(ours, theirs) == pytest.approx(expected, abs=1e-5)


@pytest.mark.fast
def test_structure_of_the_photo_is_1_and_does_not_see_the_strength_of_features():
    photo = random_features(0, 9, 9)
    brighter = {layer: 3 * maps for layer, maps in photo.items()}
    assert metrics.structure_kept(brighter, photo) == pytest.approx(1)


@pytest.mark.fast
def test_style_ratio_is_a_ratio_of_distances_of_sorted_projections():
    ours, photo, painting = (random_features(seed) for seed in (0, 1, 2))
    normal = np.random.default_rng(metrics.SEED).standard_normal((3, 3), np.float32)
    directions = np.linalg.qr(normal)[0]
    f, p, s = (
        np.sort(features["relu3_3"].reshape(-1, 3) @ directions.T, 0) for features in (ours, photo, painting)
    )
    expected = np.linalg.norm(f - s) / np.linalg.norm(p - s)
    assert metrics.style_ratio(ours, photo, [painting]) == pytest.approx(expected, rel=1e-4)
    assert metrics.style_ratio(painting, photo, [painting, painting]) == pytest.approx(0, abs=1e-6)


@pytest.mark.fast
def test_in_colors_of_gives_mean_and_covariance_and_does_not_blow_up_faint_chroma():
    image, painting = (noise(40, 40, seed=seed).astype(np.float32) / 255 * 0.4 + 0.3 for seed in (0, 1))
    painting = painting * np.float32([0.8, 1, 0.6])
    ours = metrics.in_colors_of(image, [painting]).reshape(-1, 3)
    np.testing.assert_allclose(ours.mean(0), painting.reshape(-1, 3).mean(0), atol=1e-3)
    np.testing.assert_allclose(np.cov(ours.T), np.cov(painting.reshape(-1, 3).T), atol=3e-4)
    faint = image[..., :1] + (image - 0.5) / 255
    gray = np.repeat(faint.mean(axis=-1, keepdims=True), 3, axis=-1)
    chroma = np.std(metrics.in_colors_of(faint, [painting]) - metrics.in_colors_of(gray, [painting]))
    blown_up = np.std(match_covariance(faint, painting) - match_covariance(gray, painting))
    assert chroma < 0.01 < 0.05 < blown_up


# Pictures on which a person's choice is plain


@pytest.fixture(
    scope="module",
    params=["astronaut_van_gogh", *(pytest.param(name, marks=pytest.mark.slow) for name in list(PAIRS)[1:])],
)
def pair(request):
    """Measures eleven pictures of a pair."""
    photo, painting = (small(path) for path in PAIRS[request.param])
    made = {
        name: images.read_image(FOLDER / f"{request.param}_{name}.jpg")
        for name in ("painted", "old_default", "heavy", "over_strong")
    }
    painted, random = made["painted"], np.random.default_rng(0)
    grain = random.normal(0, 0.1, photo.shape)
    dots = painted.copy()
    dotted = random.random(dots.shape[:2]) < 0.01
    dots[dotted] = random.integers(0, 2, (dotted.sum(), 3))
    pictures = made | {
        "photo": photo,
        "recolored": match_covariance(photo, painting),
        "recolored by histogram": match_histogram(photo, painting),
        "noisy photo": (photo + grain).clip(0, 1),
        "noisy": (painted + grain).clip(0, 1),
        "dots": dots,
        "displaced mouth": displaced(painted, *MOUTH[request.param.partition("_")[0]]),
        "mirrored": painted[:, ::-1],
    }
    return {name: metrics.summary(picture, *PAIRS[request.param], SIZE) for name, picture in pictures.items()}


def displaced(picture, row, column):
    """Moves what is within about 10 pixels of a place 8 pixels to the right."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    near = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 200)
    places = [rows, columns - 8 * near]
    channels = [ndimage.map_coordinates(channel, places, order=1) for channel in np.moveaxis(picture, -1, 0)]
    return np.stack(channels, axis=-1)


def of(pair, number):
    return {name: numbers[number] for name, numbers in pair.items()}


def test_all_numbers_are_between_0_and_1(pair):
    for numbers in pair.values():
        assert list(numbers) == list(metrics.SUMMARY) == ["palette", "style", "structure", "speckle"]
        assert all(type(value) is float and 0 <= value <= 1 for value in numbers.values())


def test_palette_prefers_the_paintings_colours_to_those_of_the_photo(pair):
    palette = of(pair, "palette")
    assert palette["painted"] < 0.4 < 0.5 < palette["old_default"] < palette["photo"]
    assert palette["heavy"] < palette["old_default"]
    assert palette["recolored"] < palette["old_default"]
    assert palette["photo"] > 0.95


def test_style_prefers_strokes_to_a_change_of_colour_or_noise(pair):
    style = of(pair, "style")
    without_strokes = ("photo", "recolored", "recolored by histogram", "noisy photo")
    for name in ("painted", "heavy"):
        assert style[name] < 0.5 < 0.8 < min(style[other] for other in without_strokes), name
    assert style["old_default"] < 0.8 * min(style[other] for other in without_strokes)
    for worse in ("old_default", "over_strong", "noisy"):
        assert style["painted"] < style[worse], worse
    assert style["heavy"] < style["painted"] + 0.02


def test_structure_prefers_what_looks_like_the_photo(pair):
    structure = of(pair, "structure")
    assert structure["photo"] == pytest.approx(1)
    assert min(structure["recolored"], structure["recolored by histogram"]) > 0.88
    assert 0.88 > structure["painted"] > 2 * structure["heavy"]
    assert structure["painted"] >= structure["old_default"] > 1.5 * structure["heavy"]
    assert structure["over_strong"] < structure["heavy"]
    assert structure["mirrored"] < 0.6 * structure["painted"]


def test_structure_sees_a_displaced_mouth_and_hardly_noise(pair):
    structure = of(pair, "structure")
    assert structure["displaced mouth"] < structure["painted"] - 0.01
    assert structure["noisy"] > structure["painted"] - 0.05


def test_speckle_sees_dots_noise_and_checkerboards_only(pair):
    speckle = of(pair, "speckle")
    for name in ("photo", "recolored", "painted", "mirrored", "displaced mouth"):
        assert speckle[name] == 0, name
    assert speckle["heavy"] < 0.1
    assert speckle["dots"] > 0.17
    assert min(speckle[name] for name in ("noisy", "noisy photo", "over_strong")) > 0.5
    assert speckle["dots"] < speckle["noisy"] < speckle["over_strong"]


# The yardstick


def test_without_photo_or_painting_the_numbers_that_need_none_are_left():
    photo, painting = PAIRS["chelsea_hokusai"]
    image = FOLDER / "chelsea_hokusai_painted.jpg"
    whole = metrics.summary(image, photo, painting, SIZE)
    assert metrics.summary(image, photo, None, SIZE) == {"structure": whole["structure"]}
    assert metrics.summary(image, None, painting, SIZE) == {"speckle": whole["speckle"]}
    assert metrics.summary(image, photo, [painting] * 2, SIZE) == pytest.approx(whole, abs=1e-3)
    assert metrics.summary(image, photo, painting, 2 * SIZE) == whole  # it is never enlarged


def test_what_cannot_be_measured_is_refused():
    image = np.zeros((64, 8, 3), np.float32)
    message = refusal(metrics.summary, image, image, image)
    assert message.startswith("image: 8x64 pixels after resizing are too few")
    assert refusal(metrics.summary, image, None, None).startswith("content and style are both missing")
