"""The optimisers, from optax, as hashable descriptions: `optimizer(learning_rate)` builds the transformation.

The learning rate is traced, so that runs that differ in nothing else share one compiled program.
`optimizer.carried(state, step, gradient)` returns the transformation's state at another size of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

    Optimizer = Callable[[Float[Array, ""] | float], optax.GradientTransformationExtraArgs]
    Resampling = Callable[[Float[Array, "h w 3"]], Float[Array, "h2 w2 3"]]


def _no_search() -> optax.GradientTransformation:
    return optax.identity()


def _backtracking_search() -> optax.GradientTransformation:
    return optax.scale_by_backtracking_linesearch(max_backtracking_steps=20)


def _zoom_search() -> optax.GradientTransformation:
    return optax.scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one")


LINE_SEARCHES: Mapping[str, Callable[[], optax.GradientTransformation]] = {
    "none": _no_search,
    "backtracking": _backtracking_search,
    "zoom": _zoom_search,
}


class LBFGSState(NamedTuple):
    """Holds the state of L-BFGS.

    Attributes:
      history: `optax.ScaleByLBFGSState`: past steps and what they did to the gradient.
      comparable: whether the last gradient is of the same objective as the next; false after a change of
        size.
    """

    history: Any
    comparable: Bool[Array, ""]


def _is_convex(step: Array, difference: Array) -> Bool[Array, ""]:
    """Says whether the gradient grows along the step, by more than rounding."""
    bound = 1e-8 * jnp.linalg.norm(step) * jnp.linalg.norm(difference)
    return jnp.vdot(step, difference) > bound


def _guarded_update(
    update: Callable, gradient: Any, state: LBFGSState, image: Any = None
) -> tuple[Any, LBFGSState]:
    """Runs `optax.scale_by_lbfgs` without the pairs along which the objective is not convex.

    With such a pair the approximate Hessian is not positive and the direction may lead uphill; optax keeps
    them, PyTorch and the textbooks do not (Nocedal and Wright, section 7.2). To leave one out, the state is
    turned back to where optax writes the pair before it once more, into the same place. So is a pair whose
    gradients are of two objectives: it says nothing of the curvature of either.
    """
    history = state.history
    convex = _is_convex(image - history.params, gradient - history.updates)
    last = (history.count - 2) % len(history.weights_memory)
    keep = convex & state.comparable | (history.count == 0)
    guarded = history._replace(
        count=jnp.where(keep, history.count, history.count - 1),
        params=jnp.where(keep, history.params, image - history.diff_params_memory[last]),
        updates=jnp.where(keep, history.updates, gradient - history.diff_updates_memory[last]),
    )
    direction, history = update(gradient, guarded, image)
    return direction, LBFGSState(history, jnp.ones_like(state.comparable))


def _carried_history(history: Any, step: Resampling, gradient: Resampling) -> Any:
    """Resamples the convex pairs, oldest first and without gaps; the last picture is left behind.

    Resampling can turn a pair's curvature negative; such a pair goes, as it would have on arrival. `count`
    says where optax writes the next pair and which was the last, so it becomes that of a run which has seen
    just the pairs that remain. If none does, it is 1, with which the guarded update starts afresh.
    """
    size = len(history.weights_memory)
    by_age = (history.count - 1 + jnp.arange(size)) % size
    steps = jax.vmap(step)(history.diff_params_memory[by_age])
    differences = jax.vmap(gradient)(history.diff_updates_memory[by_age])
    convex = jax.vmap(_is_convex)(steps, differences)
    order = jnp.argsort(~convex, stable=True)

    def only_convex(pairs: Array) -> Array:
        present = convex[order].reshape(size, *[1] * (pairs.ndim - 1))
        return jnp.where(present, pairs[order], 0)

    weights = 1 / jnp.where(convex, jax.vmap(jnp.vdot)(steps, differences), 1)
    return optax.ScaleByLBFGSState(
        count=1 + jnp.sum(convex, dtype=history.count.dtype),
        params=jnp.zeros_like(steps[0]),
        updates=jnp.zeros_like(differences[0]),
        diff_params_memory=only_convex(steps),
        diff_updates_memory=only_convex(differences),
        weights_memory=only_convex(weights).astype(history.weights_memory.dtype),
    )


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS (Liu and Nocedal 1989), optax's.

    Attributes:
      history_size: how many past steps shape the direction; each costs two pictures of memory.
      line_search: a value of `LINE_SEARCHES`. Without one a step is the direction times the learning rate, as
        in `torch.optim.LBFGS`. With one, every trial costs another evaluation inside a loop, where XLA's
        convolutions are four times slower on a CPU.
      max_step: largest root mean square of a step; infinite by default, as in PyTorch. The second step has
        the curvature of one pair to go by and may overshoot by orders of magnitude, into noise that later
        steps never quite remove.
    """

    history_size: int = 20
    line_search: Callable[[], optax.GradientTransformation] = _no_search
    max_step: float = math.inf

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Builds the transformation."""
        lbfgs = optax.scale_by_lbfgs(self.history_size)

        def init(params: Any) -> LBFGSState:
            return LBFGSState(lbfgs.init(params), jnp.ones((), bool))

        guarded: Any = partial(_guarded_update, lbfgs.update)
        return optax.chain(
            optax.GradientTransformation(init, guarded),
            optax.scale_by_learning_rate(learning_rate),
            self.line_search(),
            optax.clip_by_block_rms(self.max_step),
        )

    def carried(self, state: Any, step: Resampling, gradient: Resampling) -> Any:
        """Carries the state to another size: the curvature learnt so far, and a fresh line search.

        The pairs of steps and gradients' differences are resampled. The last picture and its gradient are
        not: the next gradient is of another objective, at another size, and differs from the last by more
        than the step between them explains. So the next update makes no pair, and takes its direction from
        those that were carried.

        Args:
          state: from this optimiser's transformation, after any number of updates.
          step: a difference of two pictures (of the optimiser's variable, if that is not the picture) to the
            new size; linear.
          gradient: a gradient to the new size and to the new objective's scale; linear. Where both objectives
            discretise one integral, that is the adjoint of going back: resampled like a picture, times the
            pixels there were over those there are.

        Returns:
          A state that the transformation's update takes with pictures of the new size.
        """
        history = _carried_history(state[0].history, step, gradient)
        fresh: Any = self(1.0).init(history.params)
        return (LBFGSState(history, jnp.zeros((), bool)), *fresh[1:])


def _resampled_squares(squares: Float[Array, "h w 3"], gradient: Resampling) -> Float[Array, "h2 w2 3"]:
    return jnp.square(gradient(jnp.sqrt(squares)))


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), with the paper's constants."""

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Builds the transformation."""
        return optax.with_extra_args_support(optax.adam(learning_rate))

    def carried(self, state: Any, step: Resampling, gradient: Resampling) -> Any:
        """Resamples both moments to another size; arguments as for `LBFGS`.

        The second goes by way of its root, which is a gradient's size, so that `gradient`'s factor counts
        squared and no interpolation makes it negative.
        """
        del step
        moments, *rest = state
        return (moments._replace(mu=gradient(moments.mu), nu=_resampled_squares(moments.nu, gradient)), *rest)


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi et al. 2011), whose sum of squares starts at zero as in PyTorch."""

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Builds the transformation."""
        adagrad = optax.adagrad(learning_rate, initial_accumulator_value=0.0, eps=1e-20)
        return optax.with_extra_args_support(adagrad)

    def carried(self, state: Any, step: Resampling, gradient: Resampling) -> Any:
        """Resamples the sum of squares to another size, as `Adam` its second moment."""
        del step
        sums, *rest = state
        return (sums._replace(sum_of_squares=_resampled_squares(sums.sum_of_squares, gradient)), *rest)


@dataclass(frozen=True)
class RMSprop:
    """RMSprop (Tieleman and Hinton 2012), with the decay 0.99 and the epsilon 1e-8 of PyTorch."""

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Builds the transformation."""
        rmsprop = optax.rmsprop(learning_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)
        return optax.with_extra_args_support(rmsprop)

    def carried(self, state: Any, step: Resampling, gradient: Resampling) -> Any:
        """Resamples the mean square to another size, as `Adam` its second moment."""
        del step
        squares, *rest = state
        return (squares._replace(nu=_resampled_squares(squares.nu, gradient)), *rest)


@dataclass(frozen=True)
class SGD:
    """Gradient descent, as in `torch.optim.SGD`.

    Attributes:
      momentum: share of a step that the next step repeats; 0: plain gradient descent.
    """

    momentum: float = 0.0

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Builds the transformation."""
        return optax.with_extra_args_support(optax.sgd(learning_rate, self.momentum or None))

    def carried(self, state: Any, step: Resampling, gradient: Resampling) -> Any:
        """Resamples the sum of past gradients to another size, if there is momentum."""
        del step
        if not self.momentum:
            return state
        sums, *rest = state
        return (sums._replace(trace=gradient(sums.trace)), *rest)


def _root_mean_square(x: Array) -> Float[Array, ""]:
    """Computes the root mean square of the numbers that are not zero; 0 if all are."""
    largest = jnp.max(jnp.abs(x))
    # Divided by the largest number, because squares of small gradients underflow in float32.
    squares = jnp.square(x / jnp.where(largest > 0, largest, 1))
    return largest * jnp.sqrt(jnp.sum(squares) / jnp.maximum(jnp.count_nonzero(x), 1))


def _over(x: Array, divisor: Array) -> Array:
    return x / jnp.where(divisor > 0, divisor, 1)


def _normalised(gradient: Any, params: Any = None) -> Any:
    del params
    return _over(gradient, _root_mean_square(gradient))


@dataclass(frozen=True)
class Normalized:
    """Gives another optimiser gradients that are divided by their root mean square.

    The scale of the objective then does not count, nor do the first gradients more than the later ones, which
    are smaller by orders of magnitude. Without it, Adam and Adagrad divide by squares of the first gradients
    for long: they hardly move at small rates, and at large rates the first step makes noise.

    Numbers that are zero are places on which the objective does not depend, such as those outside all masks;
    they do not count.

    Attributes:
      optimizer: `Adam`, `Adagrad` or `SGD`.

    Source: normalised gradient descent, Nesterov 1984.
    """

    optimizer: Adam | Adagrad | SGD

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Builds the transformation."""
        normalise = optax.stateless(_normalised)
        return optax.with_extra_args_support(optax.chain(normalise, self.optimizer(learning_rate)))

    def carried(self, state: Any, step: Resampling, gradient: Resampling) -> Any:
        """Carries the other optimiser's state to another size; arguments as for `LBFGS`.

        Gradients have length 1 at every size, so those in the state keep their length.
        """

        def keep_length(x: Array) -> Array:
            resampled = gradient(x)
            return resampled * _over(_root_mean_square(x), _root_mean_square(resampled))

        normalise, inner = state
        return normalise, self.optimizer.carried(inner, step, keep_length)
