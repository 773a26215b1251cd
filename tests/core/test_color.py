"""Colour transfers, against scikit-image, moments by hand and published formulas."""

import numpy as np
import pytest
from PIL import Image

from jaxnst.core.color import (
    COLOR_TRANSFERS,
    chroma,
    covariance_map,
    luminance,
    match_covariance,
    match_histogram,
    match_luminance,
    recolor,
    symmetric_root,
    to_gray,
    transport_colors,
    without_grain,
)
from jaxnst.metrics.speckle import chroma_grain

pytestmark = pytest.mark.fast

FACTORISATIONS = {"cholesky": np.linalg.cholesky, "pca": symmetric_root}
every_factorisation = pytest.mark.parametrize("factorise", FACTORISATIONS.values(), ids=FACTORISATIONS)


def picture(height=31, width=17, seed=0, low=0.3, high=0.7):
    """Returns correlated colours, far enough from black and white that nothing is clipped."""
    generator = np.random.default_rng(seed)
    mix = np.eye(3) + generator.uniform(0, 0.4, (3, 3))
    colors = generator.random((height, width, 3)) @ mix
    return (low + (high - low) * colors / colors.max()).astype(np.float32)


def moments(image):
    pixels = np.float64(image).reshape(-1, 3)
    centred = pixels - pixels.mean(axis=0)
    return pixels.mean(axis=0), centred.T @ centred / len(pixels)


def flat(*rgb, shape=(7, 5)):
    return np.broadcast_to(np.array(rgb, np.float32), (*shape, 3))


# Luminance


def test_luminance_is_y_of_yiq():
    color = pytest.importorskip("skimage.color")
    image = picture(low=0, high=1)
    np.testing.assert_allclose(luminance(image), color.rgb2yiq(image)[..., 0], atol=1e-7)
    assert luminance(image).shape == (31, 17)
    assert luminance(image).dtype == to_gray(image).dtype == chroma(image).dtype == np.float32


def test_chroma_on_a_gray_picture_swaps_the_luminance_in_yiq():
    color = pytest.importorskip("skimage.color")
    content, result = picture(seed=1), picture(seed=2)
    yiq = color.rgb2yiq(content)
    yiq[..., 0] = color.rgb2yiq(result)[..., 0]
    np.testing.assert_allclose(to_gray(result) + chroma(content), color.yiq2rgb(yiq), atol=1e-6)


def test_gray_and_chroma_make_up_the_picture():
    image = picture(low=0, high=1)
    np.testing.assert_allclose(to_gray(image) + chroma(image), image, atol=1e-7)
    np.testing.assert_allclose(luminance(chroma(image)), 0, atol=1e-7)


def test_a_gray_picture_stays_as_it_is_and_has_no_chroma():
    gray = np.linspace(0, 1, 1001, dtype=np.float32)[:, None, None].repeat(3, -1)
    np.testing.assert_array_equal(to_gray(gray), gray)
    assert not chroma(gray).any()


def test_the_style_takes_the_contents_brightness_and_contrast():
    style, content = picture(40, 23, seed=1, low=0, high=1), picture(9, 14, seed=2, low=0.45, high=0.6)
    matched = match_luminance(style, content)
    assert matched.shape == style.shape
    assert matched.dtype == np.float32
    np.testing.assert_array_equal(matched, matched[..., :1].repeat(3, -1))
    wanted = content @ [0.299, 0.587, 0.114]
    assert matched[..., 0].mean() == pytest.approx(wanted.mean(), abs=1e-6)
    assert matched[..., 0].std() == pytest.approx(wanted.std(), abs=1e-6)
    assert np.corrcoef(matched[..., 0].ravel(), (style @ [0.299, 0.587, 0.114]).ravel())[0, 1] > 1 - 1e-9


def test_luminance_out_of_range_is_clipped():
    style, content = picture(), np.array([0, 0, 0, 0, 1], np.float32)[:, None, None].repeat(3, -1)
    matched = match_luminance(style, content)
    assert matched.min() == 0
    assert 0.5 < matched.max() <= 1


# Mean and covariance


@every_factorisation
@pytest.mark.parametrize("shapes", [((31, 17), (8, 45)), ((3, 3), (50, 1))])
def test_mean_and_covariance_become_the_references(factorise, shapes):
    source, reference = picture(*shapes[0], seed=1), picture(*shapes[1], seed=2)
    matrix, offset = covariance_map(source, reference, factorise)
    mapped = moments(source.astype(np.float64) @ matrix.T + offset)
    for moment, wanted in zip(mapped, moments(reference), strict=True):
        np.testing.assert_allclose(moment, wanted, atol=1e-12)


def test_the_maps_are_those_of_the_paper():
    scipy_linalg = pytest.importorskip("scipy.linalg")
    source, reference = picture(seed=1), picture(seed=2)
    covariances = [moments(image)[1] for image in (source, reference)]
    lower = [np.linalg.cholesky(covariance) for covariance in covariances]
    root = [scipy_linalg.sqrtm(covariance) for covariance in covariances]
    for factorise, (ours, theirs) in ((np.linalg.cholesky, lower), (symmetric_root, root)):
        matrix, _ = covariance_map(source, reference, factorise)
        np.testing.assert_allclose(matrix, theirs @ np.linalg.inv(ours), atol=1e-9)


@every_factorisation
def test_the_matched_picture_is_the_map_of_each_pixel_clipped(factorise):
    source, reference = picture(seed=1), picture(5, 9, seed=2, low=0, high=1)
    matrix, offset = covariance_map(source, reference, factorise)
    matched = match_covariance(source, reference, factorise)
    np.testing.assert_allclose(matched[3, 4], np.clip(matrix @ source[3, 4] + offset, 0, 1), atol=1e-6)
    assert matched.dtype == np.float32
    extreme = match_covariance(picture(seed=1), np.eye(3, dtype=np.float32)[None], factorise)
    assert extreme.min() == 0
    assert extreme.max() == 1


@every_factorisation
def test_a_picture_matched_to_itself_stays_the_same(factorise):
    np.testing.assert_allclose(match_covariance(picture(), picture(), factorise), picture(), atol=1e-6)


@every_factorisation
def test_a_gray_reference_makes_the_style_gray(factorise):
    gray = to_gray(picture(seed=2))
    matched = match_covariance(picture(seed=1), gray, factorise)
    np.testing.assert_allclose(matched, to_gray(matched), atol=1e-4)
    assert matched.std() == pytest.approx(gray.std(), rel=1e-3)


@every_factorisation
def test_a_gray_style_becomes_shades_of_one_colour(factorise):
    reference = picture(seed=2)
    pixels = match_covariance(to_gray(picture(seed=1)), reference, factorise).reshape(-1, 3)
    np.testing.assert_allclose(pixels.mean(axis=0), moments(reference)[0], atol=1e-5)
    spread = np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False)
    assert spread[1] < 1e-3 * spread[0]
    assert pixels.std() > 0.5 * np.sqrt(np.diag(moments(reference)[1]).min())


# Histograms


@pytest.mark.parametrize("levels", [None, 255, 5], ids=["floats", "bytes", "posterised"])
def test_histograms_match_as_in_scikit_image(levels):
    exposure = pytest.importorskip("skimage.exposure")
    source, reference = picture(31, 17, seed=1, low=0, high=1), picture(12, 5, seed=2, low=0.1, high=0.6)
    if levels:
        source, reference = (np.rint(image * levels) / np.float32(levels) for image in (source, reference))
    for pair in ((source, reference), (reference, source)):
        expected = exposure.match_histograms(*pair, channel_axis=-1)
        matched = match_histogram(*pair)
        np.testing.assert_array_equal(matched, expected)
        assert matched.dtype == np.float32


def test_a_photo_and_a_painting_match_as_in_scikit_image(photo, painting):
    exposure = pytest.importorskip("skimage.exposure")
    content, style = (np.asarray(Image.open(path)) / np.float32(255) for path in (photo, painting))
    expected = exposure.match_histograms(style, content, channel_axis=-1)
    np.testing.assert_array_equal(match_histogram(style, content), expected)


def test_the_same_pixels_in_another_order_take_the_references_values_exactly():
    source = picture()
    reference = np.random.default_rng(3).permutation(picture(seed=1).reshape(-1, 3)).reshape(source.shape)
    matched = match_histogram(source, reference)
    for channel in range(3):
        np.testing.assert_array_equal(np.sort(matched[..., channel], axis=None),
                                      np.sort(reference[..., channel], axis=None))  # fmt: skip
        assert (
            np.argsort(matched[..., channel], axis=None) == np.argsort(source[..., channel], axis=None)
        ).all()


# Every transfer


EDGE_CASES = {
    "black": flat(0, 0, 0),
    "white": flat(1, 1, 1),
    "one-colour": flat(0.2, 0.5, 0.9),
    "one-pixel": flat(0.1, 0.6, 0.3, shape=(1, 1)),
    "two-pixels": np.array([[[0, 0.5, 1], [1, 0.5, 0]]], np.float32),
    "gray": to_gray(picture()),
    "colours": picture(low=0, high=1),
}


@pytest.mark.parametrize("name", [*COLOR_TRANSFERS, "luminance"])
@pytest.mark.parametrize("style", EDGE_CASES)
@pytest.mark.parametrize("content", EDGE_CASES)
def test_every_transfer_gives_a_picture_for_every_pair(name, style, content):
    transfer = {**COLOR_TRANSFERS, "luminance": match_luminance}[name]
    source = EDGE_CASES[style].copy()
    moved = transfer(source, EDGE_CASES[content])
    assert moved.shape == source.shape
    assert moved.dtype == np.float32
    assert np.isfinite(moved).all()
    assert 0 <= moved.min() <= moved.max() <= 1
    np.testing.assert_array_equal(source, EDGE_CASES[style])


@pytest.mark.parametrize("name", COLOR_TRANSFERS)
def test_a_flat_content_paints_the_style_in_its_colour(name):
    moved = COLOR_TRANSFERS[name](picture(), flat(0.2, 0.5, 0.9))
    np.testing.assert_allclose(moved, flat(0.2, 0.5, 0.9, shape=moved.shape[:2]), atol=1e-4)


@pytest.mark.parametrize("name", FACTORISATIONS)
def test_a_flat_style_becomes_the_contents_mean(name):
    content = picture(9, 4)
    moved = COLOR_TRANSFERS[name](flat(0.2, 0.5, 0.9), content)
    expected = np.broadcast_to(content.mean(axis=(0, 1)), moved.shape)
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    np.testing.assert_allclose(
        match_luminance(flat(0.2, 0.5, 0.9), content), luminance(content).mean(), atol=1e-6
    )


def test_the_transfers_differ_and_go_by_their_names():
    style, content = picture(seed=1), picture(seed=2)
    moved = {name: transfer(style, content) for name, transfer in COLOR_TRANSFERS.items()}
    assert list(moved) == ["cholesky", "pca", "histogram", "transport"]
    for name, factorise in FACTORISATIONS.items():
        np.testing.assert_array_equal(moved[name], match_covariance(style, content, factorise))
    np.testing.assert_array_equal(moved["histogram"], match_histogram(style, content))
    assert np.abs(moved["cholesky"] - moved["pca"]).max() > 0.01


def sliced_distance(image, reference, directions=64):
    """Returns the root mean square 2-Wasserstein distance along random directions of colour."""
    ways = np.random.default_rng(9).standard_normal((directions, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    levels = (np.arange(500) + 0.5) / 500
    ours, theirs = (np.quantile(x.reshape(-1, 3) @ ways.T, levels, axis=0) for x in (image, reference))
    return np.sqrt(np.mean(np.square(ours - theirs)))


def two_lumps(seed):
    """Returns colours in two lumps, which no linear map makes of one."""
    generator = np.random.default_rng(seed)
    lump = generator.random((40, 30, 1)) < 0.3
    colors = np.where(lump, (0.8, 0.3, 0.2), (0.2, 0.4, 0.7)) + 0.03 * generator.standard_normal((40, 30, 3))
    return colors.clip(0, 1).astype(np.float32)


def test_transport_matches_colours_that_moments_do_not_describe():
    source, reference = picture(40, 30), two_lumps(1)
    before = sliced_distance(source, reference)
    assert sliced_distance(transport_colors(source, reference), reference) < 0.03 * before
    assert sliced_distance(match_covariance(source, reference), reference) > 0.1 * before


def test_transport_changes_nothing_where_nothing_differs():
    np.testing.assert_allclose(transport_colors(two_lumps(1), two_lumps(1)), two_lumps(1), atol=1e-6)


@pytest.mark.parametrize("transfer", COLOR_TRANSFERS.values(), ids=COLOR_TRANSFERS)
def test_recolored_pictures_move_from_the_photo_to_the_painting(transfer):
    photo, painting = picture(seed=1), two_lumps(2)
    distances = [
        sliced_distance(recolor(transfer, photo, [painting], [1.0], strength), painting)
        for strength in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert distances == sorted(distances, reverse=True)
    np.testing.assert_array_equal(recolor(transfer, photo, [painting], [1.0], 0.0), photo)
    if transfer not in (match_histogram, transport_colors):
        np.testing.assert_allclose(
            recolor(transfer, photo, [painting], [1.0]), transfer(photo, painting), atol=1e-6
        )


@pytest.mark.parametrize("transfer", ["histogram", "transport"])
def test_a_recolored_picture_has_no_grain_that_the_photo_lacks(transfer):
    """Two flat areas with noise of one percent get the many colours of a painting."""
    noise = np.random.default_rng(0).standard_normal((64, 96, 3))
    photo = np.where(np.arange(96)[:, None] < 48, (0.7, 0.8, 0.9), (0.3, 0.5, 0.3)) + 0.01 * noise
    photo, painting = photo.astype(np.float32), picture(64, 96, seed=3)
    change = COLOR_TRANSFERS[transfer]
    grain = chroma_grain(recolor(change, photo, [painting], [1.0]))
    assert grain < 3 * chroma_grain(photo)
    assert grain < 0.2 * chroma_grain(change(photo, painting))
    assert sliced_distance(recolor(change, photo, [painting], [1.0]), painting) < 0.7 * sliced_distance(
        photo, painting
    )


@pytest.mark.parametrize("times", [1, 10])
def test_new_colours_that_are_affine_in_the_old_ones_stay(times):
    """Larger pictures are filtered at 256 pixels."""
    photo = picture(30, 40, seed=4).repeat(times, axis=0).repeat(times, axis=1)
    affine = photo @ np.array([[0.5, 0.1, 0.0], [0.2, 0.6, 0.1], [0.0, 0.1, 0.7]], np.float32) + 0.05
    np.testing.assert_allclose(without_grain(affine, photo), affine, atol=0.03)


def test_colours_without_grain_are_those_of_a_guided_filter():
    """Against a least-squares fit in every window, in loops."""
    photo, recolored = picture(20, 24, seed=5), picture(20, 24, seed=6)

    def mirrored(image):
        return np.pad(np.float64(image), ((2, 2), (2, 2), (0, 0)), mode="symmetric")

    old, new = mirrored(photo), mirrored(recolored)
    fits = np.zeros((20, 24, 4, 3))
    for row, column in np.ndindex(20, 24):
        ours, theirs = (x[row + 1 : row + 4, column + 1 : column + 4].reshape(9, 3) for x in (old, new))
        centred = ours - ours.mean(axis=0)
        ridge = np.vstack([centred, np.sqrt(9 * 0.03**2) * np.eye(3)])
        slope = np.linalg.lstsq(ridge, np.vstack([theirs - theirs.mean(axis=0), np.zeros((3, 3))]))[0]
        fits[row, column] = np.vstack([slope, theirs.mean(axis=0) - ours.mean(axis=0) @ slope])
    padded = np.pad(fits, ((1, 1), (1, 1), (0, 0), (0, 0)), mode="symmetric")
    mean = sum(padded[i : i + 20, j : j + 24] for i in range(3) for j in range(3)) / 9
    expected = np.einsum("hwi,hwij->hwj", np.dstack([photo, np.ones((20, 24))]), mean)
    np.testing.assert_allclose(without_grain(recolored, photo), expected, atol=1e-5)


def test_several_styles_recolor_by_their_shares():
    photo, red, blue = picture(), flat(0.8, 0.1, 0.1), flat(0.1, 0.1, 0.8)
    mean = recolor(match_covariance, photo, [red, blue], [3.0, 1.0]).mean(axis=(0, 1))
    np.testing.assert_allclose(mean, 0.75 * red[0, 0] + 0.25 * blue[0, 0], atol=1e-3)


def test_regions_recolor_by_themselves_and_the_rest_stays():
    photo, red, blue = picture(30, 20), flat(0.8, 0.1, 0.1), flat(0.1, 0.1, 0.8)
    masks = np.zeros((2, 30, 20), np.float32)
    masks[0, :10], masks[1, 10:20] = 1, 1
    made = recolor(match_covariance, photo, [red, blue], [1.0, 1.0], 1.0, list(masks))
    np.testing.assert_allclose(made[:10].mean(axis=(0, 1)), red[0, 0], atol=1e-3)
    np.testing.assert_allclose(made[10:20].mean(axis=(0, 1)), blue[0, 0], atol=1e-3)
    np.testing.assert_array_equal(made[20:], photo[20:])
