"""The presets strotss and nnst, and their parts, are those of an independent transcription in PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_parity as parity

from jaxnst.config.build import at_scale, to_loss_weights, to_objective
from jaxnst.config.presets import PRESETS
from jaxnst.core import hypercolumns, objective, optimizers, parametrisation
from jaxnst.io.weights.load import load_weights

torch = pytest.importorskip("torch")
import torch_hypercolumns as reference  # noqa: E402
import torch_reference  # noqa: E402

KEY = 7
make_targets = jax.jit(objective.make_targets, static_argnums=0)


@functools.cache
def network(dtype):
    return torch_reference.load_network(parity.WEIGHTS, "max", dtype)


def positions(size, key=None):
    samples = PRESETS["strotss"].samples
    return [torch.tensor(np.array(x)) for x in hypercolumns.grid(tuple(size), samples, key)]


@functools.partial(jax.jit, static_argnums=0)
def parts_and_gradient(what, params, targets, loss_weights, image, key):
    def total(image):
        parts = objective.evaluate(what, params, targets, loss_weights, image, key=key)
        return parts["total"], parts

    gradient, parts = jax.grad(total, has_aux=True)(image)
    return {**parts, "gradient": gradient}


def ours(config, scale, pictures, dtype):
    what = to_objective(config)
    params = jax.tree.map(lambda x: np.asarray(x, dtype), load_weights("caffe-unit").params)
    loss_weights = at_scale(config, to_loss_weights(config, 1), scale)
    loss_weights = jax.tree.map(lambda x: np.asarray(x, dtype), loss_weights)
    image, content, style = (np.asarray(picture, dtype) for picture in pictures)
    targets = make_targets(what, params, content, [style])
    return parts_and_gradient(what, params, targets, loss_weights, image, jax.random.key(KEY))


def theirs(preset, scale, pictures, dtype):
    image, content, style = (torch.tensor(np.array(picture), dtype=dtype) for picture in pictures)
    image.requires_grad_(True)
    at = positions(image.shape[:2], jax.random.key(KEY))
    if preset == "strotss":
        weight = 16 / 2**scale
        of_style = positions(style.shape[:2])
        parts = reference.strotss(network(dtype), image, content, style, at, of_style, weight)
    else:
        last = scale == len(PRESETS[preset].sides) - 1
        parts = reference.nnst(network(dtype), image, content, style, at, positions, split=last)
    parts["total"].backward()
    return {**{name: part.item() for name, part in parts.items()}, "gradient": image.grad.numpy()}


def pictures_of(size):
    return parity.image("photo", size), parity.picture("content", size), parity.picture("style", size)


CASES = [("strotss", 0), ("strotss", 2), ("nnst", 0), ("nnst", 2)]


@pytest.mark.parametrize(("preset", "scale"), CASES)
def test_losses_of_a_scale(preset, scale):
    """At 96x64 pixels a step looks at one position in six."""
    pictures = pictures_of("96x64")
    computed = ours(PRESETS[preset], scale, pictures, np.float32)
    expected = theirs(preset, scale, pictures, torch.float32)
    for name in expected.keys() - {"gradient"}:
        assert computed[name] == pytest.approx(expected[name], rel=1e-5), name
    assert parity.relative_error(computed["gradient"], expected["gradient"]) <= 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "scale"), CASES)
def test_gradients_in_double_precision(preset, scale):
    """In float64 no tie of two neighbours is close enough to matter; the weights are exact to 1e-7."""
    pictures = np.random.default_rng(1).random((3, 48, 32, 3))
    with jax.enable_x64(True):
        computed = ours(PRESETS[preset], scale, pictures, np.float64)
        expected = theirs(preset, scale, pictures, torch.float64)
    assert computed["gradient"].dtype == np.float64
    assert float(computed["total"]) == pytest.approx(expected["total"], rel=1e-6)
    assert parity.relative_error(computed["gradient"], expected["gradient"]) <= 1e-5


@pytest.mark.fast
@pytest.mark.parametrize("size", [(48, 64), (65, 47), (9, 70)])
def test_levels_of_the_laplacian_pyramid(size):
    image = np.random.default_rng(0).random((*size, 3))
    with jax.enable_x64(True):
        variable = np.asarray(jax.jit(parametrisation.LaplacianPyramid().encode)(jnp.asarray(image)))
    finest, *coarser = reference.pyramid(torch.tensor(image))
    np.testing.assert_allclose(variable[:, : size[1]], finest, atol=1e-12)
    row = 0
    for level in coarser:
        height, width = level.shape[:2]
        np.testing.assert_allclose(variable[row : row + height, size[1] :][:, :width], level, atol=1e-12)
        row += height


@pytest.mark.fast
def test_rmsprop_is_that_of_torch_optim():
    gradients = np.random.default_rng(0).standard_normal((20, 40)) * np.geomspace(1e-6, 1e3, 40)
    gradients = gradients.astype(np.float32)
    tx = optimizers.RMSprop()(0.002)
    image, state = jnp.zeros(40), tx.init(jnp.zeros(40))
    tensor = torch.zeros(40, requires_grad=True)
    optimizer = torch.optim.RMSprop([tensor], lr=0.002)
    for gradient in gradients:
        updates, state = tx.update(jnp.asarray(gradient), state, image)
        image += updates
        tensor.grad = torch.tensor(gradient)
        optimizer.step()
        np.testing.assert_allclose(image, tensor.detach(), rtol=1e-5, atol=1e-8)
