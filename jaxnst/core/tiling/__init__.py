"""The exact objective of a picture of any size, in the memory of one tile.

`make_targets` prepares, `step`, `value_and_grad` and `evaluate` compute; `check` says which objectives can be
computed in tiles.
"""

from jaxnst.core.tiling.step import evaluate, step, value_and_grad
from jaxnst.core.tiling.targets import TiledTargets, check, make_targets

__all__ = ["TiledTargets", "check", "evaluate", "make_targets", "step", "value_and_grad"]
