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

SUMMARY: Mapping[str, Metric] = {
    "palette": Metric(
        "how much of the distance from the photo's colours to the painting's is left; "
        "0: the painting's colours, 1: no nearer than the photo",
        "Rabin, Peyre, Delon and Bernot 2011, Wasserstein barycenter and its application to texture mixing",
    ),
    "style": Metric(
        "how much of the distance from the photo's strokes and shapes to the painting's is left, colour "
        "aside; 0: the painting's, 1: no nearer than the photo",
        "Heitz, Vanhoey, Chambon and Belcour 2021, at layers that no preset optimises",
    ),
    "structure": Metric(
        "how well the picture is alike and unlike itself where the photo is; 1: as the photo, 0: nothing of "
        "the photo is left",
        "Shechtman and Irani 2007, Matching local self-similarities; Kolkin, Salavon and Shakhnarovich 2019",
        higher_is_better=True,
    ),
    "speckle": Metric(
        "the share of the finest grain of colour that the painting does not have; 0: no more grain than "
        "the painting, above 0.17: dots are seen",
        "Burt and Adelson 1983, The Laplacian pyramid as a compact image code",
    ),
}
"""The four numbers of `summary`, all between 0 and 1."""


def kind(key: str) -> str:
    """Returns the name in `METRICS` to which a key of `measure` belongs.

    Args:
      key: for example "ssim", "content/relu4_2" or "style 2/relu1_1".

    Returns:
      The key without its layer and without the number of the style; of a foreign key, the part before "/".
    """
    name = re.sub(r" \d+", "", key)
    return name if name in METRICS else name.partition("/")[0]
