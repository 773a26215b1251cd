"""Everything that decides a picture, as one frozen dataclass: Python argument, CLI flag and saved key in one.

What the settings may be is in `jaxnst.config.validation`; what they mean to the core, in `jaxnst.config.build`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxnst.config.validation import DEFAULT_STEPS, check
from jaxnst.errors import choose

if TYPE_CHECKING:
    from jaxnst.core.statistics import Statistic

    StatisticOrName = str | Statistic
else:
    StatisticOrName = str  # what the command line can give


@dataclass(frozen=True)
class Config:
    """All settings of a run; two runs with equal settings, pictures and machine give equal bytes.

    They are checked when they are used: `checked`.
    """

    size: int = 256
    """Longer side of the finished picture in pixels."""
    style_scale: float = 1.0
    """Longer side of the style pictures, as a part of the picture's at each scale."""
    steps: int = DEFAULT_STEPS
    """Steps of the optimiser in all, shared evenly by the scales."""
    start_size: int = 0
    """Longer side at the first scale, coarse to fine; 0: there is one scale, `size`."""
    scale_factor: float = 2.0
    """From each scale to the next; the last step, to `size`, is about as large."""
    scale_steps: tuple[int, ...] = ()
    """Steps at each scale; their sum takes the place of `steps`. Empty: equal shares."""
    seed: int = 0
    """Of the noise in the start and of the random shift."""
    start: str = "content"
    """First picture: content, style, noise, black, white, blend, or the path of an image file."""
    blend: float = 0.5
    """Share of the content picture in a start of `blend`, 0 to 1; the rest is noise."""

    weights: str = "caffe"
    """Network weights: caffe, caffe-unit (the same, with features as large as in PyTorch code), torchvision,
    or the path of an HDF5 file."""
    pooling: str = "max"
    """max, average or l2."""
    pooling_rescale: bool = False
    """Multiply what average or l2 pooling gives, so that features are as large as with max."""
    padding: str = "zeros"
    """Around feature maps: zeros (as trained), reflect or replicate."""

    content_weight: float = 1.0
    """Factor of the content loss in the total."""
    content_layers: tuple[str, ...] = ("relu4_2",)
    """Layers whose features are compared with the content picture's."""
    content_layer_weights: tuple[float, ...] = (1.0,)
    """One weight for each content layer, or one for all."""
    content_loss: str = "mean"
    """sum: 1/2 sum (F - P)^2. mean: mean (F - P)^2."""

    style_weight: float = 50.0
    """Factor of the style loss in the total."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """Layers whose statistics are compared with the style pictures'."""
    style_layer_weights: tuple[float, ...] = (1.0,)
    """One weight for each style layer, or one for all."""
    style_weights: tuple[float, ...] = ()
    """One weight for each style picture; or one for each layer of the first, then of the second ...; none:
    equal shares."""
    style_balance: float = 0.0
    """0: the styles count as weighted; 1 or 2: the more a style lags, the more it counts."""
    statistic: tuple[StatisticOrName, ...] = ("gram",)
    """Of the style, for each style layer or one for all: gram, covariance, mean_std, wasserstein,
    sliced_wasserstein, histogram, patches, nnfm; from Python also an object of your own."""
    gram: str = "chw"
    """Form of the gram and covariance loss: gatys, hw, chw or dhw (see the table in the README)."""
    norm: str = "l2"
    """Of differences in content, gram and covariance: l2 squares them, l1 takes their absolute value, scaled
    gives each layer a gradient of the same size."""

    content_masks: tuple[str, ...] = ()
    """For each style picture a file, white where it shall go; what no mask covers keeps the photo."""
    style_masks: tuple[str, ...] = ()
    """For each style picture a file, white on the part of it that is the style."""
    guidance: str = "simple"
    """How masks come down to the layers: simple (by share), inside or all (by receptive field)."""
    color: str = "style"
    """style: the style's colours. luminance: the content's stay. cholesky, pca, histogram: the style picture
    gets the content's colours first."""

    tv_weight: float = 2e6
    """Factor of the total variation in the total."""
    tv_norm: str = "l1"
    """l1: mean |dx| + mean |dy|. l2: mean dx^2 + mean dy^2."""
    laplacian_weight: float = 0.0
    """Factor of the Laplacian loss, which keeps the content's edges."""
    laplacian_windows: tuple[int, ...] = (4, 16)
    """Sides of the windows, in pixels, that are averaged before edges are compared."""
    histogram_weight: float = 0.0
    """Factor of the histogram loss, which keeps the style's contrast."""
    histogram_layers: tuple[str, ...] = ("relu1_1", "relu4_1")
    """Layers whose histograms are compared with the style pictures'."""
    range_weight: float = 0.0
    """Factor of the penalty on values outside [0, 1], in place of `clamp`."""

    optimizer: str = "lbfgs"
    """lbfgs, adam, adagrad or sgd."""
    learning_rate: float = 1.0
    """Length of a step: of the picture in [0, 1] for adam, of the direction for lbfgs."""
    memory: int = 20
    """Past steps that shape the direction of lbfgs."""
    line_search: str = "none"
    """For lbfgs: none, backtracking or zoom."""
    max_step: float = 0.03
    """For lbfgs: largest root mean square of one step, in pixel values or what `parametrisation` has for
    them; 0: no limit."""
    clamp: bool = True
    """Put the picture back into [0, 1] after each step; otherwise it is only when finished."""
    random_shift: float = 1.0
    """Each step sees a random window of this part of the picture's sides, turned a little; 1: the whole."""
    parametrisation: str = "pixels"
    """What the optimiser moves: pixels, or fourier (coefficients, scaled by frequency)."""
    fourier_decay: float = 1.0
    """For fourier: coefficients are multiplied by 1 / frequency to this power."""
    precision: str = "auto"
    """Of the network's features at each step: float32, tf32 or bf16, which are faster on accelerators; auto:
    float32 on a CPU, bf16 elsewhere. Picture, Gram matrices and losses are float32."""
    decorrelate: bool = False
    """Move colours along the axes in which natural pictures vary independently."""

    def checked(self) -> Config:
        """Return these settings with lists and single values made into tuples, all of them usable.

        Raises:
          InputError: a value is out of its range, a name is unknown, or two settings contradict each other.
        """
        config = dataclasses.replace(
            self,
            **{
                field.name: _plain(getattr(self, field.name), isinstance(field.default, tuple))
                for field in dataclasses.fields(self)
            },
        )
        check(config)
        return dataclasses.replace(config, steps=sum(config.scale_steps) or config.steps)

    @property
    def sides(self) -> list[int]:
        """Longer side of the picture at each scale, coarse to fine, the last one `size`."""
        found, side = [], float(self.start_size or self.size)
        while not found or side * self.scale_factor**0.5 < self.size:  # the last step is not much smaller
            found.append(round(side))
            side *= self.scale_factor
        return [*found, self.size] if found[-1] < self.size else found

    def steps_at(self, scale: int) -> int:
        """Steps at one scale, counted from 0."""
        if self.scale_steps:
            return self.scale_steps[scale]
        count = len(self.sides)
        return self.steps * (scale + 1) // count - self.steps * scale // count

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON's own types, for `from_dict`; a statistic of your own as its `repr`."""
        return {field.name: _json(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Config:
        """Make a Config from saved settings; what is not named keeps its default.

        Raises:
          InputError: a key is not a setting, or a value is not allowed.
        """
        return cls().replace(**settings).checked()

    def replace(self, **settings: Any) -> Config:
        """Return a copy with some settings changed.

        Raises:
          InputError: a key is not a setting.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for name in settings:
            choose("settings", name, known)
        return dataclasses.replace(self, **settings)


def _plain(value: Any, several: bool) -> Any:
    """Python's own types, from NumPy's scalars and arrays, lists and paths."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not several:
        return value
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(_plain(one, False) for one in values)


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(one) for one in value]
    return value if isinstance(value, str | int | float) else repr(value)
