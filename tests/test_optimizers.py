"""The optimisers against formulas; whole trajectories against torch.optim are in test_parity.py."""

import itertools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnst.core import optimizers


def two_loop_recursion(gradient, steps, differences):
    """Nocedal and Wright, algorithm 7.4, in float64; the pairs come oldest first."""
    q, alphas = gradient.astype(np.float64), []
    for s, y in reversed(list(zip(steps, differences, strict=True))):
        alphas.append(s @ q / (y @ s))
        q = q - alphas[-1] * y
    r = q * (steps[-1] @ differences[-1]) / (differences[-1] @ differences[-1])
    for s, y, alpha in zip(steps, differences, reversed(alphas), strict=True):
        r = r + s * (alpha - y @ r / (y @ s))
    return r


@pytest.mark.parametrize("memory", [1, 3, 5])
@pytest.mark.parametrize("steps", [2, 4, 9])
def test_lbfgs_direction_is_the_two_loop_recursion(memory, steps):
    generator = np.random.default_rng(0)
    curvature = np.linspace(1, 9, 40)
    tx = optimizers.LBFGS(memory)(1.0)
    points = generator.standard_normal((steps, 40)).astype(np.float32)
    gradients = (curvature * points).astype(np.float32)
    state = tx.init(jnp.asarray(points[0]))
    for point, gradient in zip(points, gradients, strict=True):
        updates, state = tx.update(
            jnp.asarray(gradient), state, jnp.asarray(point), value=0.0, grad=gradient, value_fn=None
        )
    s = np.diff(points.astype(np.float64), axis=0)[-memory:]
    y = np.diff(gradients.astype(np.float64), axis=0)[-memory:]
    expected = -two_loop_recursion(gradients[-1], list(s), list(y))
    assert np.linalg.norm(updates - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("bent", [{1}, {3}, {1, 2}, {2, 5}, {4, 5}])
def test_lbfgs_leaves_out_pairs_of_negative_curvature(bent):
    """As torch.optim.LBFGS does: the direction is that of the convex pairs alone."""
    generator = np.random.default_rng(0)
    steps = generator.standard_normal((6, 40)).astype(np.float32)
    differences = np.stack(
        [s * np.linspace(1, 9, 40) * (-1 if k in bent else 1) for k, s in enumerate(steps, 1)]
    )
    points = np.cumsum(np.concatenate([generator.standard_normal((1, 40)), steps]), axis=0).astype(np.float32)
    first = generator.standard_normal((1, 40))
    gradients = np.cumsum(np.concatenate([first, differences]), axis=0).astype(np.float32)
    tx = optimizers.LBFGS(10)(1.0)
    state = tx.init(jnp.asarray(points[0]))
    for point, gradient in zip(points, gradients, strict=True):
        updates, state = tx.update(
            jnp.asarray(gradient), state, jnp.asarray(point), value=0.0, grad=gradient, value_fn=None
        )
    convex = [k for k in range(6) if k + 1 not in bent]
    s, y = np.diff(points.astype(np.float64), axis=0), np.diff(gradients.astype(np.float64), axis=0)
    expected = -two_loop_recursion(gradients[-1], list(s[convex]), list(y[convex]))
    assert np.linalg.norm(updates - expected) <= 1e-5 * np.linalg.norm(expected)


def test_max_step_limits_the_root_mean_square_of_a_step():
    tx = optimizers.LBFGS(5, max_step=0.01)(1.0)
    gradient = jnp.array([[300.0, -400.0], [0.0, 0.0]])
    updates, _ = tx.update(gradient, tx.init(gradient), gradient, value=0.0, grad=gradient, value_fn=None)
    np.testing.assert_allclose(updates, -0.01 * 2 * gradient / 500, rtol=1e-5)


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.parametrize("line_search", ["backtracking", "zoom"])
def test_line_searches_reach_the_minimum_of_rosenbrock(line_search):
    import jax

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
