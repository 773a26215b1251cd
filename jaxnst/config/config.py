"""Every setting that decides a picture, as one frozen dataclass.

A field's name is also the Python argument, the option of the command, the column of a manifest and the key
in a saved picture. `jaxnst.config.validation` says which values are allowed; `jaxnst.config.build` turns
names into functions of the core.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax

from jaxnst.config.quality import FIRST_SIDE, QUALITIES, share_out, steps_of
from jaxnst.config.validation import check
from jaxnst.errors import InputError, choose

if TYPE_CHECKING:
    from jaxnst.core.statistics import Statistic

    StatisticOrName = str | Statistic
else:
    StatisticOrName = str  # what the command line can express

RENAMED = {"memory": "history_size"}
"""Old names of settings, which are still accepted, and their present names."""


DEFAULT_STEPS = 60
"""Number of steps with quality none."""

EARLIER: Mapping[str, Any] = {
    "quality": "none",
    "strength": 0.5,
    "recolor": "pca",
    "recolor_strength": 1.0,
    "edges": "drop",
    "enlarge_style": True,
    "weighting": "absolute",
}
"""Values of the settings that older saved pictures lack, with which these keep their meaning."""

OLD_NAMES = {new: old for old, new in RENAMED.items()}
"""Old names of settings by their present names; digests keep them, so that renaming loses no picture."""


def canonical_name(name: str) -> str:
    """Returns the present name of a setting, and warns if `name` is an old one."""
    if name not in RENAMED:
        return name
    warnings.warn(f"the setting {name} is now called {RENAMED[name]}.", UserWarning, stacklevel=3)
    return RENAMED[name]


@dataclass(frozen=True)
class Config:
    """Holds all settings of a run. Equal settings, pictures and machines give equal bytes.

    A Config may hold anything; `checked` refuses values that cannot work.
    """

    quality: str = "good"
    """Effort: draft for a look within seconds, good, or best. Each stands for scales and for steps at each of
    them. none: start_size and steps mean exactly what they say."""
    strength: float = 0.5
    """Strength of the style, from 0 (a tint) to 1 (a full painting). Each half multiplies
    style_weight by ten, and 0.5 leaves it; below 0.5 the start picture changes too."""
    size: int = 0
    """Longer side of the finished picture, in pixels. 0: 256 on a CPU, 512 on an accelerator."""
    style_scale: float = 1.0
    """Size of the style pictures relative to the picture being made. Smaller values give smaller brush
    strokes."""
    enlarge_style: bool = False
    """Enlarge style pictures that have fewer pixels than the picture being made. If not, the last scales of a
    large picture lay strokes as sharp as those of the style picture on the larger strokes laid before."""
    steps: int = 0
    """Number of optimiser steps in total. 0: as many as the quality asks for, 60 with none. Another number is
    shared by the scales in the same ratio, or evenly with quality none."""
    start_size: int = 0
    """Longer side at the first scale, in pixels, to work from coarse to fine. 0: that of the quality; with
    quality none, only one scale, `size`."""
    scale_factor: float = 2.0
    """Growth of the picture from one scale to the next."""
    scale_steps: tuple[int, ...] = ()
    """Number of steps at each scale; replaces `steps`. Empty: shares of `steps`."""
    seed: int = 0
    """Seed of the random numbers: the noise in the start picture and the random shifts."""
    start: str = "recolored"
    """Picture to start from: recolored (the content in the colours of the style), content, style, noise,
    black, white, blend (of content and noise), detail (the finest detail of the content on the style's mean
    colour), or the path of an image file."""
    recolor: str = "transport"
    """With start recolored: how the content gets the colours of the style: cholesky, pca, histogram or
    transport. The first two match mean and covariance, histogram each channel, transport all colours
    together."""
    recolor_strength: float = 1.0
    """With start recolored: how far the colours go from the content's (0) to the style's (1)."""
    blend: float = 0.5
    """With start blend: share of the content picture, 0 to 1. The rest is noise."""
    content_detail: bool = False
    """At each later scale, add the detail of the content picture that the scale before was too small for."""

    weights: str = "caffe"
    """Weights of the VGG19 network: caffe (as in Gatys et al.), caffe-unit (caffe, scaled to features as
    large as torchvision's), torchvision, or the path of an HDF5 file."""
    pooling: str = "max"
    """Pooling in the network: max, average or l2."""
    pooling_rescale: bool = False
    """With pooling average or l2: scale the result so that features are as large as with max."""
    padding: str = "zeros"
    """Padding of feature maps at their borders: zeros (as the network was trained), reflect or replicate.
    Zeros keep more of the photo; reflect draws no frame."""

    edges: str = "mirror"
    """Treatment of sides that are not multiples of 16: mirror shows the network mirrored pixels beyond them;
    drop ignores up to 15 pixels at the right and at the bottom, as in PyTorch."""

    weighting: str = "relative"
    """Meaning of the loss weights: relative divides each loss by what a blank picture would cost, so that
    equal weights mean the same with every size, network, pooling and statistic; absolute takes it as its
    formula says."""
    content_weight: float = 1.0
    """Loss weight of the content."""
    content_layers: tuple[str, ...] = ("relu4_2",)
    """Layers whose features must match those of the content picture."""
    content_layer_weights: tuple[float, ...] = (1.0,)
    """Loss weights of the content layers: one for each layer, or one for all."""
    content_loss: str = "mean"
    """Form of the content loss between features F and P: sum is 1/2 sum (F - P)^2, mean is mean (F - P)^2.
    self_similarity compares how similar the picture's positions are to each other, all layers joined."""
    content_saliency: float = 0.0
    """Concentration of the content loss: 0 counts all places alike, 1 counts faces and edges more than flat
    areas, 2 still more."""
    content_decay: float = 1.0
    """From each scale to the next, content_weight is multiplied by this, and palette_weight divided by it."""

    style_weight: float = 8.0
    """Loss weight of the style. Larger values give a stronger style; see also strength."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """Layers whose statistics must match those of the style pictures."""
    style_layer_weights: tuple[float, ...] = (1.0,)
    """Loss weights of the style layers: one for each layer, or one for all."""
    style_weights: tuple[float, ...] = ()
    """Shares of several style pictures: one for each style; or one for each layer of the first style, then of
    the second, and so on. Empty: equal shares."""
    style_balance: float = 0.0
    """With several styles: 0 keeps their shares; 1 or 2 gives more weight to a style whose loss falls
    slowly."""
    statistic: tuple[StatisticOrName, ...] = ("mixed",)
    """Statistic of the features that describes a style, one for all style layers or one for each: mixed
    (covariance in the first three blocks of the network, gram in the others), gram, covariance, mean_std,
    mean_covariance, wasserstein, sliced_wasserstein, histogram, patches or nnfm. From Python also an object
    of your own. remd and neighbors need hypercolumns."""
    hypercolumns: bool = False
    """Join the features of all style layers to one vector at each position, and compare those. Each name in
    statistic is then a statistic of all layers."""
    samples: int = 1024
    """With hypercolumns or content_loss self_similarity: most positions that a step looks at. Each step looks
    at others."""
    style_rotations: bool = False
    """With hypercolumns: see each style picture also turned by 90, 180 and 270 degrees."""
    content_share: float = 0.25
    """With statistic neighbors: share of the content in the features for which neighbours are sought, 0 to
    1."""
    gram: str = "chw"
    """Normalisation of the gram and covariance losses: gatys, hw, chw or dhw. Each needs another style
    weight."""
    norm: str = "l2"
    """Norm of differences in the content, gram and covariance losses: l2 squares them, l1 takes absolute
    values, scaled gives every layer a gradient of the same size."""

    content_masks: tuple[str, ...] = ()
    """Image files, one for each style picture: white marks where in the content picture the style goes. Areas
    that no mask covers stay as they are."""
    style_masks: tuple[str, ...] = ()
    """Image files, one for each style picture: white marks the part of it to take the style from."""
    guidance: str = "simple"
    """How masks reach the layers of the network: simple averages them, inside keeps only features that see
    nothing outside the mask, all keeps every feature that sees any of it."""
    color: str = "style"
    """Colours of the result: style takes them from the style; luminance keeps those of the content picture
    and changes only the brightness; cholesky, pca and histogram first give the style picture the colours of
    the content picture."""

    tv_weight: float = 1.0
    """Loss weight of the total variation. Larger values give a smoother picture."""
    tv_norm: str = "l2"
    """Form of the total variation: l1 is mean |dx| + mean |dy|, l2 is mean dx^2 + mean dy^2."""
    laplacian_weight: float = 1.0
    """Loss weight of the Laplacian loss. Larger values keep more of the content's edges."""
    laplacian_windows: tuple[int, ...] = (4, 16)
    """Sides, in pixels, of the windows that the Laplacian loss averages over before it compares edges."""
    histogram_weight: float = 0.0
    """Loss weight of the histogram loss. Larger values keep more of the style's contrast."""
    histogram_layers: tuple[str, ...] = ("relu1_1", "relu4_1")
    """Layers of the histogram loss."""
    palette_weight: float = 0.0
    """Loss weight of the palette loss, which compares colours regardless of where they are."""
    range_weight: float = 0.0
    """Loss weight of pixel values outside 0 to 1. Needs clamp off."""

    optimizer: str = "lbfgs"
    """Optimiser: lbfgs, adam, adagrad, rmsprop or sgd."""
    learning_rate: float = 0.0
    """Learning rate. 0: the optimiser's own; adam, adagrad and sgd then normalise each gradient, and sgd has
    momentum. Any other value: the optimiser as published, with this rate."""
    history_size: int = 20
    """With optimizer lbfgs: number of past steps that it keeps. Each costs memory for two images."""
    line_search: str = "none"
    """With optimizer lbfgs: line search within each step: none, backtracking or zoom."""
    max_step: float = 0.03
    """With optimizer lbfgs: largest root mean square of a step, in pixel values from 0 to 1 (or in the
    numbers of another parametrisation). 0: no limit."""
    clamp: bool = True
    """Clip the picture to the range 0 to 1 after each step. Off: clip only the finished picture."""
    random_shift: float = 1.0
    """Show the network at each step a random, slightly rotated window with this fraction of the picture's
    sides. 1: always the whole picture."""
    parametrisation: str = "pixels"
    """Numbers that the optimiser changes: pixels, fourier (coefficients of waves), or laplacian (levels of a
    pyramid)."""
    fourier_decay: float = 1.0
    """With parametrisation fourier: each coefficient is multiplied by 1 / frequency to this power."""
    precision: str = "auto"
    """Precision of the network: float32, or the faster tf32 and bf16 on accelerators. auto: float32 on a CPU,
    bf16 elsewhere. The picture, Gram matrices and losses are always float32."""
    decorrelate: bool = False
    """Let the optimiser change colours along the axes in which natural pictures vary independently."""

    def checked(self) -> Config:
        """Returns these settings, all usable, with tuples in place of lists and single values.

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
        if config.size == 0:  # not `not config.size`, which would hide a wrong type
            config = dataclasses.replace(config, size=256 if jax.default_backend() == "cpu" else 512)
        check(config)
        return dataclasses.replace(config, steps=sum(map(config.steps_at, range(len(config.sides)))))

    @property
    def sides(self) -> list[int]:
        """Longer side of the picture at each scale, from coarse to fine; the last one is `size`."""
        first = self.start_size or (min(FIRST_SIDE, self.size) if self.quality in QUALITIES else self.size)
        sides, side = [], float(first)
        # A scale that is nearly as large as `size` is left out.
        while not sides or side * self.scale_factor**0.5 < self.size:
            sides.append(round(side))
            side *= self.scale_factor
        return [*sides, self.size] if sides[-1] < self.size else sides

    def steps_at(self, scale: int) -> int:
        """Returns the number of steps at one scale, counted from 0."""
        if self.scale_steps:
            return self.scale_steps[scale]
        level = QUALITIES.get(self.quality)
        parts = [1 if level is None else steps_of(level, side) for side in self.sides]
        if self.steps == 0 and level is not None:
            return parts[scale]
        return share_out(self.steps or DEFAULT_STEPS, parts)[scale]

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings in JSON's types, for `from_dict`; your own statistic becomes its `repr`."""
        return {field.name: _json(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Config:
        """Makes a Config from saved settings; settings that are missing keep their defaults.

        The settings of a picture that was saved before there were quality levels keep their meaning.

        Raises:
          InputError: a key is not a setting, or a value is not allowed.
        """
        saved_earlier = "quality" not in settings and {"size", "steps", "start"} <= settings.keys()
        return cls(**(EARLIER if saved_earlier else {})).replace(**settings).checked()

    def replace(self, **settings: Any) -> Config:
        """Returns a copy with some settings changed. Old names are accepted with a warning.

        Raises:
          InputError: a key is not a setting, or two keys are names of the same setting.
        """
        names = [field.name for field in dataclasses.fields(self)]
        changes = {}
        for key, value in settings.items():
            name = choose("settings", canonical_name(key), names)
            if name in changes:
                raise InputError(f"{name}: the setting appears under its old name too; keep {name} only.")
            changes[name] = value
        return dataclasses.replace(self, **changes)


def _plain(value: Any, several: bool) -> Any:
    """Converts NumPy's scalars and arrays, lists and paths to Python's own types."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not several:
        return value
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(_plain(element, False) for element in values)


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(element) for element in value]
    return value if isinstance(value, str | int | float) else repr(value)
