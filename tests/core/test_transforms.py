"""The random shift, against PyTorch's grid_sample and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.core import transforms

pytestmark = pytest.mark.fast


@pytest.fixture
def image():
    return np.random.default_rng(0).random((17, 23, 3), np.float32)


def test_the_whole_window_unturned_is_the_image(image):
    np.testing.assert_allclose(
        transforms.sample_window(image, jnp.array([8.0, 11.0]), 1.0, 0.0), image, atol=1e-6
    )


def test_a_quarter_turn_of_a_square(image):
    square = image[:, :17]
    turned = transforms.sample_window(square, jnp.array([8.0, 8.0]), 1.0, np.pi / 2)
    np.testing.assert_allclose(turned, np.rot90(square, -1), atol=1e-5)


@pytest.mark.parametrize(("centre", "scale", "angle"), [((8.2, 10.5), 0.97, 0.02), ((5.0, 14.0), 0.8, -0.3)])
def test_sample_window_is_pytorchs_grid_sample(image, centre, scale, angle):
    torch = pytest.importorskip("torch")
    import torch_reference

    expected = torch_reference.similarity_sample(torch.tensor(image), centre, scale, angle)
    sampled = transforms.sample_window(image, jnp.array(centre), scale, angle)
    np.testing.assert_allclose(sampled, expected.numpy(), atol=1e-5)


def test_random_shift_is_seeded_and_differentiable(image):
    shift = transforms.RandomShift(0.95)
    first, again, other = (shift(image, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    gradient = jax.grad(lambda x: (shift(x, jax.random.key(0)) ** 2).sum())(image)
    # The output is linear in the input, so input times gradient of the squares sums to twice the squares.
    assert float((gradient * image).sum()) == pytest.approx(2 * float((first**2).sum()), rel=1e-4)
    assert np.count_nonzero(gradient) > 0.8 * gradient.size


def test_the_window_stays_near_the_picture():
    """A shift of 0.97 moves no pixel by more than 7 % of the side, rotation included."""
    ramp = np.broadcast_to(np.arange(100.0, dtype=np.float32)[:, None, None] / 100, (100, 100, 3))
    for seed in range(5):
        seen = transforms.RandomShift(0.97)(ramp, jax.random.key(seed))
        assert np.abs(seen - ramp).max() < 0.07


@pytest.mark.parametrize(("multiple", "border"), [(16, 0), (16, 3), (1, 5), (1, 0)])
def test_a_mirrored_frame_is_numpys_symmetric_padding(image, multiple, border):
    framed = np.asarray(transforms.Mirrored(multiple, border)(jnp.asarray(image)))
    more = [-(side + 2 * border) % multiple for side in image.shape[:2]]
    sides = [(border, border + extra) for extra in more]
    np.testing.assert_array_equal(framed, np.pad(image, [*sides, (0, 0)], mode="symmetric"))
    assert framed.shape[0] % multiple == framed.shape[1] % multiple == 0
