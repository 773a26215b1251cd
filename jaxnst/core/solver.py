"""One step of the optimisation, as a pure function; the loop around it belongs to the caller.

On a CPU that loop is Python's: XLA's convolutions are four times slower inside `scan` and `while_loop` there
(jax issue 12868). On an accelerator `jax.lax.scan` over `step` hides the dispatch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnst.core.objective import Losses, LossWeights, Objective, Targets, evaluate
from jaxnst.core.optimizers import LBFGS
from jaxnst.core.transforms import unchanged

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

    from jaxnst.core.optimizers import Optimizer


def unbounded(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Leave the picture where the step put it."""
    return image


def clamped(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Put every value back into [0, 1] after the step."""
    return jnp.clip(image, 0, 1)


@dataclass(frozen=True)
class Problem:
    """Everything static about an optimisation: hashable, one compiled program for each.

    Attributes:
      objective: what is minimised.
      optimizer: a value from `jaxnst.core.optimizers`, or any hashable
        `learning_rate -> optax.GradientTransformationExtraArgs`.
      transform: how each step sees the picture, `(image, key) -> image`.
      project: applied to the picture after each step.
    """

    objective: Objective = Objective()
    optimizer: Optimizer = LBFGS()
    transform: Callable[[Array, Array], Array] = unchanged
    project: Callable[[Array], Array] = unbounded


class Inputs(NamedTuple):
    """Everything traced that stays the same from step to step.

    Attributes:
      params: the network's weights.
      targets: of the content and style pictures.
      weights: of the parts of the objective.
      learning_rate: scalar.
    """

    params: Mapping[str, Any]
    targets: Targets
    weights: LossWeights
    learning_rate: Float[Array, ""]


class Memory(NamedTuple):
    """What a step hands to the next beside the picture: the optimiser's state, and the randomness left."""

    optimizer: optax.OptState
    key: PRNGKeyArray


def start(problem: Problem, inputs: Inputs, image: Float[Array, "h w 3"], key: PRNGKeyArray) -> Memory:
    """The memory before the first step of a picture."""
    return Memory(problem.optimizer(inputs.learning_rate).init(image), key)


def step(
    problem: Problem, inputs: Inputs, image: Float[Array, "h w 3"], memory: Memory
) -> tuple[Float[Array, "h w 3"], Memory, Losses]:
    """Evaluate the objective and its gradient once and move the picture.

    Args:
      problem: static.
      inputs: network, targets, weights, learning rate.
      image: float32 `[H, W, 3]`.
      memory: from `start` or from the step before.

    Returns:
      The new picture, the new memory, and the losses before the step.
    """
    key, of_this_step = jax.random.split(memory.key)

    def losses_of(picture: Array) -> tuple[Array, Losses]:
        seen = problem.transform(picture, of_this_step)
        found = evaluate(problem.objective, inputs.params, inputs.targets, inputs.weights, seen)
        return found.total, found

    (value, losses), gradient = jax.value_and_grad(losses_of, has_aux=True)(image)
    updates, optimizer = problem.optimizer(inputs.learning_rate).update(
        gradient,
        memory.optimizer,
        image,
        value=value,
        grad=gradient,
        value_fn=lambda picture: losses_of(picture)[0],
    )
    moved = problem.project(jnp.asarray(optax.apply_updates(image, updates)))
    return moved, Memory(optimizer, key), losses
