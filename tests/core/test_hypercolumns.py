"""Terms of joined layers, on made-up features; `tests/parity` compares them with PyTorch on VGG19's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.core import hypercolumns, statistics, terms
from jaxnst.core.hypercolumns import COLUMNS, Neighbors, NeighborWeights, SelfSimilarity, StyleColumns

LAYERS = ("relu1_1", "relu2_1")
SHAPES = {"relu1_1": (12, 16, 64), "relu2_1": (6, 8, 128)}


def view(seed, **others):
    """Returns a view of 12x16 pixels with features of two layers."""
    generator = np.random.default_rng(seed)
    maps = {layer: generator.standard_normal(shape).astype(np.float32) for layer, shape in SHAPES.items()}
    return terms.View(generator.random((12, 16, 3)).astype(np.float32), maps, **others)


def halves(*sides):
    """Returns regions: the left or the right half of the picture."""
    return [
        {
            layer: (np.arange(w) < w // 2)[None].repeat(h, 0) == (side == "left")
            for layer, (h, w, _) in SHAPES.items()
        }
        for side in sides
    ]


def floats(regions):
    return [{layer: jnp.float32(guide) for layer, guide in region.items()} for region in regions]


@pytest.mark.parametrize("size", [(64, 48), (200, 31), (1000, 1000)])
@pytest.mark.parametrize("key", [None, 0, 1])
def test_each_row_and_column_of_the_grid_lies_in_its_own_strip(size, key):
    grid = hypercolumns.grid(size, 500, None if key is None else jax.random.key(key))
    assert 0.8 * 500 < grid[0].size * grid[1].size <= 500
    for middles, side in zip(grid, size, strict=True):
        strips = (np.asarray(middles) + 0.5) / side * middles.size
        np.testing.assert_array_equal(strips.astype(int), np.arange(middles.size))
        if key is None:
            np.testing.assert_allclose(strips % 1, 0.5, atol=1e-3)


def test_a_small_picture_is_taken_whole_whatever_the_key():
    for key in (None, jax.random.key(3)):
        rows, columns = hypercolumns.grid((20, 30), 600, key)
        np.testing.assert_allclose(rows, np.arange(20), atol=1e-5)
        np.testing.assert_allclose(columns, np.arange(30), atol=1e-5)


def test_samples_of_a_ramp_are_the_ramp_at_every_layer():
    positions = jnp.array([8.0, 20.25, 33.5]), jnp.array([9.75, 40.0])
    expected = np.asarray(positions[0])[:, None] + 100 * np.asarray(positions[1])[None]
    for stride in (1, 2, 8):
        rows, columns = (stride * (np.arange(side // stride) + 0.5) - 0.5 for side in (48, 64))
        ramp = (rows[:, None] + 100 * columns).astype(np.float32)[..., None]
        sampled = hypercolumns.sample(ramp, positions, (48, 64))[..., 0]
        np.testing.assert_allclose(sampled, expected, rtol=1e-5)


def test_columns_join_the_layers_at_each_position():
    seen = view(0)
    joined = hypercolumns.join(seen, LAYERS).features[COLUMNS]
    np.testing.assert_allclose(joined[..., :64], seen.features["relu1_1"], atol=1e-5)
    corner = joined[0, 0, 64:]
    np.testing.assert_allclose(corner, seen.features["relu2_1"][0, 0], atol=1e-5)
    quarter = np.asarray(seen.features["relu2_1"], np.float64)
    mixed = 0.75**2 * quarter[0, 0] + 0.75 * 0.25 * (quarter[0, 1] + quarter[1, 0]) + 0.25**2 * quarter[1, 1]
    np.testing.assert_allclose(joined[1, 1, 64:], mixed, atol=1e-5)


def test_other_orientations_of_a_style_are_joined_too():
    turned = view(1)
    both = hypercolumns.join(view(0, turned=(turned,)), LAYERS).features[COLUMNS]
    parts = [hypercolumns.join(part, LAYERS).features[COLUMNS].reshape(-1, 192) for part in (view(0), turned)]
    np.testing.assert_array_equal(both[0], np.concatenate(parts))


def loss_of(term, picture, styles, within, content=None):
    target = term.target(content, styles)
    return float(term.loss(term.sums(picture, target), target, within))


@pytest.mark.parametrize("colors", [False, True])
def test_what_lies_outside_a_style_region_does_not_matter(colors):
    term = StyleColumns(LAYERS, (statistics.RelaxedEMD(), statistics.MeanCovariance()), colors=colors)
    weights = terms.StyleWeights(jnp.ones((1, 2)), jnp.float32(0))
    picture, style = view(0, guides=floats(halves("left"))), view(1, guides=floats(halves("right")))
    before = loss_of(term, picture, [style], weights)
    # A column of features beside the border is seen from the other side, between two positions.
    for seen, outside in ((picture, slice(9, None)), (style, slice(None, 7))):
        seen.image[:, outside] = 0.3
        seen.features["relu1_1"][:, outside] = 5
    changed = loss_of(term, picture, [style], weights)
    assert before > 0.01
    assert changed == pytest.approx(before, rel=1e-5)


def test_self_similarity_knows_no_directions_but_angles():
    """Any rotation of the features leaves it zero; other features do not."""
    term, content = SelfSimilarity(("relu1_1",)), view(0)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))[0].astype(np.float32)
    rotated = content._replace(features={"relu1_1": 3 * content.features["relu1_1"] @ rotation})
    assert loss_of(term, rotated, [], (), content) < 1e-4
    assert loss_of(term, view(1), [], (), content) > 0.01


def neighbor_weights(share=0.0, split=0.0):
    return NeighborWeights(jnp.ones(1), jnp.float32(share), jnp.float32(split))


@pytest.mark.parametrize("split", [0.0, 1.0])
def test_a_picture_made_of_the_styles_features_is_done(split):
    """The features of one layer are shuffled; the other layer follows for whole hypercolumns only."""
    term, style = Neighbors(LAYERS), view(0)
    assert loss_of(term, style, [style], neighbor_weights(split=split), style) == pytest.approx(0, abs=1e-5)
    other = view(1)
    mixed = style._replace(features={**style.features, "relu1_1": other.features["relu1_1"]})
    both = style._replace(turned=(other,))
    loss = loss_of(term, mixed, [both], neighbor_weights(split=split), style)
    assert (loss < 1e-5) == (split == 1)


def test_the_content_chooses_the_neighbours_if_it_has_all_shares():
    term, style, content, picture = Neighbors(LAYERS), view(0), view(1), view(2)
    columns = [
        np.asarray(hypercolumns.join(x, LAYERS).features[COLUMNS]).reshape(-1, 192)
        for x in (style, content, picture)
    ]
    theirs, photo, ours = (x.astype(np.float64) for x in columns)
    similarity = (photo - photo.mean(0)) @ (theirs - theirs.mean(0)).T
    nearest = np.argmax(similarity / np.linalg.norm(theirs - theirs.mean(0), axis=1), axis=1)
    cosines = np.sum(ours * theirs[nearest], axis=1)
    cosines /= np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs[nearest], axis=1)
    loss = loss_of(term, picture, [style], neighbor_weights(share=1.0), content)
    assert loss == pytest.approx(1 - cosines.mean(), rel=1e-5)
