"""Before a run: pictures, masks, weights and settings are read and checked, and sized for each scale.

What cannot work is refused here, before anything large is compiled.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.config.build import to_loss_weights, to_objective, to_precision, to_problem
from jaxnst.config.config import Config
from jaxnst.core import color, guides, objective, solver, terms, vgg
from jaxnst.core.sharding import spread as sharding
from jaxnst.core.sharding.rows import Rows
from jaxnst.errors import InputError, choose
from jaxnst.io import images, masks
from jaxnst.io.weights.load import Weights, load_weights
from jaxnst.run.memory_budget import Tile, check_large_enough, fit_in_memory, rows_of

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxnst.io.images import Picture

STARTS = ("content", "style", "noise", "black", "white", "blend")

_guides = jax.jit(guides.carry_down, static_argnums=(1, 2))
_for_cpu = jax.jit(vgg.for_cpu)


class Pictures(NamedTuple):
    """What the user gave: pictures, and masks over them; the content or the styles may be left out.

    Attributes:
      content: a picture, or None.
      styles: pictures.
      content_masks: for each style where it goes; empty: everywhere.
      style_masks: for each style which part of it is the style; empty: all.
    """

    content: Picture | None
    styles: Sequence[Picture]
    content_masks: Sequence[Picture] = ()
    style_masks: Sequence[Picture] = ()


@dataclass(frozen=True)
class Plan:
    """Everything a run needs, read and checked.

    Attributes:
      config: the settings; without the layers of a content or style that is left out.
      content: as it was given, at its own size, float32 [H, W, 3] in [0, 1].
      styles: with the colours in which they are compared, at their own sizes.
      content_masks, style_masks: one for each style, or none, float32 [H, W] in [0, 1].
      start: the first picture, where it is a file.
      sizes: height and width of the picture at each scale, coarse to fine.
      tile: side of the pieces in which pictures are worked through, in pixels; None: as a whole.
      mesh: devices over which pairs and the rows of pictures are spread; None: one device.
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
    tile: int | None
    mesh: Mesh | None
    weights: Weights
    params: Mapping[str, Any]
    loss_weights: objective.LossWeights

    @property
    def problem(self) -> solver.Problem:
        """What is minimised, and how."""
        problem = to_problem(self.config)
        if self.mesh is None or rows_of(self.mesh) == 1:
            return problem
        spread = dataclasses.replace(problem.objective, rows=Rows(self.mesh))
        return dataclasses.replace(problem, objective=spread)


def prepare(
    pictures: Pictures,
    config: Config,
    size: tuple[int, int] | None = None,
    tile: Tile = None,
    networks: Networks | None = None,
    available: int | None = None,
    meshes: Sequence[Mesh | None] = (None,),
) -> Plan:
    """Read the pictures and the weights, and refuse what cannot work before anything large is compiled.

    Args:
      pictures: what the user gave.
      config: checked settings.
      size: height and width of the picture in question, where it exists already; otherwise it gets the shape
        of the content (or of the first style picture), at the sizes in `config`.
      tile: side of the pieces in which pictures are worked through, in pixels; auto: as memory wants it.
      networks: those that are there already; the plan's is added.
      available: memory of each device that may be used, in bytes; None: what is free now.
      meshes: devices to use, the first that will do; see `Plan`.

    Raises:
      InputError: a picture, the weights or a size that cannot be used.
    """
    config = _without_the_absent(config, pictures)
    content = None if pictures.content is None else images.read_image(pictures.content, "content")
    styles = [images.read_image(picture, "style") for picture in pictures.styles]
    first = styles[0] if content is None else content
    shape = size or (first.shape[0], first.shape[1])
    content_masks = _read_masks("content_masks", pictures.content_masks, [shape] * len(styles))
    style_masks = _read_masks("style_masks", pictures.style_masks, [style.shape[:2] for style in styles])
    if content is None and size is None and content_masks and masks.coverage(content_masks).min() < 0.99:
        raise InputError("content_masks: without a content picture the masks must cover everything.")
    start = None if config.start in STARTS else _read_start(config.start)
    loss_weights = to_loss_weights(config, len(styles))
    sizes = [size] if size else [images.fit_size(shape, side) for side in config.sides]
    check_large_enough(config, *sizes[0], argument="style" if content is None else "content")
    for array in styles:
        check_large_enough(config, *style_size(config, array, sizes[0]), argument="style")
    largest = [sizes[-1], *(style_size(config, array, sizes[-1]) for array in styles)]
    tile, mesh = fit_in_memory(config, largest, tile, available, meshes)
    weights, params = (networks or Networks()).of(config, mesh)
    plan = Plan(
        config=config,
        content=content,
        styles=_in_color(config.color, content, styles, content_masks, style_masks),
        content_masks=content_masks,
        style_masks=style_masks,
        start=start,
        sizes=sizes,
        tile=tile,
        mesh=mesh,
        weights=weights,
        params=params,
        loss_weights=loss_weights,
    )
    for one in sizes:
        _check_regions(plan, one)
        _check_statistics(plan, one)
    return plan


class Networks:
    """The networks of several plans, each read and put on the device once; threads may share it."""

    def __init__(self) -> None:
        """None yet."""
        self._lock = threading.Lock()
        self._known: dict[Hashable, tuple[Weights, Mapping[str, Any]]] = {}

    def of(self, config: Config, mesh: Mesh | None = None) -> tuple[Weights, Mapping[str, Any]]:
        """The weights that settings name, and as many of them as they need, on the device, or all of a mesh.

        In a CPU's own form, if it is one; but bfloat16 is too coarse for Winograd's filters, and Winograd's
        tiles are not partitioned by rows.

        Raises:
          InputError: they cannot be used.
        """
        layers = to_objective(config).layers
        exact, parts = to_precision(config) != "bf16", rows_of(mesh)
        for_cpu = jax.default_backend() == "cpu" and exact and parts == 1
        which = (config.weights, max(map(vgg.LAYERS.index, layers), default=-1), for_cpu, mesh)
        with self._lock:
            if which not in self._known:
                weights = load_weights(config.weights)
                params = vgg.up_to_deepest(weights.params, layers)
                params = _for_cpu(params) if for_cpu else params
                placed = jax.device_put(params) if mesh is None else sharding.everywhere(mesh, params)
                self._known[which] = weights, placed
            return self._known[which]


_NEEDS: tuple[tuple[str, str, Callable[[Config], bool]], ...] = (
    ("content", "start", lambda config: config.start in ("content", "blend")),
    ("content", "color", lambda config: config.color != "style"),
    ("content", "laplacian_weight", lambda config: config.laplacian_weight > 0),
    ("style", "start", lambda config: config.start == "style"),
    ("style", "color", lambda config: config.color != "style"),
    ("style", "histogram_weight", lambda config: config.histogram_weight > 0),
)
"""Which picture a setting needs, and when it does."""


def _without_the_absent(config: Config, pictures: Pictures) -> Config:
    """The settings without the layers of a picture that is not there; what needs it is refused."""
    given = {"content": pictures.content is not None, "style": bool(pictures.styles)}
    if not any(given.values()):
        raise InputError("content and style are both missing; give at least one picture.")
    for picture, name, used in _NEEDS:
        if used(config) and not given[picture]:
            raise InputError(f"{name}: {getattr(config, name)!r} needs a {picture} picture; none is given.")
    if config.style_balance and len(pictures.styles) < 2:
        raise InputError("style_balance: it needs at least two style pictures to balance.")
    of_content = (config.content_layers and config.content_weight) or config.laplacian_weight
    of_style = (config.style_layers and config.style_weight) or config.histogram_weight
    if given["style"] and not of_style and not (given["content"] and config.style_layers):
        raise InputError(
            "style_layers, style_weight: the style counts for nothing; name layers, give a weight."
        )
    if not given["style"] and not of_content:
        raise InputError(
            "content_layers, content_weight: the picture counts for nothing; name layers and a weight."
        )
    if not given["content"]:
        config = config.replace(content_layers=(), content_layer_weights=(1.0,))
    if not given["style"]:
        of_layers = {"style_layer_weights": (1.0,), "statistic": ("gram",), "style_weights": ()}
        config = config.replace(style_layers=(), **of_layers)
    return config


def _read_masks(argument: str, given: Sequence[Picture], shapes: Sequence[Any]) -> list[np.ndarray]:
    if len(given) not in (0, len(shapes)):
        raise InputError(
            f"{argument}: {len(given)} masks for {len(shapes)} style pictures; give one for each, or none."
        )
    return masks.read_masks(given, shapes[: len(given)], argument)


def _in_color(
    kind: str,
    content: np.ndarray | None,
    styles: list[np.ndarray],
    content_masks: list[np.ndarray],
    style_masks: list[np.ndarray],
) -> list[np.ndarray]:
    """The styles with the content's colours, each with those of its region; see `color`."""
    if content is None or kind == "style":
        return styles
    transfer = color.match_luminance if kind == "luminance" else color.COLOR_TRANSFERS[kind]
    found = []
    for index, style in enumerate(styles):
        of_content, of_style = np.ones(content.shape[:2], bool), np.ones(style.shape[:2], bool)
        if content_masks:
            of_content = masks.core(masks.resize(content_masks[index], (content.shape[0], content.shape[1])))
        if style_masks:
            of_style = masks.core(style_masks[index])
        matched = style.copy()
        # Pictures one pixel high: none of the transfers looks at where a pixel stands.
        matched[of_style] = transfer(style[of_style][None], content[of_content][None])[0]
        found.append(matched)
    return found


def _check_regions(plan: Plan, size: tuple[int, int]) -> None:
    """Refuse a region of which nothing is left at some layer."""
    of = to_objective(plan.config)
    of_styles = [style_size(plan.config, mask, size) for mask in plan.style_masks]
    for argument, several, sizes in (
        ("content_masks", plan.content_masks, [size] * len(plan.content_masks)),
        ("style_masks", plan.style_masks, of_styles),
    ):
        for index, (mask, one) in enumerate(zip(several, sizes, strict=True), start=1):
            found = _guides(masks.resize(mask, one), of.style_layers, of.guidance)
            masks.check_regions(found, f"{argument} {index}", one)


def _check_statistics(plan: Plan, size: tuple[int, int]) -> None:
    """Refuse a statistic that cannot be had of so small a layer; shapes are enough to know."""
    of_styles = [term for term in to_objective(plan.config).terms if isinstance(term, terms.Style)]
    # A sum over positions can be had of any.
    pairs = [
        (layer, statistic)
        for term in of_styles
        for layer, statistic in zip(term.layers, term.statistics, strict=True)
        if not getattr(statistic, "additive", False)
    ]
    for height, width in {size, *(style_size(plan.config, style, size) for style in plan.styles)}:
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


def style_size(config: Config, style: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a style picture where the picture being made has `size`."""
    return images.fit_size((style.shape[0], style.shape[1]), max(1, round(max(size) * config.style_scale)))
