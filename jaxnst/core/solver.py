"""One step of the optimisation, as a pure function; the loop around it belongs to the caller.

What the optimiser moves is the *variable*; its parametrisation and `Inputs.render` make the picture of it,
`Inputs.transforms` say where a step looks at the picture:

    variable --decode--> --render--> picture --transforms--> network

On a CPU the loop is Python's: XLA's convolutions are four times slower inside `scan` and `while_loop` there
(jax issue 12868). On an accelerator `jax.lax.scan` over `step` hides the dispatch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnst.core import parametrisation
from jaxnst.core.objective import Losses, LossWeights, Objective, evaluate
from jaxnst.core.optimizers import LBFGS

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

    from jaxnst.core.optimizers import Optimizer
    from jaxnst.core.parametrisation import Parametrisation


@dataclass(frozen=True)
class Problem:
    """Everything static about an optimisation: hashable, one compiled program for each.

    Attributes:
      objective: what is minimised.
      optimizer: a value from `jaxnst.core.optimizers`, or any hashable
        `learning_rate -> optax.GradientTransformationExtraArgs`.
      parametrisation: how the variable becomes a picture; empty: it is its pixels.
      project: applied to the decoded variable after each step.
    """

    objective: Objective = Objective()
    optimizer: Optimizer = LBFGS()
    parametrisation: tuple[Parametrisation, ...] = ()
    project: Callable[[Array], Array] | None = None


class Inputs(NamedTuple):
    """Everything traced that stays the same from step to step.

    Attributes:
      params: the network's weights.
      targets: of the content and style pictures: `Targets`, or what `tiled_targets.make_targets` returned.
      weights: of the parts of the objective.
      learning_rate: scalar.
      render: functions `image -> image` that belong to the picture, for example where the photo stays.
      transforms: functions `(image, key) -> image`, for images of any size and number of channels: where each
        step looks, see `evaluate`'s `window`.

    `render` and `transforms` are pytrees; see `jaxnst.core.transforms`.
    """

    params: Mapping[str, Any]
    targets: Any
    weights: LossWeights
    learning_rate: Float[Array, ""]
    render: tuple[Callable[[Array], Array], ...] = ()
    transforms: tuple[Callable[[Array, Array], Array], ...] = ()


class Memory(NamedTuple):
    """What a step hands to the next beside the variable: the optimiser's state, and the randomness left."""

    optimizer: optax.OptState
    key: PRNGKeyArray


def clamped(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Put every value back into [0, 1]."""
    return jnp.clip(image, 0, 1)


def picture(problem: Problem, inputs: Inputs, variable: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The picture that a variable stands for, not clipped."""
    image = parametrisation.decode(problem.parametrisation, variable)
    for part in inputs.render:
        image = part(image)
    return image


def start(
    problem: Problem, inputs: Inputs, image: Float[Array, "h w 3"], key: PRNGKeyArray
) -> tuple[Float[Array, "h w 3"], Memory]:
    """The variable of a first picture, and the memory before the first step."""
    variable = parametrisation.encode(problem.parametrisation, image)
    return variable, Memory(problem.optimizer(inputs.learning_rate).init(variable), key)


def step(
    problem: Problem, inputs: Inputs, variable: Float[Array, "h w 3"], memory: Memory
) -> tuple[Float[Array, "h w 3"], Memory, Losses]:
    """Evaluate the objective and its gradient once and move the variable.

    Args:
      problem: static.
      inputs: network, targets, weights, learning rate, rendering.
      variable: float32 `[H, W, 3]`.
      memory: from `start`, `carry` or the step before.

    Returns:
      The new variable, the new memory, and the losses before the step.
    """
    key, of_this_step = jax.random.split(memory.key)
    window = window_of(inputs, of_this_step)

    def losses_of(variable: Array) -> tuple[Array, Losses]:
        image = picture(problem, inputs, variable)
        found = evaluate(problem.objective, inputs.params, inputs.targets, inputs.weights, image, window)
        return found["total"], found

    (value, losses), gradient = jax.value_and_grad(losses_of, has_aux=True)(variable)
    moved, memory = move(
        problem,
        inputs.learning_rate,
        variable,
        Memory(memory.optimizer, key),
        gradient,
        value,
        lambda variable: losses_of(variable)[0],
    )
    return moved, memory, losses


def window_of(inputs: Inputs, key: PRNGKeyArray) -> Callable[[Array], Array]:
    """Where the network looks at the step that has this key; for `objective.evaluate`."""

    def window(image: Array) -> Array:
        for index, transform in enumerate(inputs.transforms):
            image = transform(image, jax.random.fold_in(key, index))
        return image

    return window


def move(
    problem: Problem,
    learning_rate: Float[Array, ""],
    variable: Float[Array, "h w 3"],
    memory: Memory,
    gradient: Float[Array, "h w 3"],
    value: Float[Array, ""],
    value_of: Callable[[Array], Array] | None = None,
) -> tuple[Float[Array, "h w 3"], Memory]:
    """Move the variable, when value and gradient there are known.

    Args:
      problem: static.
      learning_rate: scalar.
      variable, memory: before.
      gradient: of the objective with respect to the variable.
      value: of the objective.
      value_of: the objective as a function of the variable, for a line search.

    Returns:
      The new variable and the new memory.
    """
    updates, optimizer = problem.optimizer(learning_rate).update(
        gradient, memory.optimizer, variable, value=value, grad=gradient, value_fn=value_of
    )
    moved = jnp.asarray(optax.apply_updates(variable, updates))
    return _projected(problem, moved), Memory(optimizer, memory.key)


def carry(
    problem: Problem, variable: Float[Array, "h w 3"], memory: Memory, size: tuple[int, int]
) -> tuple[Float[Array, "h2 w2 3"], Memory]:
    """Take a variable and what the optimiser knows to another size, for coarse-to-fine work.

    The picture is resampled (Lanczos), and with it each step in the optimiser's memory. A gradient counts per
    pixel: of an objective whose terms are means over positions it falls with the number of pixels, so the
    resampled gradients are multiplied by the ratio of the areas. An optimiser of your own that has no method
    `carried` starts afresh.

    Args:
      problem: static.
      variable, memory: of the old size, from `step`.
      size: height and width to go to, static.

    Returns:
      Variable and memory for `step` at the new size.

    Source: Crowson's style-transfer-pytorch carries Adam's moments; the treatment of L-BFGS is ours.
    """
    parts = problem.parametrisation
    shape = (*size, 3)
    ratio = variable.size / (size[0] * size[1] * 3)
    old, new = variable, jax.ShapeDtypeStruct(shape, variable.dtype)

    def resample(image: Array) -> Array:
        return jax.image.resize(image, shape, "lanczos3")

    def decode(variable: Array) -> Array:
        return parametrisation.decode(parts, variable)

    def encode(image: Array) -> Array:
        return parametrisation.encode(parts, image)

    def step_of(difference: Array) -> Array:
        return encode(resample(decode(difference)))

    def gradient_of(gradient: Array) -> Array:
        [by_pixel] = jax.linear_transpose(encode, old)(gradient)
        [by_variable] = jax.linear_transpose(decode, new)(ratio * resample(by_pixel))
        return by_variable

    moved = _projected(problem, step_of(variable))
    carried = getattr(problem.optimizer, "carried", None)
    if carried is None:
        return moved, Memory(problem.optimizer(1.0).init(moved), memory.key)
    return moved, Memory(carried(memory.optimizer, step_of, gradient_of), memory.key)


def _projected(problem: Problem, variable: Array) -> Array:
    if problem.project is None:
        return variable
    image = problem.project(parametrisation.decode(problem.parametrisation, variable))
    return parametrisation.encode(problem.parametrisation, image)
