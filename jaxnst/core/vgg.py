"""VGG19 without its classifier, in Flax: layer names, the network, and the features of one image.

Weights are arguments; `jaxnst.io.weights` loads them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxnst.core import conv

if TYPE_CHECKING:
    from jaxtyping import Array, Float

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Numbers of channels and convolutions of each block (Simonyan and Zisserman 2015, table 1, column E)."""


def _layer_names() -> Iterable[str]:
    for block, (_, convolutions) in enumerate(BLOCKS, start=1):
        for i in range(1, convolutions + 1):
            yield f"conv{block}_{i}"
            yield f"relu{block}_{i}"
        yield f"pool{block}"


LAYERS = tuple(_layer_names())
"""All 37 layer names in network order; `conv*` features are those before the ReLU."""


def channels(layer: str) -> int:
    """Returns the number of channels of a layer (`N_l` in the papers)."""
    return BLOCKS[int(layer[4]) - 1][0]


def stride(layer: str) -> int:
    """Returns the distance of a layer's positions in pixels of the image: 1, 2, 4, 8, 16 or 32."""
    block = int(layer[4]) - 1
    return 2 ** (block + 1 if layer.startswith("pool") else block)


def _windows(x: Float[Array, "h w c"]) -> list[Float[Array, "h2 w2 c"]]:
    """Returns the four pixels of every 2x2 window in reading order, without odd edges."""
    h, w, c = x.shape
    x = x[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c)
    return [x[:, row, :, column] for row in (0, 1) for column in (0, 1)]


def max_pool(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """Computes the maximum of each 2x2 window, stride 2; odd edges are dropped.

    Of equal values the first in reading order gets the gradient, as in PyTorch; flat regions have many ties.
    The maximum compares slices, because the gradient of XLA's own pooling costs a tenth more on a CPU.
    """

    def larger(a: Array, b: Array) -> Array:
        return jnp.where(b > a, b, a)

    top_left, top_right, bottom_left, bottom_right = _windows(x)
    return larger(larger(top_left, top_right), larger(bottom_left, bottom_right))


def average_pool(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """Computes the mean of each 2x2 window, stride 2; odd edges are dropped."""
    top_left, top_right, bottom_left, bottom_right = _windows(x)
    return (top_left + top_right + bottom_left + bottom_right) / 4


def l2_pool(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """Computes the root of the sum of squares of each 2x2 window, stride 2, as PyTorch's `LPPool2d` does.

    Odd edges are dropped.
    """
    squares = sum(jnp.square(pixels) for pixels in _windows(x))
    # The slope of the root at zero is infinite. Windows of zeros, frequent after a ReLU, get a slope of zero.
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


POOLINGS: Mapping[str, Callable] = {"max": max_pool, "average": average_pool, "l2": l2_pool}
"""Poolings by name."""


@dataclass(frozen=True)
class Rescaled:
    """Multiplies a pooling by a factor that makes its outputs about as large as those of max pooling.

    Attributes:
      pooling: a value of `POOLINGS`.
      factor: a value of `POOLING_FACTORS`.
    """

    pooling: Callable
    factor: float

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
        """Pools a feature map and multiplies the result."""
        return self.factor * self.pooling(x)


POOLING_FACTORS: Mapping[str, float] = {"max": 1.0, "average": 1.45, "l2": 0.66}
"""Factors for `Rescaled`, with which the features of photos are as large as with max pooling.

At relu2_1 to relu5_1 the root mean squares of six pictures then are 0.88 to 1.14 times those of max pooling.
With 2 and 0.78, the factors of Crowson's style-transfer-pytorch, they are up to 4 times as large. Gatys does
not rescale.
"""


def zeros(convolve: Callable[[Array], Array], x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
    """Convolves a feature map with zeros around it, as the network was trained."""
    return convolve(x)


def reflect(convolve: Callable[[Array], Array], x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
    """Convolves a feature map with its mirror image around it; the border itself is not repeated."""
    return _padded(convolve, x, "reflect")


def replicate(convolve: Callable[[Array], Array], x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
    """Convolves a feature map with its border's values repeated around it."""
    return _padded(convolve, x, "edge")


def _padded(convolve: Callable[[Array], Array], x: Array, mode: str) -> Array:
    """Adds the ring before the convolution and cuts its output off, so that every convolution can be used."""
    return convolve(jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode=mode))[1:-1, 1:-1]


PADDINGS: Mapping[str, Callable] = {"zeros": zeros, "reflect": reflect, "replicate": replicate}
"""Paddings by name; each convolves a feature map with a function that pads with zeros."""


@jax.custom_jvp
def relu(x: Array, opaque_one: Float[Array, ""] | None = None) -> Array:
    """Computes `max(x, 0)`; its gradient depends on the output only, so the input need not be kept.

    Args:
      x: a feature map before the ReLU.
      opaque_one: the number 1 as an argument of the program, whose value the compiler does not know; None
        (the default) on accelerators. The output is divided by it, because XLA on a CPU recomputes cheap
        functions for each use: it would then keep the input and two copies of the output. It does not
        recompute divisions.

    Returns:
      The feature map after the ReLU.
    """
    positive = jnp.maximum(x, 0)
    return positive if opaque_one is None else positive / opaque_one


@relu.defjvp
def _relu_jvp(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    positive = relu(*primals)
    return positive, jnp.where(positive > 0, tangents[0], 0)


class InputTransform(nn.Module):
    """Turns RGB in [0, 1] into the input that the weights were trained on: `(image * scale - mean) / std`."""

    @nn.compact
    def __call__(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Transforms one image."""
        scale = self.param("scale", nn.initializers.ones, ())
        mean = self.param("mean", nn.initializers.zeros, (3,))
        std = self.param("std", nn.initializers.ones, (3,))
        return (image * scale - mean) / std


class Convolution(nn.Module):
    """Convolves with a 3x3 kernel and adds a bias, by Winograd's algorithm if `for_cpu` made filters for it.

    Input and output have the dtype of the weights.

    Attributes:
      channels: number of output channels.
      padding: a value of `PADDINGS` (default `zeros`).
      precision: precision of float32 products on accelerators (default: exact).
    """

    channels: int
    padding: Callable = zeros
    precision: jax.lax.Precision = conv.EXACT

    @nn.compact
    def __call__(self, x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
        """Convolves one feature map."""
        if self.has_variable("params", "winograd"):
            weights = self.get_variable("params", "winograd")
            convolve = conv.winograd
        else:
            # Weights come from files, but Flax traces the initializer each time, and random ones take long.
            weights = self.param("kernel", nn.initializers.zeros, (3, 3, x.shape[-1], self.channels))
            convolve = partial(conv.direct, precision=self.precision)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,)).astype(weights.dtype)
        return self.padding(lambda padded: convolve(padded, weights), x.astype(weights.dtype)) + bias


class VGG19(nn.Module):
    """Runs the network up to the deepest requested layer.

    Attributes:
      layers: names from `LAYERS` whose outputs are returned (default: all).
      pooling: a value of `POOLINGS` (default `max_pool`), or any function `[H, W, C] -> [H // 2, W // 2, C]`.
      padding: a value of `PADDINGS` (default `zeros`).
      precision: precision of float32 products on accelerators (default: exact).

    Source: Simonyan and Zisserman 2015, Very deep convolutional networks for large-scale image recognition.
    """

    layers: tuple[str, ...] = LAYERS
    pooling: Callable = max_pool
    padding: Callable = zeros
    precision: jax.lax.Precision = conv.EXACT

    @nn.compact
    def __call__(self, image: Float[Array, "h w 3"]) -> dict[str, Float[Array, "h_l w_l c_l"]]:
        """Returns `{layer: feature map}` of the requested layers for one image (RGB, [0, 1]).

        A ReLU whose output is not requested is computed after max pooling: the two commute, and it costs a
        quarter there.
        """
        x = InputTransform(name="input")(image)
        opaque_one = self.get_variable("params", "opaque_one")
        maps = {}
        deepest = max((LAYERS.index(layer) for layer in self.layers), default=-1)
        for layer, following in itertools.pairwise((*LAYERS[: deepest + 1], "")):
            if layer.startswith("conv"):
                x = Convolution(channels(layer), self.padding, self.precision, name=layer)(x)
            elif layer.startswith("pool"):
                x = self.pooling(x)
                x = relu(x, opaque_one) if self.pooling is max_pool else x
            elif layer in self.layers or not (following.startswith("pool") and self.pooling is max_pool):
                x = relu(x, opaque_one)
            if layer in self.layers:
                maps[layer] = x
        return maps


def up_to_deepest(params: Mapping[str, Any], layers: Iterable[str]) -> dict[str, Any]:
    """Returns the weights that the network needs up to the deepest of these layers."""
    deepest = max(map(LAYERS.index, layers), default=-1)
    return {name: params[name] for name in ("input", *LAYERS[: deepest + 1]) if name in params}


def for_cpu(params: Mapping[str, Any]) -> dict[str, Any]:
    """Converts the weights to the form that is fastest on a CPU and needs the least memory overall.

    Kernels are replaced by Winograd's filters where these are faster. The filters are four times as large,
    0.2 GB up to conv5_1, and have no gradient. An entry `opaque_one` is added for `relu`.

    Args:
      params: weights, as `features` takes them.

    Returns:
      Weights in the new form, which `features` also takes.
    """

    def converted(layer: Mapping[str, Array]) -> Mapping[str, Array]:
        if "kernel" in layer and min(layer["kernel"].shape[2:]) >= 256:
            return {"winograd": conv.winograd_filters(layer["kernel"]), "bias": layer["bias"]}
        return layer

    return {name: converted(layer) for name, layer in params.items()} | {"opaque_one": jnp.ones(())}


def in_bfloat16(params: Mapping[str, Any]) -> dict[str, Any]:
    """Rounds the weights of all convolutions but the first to bfloat16.

    Their feature maps then are bfloat16 too. The first convolution stays exact because it sees the picture:
    bfloat16 would keep only half of the picture's 256 levels.

    Args:
      params: weights, as `features` takes them.

    Returns:
      Rounded weights, which `features` also takes.
    """
    exact = ("input", "conv1_1")

    def rounded(layer: Any) -> Any:
        return jax.tree.map(lambda weights: weights.astype(jnp.bfloat16), layer)

    return {name: layer if name in exact else rounded(layer) for name, layer in params.items()}


def features(
    params: Mapping[str, Any],
    image: Float[Array, "h w 3"],
    layers: Iterable[str],
    pooling: Callable = max_pool,
    padding: Callable = zeros,
    precision: jax.lax.Precision = conv.EXACT,
) -> dict[str, Float[Array, "h_l w_l c_l"]]:
    """Computes feature maps of one image.

    Args:
      params: the network's weights, for example `jaxnst.io.weights.load.load_weights("caffe").params`.
      image: float32 `[H, W, 3]`, RGB, [0, 1]; both sides are at least the deepest layer's `stride`.
      layers: names from `LAYERS`.
      pooling: a value of `POOLINGS` (default `max_pool`), or any function `[H, W, C] -> [H // 2, W // 2, C]`.
      padding: a value of `PADDINGS` (default `zeros`, as the network was trained).
      precision: precision of float32 products on accelerators (default: exact); they are exact on a CPU.

    Returns:
      `{layer: [H_l, W_l, C_l]}`, with the dtype of the layer's weights.

    Raises:
      ValueError: a name is not in `LAYERS`, or the image is smaller than a layer's stride.
    """
    layers = tuple(layers)
    for layer in layers:
        if layer not in LAYERS:
            raise ValueError(f"there is no layer {layer!r} in VGG19")
        if min(image.shape[:2]) < stride(layer):
            raise ValueError(
                f"{layer} needs an image of at least {stride(layer)} pixels, not {image.shape[:2]}"
            )
    return cast(
        "dict[str, Array]", VGG19(layers, pooling, padding, precision).apply({"params": params}, image)
    )
