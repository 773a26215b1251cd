"""The plan of a run: pictures, masks, weights, sizes and the kind of step, read and checked.

What cannot work is refused here, before anything large is compiled.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.config.build import COLORS, NEIGHBORS, at_scale, to_loss_weights, to_objective, to_problem
from jaxnst.config.config import Config
from jaxnst.core import color, guides, objective, terms, vgg
from jaxnst.core.sharding import ONE_DEVICE, Placement
from jaxnst.errors import InputError, choose
from jaxnst.io import images, masks
from jaxnst.run.memory_budget import Tile, check_large_enough, fit_in_memory, keeps_content
from jaxnst.run.networks import Networks
from jaxnst.run.steps import Steps, Tiled

if TYPE_CHECKING:
    from jaxnst.io.images import Picture
    from jaxnst.io.weights.load import Weights

STARTS = ("content", "recolored", "style", "noise", "black", "white", "blend", "detail")

_guides = jax.jit(guides.carry_down, static_argnums=(1, 2))


class Pictures(NamedTuple):
    """The pictures of one run, and masks over them; the content or the styles may be left out.

    Attributes:
      content: a picture, or None.
      styles: pictures.
      content_masks: for each style its region of the picture; empty: everywhere.
      style_masks: for each style the part of its picture that is the style; empty: all of it.
    """

    content: Picture | None
    styles: Sequence[Picture]
    content_masks: Sequence[Picture] = ()
    style_masks: Sequence[Picture] = ()


def gather(
    content: Picture | None, style: Any, content_masks: Any, style_masks: Any, config: Config
) -> tuple[Pictures, Config]:
    """Collects the pictures and masks of one run; the config keeps masks by their paths.

    Args:
      content: a picture, or None.
      style: a picture, a list or tuple of several, or None.
      content_masks: a mask, or one for each style; None: those in the config.
      style_masks: a mask, or one for each style; None: those in the config.
      config: the settings.

    Returns:
      The pictures, and the config that names the masks.

    Raises:
      InputError: an empty list of styles.
    """
    chosen: dict[str, list[Picture]] = {}
    for name, masks_given in (("content_masks", content_masks), ("style_masks", style_masks)):
        chosen[name] = images.as_list(getattr(config, name) if masks_given is None else masks_given)
        config = config.replace(**{name: tuple(map(_name_of_mask, chosen[name]))})
    styles = images.as_list(style)
    if style is not None and not styles:
        raise InputError("style: no picture is given; give at least one, or None to reconstruct the content.")
    return Pictures(content, styles, **chosen), config


def _name_of_mask(mask: Picture) -> str:
    if isinstance(mask, str | os.PathLike):
        return os.fspath(mask)
    return f"<{type(mask).__name__}>"


@dataclass(frozen=True)
class Plan:
    """Everything a run needs, read and checked.

    Attributes:
      config: the settings; without the layers of a content or style that is left out.
      content: at its own size, float32 [H, W, 3] in [0, 1]; None: there is no content picture.
      styles: at their own sizes, with the colours in which they are compared.
      content_masks: one for each style, or none, float32 [H, W] in [0, 1].
      style_masks: one for each style, or none, float32 [H, W] in [0, 1].
      start: the first picture, where it is a file.
      sizes: height and width of the picture at each scale, coarse to fine.
      steps: how a step is done.
      weights: the network's, as read.
      params: the same on the device, as deep as they are needed, in the form with which it is fastest.
      loss_weights: for the core.
    """

    config: Config
    content: np.ndarray | None
    styles: list[np.ndarray]
    content_masks: list[np.ndarray]
    style_masks: list[np.ndarray]
    start: np.ndarray | None
    sizes: list[tuple[int, int]]
    steps: Steps
    weights: Weights
    params: Mapping[str, Any]
    loss_weights: objective.LossWeights

    @property
    def ends(self) -> list[int]:
        """Steps done at the end of each scale."""
        return list(itertools.accumulate(map(self.config.steps_at, range(len(self.sizes)))))

    def loss_weights_at(self, size: tuple[int, int]) -> objective.LossWeights:
        """Returns the loss weights of the scale of a size; a picture that exists already is at the last."""
        earlier = len(self.config.sides) - len(self.sizes)
        return at_scale(self.config, self.loss_weights, earlier + self.sizes.index(size))


def prepare(
    pictures: Pictures,
    config: Config,
    size: tuple[int, int] | None = None,
    tile: Tile = None,
    networks: Networks | None = None,
    available: int | None = None,
    placements: Sequence[Placement] = (ONE_DEVICE,),
) -> Plan:
    """Reads the pictures and the weights, and refuses what cannot work before anything large is compiled.

    Args:
      pictures: from `gather`.
      config: checked settings.
      size: height and width of the picture in question, where it exists already; None: it gets the shape of
        the content (or of the first style picture), at the sizes in `config`.
      tile: largest side of a tile, in pixels; auto: as memory asks for; None: no tiles.
      networks: those that are loaded already; the plan's is added.
      available: memory of each device that may be used, in bytes; None: what is free now.
      placements: where arrays may lie; the first that fits is taken.

    Raises:
      InputError: a picture, the weights or a size that cannot be used.
    """
    config = _without_the_absent(config, pictures)
    content = None if pictures.content is None else images.read_image(pictures.content, "content")
    styles = [images.read_image(picture, "style") for picture in pictures.styles]
    first = styles[0] if content is None else content
    shape = size or (first.shape[0], first.shape[1])
    sizes = [size] if size else [images.fit_size(shape, side) for side in config.sides]
    content_masks = masks.read_masks(pictures.content_masks, [shape] * len(styles), "content_masks")
    style_masks = masks.read_masks(pictures.style_masks, [style.shape[:2] for style in styles], "style_masks")
    if content is None and size is None and content_masks and masks.coverage(content_masks).min() < 0.99:
        raise InputError("content_masks: without a content picture the masks must cover everything.")
    start = None if config.start in STARTS else _read_start(config.start)
    loss_weights = to_loss_weights(config, len(styles))
    check_large_enough(config, *sizes[0], argument="style" if content is None else "content")
    for height, width in style_sizes(config, styles, sizes[0]):
        check_large_enough(config, height, width, argument="style")
    largest = [sizes[-1], *style_sizes(config, styles, sizes[-1])]
    side, placement = fit_in_memory(config, largest, tile, available, placements)
    weights, params = (networks or Networks()).load(config, placement)
    if content is not None and (transfer := COLORS[config.color]):
        content_regions = [masks.core(masks.resize(mask, content.shape[:2])) for mask in content_masks]
        style_regions = list(map(masks.core, style_masks))
        styles = color.match_regions(transfer, styles, content, style_regions, content_regions)
    problem = to_problem(config)
    keep = keeps_content(config, *sizes[-1])
    plan = Plan(
        config=config,
        content=content,
        styles=styles,
        content_masks=content_masks,
        style_masks=style_masks,
        start=start,
        sizes=sizes,
        steps=Steps(problem, placement) if side is None else Tiled(problem, tile=side, keep=keep),
        weights=weights,
        params=params,
        loss_weights=loss_weights,
    )
    for scale_size in sizes:
        _check_regions(plan, scale_size)
        _check_statistics(plan, scale_size)
    return plan


_NEEDS: tuple[tuple[str, str, Callable[[Config], bool]], ...] = (
    ("content", "start", lambda config: config.start in ("content", "recolored", "blend", "detail")),
    ("content", "content_detail", lambda config: config.content_detail),
    ("content", "statistic", lambda config: NEIGHBORS in config.statistic),
    ("content", "color", lambda config: config.color != "style"),
    ("style", "start", lambda config: config.start in ("recolored", "style", "detail")),
    ("style", "palette_weight", lambda config: config.palette_weight > 0),
    ("style", "color", lambda config: config.color != "style"),
    ("style", "histogram_weight", lambda config: config.histogram_weight > 0),
)
"""The picture that a setting needs, and when it does."""


def _without_the_absent(config: Config, pictures: Pictures) -> Config:
    """Drops the layers of a picture that is not there, and refuses settings that need it."""
    present = {"content": pictures.content is not None, "style": bool(pictures.styles)}
    if not any(present.values()):
        raise InputError("content and style are both missing; give at least one picture.")
    for picture, name, used in _NEEDS:
        if used(config) and not present[picture]:
            raise InputError(f"{name}: {getattr(config, name)!r} needs a {picture} picture; none is given.")
    if config.style_balance and len(pictures.styles) < 2:
        raise InputError("style_balance: it needs at least two style pictures to balance.")
    content_counts = (config.content_layers and config.content_weight) or config.laplacian_weight
    style_counts = (
        (config.style_layers and config.style_weight) or config.histogram_weight or config.palette_weight
    )
    if present["style"] and not style_counts and not (present["content"] and config.style_layers):
        raise InputError(
            "style_layers, style_weight: the style counts for nothing; name layers, give a weight."
        )
    if not present["style"] and not content_counts:
        raise InputError(
            "content_layers, content_weight: the picture counts for nothing; name layers and a weight."
        )
    if not present["content"]:
        config = config.replace(content_layers=(), content_layer_weights=(1.0,), laplacian_weight=0.0)
    if not present["style"]:
        no_layers = {
            "style_layer_weights": (1.0,),
            "statistic": ("gram",),
            "style_weights": (),
            "hypercolumns": False,
            "style_rotations": False,
        }
        config = config.replace(style_layers=(), **no_layers)
    return config


def _check_regions(plan: Plan, size: tuple[int, int]) -> None:
    """Refuses a region of which nothing is left at some layer."""
    what = plan.steps.problem.objective
    for argument, resized in (
        ("content_masks", [masks.resize(mask, size) for mask in plan.content_masks]),
        ("style_masks", resized_style_masks(plan, size)),
    ):
        for index, mask in enumerate(resized, start=1):
            regions = _guides(mask, what.style_layers, what.guidance)
            masks.check_regions(regions, f"{argument} {index}", (mask.shape[0], mask.shape[1]))


def _check_statistics(plan: Plan, size: tuple[int, int]) -> None:
    """Refuses a statistic that a layer is too small for; shapes are enough to know."""
    style_terms = [term for term in to_objective(plan.config).terms if isinstance(term, terms.Style)]
    # Sums over positions work at any size.
    pairs = [
        (layer, statistic)
        for term in style_terms
        for layer, statistic in zip(term.layers, term.statistics, strict=True)
        if not getattr(statistic, "additive", False)
    ]
    for height, width in {size, *style_sizes(plan.config, plan.styles, size)}:
        for layer, statistic in pairs:
            shape = (height // vgg.stride(layer), width // vgg.stride(layer))
            features = jax.ShapeDtypeStruct((*shape, vgg.channels(layer)), jnp.float32)
            try:
                jax.eval_shape(statistic, features, jax.ShapeDtypeStruct(shape, jnp.float32))
            except ValueError as error:
                raise InputError(
                    f"statistic: at {layer} of {width}x{height} pixels: {error}; use another layer or size."
                ) from error


def _read_start(start: str) -> np.ndarray:
    path = Path(start).expanduser()
    if not path.suffix and len(path.parts) < 2 and not path.exists():
        choose("start", start, STARTS)  # a word, not a file: offer the words
    return images.read_image(start, "start")


LEAST_STYLE_SIDE = 256
"""Side, in pixels, to which a style picture may always be enlarged: a smaller one has too few strokes."""


def style_sizes(config: Config, styles: Sequence[np.ndarray], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Computes height and width of each style picture where the picture being made has `size`."""

    def style_size(height: int, width: int) -> tuple[int, int]:
        side = max(size)
        if not config.enlarge_style:
            side = min(side, max(height, width, LEAST_STYLE_SIDE))
        return images.fit_size((height, width), max(1, round(side * config.style_scale)))

    return [style_size(*style.shape[:2]) for style in styles]


def resized_styles(plan: Plan, size: tuple[int, int]) -> list[np.ndarray]:
    """Resizes the style pictures to what they are where the picture being made has `size`."""
    return list(map(images.resize, plan.styles, style_sizes(plan.config, plan.styles, size)))


def resized_style_masks(plan: Plan, size: tuple[int, int]) -> list[np.ndarray]:
    """Resizes the style masks, if any, to the sizes of their style pictures."""
    sizes = style_sizes(plan.config, plan.styles, size)
    return [masks.resize(mask, shape) for mask, shape in zip(plan.style_masks, sizes, strict=False)]
