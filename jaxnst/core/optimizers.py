"""The optimisers, from optax, as hashable descriptions: `optimizer(learning_rate)` is the transformation.

The learning rate comes in traced, so that runs that differ in nothing else share one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS (Liu and Nocedal 1989), optax's.

    Attributes:
      memory: how many past steps shape the direction; each costs two pictures of memory.
      line_search: a value of `LINE_SEARCHES`. Without one a step is the direction times the learning rate, as
        in `torch.optim.LBFGS`. With one, every trial costs another evaluation inside a loop, where XLA's
        convolutions are four times slower on a CPU.
    """

    memory: int = 20
    line_search: Callable[[], optax.GradientTransformation] = _no_search

    def __call__(self, learning_rate: Float[Array, ""] | float) -> optax.GradientTransformationExtraArgs:
        """Build the transformation."""
        return optax.lbfgs(learning_rate, memory_size=self.memory, linesearch=self.line_search())


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
