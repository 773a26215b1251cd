"""One scale of a run: its targets, render functions and first picture, placed where steps want them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.config.build import style_shares, to_learning_rate, to_transforms
from jaxnst.core import color, losses, objective, solver, terms, transforms
from jaxnst.core.sharding import ONE_DEVICE
from jaxnst.io import images, masks
from jaxnst.run.networks import step_params
from jaxnst.run.plan import Plan, resized_style_masks, resized_styles, style_sizes
from jaxnst.run.steps import Steps, Tiled, whole_targets

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

    from jaxnst.core.objective import Losses
    from jaxnst.run.state import SavedState, State

    Size = tuple[int, int]
    Photo = Float[np.ndarray, "h w 3"] | None


@dataclass(frozen=True)
class Scale:
    """One scale of a run, or of several runs at once.

    Attributes:
      size: height and width of the picture, in pixels.
      steps: how steps are done.
      inputs: what a step takes beside the state, placed for `steps`.
      first: makes the first picture and the random key, for a run that starts here.
      detail: of the content picture, for a run that arrives here from a smaller scale; None: nothing is
        added to its picture.
    """

    size: Size
    steps: Steps
    inputs: solver.Inputs
    first: Callable[[], tuple[Any, PRNGKeyArray]]
    detail: Any = None

    def start(self) -> State:
        """Makes the state of a run that begins at this scale."""
        return self.steps.start(self.inputs, *map(self.steps.placement.put, self.first()))

    def step(self, state: State) -> tuple[State, Losses]:
        """Does one step; returns the state after it and the losses before it."""
        return self.steps.step(self.size, self.inputs, state)

    def carry(self, old: Size, state: State) -> State:
        """Takes a state from the scale before, of the size `old`, to this one."""
        return self.steps.carry(old, self.size, state, self.detail)

    def picture(self, state: State) -> Array:
        """Makes the picture of a state, not clipped, on the device."""
        return self.steps.picture(self.size, self.inputs, state.solver.variable)

    def save(self, state: State) -> SavedState:
        """Copies a state to the host."""
        return self.steps.save(self.size, state)


class Scales:
    """Builds the scales of a run, each while the one before runs: compiling takes as long as many steps."""

    def __init__(self, plan: Plan) -> None:
        """Builds nothing yet."""
        self._plan = plan
        self._ahead: dict[int, Future[Scale]] = {}

    def __call__(self, index: int) -> Scale:
        """Returns a scale, and begins to build the next one."""
        ahead = self._ahead.pop(index, None)
        scale = scale_of(self._plan, index) if ahead is None else ahead.result()
        steps = self._plan.steps
        # Devices that work together must get their programs in one order; tiles leave no memory for a second
        # scale.
        alone = steps.placement is ONE_DEVICE and steps.tile is None
        if alone and index + 1 < len(self._plan.sizes):
            pool = ThreadPoolExecutor(1, "next-scale")
            self._ahead[index + 1] = pool.submit(self._build, index + 1)
            pool.shutdown(wait=False)
        return scale

    def _build(self, index: int) -> Scale:
        scale = scale_of(self._plan, index)
        scale.steps.compile_ahead(self._plan.sizes[index - 1], scale.size, scale.inputs, scale.detail)
        return scale


def scale_of(plan: Plan, index: int) -> Scale:
    """Builds what one scale of a run needs, on the device."""
    size = plan.sizes[index]
    photo = photo_at(plan, size)
    inputs = plan.steps.put(inputs_at(plan, size, photo))
    return Scale(
        size, plan.steps, inputs, partial(first_of, plan, size, photo), detail_at(plan, index, photo)
    )


def detail_at(plan: Plan, index: int, photo: Photo) -> Photo:
    """Computes the detail of the content that the scale before cannot show, if the settings ask for it."""
    if photo is None or not plan.config.content_detail or index == 0:
        return None
    return finer_detail(photo, plan.sizes[index - 1])


def photo_at(plan: Plan, size: Size) -> Photo:
    """Resizes the content picture to a height and width; None: there is no content."""
    return None if plan.content is None else images.resize(plan.content, size)


def inputs_at(plan: Plan, size: Size, photo: Photo) -> solver.Inputs:
    """Computes what a step takes at a height and width; `photo` from `photo_at`."""
    targets = targets_at(plan, size, photo)
    return solver.Inputs(
        step_params(plan.config, plan.params),
        targets,
        loss_weights_at(plan, size, targets),
        jnp.float32(to_learning_rate(plan.config)),
        render_at(plan, photo),
        to_transforms(plan.config),
    )


def targets_at(plan: Plan, size: Size, photo: Photo) -> Any:
    """Computes what a picture of a height and width is compared with; `photo` from `photo_at`."""
    return plan.steps.targets(
        plan.params,
        photo,
        resized_styles(plan, size),
        [masks.resize(mask, size) for mask in plan.content_masks],
        resized_style_masks(plan, size),
    )


def loss_weights_at(plan: Plan, size: Size, targets: Any) -> objective.LossWeights:
    """Computes the loss weights of a scale: the plan's own, or divided by what a blank picture would cost.

    The total variation is divided by that of the style pictures (of the photo, without a style). Above
    256 pixels the content counts less.

    Args:
      plan: of the run.
      size: height and width of the picture.
      targets: from `targets_at`.
    """
    weights = dict(plan.loss_weights_at(size))
    if plan.config.weighting == "absolute":
        return weights
    octaves = math.log2(np.clip(max(size), *GROWING_SIDES) / GROWING_SIDES[0])
    for term in plan.steps.problem.objective.terms:
        factor, within = weights[term.name]
        factor = factor * np.float32(PER_OCTAVE.get(term.name, 1.0) ** octaves)
        if isinstance(term, terms.Style):
            blank = np.asarray(targets.terms[term.name].blank)
            within = within._replace(layers=within.layers / np.maximum(blank, LEAST_BLANK))
        elif isinstance(term, terms.Content):
            within = within / np.maximum(_content_blank(plan, term, size, targets), LEAST_BLANK)
        elif isinstance(term, terms.Laplacian):
            edges = targets.terms[term.name]
            squares = sum(float(np.sum(np.square(edge))) for edge in edges)
            least = LEAST_EDGES * sum(edge.size for edge in edges)
            within = within / np.float32(max(squares, least, LEAST_BLANK))
        elif isinstance(term, terms.Regulariser) and term.name == "tv":
            within = within / np.float32(max(_variation(plan, term, size), LEAST_VARIATION))
        weights[term.name] = objective.TermWeights(factor, within)
    return weights


GROWING_SIDES = (256, 1024)
"""Longer sides, in pixels, between which relative loss weights change with the size of the picture."""

PER_OCTAVE = {"content": 0.5, "laplacian": 0.25, "tv": 2.0}
"""Factors of the loss weights for each doubling of the side of the picture, within `GROWING_SIDES`.

A larger scale sees finer details of the photo; with constant weights it puts them all back and takes the
strokes away. Beyond 1024 pixels the strokes are in place, and become blurred if the weights go on.
docs/quality.md has the measurements."""

LEAST_BLANK = 1e-12
"""Lower bound of what a blank picture costs, so that a flat picture has finite loss weights."""

LEAST_VARIATION = 1e-4
"""Lower bound of a painting's total variation: that of noise of two levels of 8 bits, in the l2 form."""

LEAST_EDGES = 0.02
"""Lower bound of a photo's mean square edges (most have 0.1 to 1.5), so that a flat photo gets strokes."""


def _content_blank(plan: Plan, term: terms.Content, size: Size, targets: Any) -> np.ndarray:
    """Computes what a blank picture costs in a content term, for each layer."""
    if not term.layers:
        return np.ones(0, np.float32)
    if isinstance(plan.steps, Tiled):
        # The features of a large picture may not be kept; their mean square hardly depends on the size.
        small = images.fit_size(size, min(max(size), 512))
        what = dataclasses.replace(plan.steps.problem.objective, terms=(term,))
        kept = whole_targets(what, ONE_DEVICE, plan.params, photo_at(plan, small), [])
        ratio = np.float32(size[0] * size[1] / (small[0] * small[1]))
        scale = ratio if term.form is losses.content_sum else np.float32(1)
        return scale * np.asarray(term.blank(kept.terms[term.name]))
    return np.asarray(_blank(term, targets.terms[term.name]))


_blank = jax.jit(terms.Content.blank, static_argnums=0)


def _variation(plan: Plan, term: terms.Regulariser, size: Size) -> float:
    """Computes the variation of the style pictures, in their shares; of the photo, without a style."""
    styles = resized_styles(plan, size)
    variations = [float(term.function(jnp.asarray(picture))) for picture in styles or [photo_at(plan, size)]]
    return float(np.dot(style_shares(plan.config, len(styles)) if styles else 1, variations).sum())


def target_shapes(plan: Plan, size: Size) -> Hashable:
    """Computes the structure and shapes of the targets without computing them."""

    def floats(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    shapes = style_sizes(plan.config, plan.styles, size)
    targets = jax.eval_shape(
        partial(objective.make_targets, plan.steps.problem.objective, look=plan.steps.placement.look),
        plan.params,
        None if plan.content is None else floats(*size, 3),
        [floats(*shape, 3) for shape in shapes],
        [floats(*size) for _ in plan.content_masks],
        [floats(*shape) for shape in shapes[: len(plan.style_masks)]],
    )
    return jax.tree.structure(targets), tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(targets))


def render_at(plan: Plan, photo: Photo) -> tuple[Callable[[Array], Array], ...]:
    """Makes the functions that keep parts of the photo: its colours, or the places without style."""
    if photo is None:
        return ()
    render: list[Callable[[Array], Array]] = []
    if plan.config.color == "luminance":
        render.append(transforms.KeepChroma(jnp.asarray(color.chroma(photo))))
    if plan.content_masks:
        share = masks.coverage([masks.resize(mask, photo.shape[:2]) for mask in plan.content_masks])
        if share.min() < 1:
            render.append(transforms.KeepPhoto(jnp.asarray(photo), jnp.asarray(share, jnp.float32)))
    return tuple(render)


def first_of(plan: Plan, size: Size, photo: Photo) -> tuple[Float[np.ndarray, "h w 3"], PRNGKeyArray]:
    """Makes the first picture that the settings name, and the random key; `photo` from `photo_at`."""
    return _first_picture(plan, size, photo), jax.random.key(plan.config.seed)


def _first_picture(plan: Plan, size: Size, photo: Photo) -> Float[np.ndarray, "h w 3"]:
    config = plan.config

    def content() -> np.ndarray:
        assert photo is not None  # `prepare` has checked it
        return photo

    def blend() -> np.ndarray:
        return np.float32(config.blend) * content() + np.float32(1 - config.blend) * _noise(size, config.seed)

    def detail() -> np.ndarray:
        coarse = max(1, size[0] // 2), max(1, size[1] // 2)
        means = np.stack([style.mean(axis=(0, 1)) for style in plan.styles])
        return finer_detail(content(), coarse) + style_shares(config, len(means)) @ means

    def recolored() -> np.ndarray:
        styles = resized_styles(plan, size)
        regions = [masks.resize(mask, size) for mask in plan.content_masks]
        return color.recolor(
            color.COLOR_TRANSFERS[config.recolor],
            content(),
            styles,
            list(style_shares(config, len(styles))),
            config.recolor_strength * min(1.0, 0.25 + 1.5 * config.strength),
            regions,
            list(map(masks.core, resized_style_masks(plan, size))),
        )

    starts = {
        "content": content,
        "recolored": recolored,
        "style": lambda: images.resize(plan.styles[0], size),
        "noise": lambda: _noise(size, config.seed),
        "black": lambda: np.zeros((*size, 3), np.float32),
        "white": lambda: np.ones((*size, 3), np.float32),
        "blend": blend,
        "detail": detail,
    }
    if plan.start is not None:
        return images.resize(plan.start, size)
    return starts[config.start]()


def finer_detail(image: Float[np.ndarray, "h w 3"], size: Size) -> Float[np.ndarray, "h w 3"]:
    """Computes what a picture of a smaller size cannot show, after `solver.carry` has enlarged it."""
    enlarged = jax.image.resize(jnp.asarray(images.resize(image, size)), image.shape, "lanczos3")
    return image - np.asarray(enlarged)


def _noise(size: Size, seed: int) -> Float[np.ndarray, "h w 3"]:
    """Makes gray with Gaussian noise of a quarter of the range."""
    noise = 0.5 + 0.25 * jax.random.normal(jax.random.key(seed), (*size, 3))
    return np.clip(np.asarray(noise), 0, 1)
