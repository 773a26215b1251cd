"""Guides in the layers, against the receptive fields of the network itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.core import guides, vgg

SIZE = (77, 102)

averages = jax.jit(vgg.features, static_argnums=(2, 3))
carry_down = jax.jit(guides.carry_down, static_argnums=(1, 2))


@pytest.fixture(scope="module")
def weights_of_ones():
    """Builds a network that averages: features are positive exactly where a positive pixel is seen."""
    params = {"input": {"scale": jnp.ones(()), "mean": jnp.zeros(3), "std": jnp.ones(3)}}
    inputs = 3
    for layer in vgg.LAYERS[: vgg.LAYERS.index("relu4_2")]:
        if layer.startswith("conv"):
            outputs = vgg.channels(layer)
            kernel = jnp.full((3, 3, inputs, outputs), 1 / (9 * inputs))
            params[layer] = {"kernel": kernel, "bias": jnp.zeros(outputs)}
            inputs = outputs
    return params


def sees(params, pixels, layers):
    """Marks the positions of each layer whose receptive field contains some of these pixels."""
    image = jnp.repeat(jnp.asarray(pixels, jnp.float32)[..., None], 3, axis=-1)
    maps = averages(params, image, layers, vgg.average_pool)
    return {layer: np.asarray(maps[layer][..., 0] > 0) for layer in layers}


def disc(row, column, radius):
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return np.hypot(rows - row, columns - column) < radius


REGIONS = {
    "disc": disc(30, 45, 28),
    "corner": disc(0, 0, 40),
    "hole": ~disc(50, 80, 3),
    "odd edge": np.arange(SIZE[0])[:, None] + np.zeros(SIZE[1]) >= SIZE[0] - 1,
}


@pytest.mark.parametrize("region", REGIONS)
def test_inside_and_all_are_the_networks_receptive_fields(weights_of_ones, region):
    region = REGIONS[region]
    layers = ("conv1_1", "relu1_2", "pool1", "conv2_2", "relu3_1", "pool3", "relu4_2")
    touched, beyond = sees(weights_of_ones, region, layers), sees(weights_of_ones, ~region, layers)
    touching = carry_down(region, layers, guides.GUIDANCES["all"])
    inside = carry_down(region, layers, guides.GUIDANCES["inside"])
    for layer in layers:
        np.testing.assert_array_equal(touching[layer], touched[layer], err_msg=layer)
        np.testing.assert_array_equal(inside[layer], ~beyond[layer], err_msg=layer)


@pytest.mark.parametrize("how", guides.GUIDANCES)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (63, 95)])
def test_sizes_are_the_features(weights_of_ones, how, size):
    layers = vgg.LAYERS[: vgg.LAYERS.index("relu4_2")]
    features = jax.eval_shape(
        lambda params, image: vgg.features(params, image, layers), weights_of_ones, jnp.zeros((*size, 3))
    )
    carried = jax.eval_shape(
        lambda mask: guides.carry_down(mask, vgg.LAYERS, guides.GUIDANCES[how]), jnp.ones(size)
    )
    for layer in layers:
        assert carried[layer].shape == features[layer].shape[:2]
    assert carried["pool5"].shape == (size[0] // 32, size[1] // 32)


@pytest.mark.parametrize("how", guides.GUIDANCES)
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_the_border_is_neither_inside_nor_outside(how, value):
    """A constant mask stays constant in every layer."""
    for guide in carry_down(jnp.full((45, 70), value), vgg.LAYERS, guides.GUIDANCES[how]).values():
        np.testing.assert_allclose(guide, value, rtol=1e-6)


def test_simple_is_the_share_of_the_pixels():
    mask = np.random.default_rng(0).random((45, 70), np.float32)
    carried = guides.carry_down(mask, ["conv1_2", "relu3_4"])
    np.testing.assert_array_equal(carried["conv1_2"], mask)
    squares = mask[:44, :68].reshape(11, 4, 17, 4)
    np.testing.assert_allclose(carried["relu3_4"], squares.mean((1, 3)), rtol=1e-5)


def test_simple_keeps_a_partition():
    """Soft regions that add up to the picture add up to every layer."""
    regions = np.random.default_rng(0).dirichlet([0.3, 0.3, 0.3], SIZE).astype(np.float32)
    carried = [carry_down(regions[..., i], vgg.LAYERS) for i in range(3)]
    for layer in vgg.LAYERS:
        np.testing.assert_allclose(sum(region[layer] for region in carried), 1, atol=1e-5)


@pytest.mark.parametrize("how", ["inside", "all"])
def test_soft_masks_are_hard_ones_at_each_threshold(how):
    how, layers = guides.GUIDANCES[how], ("relu1_1", "relu2_1", "relu3_1")
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    mask = 0.5 + 0.5 * np.sin(rows / 22) * np.cos(columns / 26)
    soft = carry_down(mask, layers, how)
    for threshold in (0.1, 0.3, 0.7):
        hard = carry_down(mask > threshold, layers, how)
        for layer in layers:
            np.testing.assert_array_equal(soft[layer] > threshold, hard[layer])


def test_returns_the_requested_layers_and_refuses_unknown_ones():
    assert set(carry_down(jnp.ones(SIZE), ("relu2_1", "conv1_1"))) == {"relu2_1", "conv1_1"}
    assert guides.carry_down(jnp.ones(SIZE), ()) == {}
    with pytest.raises(ValueError, match="no layer 'relu6_1'"):
        guides.carry_down(jnp.ones(SIZE), ["relu6_1"])


@pytest.mark.parametrize("how", guides.GUIDANCES)
def test_composes_with_jit_vmap_and_grad(how):
    masks = np.random.default_rng(0).random((2, 34, 50), np.float32)

    def deepest(mask):
        return guides.carry_down(mask, ["relu3_1"], guides.GUIDANCES[how])["relu3_1"]

    together = jax.jit(jax.vmap(deepest))(masks)
    np.testing.assert_allclose(together, [jax.jit(deepest)(mask) for mask in masks], rtol=1e-6)
    # Each position is one of the mask's values or a mean of them, so its gradient adds up to one.
    gradient = jax.jit(jax.grad(lambda mask: deepest(mask).sum()))(masks[0])
    assert float(gradient.sum()) == pytest.approx(together[0].size, rel=1e-4)
