"""What a plan is at one size of the picture: its targets, what is rendered with it, where it starts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.config.build import to_precision, to_transforms
from jaxnst.core import color, objective, solver, transforms, vgg
from jaxnst.core.tiling import targets as tiled_targets
from jaxnst.io import images, masks
from jaxnst.run import traces
from jaxnst.run.memory_budget import keeps_content
from jaxnst.run.plan import Plan, style_size

if TYPE_CHECKING:
    from jaxtyping import Array

_targets = traces.jit(objective.make_targets)
_in_bfloat16 = jax.jit(vgg.in_bfloat16)


def targets_at(plan: Plan, size: tuple[int, int]) -> objective.Targets | tiled_targets.TiledTargets:
    """What a picture of this height and width is compared with."""
    make: Callable[..., Any] = _targets
    if plan.tile is not None:
        keep = keeps_content(plan.config, *size)
        make = partial(tiled_targets.make_targets, tile=plan.tile, keep=keep)
    return make(
        plan.problem.objective,
        plan.params,
        None if plan.content is None else images.resize(plan.content, size),
        [images.resize(style, style_size(plan.config, style, size)) for style in plan.styles],
        [masks.resize(mask, size) for mask in plan.content_masks],
        [masks.resize(mask, style_size(plan.config, mask, size)) for mask in plan.style_masks],
    )


def target_shapes(plan: Plan, size: tuple[int, int]) -> Hashable:
    """What a compiler sees of the targets, without computing them; style pictures may differ in size."""

    def floats(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    found = jax.eval_shape(
        partial(objective.make_targets, plan.problem.objective),
        plan.params,
        None if plan.content is None else floats(*size, 3),
        [floats(*style_size(plan.config, style, size), 3) for style in plan.styles],
        [floats(*size) for _ in plan.content_masks],
        [floats(*style_size(plan.config, mask, size)) for mask in plan.style_masks],
    )
    return jax.tree.structure(found), tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(found))


def render_at(plan: Plan, size: tuple[int, int]) -> tuple[Callable[[Array], Array], ...]:
    """What belongs to the picture beside what the optimiser moves: the photo, or its colours."""
    if plan.content is None:
        return ()
    photo = images.resize(plan.content, size)
    found: list[Callable[[Array], Array]] = []
    if plan.config.color == "luminance":
        found.append(transforms.KeepChroma(jnp.asarray(color.chroma(photo))))
    share = masks.coverage([masks.resize(mask, size) for mask in plan.content_masks] or [np.ones(size)])
    if share.min() < 1:
        found.append(transforms.KeepPhoto(jnp.asarray(photo), jnp.asarray(share, jnp.float32)))
    return tuple(found)


def inputs_at(plan: Plan, size: tuple[int, int], params: Mapping[str, Any]) -> solver.Inputs:
    """What a step at this height and width takes, with weights from `params_of_steps`."""
    return solver.Inputs(
        params,
        targets_at(plan, size),
        plan.loss_weights,
        jnp.float32(plan.config.learning_rate),
        render_at(plan, size),
        to_transforms(plan.config),
    )


def params_of_steps(plan: Plan) -> Mapping[str, Any]:
    """The network's weights as steps compute with them, which may be less exactly than targets."""
    return _in_bfloat16(plan.params) if to_precision(plan.config) == "bf16" else plan.params


def _noise(size: tuple[int, int], seed: int) -> np.ndarray:
    """Gray with Gaussian noise of a quarter of the range."""
    noise = 0.5 + 0.25 * jax.random.normal(jax.random.key(seed), (*size, 3))
    return np.clip(np.asarray(noise), 0, 1)


def first_picture(plan: Plan, size: tuple[int, int]) -> np.ndarray:
    """The start named in the settings, at one size."""
    config = plan.config

    def content() -> np.ndarray:
        assert plan.content is not None  # `prepare` has seen to it
        return images.resize(plan.content, size)

    def blend() -> np.ndarray:
        return np.float32(config.blend) * content() + np.float32(1 - config.blend) * _noise(size, config.seed)

    starts = {
        "content": content,
        "style": lambda: images.resize(plan.styles[0], size),
        "noise": lambda: _noise(size, config.seed),
        "black": lambda: np.zeros((*size, 3), np.float32),
        "white": lambda: np.ones((*size, 3), np.float32),
        "blend": blend,
    }
    if plan.start is not None:
        return images.resize(plan.start, size)
    return starts[config.start]()
