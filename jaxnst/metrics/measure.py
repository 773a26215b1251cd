"""How good a finished picture is: measures of it that no setting of a run can change.

The network is always VGG19 with the shipped weights, max pooling and zeros around it, and every picture is
brought to one size; so pictures of different settings, sizes and programs can be compared. Knows nothing of
Config.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import vgg
from jaxnst.core.color import luminance
from jaxnst.errors import InputError
from jaxnst.io import images
from jaxnst.io.weights.load import load_weights

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.io.images import Picture

CONTENT_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SLICED_WASSERSTEIN_LAYERS = ("pool1", "pool2", "relu3_3", "relu4_3")
"""Layers that neither the defaults nor any preset optimises: here no picture was made to look good."""

LAYERS = tuple(sorted({*CONTENT_LAYERS, *STYLE_LAYERS, *SLICED_WASSERSTEIN_LAYERS}, key=vgg.LAYERS.index))

LEAST_SIDE = max(11, *map(vgg.stride, LAYERS))
"""Pixels that the deepest layer and SSIM's window, 11 pixels wide, need on each side."""

SIZE = 256
"""Longer side at which pictures are compared, in pixels, unless another is asked for."""

SEED = 0
"""Of the directions of `sliced_wasserstein`, the same for every picture."""


@dataclass(frozen=True)
class Metric:
    """What a number of `measure` says.

    Attributes:
      meaning: in one phrase, with the unit or the range.
      source: the publication it is from.
      higher_is_better: of two pictures the one with the larger number is better; for distances it is worse.
    """

    meaning: str
    source: str
    higher_is_better: bool = False


METRICS: Mapping[str, Metric] = {
    "content": Metric(
        "distance of the features to the photo's, |F - P|^2 / |P|^2; 0: the same, 1: as if there were none",
        "Gatys, Ecker and Bethge 2016, eq. 1",
    ),
    "ssim": Metric(
        "structural similarity of the luminance to the photo's, -1 to 1; 1: the same",
        "Wang, Bovik, Sheikh and Simoncelli 2004",
        higher_is_better=True,
    ),
    "gradient_ssim": Metric(
        "structural similarity of the luminance's gradient magnitudes to the photo's, -1 to 1; 1: the same",
        "Chen, Yang and Xie 2006, Gradient-based structural similarity for image quality assessment",
        higher_is_better=True,
    ),
    "color/content": Metric(
        "mean CIEDE2000 difference to the photo, pixel by pixel; about 1 is just noticeable",
        "Sharma, Wu and Dalal 2005",
    ),
    "color/style": Metric(
        "distance of the colours' distribution in CIELAB to the style's, in units of L*, a*, b*",
        "Rubner, Tomasi and Guibas 2000, The earth mover's distance; along each axis by itself",
    ),
    "style": Metric(
        "distance of the Gram matrix per position to the style's, |G - A|^2 / |A|^2; 0: the same, 1: as "
        "if there were no features",
        "Gatys, Ecker and Bethge 2016, eq. 3-4",
    ),
    "sliced_wasserstein": Metric(
        "distance of the features' distribution to the style's, W^2(F, S) / W^2(0, S), in layers that no "
        "preset optimises; 0: the same, 1: as if there were no features",
        "Heitz, Vanhoey, Chambon and Belcour 2021, A sliced Wasserstein loss for neural texture synthesis",
    ),
}
"""By the `kind` of a key of `measure`."""

_features = jax.jit(vgg.features, static_argnums=(2, 3, 4))


class _Seen(NamedTuple):
    """A picture and its feature maps at `LAYERS`."""

    array: Float[np.ndarray, "h w 3"]
    features: Mapping[str, Float[np.ndarray, "h_l w_l c_l"]]


def kind(key: str) -> str:
    """Which of `METRICS` a key of `measure` belongs to: the key without its layer and the style's number."""
    name = re.sub(r" \d+", "", key)
    return name if name in METRICS else name.partition("/")[0]


def measure(
    image: Picture,
    content: Picture | None,
    style: Picture | Sequence[Picture] | None,
    size: int = SIZE,
) -> dict[str, float]:
    """Measure how near a finished picture is to the photo and to the painting, and in what.

    Args:
      image: a path, a `PIL.Image` or an array.
      content: the photo, resized to exactly the size of `image`. None: it is not compared with a photo.
      style: the painting, resized so that its longer side is that of `image`, or a list or tuple of several.
        None: it is not compared with a painting.
      size: longer side that `image` is resized to, in pixels; only numbers of one size compare. Both sides
        must then have `LEAST_SIDE` pixels.

    Returns:
      In this order, with what `METRICS` says of them:
        `content/LAYER` for `CONTENT_LAYERS`.
        `ssim`, in Gaussian windows of sigma 1.5, as in the paper.
        `gradient_ssim`, of magnitudes by Sobel's filter in [0, 1]. The paper compares the brightness of the
          pictures as well; here a new tone costs nothing.
        `color/content`.
        `color/style`, the root of the sum of the axes' squared distances. If all colours are shifted alike
          it is the length of the shift; it is never more than the earth mover's distance in the whole space.
        `style/LAYER` for `STYLE_LAYERS`.
        `sliced_wasserstein/LAYER` for `SLICED_WASSERSTEIN_LAYERS`, along the axes of a random basis.
      With several styles the last three are `color/style 1`, `style 1/LAYER`, ..., `color/style 2`, ...

    Raises:
      InputError: a picture that cannot be read or is too small; neither content nor style.
    """
    styles = images.as_list(style)
    if content is None and style is None:
        raise InputError("content and style are both missing; give at least one picture.")
    if style is not None and not styles:
        raise InputError("style: no picture is given; give at least one, or None to leave it out.")
    if size < LEAST_SIDE:
        raise InputError(f"size: {size} is too small to measure; the least is {LEAST_SIDE}.")
    array = images.read_image(image, "image")
    array = images.resize(array, images.fit_size((array.shape[0], array.shape[1]), size))
    _check_large_enough(array, "image")
    photo = None if content is None else images.resize(images.read_image(content, "content"), array.shape[:2])
    paintings = [_read_style(picture, array.shape[:2]) for picture in styles]

    params = jax.device_put(load_weights("caffe").params)
    ours, found = _see(params, array), {}
    if photo is not None:
        found |= _compare_with_photo(ours, _see(params, photo))
    for number, painting in enumerate(paintings, start=1):
        which = f" {number}" if len(paintings) > 1 else ""
        found |= _compare_with_style(ours, _see(params, painting), which)
    return found


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Lay measurements side by side, for a terminal.

    Args:
      found: by the picture's name what `measure` returned; a key that only some have leaves gaps, and a key
        that is not from `measure` is shown and not judged.

    Returns:
      Lines with a metric each, a column for each picture, and empty lines between groups. Of several pictures
      the best in a line has a `*`, unless all are the same. No newline at the end.
    """
    keys = dict.fromkeys(key for of_picture in found.values() for key in of_picture)
    several = len(found) > 1
    rows = [["", *(name + " " * several for name in found)]]
    for _, group in itertools.groupby(keys, lambda key: key.rpartition("/")[0]):
        rows += [[key, *_cells(key, [of.get(key) for of in found.values()])] for key in group]
        rows += [[""] * len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows).rstrip()


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip()


def _cells(key: str, values: Sequence[float | None]) -> list[str]:
    """One line's numbers, each with a place for the mark if there is something to compare."""
    texts = ["-" if value is None else f"{value:.4g}" for value in values]
    if len(values) == 1:
        return texts
    best = _best(key, {value for value in values if value is not None and not math.isnan(value)})
    return [
        text + ("*" if best is not None and value == best else " ")
        for text, value in zip(texts, values, strict=True)
    ]


def _best(key: str, values: Collection[float]) -> float | None:
    if kind(key) not in METRICS or len(values) < 2:
        return None
    return max(values) if METRICS[kind(key)].higher_is_better else min(values)


def _read_style(picture: Picture, size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
    array = images.read_image(picture, "style")
    array = images.resize(array, images.fit_size(array.shape[:2], max(size)))
    _check_large_enough(array, "style")
    return array


def _check_large_enough(array: Float[np.ndarray, "h w 3"], argument: str) -> None:
    height, width = array.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise InputError(
            f"{argument}: {width}x{height} pixels, as it is compared, are too few to measure; "
            f"at least {LEAST_SIDE} are needed on each side."
        )


def _see(params: Any, array: Float[np.ndarray, "h w 3"]) -> _Seen:
    """One compiled program for every picture of a size."""
    found = _features(params, jnp.asarray(array), LAYERS, vgg.max_pool, vgg.zeros)
    return _Seen(array, {layer: np.asarray(of_layer) for layer, of_layer in found.items()})


def _compare_with_photo(image: _Seen, photo: _Seen) -> dict[str, float]:
    from skimage.color import deltaE_ciede2000
    from skimage.filters import sobel

    ours, theirs = (luminance(seen.array).astype(np.float64) for seen in (image, photo))
    return {
        **{
            f"content/{layer}": _relative(image.features[layer], photo.features[layer])
            for layer in CONTENT_LAYERS
        },
        "ssim": _similarity(ours, theirs),
        "gradient_ssim": _similarity(sobel(ours), sobel(theirs)),
        "color/content": float(np.mean(deltaE_ciede2000(_lab(photo.array), _lab(image.array)))),
    }


def _compare_with_style(image: _Seen, painting: _Seen, which: str) -> dict[str, float]:
    """`which` stands behind the names: a blank and a number, or nothing."""
    return {
        f"color/style{which}": _color_distance(image.array, painting.array),
        **{
            f"style{which}/{layer}": _relative(_gram(image.features[layer]), _gram(painting.features[layer]))
            for layer in STYLE_LAYERS
        },
        **{
            f"sliced_wasserstein{which}/{layer}": _sliced_wasserstein(
                image.features[layer], painting.features[layer]
            )
            for layer in SLICED_WASSERSTEIN_LAYERS
        },
    }


def _relative(found: np.ndarray, target: np.ndarray) -> float:
    return float(np.sum(np.square(found - target)) / np.sum(np.square(target)))


def _gram(features: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "c c"]:
    flat = features.reshape(-1, features.shape[-1])
    return flat.T @ flat / len(flat)


@functools.cache
def _directions(channels: int, seed: int) -> Float[np.ndarray, "c c"]:
    """Orthonormal rows at random.

    Independent ones would leave 30 % to chance, since a difference of the means, the larger part of most
    distances, counts fully only along a whole basis; so it is 3 %.
    """
    normal = np.random.default_rng(seed).standard_normal((channels, channels), np.float32)
    return np.linalg.qr(normal)[0]


def _sliced_wasserstein(features: Float[np.ndarray, "h w c"], style: Float[np.ndarray, "h2 w2 c"]) -> float:
    """Squared 2-Wasserstein distance, mean over directions, as a part of that of the style from all zeros.

    In NumPy and not by `core.statistics.SlicedWasserstein`: on a CPU XLA takes 10 to 20 times as long and
    seconds more to compile for each size, and no gradient is wanted here.
    """
    directions = _directions(style.shape[-1], SEED)
    ours, theirs = (np.sort(directions @ of.reshape(-1, of.shape[-1]).T, axis=-1) for of in (features, style))
    # Both quantile functions are steps, m and n of them; on a scale of m * n all edges are whole numbers.
    m, n = ours.shape[1], theirs.shape[1]
    edges = np.union1d(np.arange(1, m + 1) * n, np.arange(1, n + 1) * m)
    differences = ours[:, (edges - 1) // n] - theirs[:, (edges - 1) // m]
    distances = np.square(differences) @ (np.diff(edges, prepend=0) / (m * n))
    return float(np.mean(distances) / np.mean(np.square(theirs)))


def _similarity(ours: Float[np.ndarray, "h w"], theirs: Float[np.ndarray, "h w"]) -> float:
    from skimage.metrics import structural_similarity

    found: Any = structural_similarity(
        ours, theirs, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(found)


def _color_distance(image: Float[np.ndarray, "h w 3"], painting: Float[np.ndarray, "h2 w2 3"]) -> float:
    from scipy.stats import wasserstein_distance

    axes = zip(_lab(image).reshape(-1, 3).T, _lab(painting).reshape(-1, 3).T, strict=True)
    return float(np.linalg.norm([wasserstein_distance(ours, theirs) for ours, theirs in axes]))


def _lab(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    from skimage.color import rgb2lab

    return rgb2lab(image.astype(np.float64))
