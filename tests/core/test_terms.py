"""The terms of the objective: how they add up, mix styles and keep to regions, on random features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.core import losses, terms
from jaxnst.core.statistics import Gram, MeanStd

pytestmark = pytest.mark.fast

LAYERS = ("relu1_1", "relu2_1")


def view(seed, guides=(), height=8, width=6):
    generator = np.random.default_rng(seed)
    image = generator.random((height, width, 3)).astype(np.float32)
    maps = {
        "relu1_1": generator.standard_normal((height, width, 4)).astype(np.float32),
        "relu2_1": generator.standard_normal((height // 2, width // 2, 5)).astype(np.float32),
    }
    return terms.View(image, maps, guides)


STYLE = terms.Style(LAYERS, (Gram(losses.gram_hw), MeanStd()))


def cost(term, picture, target, loss_weights):
    return term.loss(term.sums(picture, target), target, loss_weights)


def style_weights(layers, balance=0.0):
    return terms.StyleWeights(jnp.array(layers, jnp.float32), jnp.float32(balance))


def style_loss(picture, style, layer_weights):
    return float(cost(STYLE, picture, STYLE.target(None, [style]), style_weights([layer_weights])))


def test_each_style_has_its_own_weight_at_each_layer():
    picture, styles = view(0), [view(1), view(2, height=10)]
    total = cost(STYLE, picture, STYLE.target(None, styles), style_weights([[0.5, 0.0], [2.0, 3.0]]))
    expected = style_loss(picture, styles[0], [0.5, 0.0]) + style_loss(picture, styles[1], [2.0, 3.0])
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_balance_multiplies_by_how_far_a_style_is_behind():
    """The loss is L_s (r_s / mean r)^b; r_s is L_s divided by the loss of a picture without features."""
    picture, styles = view(0), [view(1), view(2, height=10)]
    weights = [[0.5, 0.1], [2.0, 3.0]]
    blank = terms.View(picture.image, {layer: 0 * features for layer, features in picture.features.items()})
    losses = np.array([style_loss(picture, style, w) for style, w in zip(styles, weights, strict=True)])
    empty = np.array([style_loss(blank, style, w) for style, w in zip(styles, weights, strict=True)])
    remaining = losses / empty
    assert abs(remaining[0] / remaining[1] - 1) > 0.05  # there is something to balance
    target = STYLE.target(None, styles)
    for balance in (0.0, 1.0, 2.5):
        expected = np.sum(losses * (remaining / remaining.mean()) ** balance)
        assert float(cost(STYLE, picture, target, style_weights(weights, balance))) == pytest.approx(
            expected, rel=1e-4
        )


def test_the_balancing_factor_counts_as_a_constant():
    picture, styles = view(0), [view(1), view(2)]
    target = STYLE.target(None, styles)

    def gradient(weights, balance):
        def loss(maps):
            return cost(STYLE, picture._replace(features=maps), target, style_weights(weights, balance))

        return jax.grad(loss)(picture.features)["relu1_1"]

    losses = np.array([style_loss(picture, style, [1.0, 1.0]) for style in styles])
    remaining = losses / np.array(target.blank).sum(1)
    factors = remaining / remaining.mean()
    expected = gradient([[factors[0]] * 2, [factors[1]] * 2], 0.0)
    np.testing.assert_allclose(gradient([[1.0, 1.0], [1.0, 1.0]], 1.0), expected, rtol=1e-4, atol=1e-6)


def test_regions_see_their_own_part_of_the_picture_only():
    top = {"relu1_1": np.zeros((8, 6), np.float32), "relu2_1": np.zeros((4, 3), np.float32)}
    top["relu1_1"][:4], top["relu2_1"][:2] = 1, 1
    bottom = {layer: 1 - guide for layer, guide in top.items()}
    picture, styles = view(0, (top, bottom)), [view(1, (top,)), view(2)]
    cut = [
        terms.View(
            whole.image, {"relu1_1": whole.features["relu1_1"][a], "relu2_1": whole.features["relu2_1"][b]}
        )
        for whole, a, b in (
            (picture, slice(4), slice(2)),
            (picture, slice(4, 8), slice(2, 4)),
            (styles[0], slice(4), slice(2)),
        )
    ]
    total = cost(STYLE, picture, STYLE.target(None, styles), style_weights([[1, 1], [1, 1]]))
    expected = style_loss(cut[0], cut[2], [1, 1]) + style_loss(cut[1], styles[1], [1, 1])
    assert float(total) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_content_counts_most_where_the_photo_has_most_to_see(norm):
    """Against NumPy; the weights average to one, so that features twice as large change none."""
    photo, picture = view(0), view(1)
    term = terms.Content(LAYERS[:1], losses.content_mean, losses.NORMS[norm], saliency=1.0)
    loss = cost(term, picture, term.target(photo, []), jnp.ones(1))
    ours, theirs = (np.float64(seen.features["relu1_1"]) for seen in (picture, photo))
    energy = np.square(theirs).mean(axis=-1, keepdims=True)
    distances = np.abs(ours - theirs) ** losses.NORMS[norm].degree
    assert float(loss) == pytest.approx((energy / energy.mean() * distances).mean(), rel=1e-5)
    everywhere = terms.Content(LAYERS[:1], losses.content_mean, losses.NORMS[norm])
    assert float(cost(everywhere, picture, everywhere.target(photo, []), jnp.ones(1))) == pytest.approx(
        distances.mean(), rel=1e-5
    )


def test_no_style_costs_nothing():
    assert float(cost(STYLE, view(0), STYLE.target(None, []), style_weights(np.zeros((0, 2))))) == 0


def test_laplacian_is_zero_for_the_content_and_leaves_out_windows_that_do_not_fit():
    content, other = view(0), view(1)
    term = terms.Laplacian((2, 16))
    target = term.target(content, [])
    assert len(target) == 1  # three windows of 16 do not fit into 8 pixels
    assert float(cost(term, content, target, ())) == 0
    expected = np.sum((losses.laplacian(content.image, 2) - losses.laplacian(other.image, 2)) ** 2)
    assert float(cost(term, other, target, ())) == pytest.approx(float(expected), rel=1e-5)


def test_a_shift_of_brightness_is_no_edge():
    content = view(0)
    term = terms.Laplacian((1, 2))
    brighter = content._replace(image=content.image + 0.2)
    assert float(cost(term, brighter, term.target(content, []), ())) == pytest.approx(0, abs=1e-9)
