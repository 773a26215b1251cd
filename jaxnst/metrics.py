"""How good a finished picture is: measures of it that no setting of a run can change.

The network is always VGG19 with the shipped weights, max pooling and zeros around it, at the picture's own
size; so pictures of different settings, presets and programs can be compared. Knows nothing of Config.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst import images
from jaxnst.color import luminance
from jaxnst.core import vgg
from jaxnst.errors import InputError
from jaxnst.weights import load_weights

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.images import Picture

CONTENT_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SLICED_WASSERSTEIN_LAYERS = ("pool1", "pool2", "relu3_3", "relu4_3")
"""Layers that neither the defaults nor any preset optimises: here no picture was made to look good."""

LAYERS = tuple(sorted({*CONTENT_LAYERS, *STYLE_LAYERS, *SLICED_WASSERSTEIN_LAYERS}, key=vgg.LAYERS.index))

LEAST_SIDE = max(11, *map(vgg.stride, LAYERS))
"""Pixels that the deepest layer and SSIM's window, 11 pixels wide, need on each side."""

SEED = 1
"""Of the directions of `sliced_wasserstein`; other ones than a run with that statistic goes along."""


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
        "distance of the features to the photo's, |F - P|^2 / |P|^2; 0: the same, 1: as a picture without any",
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
        "mean CIEDE2000 difference to the photo, pixel by pixel; 1 is just noticeable",
        "Sharma, Wu and Dalal 2005",
    ),
    "color/style": Metric(
        "distance of the colours' distribution in CIELAB to the style's, in units of L*, a*, b*",
        "Rubner, Tomasi and Guibas 2000, The earth mover's distance; along each axis by itself",
    ),
    "style": Metric(
        "distance of the Gram matrix per position to the style's, |G - A|^2 / |A|^2; 0: the same, 1: as a "
        "picture without features",
        "Gatys, Ecker and Bethge 2016, eq. 3-4",
    ),
    "sliced_wasserstein": Metric(
        "distance of the features' distribution to the style's, W^2 / (W of a picture without features)^2, in "
        "layers that no preset optimises",
        "Heitz, Vanhoey, Chambon and Belcour 2021, A sliced Wasserstein loss for neural texture synthesis",
    ),
}
"""By the `kind` of a key of `measure`."""

_features = jax.jit(vgg.features, static_argnums=(2, 3, 4))


def kind(key: str) -> str:
    """Which of `METRICS` a key of `measure` belongs to: the key without its layer and the style's number."""
    name = re.sub(r" \d+", "", key)
    return name if name in METRICS else name.partition("/")[0]


def measure(
    image: Picture, content: Picture | None, style: Picture | Sequence[Picture] | None
) -> dict[str, float]:
    """Measure how near a finished picture is to the photo and to the painting, and in what.

    Args:
      image: a path, a `PIL.Image` or an array, at its own size, at least `LEAST_SIDE` pixels on each side.
      content: the photo, resized to exactly the size of `image`. None: it is not compared with a photo.
      style: the painting, resized so that its longer side is that of `image`, or a list or tuple of several.
        None: it is not compared with a painting.

    Returns:
      In this order, see `METRICS`:
        `content/LAYER` for the `CONTENT_LAYERS`; `ssim`, with Gaussian windows of sigma 1.5 as in the paper;
        `gradient_ssim`, of the magnitudes by Sobel's filter, scaled to [0, 1], where the paper compares the
        brightness too; `color/content`;
        `color/style`, the root of the three axes' squared earth mover's distances: where the colours are
        those of the style, all shifted alike, the length of the shift, and never more than the earth mover's
        distance in the space; `style/LAYER` for the `STYLE_LAYERS`; `sliced_wasserstein/LAYER` for the
        `SLICED_WASSERSTEIN_LAYERS`, along as many orthogonal directions as there are channels.
      With several styles the last three become `color/style 1`, `style 1/LAYER`, `color/style 2`, ...

    Raises:
      InputError: a picture that cannot be read or is too small; neither content nor style; no scikit-image.
    """
    _require_scikit_image()
    styles = list(style) if isinstance(style, list | tuple) else [] if style is None else [style]
    if content is None and not styles:
        raise InputError("content and style are both missing; give at least one picture.")
    array = images.read_image(image, "image")
    _check_large_enough(array, "image")
    photo = None if content is None else images.resize(images.read_image(content, "content"), array.shape[:2])
    paintings = [_read_style(picture, array.shape[:2]) for picture in styles]

    params = jax.device_put(load_weights("caffe").params)
    features = _see(params, array)
    found = {}
    if photo is not None:
        found |= _to_content(array, features, photo, _see(params, photo))
    for number, painting in enumerate(paintings, start=1):
        of_style = _to_style(array, features, painting, _see(params, painting))
        which = f" {number}" if len(paintings) > 1 else ""
        found |= {re.sub("(style|wasserstein)", rf"\1{which}", key): of_style[key] for key in of_style}
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
    keys = list(dict.fromkeys(key for of_picture in found.values() for key in of_picture))
    rows = [["", *(f"{name} " if len(found) > 1 else name for name in found)]]
    for _, group in itertools.groupby(keys, lambda key: key.partition("/")[0] if "/" in key else ""):
        rows += [[], *([key, *_cells(key, [of_picture.get(key) for of_picture in found.values()])] for key in group)]
    widths = [max(len(row[column]) for row in rows if row) for column in range(len(found) + 1)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Iterable[int]) -> str:
    label, *cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=False)) if row else [""]
    return "  ".join([row[0].ljust(len(label)) if row else "", *cells]).rstrip()


def _cells(key: str, values: Sequence[float | None]) -> list[str]:
    """One row's numbers, all followed by a mark or a blank if there is something to compare."""
    texts = ["-" if value is None else f"{value:.4g}" for value in values]
    if len(values) == 1:
        return texts
    numbers = {value for value in values if value is not None and value == value}  # a NaN is not itself
    best = None
    if kind(key) in METRICS and len(numbers) > 1:
        best = max(numbers) if METRICS[kind(key)].higher_is_better else min(numbers)
    return [text + ("*" if value == best and best is not None else " ") for text, value in zip(texts, values, strict=True)]


def _require_scikit_image() -> None:
    if importlib.util.find_spec("skimage") is None:
        raise InputError("metrics: scikit-image is needed to measure pictures; pip install scikit-image.")


def _read_style(picture: Picture, size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
    array = images.read_image(picture, "style")
    array = images.resize(array, images.fit_size(array.shape[:2], max(size)))
    _check_large_enough(array, "style")
    return array


def _check_large_enough(array: Float[np.ndarray, "h w 3"], argument: str) -> None:
    height, width = array.shape[:2]
    if min(height, width) < LEAST_SIDE:
        resized = "" if argument == "image" else ", resized to the picture's longer side,"
        raise InputError(
            f"{argument}: {width}x{height} pixels{resized} are too few to measure; "
            f"at least {LEAST_SIDE} are needed on each side."
        )


def _see(params: Any, array: Float[np.ndarray, "h w 3"]) -> dict[str, np.ndarray]:
    """Feature maps at all layers; one compiled program for every picture of a size."""
    found = _features(params, jnp.asarray(array), LAYERS, vgg.max_pool, vgg.zeros)
    return {layer: np.asarray(of_layer) for layer, of_layer in found.items()}


def _to_content(
    image: np.ndarray, features: Mapping[str, np.ndarray], photo: np.ndarray, of_photo: Mapping[str, np.ndarray]
) -> dict[str, float]:
    from skimage.color import deltaE_ciede2000
    from skimage.filters import sobel

    ours, theirs = luminance(image).astype(np.float64), luminance(photo).astype(np.float64)
    return {
        **{f"content/{layer}": _relative(features[layer], of_photo[layer]) for layer in CONTENT_LAYERS},
        "ssim": _similarity(ours, theirs),
        "gradient_ssim": _similarity(sobel(ours), sobel(theirs)),
        "color/content": float(np.mean(deltaE_ciede2000(_lab(photo), _lab(image)))),
    }


def _to_style(
    image: np.ndarray, features: Mapping[str, np.ndarray], painting: np.ndarray, of_painting: Mapping[str, np.ndarray]
) -> dict[str, float]:
    grams = ((layer, _gram(features[layer]), _gram(of_painting[layer])) for layer in STYLE_LAYERS)
    return {
        "color/style": _color_distance(image, painting),
        **{f"style/{layer}": _relative(of_image, of_style) for layer, of_image, of_style in grams},
        **{
            f"sliced_wasserstein/{layer}": _sliced_wasserstein(features[layer], of_painting[layer])
            for layer in SLICED_WASSERSTEIN_LAYERS
        },
    }


def _relative(found: np.ndarray, target: np.ndarray) -> float:
    return float(np.sum(np.square(found - target)) / np.sum(np.square(target)))


def _gram(features: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "c c"]:
    flat = features.reshape(-1, features.shape[-1])
    return flat.T @ flat / len(flat)


def _sliced_wasserstein(features: Float[np.ndarray, "h w c"], style: Float[np.ndarray, "h2 w2 c"]) -> float:
    """Squared 2-Wasserstein distance, mean over directions, as a part of that of the style from all zeros.

    In NumPy and not by `core.statistics.SlicedWasserstein`: on a CPU XLA sorts some 20 times slower and takes
    seconds to compile it for each size, and no gradient is wanted here.
    """
    normal = np.random.default_rng(SEED).standard_normal((style.shape[-1], style.shape[-1]))
    directions = np.linalg.qr(normal)[0].astype(np.float32)
    ours, theirs = (
        np.sort(directions @ of.reshape(-1, of.shape[-1]).T, axis=-1) for of in (features, style)
    )
    # Both quantile functions are steps, m and n of them; on a scale of m * n all edges are whole numbers.
    m, n = ours.shape[1], theirs.shape[1]
    edges = np.union1d(np.arange(1, m + 1) * n, np.arange(1, n + 1) * m)
    differences = ours[:, (edges - 1) // n] - theirs[:, (edges - 1) // m]
    distances = np.square(differences) @ (np.diff(edges, prepend=0) / (m * n))
    return float(np.mean(distances) / np.mean(np.square(theirs)))


def _similarity(ours: Float[np.ndarray, "h w"], theirs: Float[np.ndarray, "h w"]) -> float:
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            ours, theirs, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def _color_distance(image: Float[np.ndarray, "h w 3"], painting: Float[np.ndarray, "h2 w2 3"]) -> float:
    from scipy.stats import wasserstein_distance

    axes = zip(_lab(image).reshape(-1, 3).T, _lab(painting).reshape(-1, 3).T, strict=True)
    return float(np.linalg.norm([wasserstein_distance(ours, theirs) for ours, theirs in axes]))


def _lab(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    from skimage.color import rgb2lab

    return rgb2lab(image.astype(np.float64))
