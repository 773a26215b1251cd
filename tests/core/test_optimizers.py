"""The optimisers against formulas; `tests/parity` compares whole trajectories with torch.optim."""

import functools
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnst.core import optimizers


def two_loop_recursion(gradient, steps, differences):
    """Computes the direction by Nocedal and Wright, algorithm 7.4, in float64, from pairs oldest first."""
    q, alphas = gradient.astype(np.float64), []
    for s, y in reversed(list(zip(steps, differences, strict=True))):
        alphas.append(s @ q / (y @ s))
        q = q - alphas[-1] * y
    r = q * (steps[-1] @ differences[-1]) / (differences[-1] @ differences[-1])
    for s, y, alpha in zip(steps, differences, reversed(alphas), strict=True):
        r = r + s * (alpha - y @ r / (y @ s))
    return r


transformation = functools.cache(lambda optimizer: optimizer(1.0))


@partial(jax.jit, static_argnums=0)
def update(tx, state, point, gradient):
    return tx.update(gradient, state, point, value=0.0, grad=gradient)


def follow(tx, state, points, gradients):
    """Gives an optimiser these points and gradients; returns its updates and its last state."""
    updates = []
    for point, gradient in zip(points, gradients, strict=True):
        moved, state = update(tx, state, jnp.asarray(point), jnp.asarray(gradient))
        updates.append(moved)
    return updates, state


@pytest.mark.parametrize("history_size", [1, 3, 5])
@pytest.mark.parametrize("steps", [2, 4, 9])
def test_lbfgs_direction_is_the_two_loop_recursion(history_size, steps):
    generator = np.random.default_rng(0)
    curvature = np.linspace(1, 9, 40)
    tx = transformation(optimizers.LBFGS(history_size))
    points = generator.standard_normal((steps, 40)).astype(np.float32)
    gradients = (curvature * points).astype(np.float32)
    [*_, updates], _ = follow(tx, tx.init(jnp.asarray(points[0])), points, gradients)
    s = np.diff(points.astype(np.float64), axis=0)[-history_size:]
    y = np.diff(gradients.astype(np.float64), axis=0)[-history_size:]
    expected = -two_loop_recursion(gradients[-1], list(s), list(y))
    assert np.linalg.norm(updates - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("bent", [{1}, {3}, {1, 2}, {2, 5}, {4, 5}])
def test_lbfgs_leaves_out_pairs_of_negative_curvature(bent):
    """The direction is that of the convex pairs alone, as in torch.optim.LBFGS."""
    generator = np.random.default_rng(0)
    steps = generator.standard_normal((6, 40)).astype(np.float32)
    differences = np.stack(
        [s * np.linspace(1, 9, 40) * (-1 if k in bent else 1) for k, s in enumerate(steps, 1)]
    )
    points = np.cumsum(np.concatenate([generator.standard_normal((1, 40)), steps]), axis=0).astype(np.float32)
    first = generator.standard_normal((1, 40))
    gradients = np.cumsum(np.concatenate([first, differences]), axis=0).astype(np.float32)
    tx = transformation(optimizers.LBFGS(10))
    [*_, updates], _ = follow(tx, tx.init(jnp.asarray(points[0])), points, gradients)
    convex = [k for k in range(6) if k + 1 not in bent]
    s, y = np.diff(points.astype(np.float64), axis=0), np.diff(gradients.astype(np.float64), axis=0)
    expected = -two_loop_recursion(gradients[-1], list(s[convex]), list(y[convex]))
    assert np.linalg.norm(updates - expected) <= 1e-5 * np.linalg.norm(expected)


def test_max_step_limits_the_root_mean_square_of_a_step():
    tx = optimizers.LBFGS(5, max_step=0.01)(1.0)
    gradient = jnp.array([[300.0, -400.0], [0.0, 0.0]])
    updates, _ = update(tx, tx.init(gradient), gradient, gradient)
    np.testing.assert_allclose(updates, -0.01 * 2 * gradient / 500, rtol=1e-5)


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.parametrize("line_search", ["backtracking", "zoom"])
def test_line_searches_reach_the_minimum_of_rosenbrock(line_search):
    tx = optimizers.LBFGS(10, optimizers.LINE_SEARCHES[line_search])(1.0)
    x = jnp.zeros(6)

    @jax.jit
    def step(x, state):
        value, gradient = jax.value_and_grad(rosenbrock)(x)
        updates, state = tx.update(gradient, state, x, value=value, grad=gradient, value_fn=rosenbrock)
        return optax.apply_updates(x, updates), state

    state, values = tx.init(x), []
    for _ in range(60):
        values.append(float(rosenbrock(x)))
        x, state = step(x, state)
    assert all(later <= before * (1 + 1e-6) for before, later in itertools.pairwise(values))
    np.testing.assert_allclose(x, np.ones(6), atol=1e-2)


@pytest.mark.parametrize("optimizer", [optimizers.Adam(), optimizers.Adagrad()])
def test_first_step_is_the_learning_rate_against_the_gradients_sign(optimizer):
    tx = optimizer(0.1)
    gradient = jnp.array([3.0, -0.5, 1e-6])
    updates, _ = tx.update(gradient, tx.init(gradient), gradient)
    np.testing.assert_allclose(updates, [-0.1, 0.1, -0.1], rtol=2e-2)


def test_sgd_is_the_gradient_times_the_learning_rate():
    tx = optimizers.SGD()(0.1)
    updates, _ = tx.update(jnp.array([3.0, -0.5]), tx.init(jnp.zeros(2)), jnp.zeros(2))
    np.testing.assert_allclose(updates, [-0.3, 0.05])


def test_sgd_with_momentum_repeats_a_share_of_the_last_step():
    """The formula of `torch.optim.SGD`."""
    gradients = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    tx = transformation(optimizers.SGD(0.9))
    updates, _ = follow(tx, tx.init(jnp.zeros(3)), gradients, gradients)
    expected = np.zeros(3)
    for update, gradient in zip(updates, gradients, strict=True):
        expected = 0.9 * expected - gradient
        np.testing.assert_allclose(update, expected, rtol=1e-5)


OTHERS = [optimizers.Adam(), optimizers.Adagrad(), optimizers.SGD(), optimizers.SGD(0.9)]
NORMALIZED = [optimizers.Normalized(other) for other in OTHERS]


@pytest.mark.parametrize("factor", [1e-30, 1e9])
@pytest.mark.parametrize("other", OTHERS)
def test_normalized_gives_gradients_of_length_one(other, factor):
    """The scale of the objective does not count, nor do places on which it does not depend."""
    gradients = np.random.default_rng(0).standard_normal((4, 5, 4, 3))
    gradients *= np.geomspace(1, 1e-3, 4)[:, None, None, None]
    gradients[:, 3:] = 0
    rescaled = (factor * gradients).astype(np.float32)
    lengths = np.sqrt(np.mean(gradients[:, :3] ** 2, axis=(1, 2, 3), keepdims=True))
    unit = (gradients / lengths).astype(np.float32)
    tx, plain = transformation(optimizers.Normalized(other)), transformation(other)
    updates, _ = follow(tx, tx.init(jnp.zeros((5, 4, 3))), rescaled, rescaled)
    expected, _ = follow(plain, plain.init(jnp.zeros((5, 4, 3))), unit, unit)
    np.testing.assert_allclose(updates, expected, rtol=1e-4, atol=1e-6)


def test_normalized_does_not_move_without_a_gradient():
    tx = transformation(optimizers.Normalized(optimizers.SGD(0.9)))
    zeros = jnp.zeros((2, 2, 3))
    updates, _ = follow(tx, tx.init(zeros), [zeros, zeros], [zeros, zeros])
    assert not np.any(updates)


def unchanged(x):
    return x


@pytest.mark.parametrize("optimizer", [*OTHERS, *NORMALIZED])
def test_carrying_to_the_same_size_changes_nothing(optimizer):
    gradients = np.random.default_rng(0).standard_normal((9, 5, 4, 3)).astype(np.float32)
    tx = transformation(optimizer)
    _, state = follow(tx, tx.init(jnp.zeros((5, 4, 3))), gradients[:6], gradients[:6])
    expected, _ = follow(tx, state, gradients[6:], gradients[6:])
    updates, _ = follow(tx, optimizer.carried(state, unchanged, unchanged), gradients[6:], gradients[6:])
    np.testing.assert_allclose(updates, expected, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [optimizers.Adam(), optimizers.Adagrad(), optimizers.SGD(0.9)])
def test_moments_carried_are_those_of_the_carried_gradients(optimizer):
    """A run on resampled gradients has the same state, because resampling repeats pixels here."""

    def finer(gradient):
        return jnp.repeat(jnp.repeat(gradient, 2, 0), 2, 1) / 4

    gradients = np.random.default_rng(0).standard_normal((6, 5, 4, 3)).astype(np.float32)
    tx = transformation(optimizer)
    _, state = follow(tx, tx.init(jnp.zeros((5, 4, 3))), gradients, gradients)
    fine = [finer(gradient) for gradient in gradients]
    _, expected = follow(tx, tx.init(jnp.zeros((10, 8, 3))), fine, fine)
    moments = optimizer.carried(state, None, finer)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), moments, expected)


@pytest.mark.parametrize("optimizer", NORMALIZED)
def test_a_change_of_size_keeps_the_length_of_normalized_gradients(optimizer):
    """A run on resampled gradients has the same state, because resampling repeats pixels here."""

    def repeated(gradient):
        return jnp.repeat(jnp.repeat(gradient, 2, 0), 2, 1)

    gradients = np.random.default_rng(0).standard_normal((6, 5, 4, 3)).astype(np.float32)
    tx = transformation(optimizer)
    _, state = follow(tx, tx.init(jnp.zeros((5, 4, 3))), gradients, gradients)
    fine = [repeated(gradient) for gradient in gradients]
    _, expected = follow(tx, tx.init(jnp.zeros((10, 8, 3))), fine, fine)
    moved = optimizer.carried(state, None, lambda gradient: repeated(gradient) / 4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), moved, expected)


def walk(generator, steps, size):
    """Returns random points and the gradients of a convex quadratic there."""
    points = generator.standard_normal((steps, size)).astype(np.float32)
    return points, (np.linspace(1, 9, size) * points).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def carried(optimizer, state, steps, gradients):
    return optimizer.carried(state, lambda step: steps @ step, lambda gradient: gradients @ gradient)


@pytest.mark.parametrize("keeps_curvature", [True, False])
@pytest.mark.parametrize(("history_size", "steps"), [(5, 1), (5, 2), (5, 4), (5, 6), (5, 13), (1, 4)])
def test_lbfgs_carries_the_pairs_that_stay_convex_and_makes_none_across_the_change(
    history_size, steps, keeps_curvature
):
    """Later directions are the two-loop recursion over the carried pairs and the new ones."""
    generator = np.random.default_rng(1)
    coarse = walk(generator, steps, 40)
    fine = walk(generator, 3, 60)
    enlarge = generator.standard_normal((60, 40)).astype(np.float32)
    by_chance = generator.standard_normal((60, 40)).astype(np.float32)
    enlarge_gradient = np.linalg.pinv(enlarge).T if keeps_curvature else by_chance

    optimizer = optimizers.LBFGS(history_size)
    tx = transformation(optimizer)
    _, state = follow(tx, tx.init(jnp.zeros(40)), *coarse)
    state = carried(optimizer, state, enlarge, enlarge_gradient)
    updates, _ = follow(tx, state, *fine)

    pairs = [
        (enlarge @ s, enlarge_gradient @ y)
        for s, y in zip(np.diff(coarse[0], axis=0), np.diff(coarse[1], axis=0), strict=True)
    ]
    pairs = [(s, y) for s, y in pairs[-history_size:] if s @ y > 0]
    made_since = [None, *zip(np.diff(fine[0], axis=0), np.diff(fine[1], axis=0), strict=True)]
    for update, gradient, pair in zip(updates, fine[1], made_since, strict=True):
        pairs = [*pairs, pair][-history_size:] if pair is not None else pairs
        if pairs:
            expected = -two_loop_recursion(gradient, *zip(*pairs, strict=True))
        else:
            expected = -gradient * min(1, 1 / np.linalg.norm(gradient))
        assert np.linalg.norm(update - expected) <= 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("line_search", ["backtracking", "zoom"])
def test_a_line_search_starts_afresh_at_another_size(line_search):
    optimizer = optimizers.LBFGS(5, optimizers.LINE_SEARCHES[line_search])
    coarse, fine = jnp.full((2, 2, 3), 0.7), jnp.full((4, 4, 3), 0.7)
    tx = optimizer(1.0)

    def finer(x):
        return jnp.repeat(jnp.repeat(x, 2, 0), 2, 1)

    def loss(x):
        return jnp.mean((x - 0.2) ** 4)

    state = optimizer.carried(tx.init(coarse), finer, finer)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, tx.init(fine))
    value, gradient = jax.value_and_grad(loss)(fine)
    updates, _ = jax.jit(partial(tx.update, value_fn=loss))(gradient, state, fine, value=value, grad=gradient)
    assert float(loss(optax.apply_updates(fine, updates))) < float(value)


def statistics_and_pixels(size):
    """Returns an integral over the picture, like style: a mean over pixels plus a few stiff statistics."""
    centres = (jnp.arange(size) + 0.5) / size
    y, x = centres[:, None], centres[None, :]
    waves = jnp.stack([jnp.cos(jnp.pi * k * y) * jnp.cos(jnp.pi * j * x) for k in range(3) for j in range(2)])
    stiffness = jnp.geomspace(100, 1000, 6)
    target = jnp.stack([jnp.hypot(y - 0.5, x - middle) < 0.3 for middle in (0.3, 0.4, 0.5)], -1).astype(float)

    def loss(image):
        off = jnp.einsum("kyx,yxc->k", waves, image - target) / size**2
        return jnp.mean(jnp.square(image - target)) / 2 + jnp.sum(stiffness * jnp.square(off)) / 2

    return loss


@pytest.mark.slow
def test_lbfgs_needs_fewer_steps_at_the_fine_size_with_the_history_of_the_coarse():
    """The size changes after many different steps, because a single change may favour either."""
    optimizer = optimizers.LBFGS(20)
    tx = optimizer(1.0)

    def stepper(loss):
        @jax.jit
        def step(image, state):
            value, gradient = jax.value_and_grad(loss)(image)
            updates, state = tx.update(gradient, state, image, value=value, grad=gradient)
            return optax.apply_updates(image, updates), state, value

        return step

    def finer(x):
        return jax.image.resize(x, (32, 32, 3), "linear")

    carry = jax.jit(lambda state: optimizer.carried(state, finer, lambda gradient: finer(gradient) / 4))
    coarse_step, fine_step = stepper(statistics_and_pixels(16)), stepper(statistics_and_pixels(32))

    def steps_to_a_tenth(image, state):
        values = []
        while not values or values[-1] > values[0] / 10:
            image, state, value = fine_step(image, state)
            values.append(float(value))
            assert np.isfinite(values[-1]) and len(values) < 50
        return len(values) - 1

    image, fresh, with_history = jnp.zeros((16, 16, 3)), 0, 0
    state = tx.init(image)
    for done in range(1, 25):
        image, state, _ = coarse_step(image, state)
        if done % 3 == 2:
            fresh += steps_to_a_tenth(finer(image), tx.init(finer(image)))
            with_history += steps_to_a_tenth(finer(image), carry(state))
    assert with_history < 0.85 * fresh
