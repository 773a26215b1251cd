"""Defines the metrics: what each number says, where it comes from, and whether more is better."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """Explains a number that `measure` returns.

    Attributes:
      meaning: one phrase, with the unit or the range.
      source: the publication that defines it.
      higher_is_better: whether the better of two pictures has the larger number, which no distance does.
    """

    meaning: str
    source: str
    higher_is_better: bool = False


METRICS: Mapping[str, Metric] = {
    "content": Metric(
        "distance of the features to the photo's, |F - P|^2 / |P|^2; 0: equal, 1: as if F were zero",
        "Gatys, Ecker and Bethge 2016, eq. 1",
    ),
    "ssim": Metric(
        "structural similarity of the luminance to the photo's, -1 to 1; 1: equal",
        "Wang, Bovik, Sheikh and Simoncelli 2004",
        higher_is_better=True,
    ),
    "gradient_ssim": Metric(
        "structural similarity of the luminance's gradient magnitudes to the photo's, -1 to 1; 1: equal",
        "Chen, Yang and Xie 2006, Gradient-based structural similarity for image quality assessment",
        higher_is_better=True,
    ),
    "color/content": Metric(
        "mean CIEDE2000 difference to the photo, pixel by pixel; about 1 is just noticeable",
        "Sharma, Wu and Dalal 2005",
    ),
    "color/style": Metric(
        "distance of the colour distribution in CIELAB to the style's, in units of L*, a*, b*",
        "Rubner, Tomasi and Guibas 2000, The earth mover's distance; along each axis by itself",
    ),
    "style": Metric(
        "distance of the Gram matrix per position to the style's, |G - A|^2 / |A|^2; 0: equal, 1: as if G "
        "were zero",
        "Gatys, Ecker and Bethge 2016, eq. 3-4",
    ),
    "sliced_wasserstein": Metric(
        "distance of the feature distribution to the style's, W^2(F, S) / W^2(0, S), in layers that no "
        "preset optimises; 0: equal, 1: as if F were zero",
        "Heitz, Vanhoey, Chambon and Belcour 2021, A sliced Wasserstein loss for neural texture synthesis",
    ),
}
"""The metrics, by the `kind` of a key of `measure`."""


def kind(key: str) -> str:
    """Returns the name in `METRICS` to which a key of `measure` belongs.

    Args:
      key: for example "ssim", "content/relu4_2" or "style 2/relu1_1".

    Returns:
      The key without its layer and without the number of the style; of a foreign key, the part before "/".
    """
    name = re.sub(r" \d+", "", key)
    return name if name in METRICS else name.partition("/")[0]
