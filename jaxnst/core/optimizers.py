"""The optimisers, from optax, as hashable descriptions: `optimizer(learning_rate)` is the transformation.

The learning rate comes in traced, so that runs that differ in nothing else share one compiled program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import optax

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Optimizer = Callable[[Float[Array, ""] | float], optax.GradientTransformationExtraArgs]


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


def _guarded_update(update: Callable, gradient: Any, state: Any, image: Any = None) -> tuple[Any, Any]:
    """`optax.scale_by_lbfgs`, without the pairs along which the objective is not convex.

    With such a pair the approximate Hessian is not positive and the direction may lead uphill; optax keeps
    them, PyTorch and the textbooks do not (Nocedal and Wright, section 7.2). To leave one out, the state is
    turned back to where optax writes the pair before it once more, into the same place.
    """
    step, difference = image - state.params, gradient - state.updates
    convex = jnp.vdot(step, difference) > 1e-8 * jnp.linalg.norm(step) * jnp.linalg.norm(difference)
    last = (state.count - 2) % len(state.weights_memory)
    keep = convex | (state.count == 0)
    guarded = state._replace(
        count=jnp.where(keep, state.count, state.count - 1),
        params=jnp.where(keep, state.params, image - state.diff_params_memory[last]),
        updates=jnp.where(keep, state.updates, gradient - state.diff_updates_memory[last]),
    )
    return update(gradient, guarded, image)


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS (Liu and Nocedal 1989), optax's.

    Attributes:
      memory: how many past steps shape the direction; each costs two pictures of memory.
      line_search: a value of `LINE_SEARCHES`. Without one a step is the direction times the learning rate, as
        in `torch.optim.LBFGS`. With one, every trial costs another evaluation inside a loop, where XLA's
        convolutions are four times slower on a CPU.
      max_step: largest root mean square of a step; infinite by default, as in PyTorch. The second step has
        the curvature of one pair to go by and may overshoot by orders of magnitude, into noise that later
        steps never quite remove.
    """

    memory: int = 20
    line_search: Callable[[], optax.GradientTransformation] = _no_search
    max_step: float = math.inf

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Build the transformation."""
        direction = optax.scale_by_lbfgs(self.memory)
        guarded: Any = partial(_guarded_update, direction.update)
        return optax.chain(
            optax.GradientTransformation(direction.init, guarded),
            optax.scale_by_learning_rate(learning_rate),
            self.line_search(),
            optax.clip_by_block_rms(self.max_step),
        )


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), with the paper's constants."""

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Build the transformation."""
        return optax.with_extra_args_support(optax.adam(learning_rate))


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi et al. 2011), whose sum of squares starts at zero as in PyTorch."""

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Build the transformation."""
        adagrad = optax.adagrad(learning_rate, initial_accumulator_value=0.0, eps=1e-20)
        return optax.with_extra_args_support(adagrad)


@dataclass(frozen=True)
class SGD:
    """Plain gradient descent."""

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Build the transformation."""
        return optax.with_extra_args_support(optax.sgd(learning_rate))
