"""The parametrisations against NumPy's Fourier transform and their definitions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.core import parametrisation
from jaxnst.core.parametrisation import Decorrelated, Fourier, LaplacianPyramid

BOTH = (Fourier(1.3), Decorrelated())
ALL = [(), (Fourier(),), (Fourier(0.0),), (Decorrelated(),), BOTH]


def noise(height=17, width=24):
    return np.random.default_rng(0).standard_normal((height, width, 3))


@pytest.mark.parametrize("shape", [(16, 16), (17, 24), (1, 7)])
@pytest.mark.parametrize("parts", ALL, ids=str)
def test_encode_and_decode_are_inverses(parts, shape):
    with jax.enable_x64(True):
        image = jnp.asarray(noise(*shape))
        there_and_back = parametrisation.decode(parts, parametrisation.encode(parts, image))
        back_and_there = parametrisation.encode(parts, parametrisation.decode(parts, image))
    assert there_and_back.dtype == back_and_there.dtype == np.float64
    np.testing.assert_allclose(there_and_back, image, atol=1e-12)
    np.testing.assert_allclose(back_and_there, image, atol=1e-12)


@pytest.mark.parametrize("parts", ALL, ids=str)
def test_single_precision_stays_and_suffices(parts):
    image = noise().astype(np.float32)
    decoded = parametrisation.decode(parts, parametrisation.encode(parts, image))
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, image, atol=2e-5)


@pytest.mark.parametrize("shape", [(16, 16), (15, 9)])
def test_waves_without_decay_are_orthonormal(shape):
    first, second = jnp.asarray(noise(*shape), jnp.float32), jnp.ones((*shape, 3)) + noise(*shape)[::-1]
    decoded = [Fourier(0.0).decode(x) for x in (first, second)]
    assert float(jnp.vdot(*decoded)) == pytest.approx(float(jnp.vdot(first, second)), rel=1e-4)
    assert float(jnp.linalg.norm(decoded[0])) == pytest.approx(float(jnp.linalg.norm(first)), rel=1e-5)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 0), (0, 5), (3, 20), (16, 1)])
def test_one_coefficient_is_one_wave(row, column):
    height, width = 17, 24
    variable = np.zeros((height, width, 3), np.float32)
    variable[row, column, 1] = 1
    decoded = np.asarray(Fourier(0.0).decode(variable))
    angle = 2 * np.pi * (row * np.arange(height)[:, None] / height + column * np.arange(width) / width)
    expected = (np.cos(angle) + np.sin(angle)) / np.sqrt(height * width)
    np.testing.assert_allclose(decoded[..., 1], expected, atol=1e-5)
    np.testing.assert_array_equal(decoded[..., [0, 2]], 0)


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_white_noise_decodes_to_a_spectrum_that_falls_with_the_frequency(decay):
    image = np.asarray(Fourier(decay).decode(noise(127, 192).astype(np.float32)))
    assert image.std() == pytest.approx(1, rel=0.25)  # few long waves hold most of the variance
    amplitude = np.abs(np.fft.fft2(image, axes=(0, 1))).mean(-1)
    frequency = np.hypot(np.fft.fftfreq(127)[:, None], np.fft.fftfreq(192))
    fitted = frequency > 1 / 127
    slope, _ = np.polyfit(np.log(frequency[fitted]), np.log(amplitude[fitted]), 1)
    assert slope == pytest.approx(-decay, abs=0.03)


def test_the_mean_is_scaled_like_the_longest_wave():
    variable = np.zeros((16, 32, 3), np.float32)
    variable[0, 0] = variable[0, 1] = 1
    spectrum = np.fft.fft2(Fourier().decode(variable), axes=(0, 1))
    np.testing.assert_allclose(np.abs(spectrum[0, 0]), np.sqrt(2) * np.abs(spectrum[0, 1]), rtol=1e-5)
    np.testing.assert_allclose(np.abs(spectrum[0, 1]), np.abs(spectrum[0, -1]), rtol=1e-5)


def test_white_noise_decodes_to_the_colours_of_natural_pictures():
    """Brightness, the first axis, varies most, and red, green and blue rise with it equally."""
    decoded = np.asarray(Decorrelated().decode(noise(200, 200).astype(np.float32)))
    correlation = np.corrcoef(decoded.reshape(-1, 3).T)
    assert correlation[np.triu_indices(3, 1)].min() > 0.75
    brightness = np.asarray(Decorrelated().decode(jnp.array([[[1.0, 0, 0]]])))[0, 0]
    np.testing.assert_allclose(brightness, brightness.mean(), rtol=0.03)
    assert np.linalg.norm(brightness) == pytest.approx(1)


def test_parts_apply_in_order():
    """A single coefficient of the first axis decodes to a wave in brightness."""
    variable = np.zeros((9, 12, 3), np.float32)
    variable[2, 3, 0] = 1
    image = parametrisation.decode((Fourier(), Decorrelated()), variable)
    wave = Fourier().decode(variable)[..., :1]
    brightness = Decorrelated().decode(jnp.array([[[1.0, 0, 0]]]))
    np.testing.assert_allclose(image, wave * brightness, atol=1e-6)


def test_parts_need_not_commute():
    class Doubled:
        def decode(self, variable):
            return 2 * variable

        def encode(self, image):
            return image / 2

    class Raised:
        def decode(self, variable):
            return variable + 1

        def encode(self, image):
            return image - 1

    image = parametrisation.decode((Doubled(), Raised()), jnp.ones((1, 1, 3)))
    np.testing.assert_array_equal(image, 3)
    np.testing.assert_array_equal(parametrisation.encode((Doubled(), Raised()), image), 1)


def test_composes_with_jit_vmap_grad_and_transposition():
    images = jnp.stack([noise(), noise()[::-1]]).astype(jnp.float32)
    decode = jax.jit(parametrisation.decode, static_argnums=0)
    one_by_one = jnp.stack([parametrisation.decode(BOTH, image) for image in images])
    together = jax.vmap(lambda image: decode(BOTH, image))(images)
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)

    # Of a linear function, the gradient of <direction, f(x)> is the transpose applied to the direction.
    first, direction = images
    gradient = jax.grad(lambda x: jnp.vdot(direction, decode(BOTH, x)))(first)
    assert float(jnp.vdot(gradient, first)) == pytest.approx(
        float(jnp.vdot(direction, decode(BOTH, first))), rel=1e-3
    )
    [transposed] = jax.linear_transpose(lambda x: parametrisation.decode(BOTH, x), first)(direction)
    np.testing.assert_allclose(transposed, gradient, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (17, 24), (33, 21), (1, 7), (3, 2)])
@pytest.mark.parametrize("parts", [(LaplacianPyramid(),), (LaplacianPyramid(3), Decorrelated())], ids=str)
def test_a_pyramid_decodes_to_the_picture(parts, shape):
    with jax.enable_x64(True):
        image = jnp.asarray(noise(*shape))
        variable = jax.jit(partial(parametrisation.encode, parts))(image)
        decoded = jax.jit(partial(parametrisation.decode, parts))(variable)
    assert variable.shape == (shape[0], shape[1] + shape[1] // 2, 3)
    np.testing.assert_allclose(decoded, image, atol=1e-12)


def test_a_number_of_a_coarse_level_moves_a_large_area():
    """Level 3 of 48x40 has 6x5 positions of 8x8 pixels each; it is below levels of 24 and 12 rows."""
    variable = jnp.zeros((48, 60, 3)).at[24 + 12 + 2, 40 + 3, 1].set(1.0)
    image = np.asarray(LaplacianPyramid().decode(variable))
    rows, columns = np.nonzero(image[..., 1] > 0.01)
    assert (rows.mean(), columns.mean()) == pytest.approx((2 * 8 + 3.5, 3 * 8 + 3.5), abs=0.01)
    assert image[..., 1].sum() == pytest.approx(64, rel=1e-5)
    assert not image[..., [0, 2]].any()
