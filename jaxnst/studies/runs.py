"""From the cells of a study to the runs that make them, and which runs may go together.

Cells that differ in nothing but `steps` are one run, looked at on its way. Runs that differ in their layers
become lanes of one program by taking the layers of all, those that are not a run's own with weight 0.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxnst.config.build import to_problem
from jaxnst.config.config import Config
from jaxnst.core import vgg
from jaxnst.run.plan import STARTS
from jaxnst.studies.study import Cell


@dataclass(frozen=True)
class Run:
    """One optimisation, of one cell or of several that differ in `steps`.

    Attributes:
      config: all settings, with the most steps that a cell wants.
      content: which picture, as in `Cell`.
      styles: which pictures.
      looks: steps after which the picture is kept, ascending.
    """

    config: Config
    content: str | None
    styles: tuple[str, ...]
    looks: tuple[int, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """Paths among the settings whose contents count: masks and the first picture."""
        start = () if self.config.start in STARTS else (self.config.start,)
        return (*self.config.content_masks, *self.config.style_masks, *start)

    def key(self, digests: Mapping[str, str], weights: str) -> str:
        """What it is known by, however many steps it makes and whenever it is looked at.

        Args:
          digests: of the given pictures by name and of `files` by path.
          weights: digest of the network's.

        Returns:
          A digest of the settings, the pictures, the weights and the version.
        """
        from jaxnst import __version__

        pictures = [digests[name] for name in (self.content, *self.styles, *self.files) if name is not None]
        settings = {
            field.name: _as_float(getattr(self.config, field.name), field.default) for field in _FIELDS
        }
        if _goes_on(self.config):
            del settings["steps"]
        parts = [settings, self.content is None, pictures, weights, __version__]
        return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()[:16]


_FIELDS = dataclasses.fields(Config)


def _as_float(value: Any, default: Any) -> Any:
    """1 and 1.0 are the same setting."""
    if isinstance(value, tuple):
        return [_as_float(one, 0.0 if isinstance(one, int) else one) for one in value]
    return float(value) if isinstance(default, float) else value


def _goes_on(config: Config) -> bool:
    """Whether a run of more steps passes through those of fewer."""
    return len(config.sides) == 1 and not config.scale_steps


def runs_of(cells: Sequence[Cell]) -> dict[int, Run]:
    """The run of each cell, by the cell's place; one object where several share it."""
    together: dict[Hashable, list[int]] = defaultdict(list)
    for index, cell in enumerate(cells):
        alike = cell.config.replace(steps=1) if _goes_on(cell.config) else cell.config
        together[alike, cell.content, cell.styles].append(index)
    found: dict[int, Run] = {}
    for members in together.values():
        looks = tuple(sorted({cells[index].config.steps for index in members}))
        last = next(cells[index] for index in members if cells[index].config.steps == looks[-1])
        run = Run(last.config, last.content, last.styles, looks)
        found |= dict.fromkeys(members, run)
    return found


def pooled(runs: Iterable[Run]) -> dict[Run, Config]:
    """The settings with which each run is computed: of all that differ in layers only, the layers of all."""
    kin: dict[Hashable, list[Run]] = defaultdict(list)
    found: dict[Run, Config] = {}
    for run in runs:
        config = run.config
        by_layer = len(config.statistic) > 1 or len(config.style_weights) > len(run.styles)
        if by_layer or not config.content_layers or not config.style_layers:
            found[run] = config
            continue
        one_layer = config.replace(
            content_layers=vgg.LAYERS[:1],
            content_layer_weights=(1.0,),
            style_layers=vgg.LAYERS[:1],
            style_layer_weights=(1.0,),
        )
        cost = (config.size, config.start_size, config.style_scale, config.steps, config.weights)
        kin[to_problem(one_layer), cost, run.content, run.styles].append(run)
    for alike in kin.values():
        for name in ("content", "style"):
            layers = {layer for run in alike for layer in getattr(run.config, f"{name}_layers")}
            union = tuple(sorted(layers, key=vgg.LAYERS.index))
            for run in alike:
                found[run] = _with_layers(found.get(run, run.config), name, union)
    return found


def _with_layers(config: Config, name: str, union: tuple[str, ...]) -> Config:
    """The same objective, said of more layers."""
    layers, weights = getattr(config, f"{name}_layers"), getattr(config, f"{name}_layer_weights")
    if layers == union:
        return config
    of = dict(zip(layers, weights * len(layers) if len(weights) == 1 else weights, strict=True))
    return config.replace(
        **{f"{name}_layers": union, f"{name}_layer_weights": tuple(of.get(layer, 0.0) for layer in union)}
    ).checked()
