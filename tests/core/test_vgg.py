"""Shapes, names and edge cases of the network; `tests/parity` compares its numbers with PyTorch's."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.core import vgg
from jaxnst.io.images import read_image, resize
from jaxnst.io.weights.load import load_weights

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def params():
    return load_weights("caffe").params


def test_names_are_those_of_the_paper():
    assert len(vgg.LAYERS) == 37
    assert vgg.LAYERS[:5] == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1")
    assert vgg.LAYERS[-3:] == ("conv5_4", "relu5_4", "pool5")


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (63, 32)])
def test_any_size_down_to_the_deepest_stride(params, shape):
    image = jnp.full((*shape, 3), 0.5)
    shapes = jax.eval_shape(lambda p, x: vgg.features(p, x, vgg.LAYERS), params, image)
    for layer in vgg.LAYERS:
        height, width = (side // vgg.stride(layer) for side in shape)
        assert shapes[layer].shape == (height, width, vgg.channels(layer))


def test_the_network_needs_no_weights_beyond_the_deepest_requested_layer(params):
    shallow = {name: params[name] for name in ("input", "conv1_1", "conv1_2", "conv2_1")}
    image = np.zeros((16, 16, 3), np.float32)
    maps = vgg.features(shallow, image, ("conv2_1", "relu1_1"))
    assert set(maps) == {"relu1_1", "conv2_1"}


def test_odd_edges_are_dropped_and_ties_go_to_the_first():
    x = jnp.arange(15.0).reshape(3, 5, 1)
    np.testing.assert_array_equal(vgg.max_pool(x)[..., 0], [[6, 8]])
    np.testing.assert_array_equal(vgg.average_pool(x)[..., 0], [[3, 5]])
    gradient = jax.grad(lambda x: vgg.max_pool(x).sum())(jnp.ones((2, 2, 1)))
    np.testing.assert_array_equal(gradient[..., 0], [[1, 0], [0, 0]])


def test_unknown_layers_and_tiny_images_are_refused(params):
    with pytest.raises(ValueError, match="no layer 'relu6_1'"):
        vgg.features(params, np.zeros((64, 64, 3)), ("relu6_1",))
    with pytest.raises(ValueError, match="pool5 needs an image of at least 32 pixels"):
        vgg.features(params, np.zeros((31, 64, 3)), ("pool5",))


def test_winograd_params_change_the_features_by_rounding_only(params):
    image = np.random.default_rng(0).random((48, 40, 3), np.float32)
    layers = ("relu3_4", "relu4_2", "relu5_1", "conv5_4")
    compute = jax.jit(lambda params: vgg.features(params, image, layers))
    plain, fast = compute(params), compute(vgg.for_cpu(params))
    for layer in layers:
        assert jnp.linalg.norm(fast[layer] - plain[layer]) <= 1e-5 * jnp.linalg.norm(plain[layer])


def test_one_vmapped_program_gives_what_single_images_give(params):
    images = np.random.default_rng(0).random((2, 20, 18, 3), np.float32)
    together = jax.vmap(lambda image: vgg.features(params, image, ("relu2_2",))["relu2_2"])(images)
    for image, features in zip(images, together, strict=True):
        expected = vgg.features(params, image, ("relu2_2",))["relu2_2"]
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("pooling", "rescale", "padding", "fast"),
    [
        ("l2", False, "reflect", False),
        ("average", True, "replicate", False),
        ("l2", True, "zeros", False),
        ("max", False, "reflect", False),
        ("l2", False, "reflect", True),
        ("average", True, "replicate", True),
    ],
)
def test_pooling_and_padding_are_pytorchs(params, pooling, rescale, padding, fast):
    torch = pytest.importorskip("torch")
    import torch_parity as parity
    import torch_reference as reference

    class Pool(torch.nn.Module):
        def __init__(self):
            super().__init__()
            kinds = {
                "l2": torch.nn.LPPool2d(2, 2),
                "average": torch.nn.AvgPool2d(2),
                "max": torch.nn.MaxPool2d(2),
            }
            self.pool, self.factor = kinds[pooling], vgg.POOLING_FACTORS[pooling] if rescale else 1.0

        def forward(self, x):
            return self.pool(x) * self.factor

    network = reference.load_network(parity.WEIGHTS)
    for index, module in enumerate(network):
        if isinstance(module, torch.nn.Conv2d):
            module.padding_mode = padding
        elif isinstance(module, torch.nn.MaxPool2d):
            network[index] = Pool()
    image = np.random.default_rng(0).random((49, 66, 3), np.float32)
    layers = ("conv1_1", "relu3_3", "relu5_1")
    expected = reference.features(network, torch.tensor(image), layers)
    pool = vgg.POOLINGS[pooling]
    if rescale:
        pool = vgg.Rescaled(pool, vgg.POOLING_FACTORS[pooling])
    weights = vgg.for_cpu(params) if fast else params
    maps = vgg.features(weights, image, layers, pool, vgg.PADDINGS[padding])
    for layer in layers:
        reference_map = expected[layer].permute(1, 2, 0).numpy()
        assert parity.relative_error(maps[layer], reference_map) <= 1e-5, layer


@pytest.mark.parametrize("pooling", ["average", "l2"])
@pytest.mark.parametrize("name", ["astronaut", "village_street_in_auvers"])
def test_rescaled_features_are_as_large_as_with_max_pooling(params, pooling, name):
    image = resize(read_image(EXAMPLES / f"{name}.jpg"), (160, 160))

    def sizes(pool):
        maps = vgg.features(params, image, ("relu2_1", "relu3_1", "relu4_1", "relu5_1"), pool)
        return np.array([float(jnp.sqrt(jnp.square(features).mean())) for features in maps.values()])

    rescaled = vgg.Rescaled(vgg.POOLINGS[pooling], vgg.POOLING_FACTORS[pooling])
    np.testing.assert_allclose(sizes(rescaled) / sizes(vgg.max_pool), 1, atol=0.35)


def test_l2_pooling_of_zeros_has_a_gradient_of_zero():
    gradient = jax.grad(lambda x: vgg.l2_pool(x).sum())(jnp.array([[0.0, 0, 3], [0, 0, 4]])[..., None])
    np.testing.assert_array_equal(gradient, np.zeros((2, 3, 1)))
    gradient = jax.grad(lambda x: vgg.l2_pool(x).sum())(jnp.array([[0.0, 3], [0, 4]])[..., None])
    np.testing.assert_allclose(gradient[..., 0], [[0, 0.6], [0, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("padding", vgg.PADDINGS)
def test_every_padding_works_down_to_the_smallest_size(params, padding):
    image = np.full((32, 16, 3), 0.5, np.float32)
    features = vgg.features(params, image, ("relu5_1",), padding=vgg.PADDINGS[padding])["relu5_1"]
    assert features.shape == (2, 1, 512)
    assert jnp.isfinite(features).all()
