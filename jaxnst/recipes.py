"""What people do with `stylize` beside a photo and a painting: reconstruct, interpolate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnst.config import Config
from jaxnst.errors import InputError
from jaxnst.stylize import Result, resolve_config, stylize

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.images import Picture

RECONSTRUCTION = {"start": "noise", "tv_weight": 0.0}
"""Settings of `reconstruct` other than the defaults: from noise, with nothing but the features to go by."""


def reconstruct(
    picture: Picture,
    layer: str | Sequence[str] | None = None,
    *,
    config: Config | None = None,
    progress: bool = True,
    **settings: Any,
) -> Result:
    """Make a picture from what a layer keeps of another, or a texture from the statistics of its style.

    Args:
      picture: a path, a `PIL.Image` or an array.
      layer: one or several of `jaxnst.LAYERS`: the content is reconstructed from their features. None: the
        style is, from the statistics of `style_layers`.
      config: a whole `Config`; default: `Config()`, from noise and without total variation.
      progress: show a progress bar on standard error.
      **settings: fields of `Config` by name, or `callback`, `snapshots`, ... of `stylize`.

    Returns:
      A `Result`.

    Raises:
      InputError: anything given that cannot work.

    Source: Gatys et al. 2016, figure 1 and section 2; textures: Gatys, Ecker and Bethge 2015.
    """
    config = config or Config(**RECONSTRUCTION)
    if layer is None:
        return stylize(None, picture, config=config, progress=progress, **settings)
    layers = (layer,) if isinstance(layer, str) else tuple(layer)
    of_content = {"content_layers": layers, "content_layer_weights": (1.0,)}
    return stylize(picture, None, config=config, progress=progress, **of_content | settings)


def interpolate(
    content: Picture,
    styles: Sequence[Picture],
    count: int = 5,
    *,
    preset: str | None = None,
    config: Config | None = None,
    **settings: Any,
) -> Iterator[Result]:
    """Go from one style to another in equal steps of their weights.

    Args:
      content: as for `stylize`.
      styles: two pictures.
      count: of pictures, from all of the first style to all of the second; at least 2, default 5.
      preset: name of a published system.
      config: a whole `Config` instead.
      **settings: fields of `Config` by name, or arguments of `stylize`.

    Yields:
      `count` results, each as soon as it is done; all share one compiled program. See `strip`.

    Raises:
      InputError: anything given that cannot work.
    """
    fields = Config().to_dict()
    chosen = resolve_config(preset, config, {k: v for k, v in settings.items() if k in fields})
    others = {k: v for k, v in settings.items() if k not in fields}
    if not isinstance(styles, list | tuple) or len(styles) != 2:
        raise InputError("styles: give two style pictures to go between.")
    if count < 2:
        raise InputError(f"count: {count} is too small; the least is 2.")
    if chosen.style_weights:
        raise InputError("style_weights: interpolate sets them itself; leave them out.")
    for share in np.linspace(0, 1, count):
        weights = (float(1 - share), float(share))
        yield stylize(content, list(styles), config=chosen, style_weights=weights, **others)


def strip(arrays: Sequence[Float[np.ndarray, "h w 3"]], gap: int = 4) -> Float[np.ndarray, "h w2 3"]:
    """Put pictures of one height beside each other, with white gaps.

    Args:
      arrays: float `[H, W, 3]` in [0, 1].
      gap: width of the gaps in pixels.

    Returns:
      Float `[H, sum of W and gaps, 3]`.
    """
    white = np.ones((arrays[0].shape[0], gap, 3), np.float32)
    parts = [part for array in arrays for part in (white, array)]
    return np.concatenate(parts[1:], axis=1)
