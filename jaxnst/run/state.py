"""The state of a run between two steps, on the device and on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jaxnst.core import solver

if TYPE_CHECKING:
    from jaxtyping import Array, Bool


class State(NamedTuple):
    """A run between two steps; of several runs at once, each array has their axis in front.

    Attributes:
      step: steps done.
      scale: index of the scale at which the variable is, from 0.
      solver: the variable, the optimiser's state and the random key.
      good: the last variable whose loss was finite.
      alive: whether loss and picture have been finite so far; a run that is not alive moves no more.
    """

    step: int
    scale: int
    solver: solver.State
    good: Any
    alive: Bool[Array, ""]

    @property
    def arrays(self) -> tuple[solver.State, Any, Any]:
        """The part that lies on the device."""
        return self.solver, self.good, self.alive

    @property
    def is_whole(self) -> bool:
        """Says whether no later step has used up one of the arrays."""
        return not any(array.is_deleted() for array in jax.tree.leaves(self.arrays))


class SavedState(NamedTuple):
    """A `State` in the host's memory, as files hold it.

    Attributes:
      step: steps done.
      scale: index of the scale at which the variable is, from 0.
      leaves: of `State.arrays`; the first is the variable. See `jaxnst.io.array_file`.
    """

    step: int
    scale: int
    leaves: list[np.ndarray]
