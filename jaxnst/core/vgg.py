"""VGG19 without its classifier, in Flax: layer names, the network, and the features of one image.

It knows shapes and names; where weights come from is the business of `jaxnst.io.weights.load`.
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
"""Channels and convolutions of each block (Simonyan and Zisserman 2015, table 1, column E)."""


def _layer_names() -> Iterable[str]:
    for block, (_, convolutions) in enumerate(BLOCKS, start=1):
        for i in range(1, convolutions + 1):
            yield f"conv{block}_{i}"
            yield f"relu{block}_{i}"
        yield f"pool{block}"


LAYERS = tuple(_layer_names())
"""All 37 layer names in network order; `conv*` is before the ReLU."""


def channels(layer: str) -> int:
    """Number of channels of a layer (`N_l` in the papers)."""
    return BLOCKS[int(layer[4]) - 1][0]


def stride(layer: str) -> int:
    """Pixels of the image per position of the layer, along each side: 1, 2, 4, 8, 16 or 32."""
    block = int(layer[4]) - 1
    return 2 ** (block + 1 if layer.startswith("pool") else block)


def _windows(x: Float[Array, "h w c"]) -> list[Float[Array, "h2 w2 c"]]:
    """The four pixels of each 2x2 window in reading order; odd edges are dropped."""
    h, w, c = x.shape
    x = x[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c)
    return [x[:, row, :, column] for row in (0, 1) for column in (0, 1)]


def max_pool(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """Largest of each 2x2 window, stride 2; odd edges are dropped.

    Of equal values the first in reading order gets the gradient, as in PyTorch (flat regions are full of
    ties). Comparisons of slices, because the gradient of XLA's own pooling costs a tenth more on a CPU.
    """

    def larger(a: Array, b: Array) -> Array:
        return jnp.where(b > a, b, a)

    top_left, top_right, bottom_left, bottom_right = _windows(x)
    return larger(larger(top_left, top_right), larger(bottom_left, bottom_right))


def average_pool(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """Mean of each 2x2 window, stride 2; odd edges are dropped."""
    top_left, top_right, bottom_left, bottom_right = _windows(x)
    return (top_left + top_right + bottom_left + bottom_right) / 4


def l2_pool(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """Root of the sum of squares of each 2x2 window, stride 2, as `LPPool2d`; odd edges are dropped."""
    squares = sum(jnp.square(of) for of in _windows(x))
    # The root's slope at zero is infinite; windows of zeros, frequent after a ReLU, get none.
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


POOLINGS: Mapping[str, Callable] = {"max": max_pool, "average": average_pool, "l2": l2_pool}


@dataclass(frozen=True)
class Rescaled:
    """A pooling times a factor that brings its outputs back to the size that max pooling gives.

    Attributes:
      pooling: a value of `POOLINGS`.
      factor: a value of `POOLING_FACTORS`.
    """

    pooling: Callable
    factor: float

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
        """Pool and multiply."""
        return self.factor * self.pooling(x)


POOLING_FACTORS: Mapping[str, float] = {"max": 1.0, "average": 2.0, "l2": 0.78}
"""For `Rescaled`: what Crowson's style-transfer-pytorch multiplies with; Gatys does not rescale."""


def zeros(convolve: Callable[[Array], Array], x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
    """Convolve as the network was trained: with zeros around the feature map."""
    return convolve(x)


def reflect(convolve: Callable[[Array], Array], x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
    """Convolve a feature map whose mirror image, without the border itself, lies around it."""
    return _padded(convolve, x, "reflect")


def replicate(convolve: Callable[[Array], Array], x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
    """Convolve a feature map around which its border's values go on."""
    return _padded(convolve, x, "edge")


def _padded(convolve: Callable[[Array], Array], x: Array, mode: str) -> Array:
    """The ring is made here and what `convolve` makes of it cut off, so that every algorithm can serve."""
    return convolve(jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode=mode))[1:-1, 1:-1]


PADDINGS: Mapping[str, Callable] = {"zeros": zeros, "reflect": reflect, "replicate": replicate}


@jax.custom_jvp
def relu(x: Array, one: Float[Array, ""] | None = None) -> Array:
    """`max(x, 0)`, whose gradient is known from what comes out, so that what goes in need not be kept.

    Args:
      x: a feature map before the ReLU.
      one: on a CPU the number 1, unknown to the compiler. XLA computes cheap functions anew for each that
        uses them, and then keeps what goes into a ReLU and two copies of what comes out. Not if it divides.

    Returns:
      The feature map after it.
    """
    positive = jnp.maximum(x, 0)
    return positive if one is None else positive / one


@relu.defjvp
def _relu_jvp(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    positive = relu(*primals)
    return positive, jnp.where(positive > 0, tangents[0], 0)


class InputTransform(nn.Module):
    """RGB in [0, 1] to what the weights were trained on: `(image * scale - mean) / std`."""

    @nn.compact
    def __call__(self, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        """Apply it to one image."""
        scale = self.param("scale", nn.initializers.ones, ())
        mean = self.param("mean", nn.initializers.zeros, (3,))
        std = self.param("std", nn.initializers.ones, (3,))
        return (image * scale - mean) / std


class Convolution(nn.Module):
    """A 3x3 convolution with a bias; by Winograd's algorithm where `for_cpu` has changed the weights.

    Input and output have the weights' type.

    Attributes:
      channels: of the output.
      padding: a value of `PADDINGS`.
      precision: of products of float32 on accelerators.
    """

    channels: int
    padding: Callable = zeros
    precision: jax.lax.Precision = conv.EXACT

    @nn.compact
    def __call__(self, x: Float[Array, "h w i"]) -> Float[Array, "h w o"]:
        """Apply it to one feature map."""
        if self.has_variable("params", "winograd"):
            weights = self.get_variable("params", "winograd")
            convolve = conv.winograd
        else:
            # Weights come from files; Flax traces the initializer each time, and random ones take long.
            weights = self.param("kernel", nn.initializers.zeros, (3, 3, x.shape[-1], self.channels))
            convolve = partial(conv.direct, precision=self.precision)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,)).astype(weights.dtype)
        return self.padding(lambda padded: convolve(padded, weights), x.astype(weights.dtype)) + bias


class VGG19(nn.Module):
    """The network up to the deepest layer asked for.

    Attributes:
      layers: names from `LAYERS` whose outputs are returned.
      pooling: a value of `POOLINGS`, or any function `[H, W, C] -> [H // 2, W // 2, C]`.
      padding: a value of `PADDINGS`.
      precision: of products of float32 on accelerators.

    Source: Simonyan and Zisserman 2015, Very deep convolutional networks for large-scale image recognition.
    """

    layers: tuple[str, ...] = LAYERS
    pooling: Callable = max_pool
    padding: Callable = zeros
    precision: jax.lax.Precision = conv.EXACT

    @nn.compact
    def __call__(self, image: Float[Array, "h w 3"]) -> dict[str, Float[Array, "h_l w_l c_l"]]:
        """Return `{name: feature map}` of the layers asked for, for one image (RGB, [0, 1]).

        A ReLU that nobody looks at comes after max pooling: they commute, and there is a quarter of the work.
        """
        x = InputTransform(name="input")(image)
        one = self.get_variable("params", "one")
        found = {}
        deepest = max((LAYERS.index(layer) for layer in self.layers), default=-1)
        for layer, following in itertools.pairwise((*LAYERS[: deepest + 1], "")):
            if layer.startswith("conv"):
                x = Convolution(channels(layer), self.padding, self.precision, name=layer)(x)
            elif layer.startswith("pool"):
                x = self.pooling(x)
                x = relu(x, one) if self.pooling is max_pool else x
            elif layer in self.layers or not (following.startswith("pool") and self.pooling is max_pool):
                x = relu(x, one)
            if layer in self.layers:
                found[layer] = x
        return found


def up_to_deepest(params: Mapping[str, Any], layers: Iterable[str]) -> dict[str, Any]:
    """The weights that these layers need."""
    deepest = max(map(LAYERS.index, layers), default=-1)
    return {name: params[name] for name in ("input", *LAYERS[: deepest + 1]) if name in params}


def for_cpu(params: Mapping[str, Any]) -> dict[str, Any]:
    """Change the weights into the form with which a CPU is fastest, and needs the least memory in all.

    Winograd's filters take the place of the kernels where they pay. They are four times as large, 0.2 GB to
    conv5_1; their gradient is lost. And there is a `one`, for `relu`.

    Args:
      params: as `features` takes them.

    Returns:
      Params that `features` takes as well.
    """
    layers = {
        name: {"winograd": conv.winograd_filters(of["kernel"]), "bias": of["bias"]}
        if "kernel" in of and min(of["kernel"].shape[2:]) >= 256
        else of
        for name, of in params.items()
    }
    return layers | {"one": jnp.ones(())}


def in_bfloat16(params: Mapping[str, Any]) -> dict[str, Any]:
    """Round the convolutions' weights, so that feature maps are bfloat16 too, but for the first layer.

    That sees the picture, of whose 256 levels bfloat16 would leave a half.

    Args:
      params: as `features` takes them.

    Returns:
      Params that `features` takes as well.
    """
    kept = ("input", "conv1_1")

    def rounded(of: Any) -> Any:
        return jax.tree.map(lambda weights: weights.astype(jnp.bfloat16), of)

    return {name: of if name in kept else rounded(of) for name, of in params.items()}


def features(
    params: Mapping[str, Any],
    image: Float[Array, "h w 3"],
    layers: Iterable[str],
    pooling: Callable = max_pool,
    padding: Callable = zeros,
    precision: jax.lax.Precision = conv.EXACT,
) -> dict[str, Float[Array, "h_l w_l c_l"]]:
    """Feature maps of one image.

    Args:
      params: `jaxnst.io.weights.load.load_weights(...).params`, or the same tree with your own numbers.
      image: float32 `[H, W, 3]`, RGB, [0, 1]; both sides at least the deepest layer's `stride`.
      layers: names from `LAYERS`.
      pooling: a value of `POOLINGS`, or a function of your own; default `max_pool`.
      padding: a value of `PADDINGS`; default `zeros`, as the network was trained.
      precision: of products of float32 on accelerators; on a CPU they are exact.

    Returns:
      `{layer: [H_l, W_l, C_l]}`, of the type that the layer's weights have.

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
