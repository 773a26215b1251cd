"""One step of the optimisation, as a pure function; the loop around it belongs to the caller.

What the optimiser moves is the *variable*. Its parametrisation and `Inputs.render` make the picture of it,
`Inputs.transforms` say where a step looks at the picture:

    variable --decode--> --render--> picture --transforms--> network

On a CPU the loop is Python's: XLA's convolutions are four times slower inside `scan` and `while_loop` there
(jax issue 12868). On an accelerator `jax.lax.scan` over `step` hides the dispatch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnst.core import parametrisation
from jaxnst.core.objective import Look, Losses, LossWeights, Objective, evaluate, view
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
      targets: of the content and style pictures: `Targets`, or what `tiling.make_targets` returned.
      loss_weights: factors of the parts of the objective.
      learning_rate: scalar.
      render: functions `image -> image` that belong to the picture, for example where the photo stays.
      transforms: functions `(image, key) -> image`, for images of any size and number of channels: where each
        step looks, see `evaluate`'s `window`.

    `render` and `transforms` are pytrees; see `jaxnst.core.transforms`.
    """

    params: Mapping[str, Any]
    targets: Any
    loss_weights: LossWeights
    learning_rate: Float[Array, ""]
    render: tuple[Callable[[Array], Array], ...] = ()
    transforms: tuple[Callable[[Array, Array], Array], ...] = ()


class State(NamedTuple):
    """A state: what a step takes and returns.

    Attributes:
      variable: what the optimiser moves, float32 `[H, W, 3]`, or wider with an overcomplete parametrisation.
      optimizer: the optimiser's own state.
      key: the randomness left for later steps.
    """

    variable: Float[Array, "h w 3"]
    optimizer: optax.OptState
    key: PRNGKeyArray


def clamped(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Puts every value back into [0, 1]."""
    return jnp.clip(image, 0, 1)


def picture(problem: Problem, inputs: Inputs, variable: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Makes the picture that a variable stands for, not clipped."""
    image = parametrisation.decode(problem.parametrisation, variable)
    for render in inputs.render:
        image = render(image)
    return image


def start(problem: Problem, inputs: Inputs, image: Float[Array, "h w 3"], key: PRNGKeyArray) -> State:
    """Makes the state before the first step from a first picture, float32 `[H, W, 3]`."""
    variable = parametrisation.encode(problem.parametrisation, image)
    return State(variable, problem.optimizer(inputs.learning_rate).init(variable), key)


def step(problem: Problem, inputs: Inputs, state: State, look: Look = view) -> tuple[State, Losses]:
    """Evaluates the objective and its gradient once and moves the variable.

    Args:
      problem: static.
      inputs: network, targets, loss weights, learning rate, rendering.
      state: from `start`, `carry` or the step before.
      look: how features are computed; default `objective.view`.

    Returns:
      The state after the step, and the losses before it.
    """
    key, step_key = jax.random.split(state.key)
    window = window_at(inputs, step_key)
    sample_key = jax.random.fold_in(step_key, len(inputs.transforms))

    def losses_at(variable: Array) -> tuple[Array, Losses]:
        image = picture(problem, inputs, variable)
        losses = evaluate(
            problem.objective,
            inputs.params,
            inputs.targets,
            inputs.loss_weights,
            image,
            window,
            look,
            sample_key,
        )
        return losses["total"], losses

    (_, losses), gradient = jax.value_and_grad(losses_at, has_aux=True)(state.variable)
    moved = move(
        problem,
        inputs.learning_rate,
        state._replace(key=key),
        gradient,
        losses["total"],
        lambda variable: losses_at(variable)[0],
    )
    return moved, losses


def window_at(inputs: Inputs, key: PRNGKeyArray) -> Callable[[Array], Array]:
    """Returns where the network looks at the step that has this key; for `objective.evaluate`."""

    def window(image: Array) -> Array:
        for index, transform in enumerate(inputs.transforms):
            image = transform(image, jax.random.fold_in(key, index))
        return image

    return window


def move(
    problem: Problem,
    learning_rate: Float[Array, ""],
    state: State,
    gradient: Float[Array, "h w 3"],
    loss: Float[Array, ""],
    loss_at: Callable[[Array], Array] | None = None,
) -> State:
    """Moves the variable by one step of the optimiser, and projects it.

    Args:
      problem: static; its `project` is applied last.
      learning_rate: scalar.
      state: before the step.
      gradient: of the objective with respect to the variable.
      loss: the objective at the variable.
      loss_at: the objective as a function of the variable, for a line search.

    Returns:
      The state after the step.
    """
    updates, optimizer = problem.optimizer(learning_rate).update(
        gradient, state.optimizer, state.variable, value=loss, grad=gradient, value_fn=loss_at
    )
    moved = jnp.asarray(optax.apply_updates(state.variable, updates))
    return State(_projected(problem, moved), optimizer, state.key)


def resized(
    problem: Problem,
    variable: Float[Array, "h w 3"],
    size: tuple[int, int],
    detail: Float[Array, "h2 w2 3"] | None = None,
) -> Float[Array, "h2 w2 3"]:
    """Resamples the picture of a variable to another height and width (Lanczos), and adds detail, if any."""
    image = parametrisation.decode(problem.parametrisation, variable)
    resampled = jax.image.resize(image, (*size, 3), "lanczos3")
    if detail is not None:
        resampled += detail
    return _projected(problem, parametrisation.encode(problem.parametrisation, resampled))


def carry(
    problem: Problem,
    state: State,
    size: tuple[int, int],
    detail: Float[Array, "h2 w2 3"] | None = None,
) -> State:
    """Takes a state to another size, for coarse-to-fine runs.

    The picture is resampled (Lanczos), and with it each step in the optimiser's history. A gradient counts
    per pixel: of an objective whose terms are means over positions it falls with the number of pixels. So
    resampled gradients are multiplied by the ratio of the areas. An optimiser of your own that has no method
    `carried` starts afresh, and so does any optimiser with an overcomplete parametrisation, whose gradients
    are not those of one picture.

    Args:
      problem: static.
      state: of the old size.
      size: height and width to go to, in pixels; static.
      detail: added to the picture; default none.

    Returns:
      The state for `step` at the new size.

    Source: Crowson's style-transfer-pytorch carries Adam's moments; the treatment of L-BFGS is ours.
    """
    parts = problem.parametrisation
    variable, shape = state.variable, (*size, 3)

    def resample(image: Array) -> Array:
        return jax.image.resize(image, shape, "lanczos3")

    def decode(variable: Array) -> Array:
        return parametrisation.decode(parts, variable)

    def encode(image: Array) -> Array:
        return parametrisation.encode(parts, image)

    old = jax.eval_shape(decode, variable)
    new = jax.eval_shape(encode, jax.ShapeDtypeStruct(shape, variable.dtype))
    ratio = old.size / math.prod(shape)

    def resample_step(difference: Array) -> Array:
        return encode(resample(decode(difference)))

    def resample_gradient(gradient: Array) -> Array:
        [by_pixel] = jax.linear_transpose(encode, old)(gradient)
        [by_variable] = jax.linear_transpose(decode, new)(ratio * resample(by_pixel))
        return by_variable

    moved = resized(problem, variable, size, detail)
    carried = getattr(problem.optimizer, "carried", None)
    if carried is None or any(getattr(part, "overcomplete", False) for part in parts):
        return State(moved, problem.optimizer(1.0).init(moved), state.key)
    return State(moved, carried(state.optimizer, resample_step, resample_gradient), state.key)


def _projected(problem: Problem, variable: Array) -> Array:
    if problem.project is None:
        return variable
    image = problem.project(parametrisation.decode(problem.parametrisation, variable))
    return parametrisation.encode(problem.parametrisation, image)
