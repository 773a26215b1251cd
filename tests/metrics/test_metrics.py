"""Quality measures, against formulas written out in NumPy and PyTorch, and against pictures one can rank."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from pictures import refusal

import jaxnst
from jaxnst import metrics
from jaxnst.io import images

SIDE = 64
measure = functools.partial(metrics.measure, size=SIDE)
WEIGHTS = Path(__file__).parents[2] / "weights" / "vgg19_caffe.h5"


def small(path):
    array = images.read_image(path)
    return images.resize(array, images.fit_size(array.shape[:2], SIDE))


def flat(*rgb):
    return np.broadcast_to(np.float32(rgb), (SIDE, SIDE, 3))


def blurred(image):
    sides = image.shape[:2]
    return images.resize(images.resize(image, tuple(side // 4 for side in sides)), sides)


def of_family(found, name):
    return np.array([value for key, value in found.items() if metrics.kind(key) == name])


@pytest.fixture(scope="module")
def pictures():
    examples = Path(__file__).parents[2] / "examples"
    return small(examples / "astronaut.jpg"), small(examples / "great_wave.jpg")


@pytest.fixture(scope="module")
def of_photo(pictures):
    """The photo, measured as if it were the finished picture."""
    return measure(pictures[0], *pictures)


@pytest.fixture(scope="module")
def of_blurred(pictures):
    return measure(blurred(pictures[0]), *pictures)


# What the numbers are


def test_a_picture_is_at_no_distance_from_itself(pictures):
    photo = pictures[0]
    for key, value in measure(photo, photo, photo).items():
        assert value == (1 if metrics.METRICS[metrics.kind(key)].higher_is_better else 0), key


def test_keys_are_stable_and_all_are_explained(of_photo):
    content = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"]
    style = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    assert list(of_photo) == [
        *(f"content/{layer}" for layer in content),
        *("ssim", "gradient_ssim", "color/content", "color/style"),
        *(f"style/{layer}" for layer in style),
        *(f"sliced_wasserstein/{layer}" for layer in ("pool1", "pool2", "relu3_3", "relu4_3")),
    ]
    assert {metrics.kind(key) for key in of_photo} == set(metrics.METRICS)
    assert {type(value) for value in of_photo.values()} == {float}


@pytest.fixture(scope="module")
def of_torch(pictures):
    """Features of the blurred photo, the photo and the painting, `{layer: [M, N]}`, float64, by PyTorch."""
    torch = pytest.importorskip("torch")
    import torch_reference

    network = torch_reference.load_network(WEIGHTS)
    return [
        {
            layer: found.flatten(1).T.numpy().astype(np.float64)
            for layer, found in torch_reference.features(network, torch.tensor(image), metrics.LAYERS).items()
        }
        for image in (blurred(pictures[0]), *pictures)
    ]


def test_content_is_the_relative_squared_distance_of_the_features(of_torch, of_blurred):
    F, P, _ = of_torch
    for layer in metrics.CONTENT_LAYERS:
        expected = np.sum((F[layer] - P[layer]) ** 2) / np.sum(P[layer] ** 2)
        assert of_blurred[f"content/{layer}"] == pytest.approx(expected, rel=1e-3)


def test_style_is_the_relative_squared_distance_of_gram_matrices_per_position(of_torch, of_blurred):
    F, _, S = of_torch
    for layer in metrics.STYLE_LAYERS:
        G, A = (of[layer].T @ of[layer] / len(of[layer]) for of in (F, S))
        expected = np.sum((G - A) ** 2) / np.sum(A**2)
        assert of_blurred[f"style/{layer}"] == pytest.approx(expected, rel=1e-3)


def test_sliced_wasserstein_is_that_of_equally_many_sorted_copies(of_torch, of_blurred):
    """Two samples become equally large when every value is repeated; then the sorted values are pairs."""
    F, _, S = of_torch
    for layer in metrics.SLICED_WASSERSTEIN_LAYERS:
        channels = F[layer].shape[1]
        normal = np.random.default_rng(metrics.SEED).standard_normal((channels, channels), np.float32)
        directions = np.linalg.qr(normal)[0]
        ours, theirs = (np.sort(of[layer] @ directions.T, axis=0) for of in (F, S))
        assert len(ours) != len(theirs)
        size = math.lcm(len(ours), len(theirs))
        pairs = (np.repeat(of, size // len(of), axis=0) for of in (ours, theirs))
        expected = np.mean(np.subtract(*pairs) ** 2) / np.mean(theirs**2)
        assert of_blurred[f"sliced_wasserstein/{layer}"] == pytest.approx(expected, rel=1e-3)


def test_other_directions_would_say_the_same(pictures, of_photo, monkeypatch):
    monkeypatch.setattr(metrics, "SEED", 5)
    other = of_family(measure(pictures[0], None, pictures[1]), "sliced_wasserstein")
    np.testing.assert_allclose(other, of_family(of_photo, "sliced_wasserstein"), rtol=0.05)


def structural_similarity(x, y):
    """Wang et al. 2004, eq. 13-16: windows of 11x11 with Gaussian weights, K1 = 0.01, K2 = 0.03, L = 1."""
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2

    def mean(of):
        return np.einsum("ijkl,kl->ij", sliding_window_view(of, (11, 11)), weights)

    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    covariance = mean(x * y) - mean(x) * mean(y)
    brightness = (2 * mean(x) * mean(y) + 0.01**2) / (mean(x) ** 2 + mean(y) ** 2 + 0.01**2)
    return np.mean(brightness * (2 * covariance + 0.03**2) / (variances + 0.03**2))


def gradient_magnitude(x):
    """By Sobel's filter; of the pixels beyond the border the nearest ones inside stand in."""
    windows = sliding_window_view(np.pad(x, 1, mode="symmetric"), (3, 3))
    sobel = np.outer([1, 2, 1], [-1, 0, 1]) / 4
    across, down = (np.einsum("ijkl,kl->ij", windows, kernel) for kernel in (sobel, sobel.T))
    return np.sqrt((across**2 + down**2) / 2)


def test_ssim_is_the_papers_formula_on_the_luminance(pictures, of_blurred):
    x, y = (np.float64(image) @ [0.299, 0.587, 0.114] for image in (blurred(pictures[0]), pictures[0]))
    assert of_blurred["ssim"] == pytest.approx(structural_similarity(x, y), abs=1e-5)
    gradients = structural_similarity(gradient_magnitude(x), gradient_magnitude(y))
    assert of_blurred["gradient_ssim"] == pytest.approx(gradients, abs=1e-5)


def lightness(gray):
    """CIE 1976 L* of an sRGB gray above the linear foot of both curves."""
    return 116 * (((gray + 0.055) / 1.055) ** 2.4) ** (1 / 3) - 16


def test_colour_distances_of_grays_are_those_of_their_lightness():
    dark, light = lightness(0.3), lightness(0.7)
    found = measure(flat(0.3, 0.3, 0.3), flat(0.7, 0.7, 0.7), flat(0.7, 0.7, 0.7))
    off_middle = ((dark + light) / 2 - 50) ** 2
    weight = 1 + 0.015 * off_middle / np.sqrt(20 + off_middle)  # S_L of CIEDE2000
    assert found["color/content"] == pytest.approx((light - dark) / weight, abs=0.01)
    assert found["color/style"] == pytest.approx(light - dark, abs=0.01)
    assert all(np.isfinite(value) for value in found.values())


def test_a_shift_of_all_colours_is_measured_by_its_length():
    skimage_color = pytest.importorskip("skimage.color")
    lab = np.random.default_rng(0).uniform((40, -15, -15), (60, 15, 15), (SIDE, SIDE, 3))
    image, shifted = (np.float32(skimage_color.lab2rgb(lab + by)) for by in ((0, 0, 0), (3, 4, -12)))
    found = measure(image, None, shifted[::-1])
    assert found["color/style"] == pytest.approx(13, abs=0.01)


# What they are good for: pictures in an order that the eye sees


def test_blur_costs_edges_but_hardly_colour_and_wrong_colours_the_reverse(pictures, of_blurred):
    photo = pictures[0]
    gray = (photo @ np.float32([0.299, 0.587, 0.114]))[..., None]
    complementary = np.clip(2 * gray - photo, 0, 1)
    of_complementary = measure(complementary, *pictures)
    assert of_blurred["gradient_ssim"] < 0.8 < 0.9 < of_complementary["gradient_ssim"]
    assert of_blurred["ssim"] < of_complementary["ssim"]
    assert of_blurred["color/content"] < of_complementary["color/content"] / 2


def test_a_picture_that_is_half_painting_is_nearer_to_the_style_and_further_from_the_photo(
    pictures, of_photo
):
    photo, painting = pictures
    half = photo.copy()
    half[: painting.shape[0], : SIDE // 2] = painting[:, : SIDE // 2]
    found = measure(half, *pictures)
    for name in ("style", "sliced_wasserstein", "color/style"):
        assert (of_family(found, name) < of_family(of_photo, name)).all(), name
    assert (of_family(found, "content") > 0.1).all()
    assert found["ssim"] < 0.9


def test_a_painting_in_shuffled_tiles_has_its_style_and_not_its_content(pictures, of_photo):
    painting = images.resize(pictures[1], (SIDE, SIDE))
    tiles = painting.reshape(4, 16, 4, 16, 3).swapaxes(1, 2).reshape(16, 16, 16, 3)
    tiles = np.random.default_rng(0).permutation(tiles)
    shuffled = tiles.reshape(4, 4, 16, 16, 3).swapaxes(1, 2).reshape(SIDE, SIDE, 3)
    found = measure(shuffled, painting, painting)
    assert found["color/style"] == pytest.approx(0, abs=1e-4)
    for name in ("style", "sliced_wasserstein"):
        assert (of_family(found, name) < of_family(of_photo, name) / 2).all(), name
    assert (of_family(found, "content") > 0.3).all()
    assert found["ssim"] < 0.3


# The yardstick


def test_no_preset_and_no_default_optimises_the_layers_of_sliced_wasserstein():
    for config in (jaxnst.Config(), *jaxnst.PRESETS.values()):
        optimised = {*config.content_layers, *config.style_layers, *config.histogram_layers}
        assert not optimised & set(metrics.SLICED_WASSERSTEIN_LAYERS)


def test_content_and_style_come_to_the_pictures_size(photo, painting, pictures, of_photo):
    """The files are 512 and 657 pixels wide."""
    assert measure(pictures[0], photo, painting) == of_photo


def test_the_size_of_a_picture_does_not_count(pictures, of_photo):
    """The same picture with four times the pixels has the same numbers, but for resampling."""
    larger = images.resize(pictures[0], (2 * SIDE, 2 * SIDE))
    for key, value in measure(larger, *pictures).items():
        assert value == pytest.approx(of_photo[key], rel=0.2, abs=1 if key == "color/content" else 0.03), key


def test_several_styles_are_measured_each_by_itself(pictures, of_photo):
    photo, painting = pictures
    found = measure(photo, None, [painting, painting[:, ::-1, ::-1]])
    assert len(found) == 20
    for key in ("style/relu3_1", "sliced_wasserstein/pool2"):
        name, layer = key.split("/")
        assert found[f"{name} 1/{layer}"] == of_photo[key] != found[f"{name} 2/{layer}"]
    assert found["color/style 1"] == of_photo["color/style"] != found["color/style 2"]
    assert {metrics.kind(key) for key in found} == {"style", "sliced_wasserstein", "color/style"}


def test_without_a_style_the_photo_alone_counts(pictures, of_photo):
    found = measure(pictures[0], pictures[0], None)
    assert list(found) == list(of_photo)[:9]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            ((15, 64), (64, 64), (64, 64)),
            "image: 64x15 pixels, as it is compared, are too few",
        ),
        (
            ((64, 64), (64, 64), (64, 512)),
            "style: 64x8 pixels, as it is compared, are too",
        ),
        (((64, 64), None, None), "content and style are both missing"),
        (((64, 64), (64, 64), []), "style: no picture is given"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(shapes, message):
    given = [np.zeros((*shape, 3), np.float32) if shape else shape for shape in shapes]
    assert refusal(measure, *given).startswith(message)


# The table

FOUND = {
    "a.png": {"content/relu1_1": 0.25, "ssim": 0.5, "gradient_ssim": 1 / 3, "style 1/relu1_1": 2e-7, "n": 1},
    "photo": {
        "content/relu1_1": 0.0,
        "ssim": 1.0,
        "gradient_ssim": 1 / 3,
        "style 2/relu1_1": 1234567,
        "n": 2,
    },
}


def test_table_marks_the_best_of_each_line():
    assert metrics.table(FOUND).splitlines() == [
        "                  a.png       photo",
        "content/relu1_1    0.25           0*",
        "",
        "ssim                0.5           1*",
        "gradient_ssim    0.3333      0.3333",
        "",
        "style 1/relu1_1   2e-07           -",
        "",
        "n                     1           2",
        "",
        "style 2/relu1_1       -   1.235e+06",
    ]


def test_table_of_one_picture_marks_nothing():
    assert metrics.table({"photo": FOUND["photo"]}).splitlines()[:4] == [
        "                     photo",
        "content/relu1_1          0",
        "",
        "ssim                     1",
    ]


def test_table_does_not_take_a_nan_for_the_best():
    lines = metrics.table({name: {"ssim": of} for name, of in (("a", np.nan), ("b", 0.1), ("c", 0.2))})
    assert lines.splitlines()[1].split() == ["ssim", "nan", "0.1", "0.2*"]
