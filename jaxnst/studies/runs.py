"""From the cells of a study to the runs that make them, and settings that let runs share a program.

Cells that differ in `steps` only are one run with snapshots. Runs that differ in their layers share a program
by taking the layers of all, those that are not a run's own with weight 0.
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
from jaxnst.config.config import OLD_NAMES, Config
from jaxnst.config.version import version
from jaxnst.core import vgg
from jaxnst.run.plan import STARTS
from jaxnst.studies.study import Cell


@dataclass(frozen=True)
class Run:
    """Describes one optimisation, which makes one cell or several that differ in `steps`.

    Attributes:
      config: all settings, with the most steps that a cell wants.
      content: name of the content picture, as in `Cell`.
      styles: names of the style pictures.
      snapshot_steps: steps after which the picture is kept, ascending.
    """

    config: Config
    content: str | None
    styles: tuple[str, ...]
    snapshot_steps: tuple[int, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the masks and the start picture, whose contents count."""
        start = () if self.config.start in STARTS else (self.config.start,)
        return (*self.config.content_masks, *self.config.style_masks, *start)

    def key(self, digests: Mapping[str, str], weights_sha256: str) -> str:
        """Computes the name of the run on disk, which does not depend on its steps and snapshots.

        Args:
          digests: of pictures by name, and of `files` by path.
          weights_sha256: digest of the network's weights.

        Returns:
          A digest of the settings, the pictures, the weights and the version.
        """
        pictures = [digests[name] for name in (self.content, *self.styles, *self.files) if name is not None]
        settings = {
            OLD_NAMES.get(field.name, field.name): _as_float(getattr(self.config, field.name), field.default)
            for field in dataclasses.fields(Config)
        }
        if _passes_fewer_steps(self.config):
            del settings["steps"]
        parts = [settings, self.content is None, pictures, weights_sha256, version()]
        return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()[:16]


def _as_float(value: Any, default: Any) -> Any:
    """Converts whole numbers to floats where a setting is a float, so that 1 and 1.0 have one key."""
    if isinstance(value, tuple):
        return [_as_float(number, 0.0 if isinstance(number, int) else number) for number in value]
    return float(value) if isinstance(default, float) else value


def _passes_fewer_steps(config: Config) -> bool:
    """Says whether a run with more steps passes through the pictures of those with fewer."""
    return len(config.sides) == 1 and not config.scale_steps


def runs_of(cells: Sequence[Cell]) -> list[Run]:
    """Returns the run of each cell; cells that share a run have the same object."""
    together: dict[Hashable, list[int]] = defaultdict(list)
    for index, cell in enumerate(cells):
        config = cell.config.replace(steps=1) if _passes_fewer_steps(cell.config) else cell.config
        together[config, cell.content, cell.styles].append(index)
    by_index: dict[int, Run] = {}
    for members in together.values():
        steps = tuple(sorted({cells[index].config.steps for index in members}))
        longest = max((cells[index] for index in members), key=lambda cell: cell.config.steps)
        run = Run(longest.config, longest.content, longest.styles, steps)
        by_index |= dict.fromkeys(members, run)
    return [by_index[index] for index in range(len(cells))]


def with_common_layers(runs: Iterable[Run]) -> dict[Run, Config]:
    """Returns the settings with which each run is computed.

    Runs that differ in layers only get the layers of all, so that they share one compiled program.
    """
    alike: dict[Hashable, list[Run]] = defaultdict(list)
    configs: dict[Run, Config] = {}
    for run in runs:
        config = configs[run] = run.config
        by_layer = len(config.statistic) > 1 or len(config.style_weights) > len(run.styles)
        if by_layer or not config.content_layers or not config.style_layers:
            continue
        one_layer = config.replace(
            content_layers=vgg.LAYERS[:1],
            content_layer_weights=(1.0,),
            style_layers=vgg.LAYERS[:1],
            style_layer_weights=(1.0,),
        )
        cost = (config.size, config.start_size, config.style_scale, config.steps, config.weights)
        alike[to_problem(one_layer), cost, run.content, run.styles].append(run)
    for group in alike.values():
        for kind in ("content", "style"):
            layers = {layer for run in group for layer in getattr(run.config, f"{kind}_layers")}
            ordered = tuple(sorted(layers, key=vgg.LAYERS.index))
            for run in group:
                configs[run] = _with_layers(configs[run], kind, ordered)
    return configs


def _with_layers(config: Config, kind: str, layers: tuple[str, ...]) -> Config:
    """Returns the same objective with more layers, which have weight 0."""
    own, weights = getattr(config, f"{kind}_layers"), getattr(config, f"{kind}_layer_weights")
    if own == layers:
        return config
    by_layer = dict(zip(own, weights * len(own) if len(weights) == 1 else weights, strict=True))
    layer_weights = tuple(by_layer.get(layer, 0.0) for layer in layers)
    return config.replace(**{f"{kind}_layers": layers, f"{kind}_layer_weights": layer_weights}).checked()
