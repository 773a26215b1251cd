"""Tests of `measure`, against formulas in NumPy and PyTorch, and against pictures that the eye can rank."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
from pictures import refusal

import jaxnst
from jaxnst import metrics
from jaxnst.io import images
from jaxnst.metrics.sliced_wasserstein import sliced_wasserstein

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


def of_kind(numbers, name):
    return np.array([value for key, value in numbers.items() if metrics.kind(key) == name])


@pytest.fixture(scope="module")
def pictures():
    examples = Path(__file__).parents[2] / "examples"
    return small(examples / "astronaut.jpg"), small(examples / "great_wave.jpg")


@pytest.fixture(scope="module")
def of_photo(pictures):
    """Measures the photo as if it were the finished picture."""
    return measure(pictures[0], *pictures)


@pytest.fixture(scope="module")
def of_blurred(pictures):
    return measure(blurred(pictures[0]), *pictures)


# Formulas


def test_a_picture_has_no_distance_to_itself(pictures):
    photo = pictures[0]
    for key, value in measure(photo, photo, photo).items():
        assert value == (1 if metrics.METRICS[metrics.kind(key)].higher_is_better else 0), key


def test_keys_are_stable_and_each_is_explained(of_photo):
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
    """Computes features of the blurred photo, the photo and the painting in PyTorch: `{layer: [M, N]}`."""
    torch = pytest.importorskip("torch")
    import torch_reference

    network = torch_reference.load_network(WEIGHTS)
    return [
        {
            layer: maps.flatten(1).T.numpy().astype(np.float64)
            for layer, maps in torch_reference.features(network, torch.tensor(image), metrics.LAYERS).items()
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
        G, A = (features[layer].T @ features[layer] / len(features[layer]) for features in (F, S))
        expected = np.sum((G - A) ** 2) / np.sum(A**2)
        assert of_blurred[f"style/{layer}"] == pytest.approx(expected, rel=1e-3)


def test_sliced_wasserstein_is_the_distance_of_sorted_values(of_torch, of_blurred):
    """Repeating every value makes two samples equally large, and then their sorted values form pairs."""
    F, _, S = of_torch
    for layer in metrics.SLICED_WASSERSTEIN_LAYERS:
        channels = F[layer].shape[1]
        normal = np.random.default_rng(metrics.SEED).standard_normal((channels, channels), np.float32)
        directions = np.linalg.qr(normal)[0]
        ours, theirs = (np.sort(features[layer] @ directions.T, axis=0) for features in (F, S))
        assert len(ours) != len(theirs)
        size = math.lcm(len(ours), len(theirs))
        pairs = (np.repeat(values, size // len(values), axis=0) for values in (ours, theirs))
        expected = np.mean(np.subtract(*pairs) ** 2) / np.mean(theirs**2)
        assert of_blurred[f"sliced_wasserstein/{layer}"] == pytest.approx(expected, rel=1e-3)


def test_other_directions_give_nearly_the_same_sliced_wasserstein(of_torch):
    _, P, S = of_torch
    for layer in metrics.SLICED_WASSERSTEIN_LAYERS:
        maps = P[layer][:, None], S[layer][:, None]
        assert sliced_wasserstein(*maps, seed=5) == pytest.approx(sliced_wasserstein(*maps), rel=0.05)


def test_ssim_compares_the_luminance(pictures, of_blurred):
    similarity = pytest.importorskip("skimage.metrics").structural_similarity
    sobel = pytest.importorskip("skimage.filters").sobel
    x, y = (np.float64(image) @ [0.299, 0.587, 0.114] for image in (blurred(pictures[0]), pictures[0]))
    how = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert of_blurred["ssim"] == pytest.approx(similarity(x, y, **how), abs=1e-5)
    assert of_blurred["gradient_ssim"] == pytest.approx(similarity(sobel(x), sobel(y), **how), abs=1e-5)


def lightness(gray):
    """Computes CIE 1976 L* of an sRGB gray that is too light for the linear part of either curve."""
    return 116 * (((gray + 0.055) / 1.055) ** 2.4) ** (1 / 3) - 16


def test_colour_distances_of_grays_follow_from_their_lightness():
    dark, light = lightness(0.3), lightness(0.7)
    numbers = measure(flat(0.3, 0.3, 0.3), flat(0.7, 0.7, 0.7), flat(0.7, 0.7, 0.7))
    off_middle = ((dark + light) / 2 - 50) ** 2
    weight = 1 + 0.015 * off_middle / np.sqrt(20 + off_middle)  # S_L of CIEDE2000
    assert numbers["color/content"] == pytest.approx((light - dark) / weight, abs=0.01)
    assert numbers["color/style"] == pytest.approx(light - dark, abs=0.01)
    assert all(np.isfinite(value) for value in numbers.values())


def test_a_shift_of_all_colours_is_measured_by_its_length():
    skimage_color = pytest.importorskip("skimage.color")
    lab = np.random.default_rng(0).uniform((40, -15, -15), (60, 15, 15), (SIDE, SIDE, 3))
    image, shifted = (np.float32(skimage_color.lab2rgb(lab + by)) for by in ((0, 0, 0), (3, 4, -12)))
    numbers = measure(image, None, shifted[::-1])
    assert numbers["color/style"] == pytest.approx(13, abs=0.01)


# Pictures that the eye can rank


def test_blur_changes_edges_and_wrong_colours_change_colour(pictures, of_blurred):
    photo = pictures[0]
    gray = (photo @ np.float32([0.299, 0.587, 0.114]))[..., None]
    complementary = np.clip(2 * gray - photo, 0, 1)
    of_complementary = measure(complementary, *pictures)
    assert of_blurred["gradient_ssim"] < 0.8 < 0.9 < of_complementary["gradient_ssim"]
    assert of_blurred["ssim"] < of_complementary["ssim"]
    assert of_blurred["color/content"] < of_complementary["color/content"] / 2


def test_a_picture_that_is_half_painting_is_nearer_to_the_painting(pictures, of_photo):
    photo, painting = pictures
    half = photo.copy()
    half[: painting.shape[0], : SIDE // 2] = painting[:, : SIDE // 2]
    numbers = measure(half, *pictures)
    for name in ("style", "sliced_wasserstein", "color/style"):
        assert (of_kind(numbers, name) < of_kind(of_photo, name)).all(), name
    assert (of_kind(numbers, "content") > 0.1).all()
    assert numbers["ssim"] < 0.9


def test_a_painting_in_shuffled_squares_keeps_its_style_but_not_its_content(pictures, of_photo):
    painting = images.resize(pictures[1], (SIDE, SIDE))
    squares = painting.reshape(4, 16, 4, 16, 3).swapaxes(1, 2).reshape(16, 16, 16, 3)
    squares = np.random.default_rng(0).permutation(squares)
    shuffled = squares.reshape(4, 4, 16, 16, 3).swapaxes(1, 2).reshape(SIDE, SIDE, 3)
    numbers = measure(shuffled, painting, painting)
    assert numbers["color/style"] == pytest.approx(0, abs=1e-4)
    for name in ("style", "sliced_wasserstein"):
        assert (of_kind(numbers, name) < of_kind(of_photo, name) / 2).all(), name
    assert (of_kind(numbers, "content") > 0.3).all()
    assert numbers["ssim"] < 0.3


# The yardstick


def test_no_preset_and_no_default_optimises_the_layers_of_sliced_wasserstein():
    for config in (jaxnst.Config(), *jaxnst.PRESETS.values()):
        optimised = {*config.content_layers, *config.style_layers, *config.histogram_layers}
        assert not optimised & set(metrics.SLICED_WASSERSTEIN_LAYERS)


def test_content_and_style_are_resized_to_the_picture(photo, painting, pictures, of_photo):
    """The files are 512 and 657 pixels wide, the picture 64."""
    assert measure(pictures[0], photo, painting) == of_photo


def test_the_size_of_a_picture_does_not_matter(pictures, of_photo):
    """A picture with four times the pixels has nearly the same numbers; resampling makes the difference."""
    larger = images.resize(pictures[0], (2 * SIDE, 2 * SIDE))
    for key, value in measure(larger, *pictures).items():
        assert value == pytest.approx(of_photo[key], rel=0.2, abs=1 if key == "color/content" else 0.03), key


def test_several_styles_are_measured_one_by_one(pictures, of_photo):
    photo, painting = pictures
    numbers = measure(photo, None, [painting, painting[:, ::-1, ::-1]])
    assert len(numbers) == 20
    for key in ("style/relu3_1", "sliced_wasserstein/pool2"):
        name, layer = key.split("/")
        assert numbers[f"{name} 1/{layer}"] == of_photo[key] != numbers[f"{name} 2/{layer}"]
    assert numbers["color/style 1"] == of_photo["color/style"] != numbers["color/style 2"]
    assert {metrics.kind(key) for key in numbers} == {"style", "sliced_wasserstein", "color/style"}


def test_without_a_style_only_the_photo_is_compared(pictures, of_photo):
    assert list(measure(pictures[0], pictures[0], None)) == list(of_photo)[:9]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((15, 64), (64, 64), (64, 64)), "image: 64x15 pixels after resizing are too few"),
        (((64, 64), (64, 64), (64, 512)), "style: 64x8 pixels after resizing are too few"),
        (((64, 64), None, None), "content and style are both missing"),
        (((64, 64), (64, 64), []), "style: no picture is given"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(shapes, message):
    pictures = [np.zeros((*shape, 3), np.float32) if shape else shape for shape in shapes]
    assert refusal(measure, *pictures).startswith(message)
