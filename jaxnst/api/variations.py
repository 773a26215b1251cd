"""Variations of `stylize`: reconstruct a picture or a texture, interpolate between two styles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst.api.stylize import stylize
from jaxnst.config.config import RENAMED, Config
from jaxnst.config.resolve import resolve_config
from jaxnst.errors import InputError
from jaxnst.run.result import Result

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.io.images import Picture

RECONSTRUCTION: Mapping[str, Any] = {
    "start": "noise",
    "statistic": ("gram",),
    "tv_weight": 0.0,
    "laplacian_weight": 0.0,
}
"""Settings of `reconstruct` other than the defaults: a start from noise, and no term but the features'.

From noise, covariance takes far more steps than Gram matrices."""


def reconstruct(
    picture: Picture,
    layer: str | Sequence[str] | None = None,
    *,
    preset: str | None = None,
    config: Config | None = None,
    **settings: Any,
) -> Result:
    """Makes a picture from what layers keep of another, or a texture from the statistics of its style.

    Args:
      picture: a path, a `PIL.Image` or an array.
      layer: one or several of `jaxnst.LAYERS`, from whose features the content is reconstructed. None: a
        texture is made from the statistics of `style_layers`.
      preset: name of a look or a published system.
      config: a whole `Config` instead of a preset. Without either: the defaults without total variation.
      **settings: fields of `Config` by name, or arguments of `stylize`. A start from the picture
        itself (content, style, blend) becomes noise.

    Returns:
      A `Result`.

    Raises:
      InputError: an argument that cannot work.

    Source: Gatys et al. 2016, figure 1 and section 2; textures: Gatys, Ecker and Bethge 2015.
    """
    if preset is None and config is None:
        config = Config(**RECONSTRUCTION)
    config_fields, others = _split(settings)
    chosen = resolve_config(preset, config, config_fields)
    if chosen.start in ("content", "recolored", "style", "blend", "detail"):
        chosen = chosen.replace(start="noise")
    if layer is None and (chosen.style_layers or not chosen.content_layers):
        return stylize(None, picture, config=chosen, **others)
    if layer is not None:
        if "content_layers" in settings:
            raise InputError("content_layers: layer says which; give one of the two.")
        layers = (layer,) if isinstance(layer, str) else tuple(layer)
        chosen = chosen.replace(content_layers=layers, content_layer_weights=(1.0,))
    return stylize(picture, None, config=chosen, **others)


def _split(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separates fields of Config from arguments of `stylize`, which has the masks too."""
    fields = {field.name for field in dataclasses.fields(Config)} | {*RENAMED}
    fields -= {"content_masks", "style_masks"}
    config_fields = {name: value for name, value in settings.items() if name in fields}
    return config_fields, {name: value for name, value in settings.items() if name not in fields}


def interpolate(
    content: Picture,
    styles: Sequence[Picture],
    count: int = 5,
    *,
    preset: str | None = None,
    config: Config | None = None,
    **settings: Any,
) -> Iterator[Result]:
    """Goes from one style to another in equal steps of their loss weights.

    Args:
      content: as for `stylize`.
      styles: two pictures.
      count: number of pictures, from all of the first style to all of the second; at least 2, default 5.
      preset: name of a look or a published system.
      config: a whole `Config` instead of a preset.
      **settings: fields of `Config` by name, or arguments of `stylize`.

    Returns:
      An iterator over `count` results, each made when it is asked for, by one compiled program. See `strip`.

    Raises:
      InputError: an argument that cannot work.
    """
    config_fields, others = _split(settings)
    if "checkpoint" in others:
        raise InputError("checkpoint: it holds one run, and interpolate makes several; leave it out.")
    chosen = resolve_config(preset, config, config_fields)
    if not isinstance(styles, list | tuple) or len(styles) != 2:
        raise InputError("styles: give two style pictures to go between.")
    if count < 2:
        raise InputError(f"count: {count} is too small; the least is 2.")
    if chosen.style_weights:
        raise InputError("style_weights: interpolate sets them itself; leave them out.")
    return (
        stylize(content, list(styles), config=chosen, style_weights=(1 - share, share), **others)
        for share in np.linspace(0, 1, count).tolist()
    )


def strip(arrays: Sequence[Float[np.ndarray, "h w 3"]], gap: int = 4) -> Float[np.ndarray, "h w2 3"]:
    """Puts pictures of one height beside each other, with white gaps.

    Args:
      arrays: float `[H, W, 3]` in [0, 1].
      gap: width of the gaps in pixels.

    Returns:
      Float `[H, sum of W and gaps, 3]`.
    """
    white = np.ones((arrays[0].shape[0], gap, 3), np.float32)
    parts = [part for array in arrays for part in (white, array)]
    return np.concatenate(parts[1:], axis=1)
