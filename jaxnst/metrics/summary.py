"""Sums up how good a finished picture is in four numbers between 0 and 1 that agree with the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxnst.metrics import inputs
from jaxnst.metrics.palette import palette_ratio
from jaxnst.metrics.speckle import speckle
from jaxnst.metrics.strokes import style_ratio
from jaxnst.metrics.structure import STRUCTURE_LAYERS, structure_kept

if TYPE_CHECKING:
    from jaxnst.io.images import Picture


def summary(
    image: Picture,
    content: Picture | None,
    style: Picture | Sequence[Picture] | None,
    size: int = inputs.SIZE,
) -> dict[str, float]:
    """Measures a finished picture by four numbers between 0 and 1; `SUMMARY` explains them.

    Args:
      image: the finished picture: a path, a `PIL.Image` or an array.
      content: the photo; None leaves out all numbers but speckle.
      style: the painting; or a list or tuple of paintings, whose colours and features are pooled; None leaves
        out all numbers but structure.
      size: length of the longer side at which style and structure are compared, in pixels; default `SIZE`.

    Returns:
      `palette`: `palette_ratio`, at most 1. `style`: `style_ratio`, at most 1. `structure`: `structure_kept`,
      at least 0. `speckle`: s = `speckle` as 1 - 1 / s, at least 0: the share of the finest colour that the
      painting does not have.

    Raises:
      InputError: a picture cannot be read or is too small, or there is neither content nor style.
    """
    whole = inputs.read(image, content, style)
    resized = inputs.resize(whole, size)
    numbers = {}
    if whole.photo is not None and whole.paintings:
        numbers["palette"] = min(palette_ratio(whole.image, whole.photo, whole.paintings), 1.0)
    if resized.photo is not None and resized.paintings:
        numbers["style"] = min(style_ratio(resized.image, resized.photo, resized.paintings), 1.0)
    if resized.photo is not None:
        ours, photo = (inputs.features(x, STRUCTURE_LAYERS) for x in (resized.image, resized.photo))
        numbers["structure"] = max(structure_kept(ours, photo), 0.0)
    if whole.paintings:
        numbers["speckle"] = max(1 - 1 / max(speckle(whole.image, whole.paintings), 1.0), 0.0)
    return numbers
