"""Numbers about one picture: its losses under given settings, and its features.

Measures that no setting changes are in `jaxnst.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.config.config import Config
from jaxnst.config.resolve import resolve_config
from jaxnst.core import vgg
from jaxnst.errors import InputError, choose
from jaxnst.io import images
from jaxnst.io.weights.load import load_weights
from jaxnst.run.memory_budget import Tile, check_large_enough
from jaxnst.run.plan import gather, prepare
from jaxnst.run.scale import loss_weights_at, photo_at, targets_at

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.io.images import Picture

_features = jax.jit(vgg.features, static_argnums=(2, 3))


def evaluate(
    image: Picture,
    content: Picture | None,
    style: Picture | Sequence[Picture] | None,
    config: Config | None = None,
    *,
    content_masks: Picture | Sequence[Picture] | None = None,
    style_masks: Picture | Sequence[Picture] | None = None,
    preset: str | None = None,
    tile: Tile = "auto",
    **settings: Any,
) -> dict[str, float]:
    """Computes the loss parts of any picture, for example of another program's output.

    Args:
      image: the picture to judge, at its own size (`config.size` does not count).
      content: the photo, which is resized to the size of `image`; None: no content.
      style: a painting or several, which are resized so that their longer side is `style_scale` times that of
        `image`; None: no style.
      config: the objective; default `Config()`.
      content_masks: for each style its region of `image`.
      style_masks: for each style, the part of its picture that is the style.
      preset: name of a look or a published system instead.
      tile: as for `stylize`.
      **settings: fields of `Config` by name.

    Returns:
      `{"total", "content", "style", "tv"}` and every other part that has a weight; the parts are unweighted.
      With `weighting` relative they are relative: 1 is what a blank picture would cost, or, for tv, what the
      painting has.

    Raises:
      InputError: anything given that cannot work.
    """
    config = resolve_config(preset, config, settings)
    array = images.read_image(image, "image")
    size = (array.shape[0], array.shape[1])
    config = config.replace(size=max(size), quality="none", steps=1, start_size=0, scale_steps=())
    config = config.replace(start="black", random_shift=1.0, precision="float32", content_detail=False)
    check_large_enough(config, *size, argument="image")
    pictures, config = gather(content, style, content_masks, style_masks, config)
    plan = prepare(pictures, config, size, tile)
    targets = targets_at(plan, size, photo_at(plan, size))
    loss_weights = loss_weights_at(plan, size, targets)
    losses = plan.steps.losses(plan.params, targets, loss_weights, jnp.asarray(array))
    return {name: float(losses[name]) for name in plan.steps.problem.objective.names}


def features(
    image: Picture,
    layers: Sequence[str] = ("relu4_2",),
    weights: str = "caffe",
    pooling: str = "max",
) -> dict[str, Float[np.ndarray, "h_l w_l c_l"]]:
    """Computes VGG19's feature maps of a picture at its own size.

    Args:
      image: a path, a `PIL.Image` or an array.
      layers: names from `jaxnst.LAYERS`.
      weights: caffe, caffe-unit, torchvision, or the path of an HDF5 file.
      pooling: max, average or l2.

    Returns:
      `{layer: float32 [H_l, W_l, C_l]}`.

    Raises:
      InputError: an unknown name, or a picture too small for a layer.
    """
    layers = (layers,) if isinstance(layers, str) else tuple(layers)
    for layer in layers:
        choose("layers", layer, vgg.LAYERS)
    if not layers:
        raise InputError("layers: none is named; name at least one.")
    config = Config(content_layers=layers, style_layers=(), weights=weights, pooling=pooling).checked()
    array = images.read_image(image, "image")
    check_large_enough(config.replace(size=max(array.shape[:2])), *array.shape[:2], argument="image")
    params = load_weights(weights).params
    maps = _features(params, jnp.asarray(array), layers, vgg.POOLINGS[pooling])
    return {layer: np.asarray(maps[layer]) for layer in layers}
