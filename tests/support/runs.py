"""Runs without a network, which take milliseconds a step; and steps that fail on purpose."""

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst.core import losses, objective, optimizers, solver, terms
from jaxnst.run import loop
from jaxnst.run.hooks import Record
from jaxnst.run.scale import Scale
from jaxnst.run.steps import Steps

ROUGHNESS = objective.Objective(terms=(terms.Regulariser("roughness", losses.total_variation_l2),))
SIZES, ENDS = [(8, 6), (16, 12)], [3, 6]


def smoothing(steps=Steps, optimizer=None, sizes=SIZES, ends=ENDS, learning_rate=0.1, **fields):
    """Returns what makes a picture smoother at two scales: the scale of an index, and the last step of each.

    Args:
      steps: class of the steps.
      optimizer: of the core; default L-BFGS with four pairs.
      sizes: of the scales.
      ends: of the scales.
      learning_rate: of the optimiser.
      **fields: of the steps.
    """
    problem = solver.Problem(ROUGHNESS, optimizer or optimizers.LBFGS(4))
    chosen = steps(problem, **fields)
    weights = {"roughness": objective.TermWeights(jnp.float32(1))}
    targets = objective.Targets({"roughness": ()})
    no_layers = {"input": {"scale": jnp.ones(()), "mean": jnp.zeros(3), "std": jnp.ones(3)}}
    inputs = solver.Inputs(no_layers, targets, weights, jnp.float32(learning_rate))

    def scale(index):
        first = partial(first_picture, sizes[index])
        return Scale(sizes[index], chosen, chosen.put(inputs), lambda: (first(), jax.random.key(0)))

    return scale, ends


def first_picture(size=SIZES[0]):
    """Returns the picture that `smoothing` begins with."""
    return np.random.default_rng(0).random((*size, 3), np.float32)


class Watch(loop.Hook):
    """Keeps every progress, and whether the state could be read; may settle and stop."""

    def __init__(self, settle_at=(), stop_at=None, reason=loop.Ended.stopped):
        """Keeps what it does at which step."""
        self.seen, self.readable = [], []
        self._settle_at, self._stop_at, self._reason = settle_at, stop_at, reason

    @property
    def steps(self):
        """Numbers of the steps that the hook was called for."""
        return [progress.step for progress in self.seen]

    def settles(self, step):
        """Settles the steps that it was told to."""
        return step in self._settle_at

    def __call__(self, progress, state, scale):
        """Keeps the progress."""
        self.seen.append(progress)
        if state is not None:
            scale.save(state)  # which fails if a later step has used the state up
            self.readable.append(progress.step)
        return self._reason if progress.step == self._stop_at else None


class SaveAt(loop.Hook):
    """Saves the state after one step."""

    def __init__(self, step):
        """Keeps the step."""
        self._step, self.saved = step, None

    def settles(self, step):
        """Settles that step."""
        return step == self._step

    def __call__(self, progress, state, scale):
        """Saves the state."""
        if progress.step == self._step:
            self.saved = scale.save(state)


def outcome_and_history(work, *hooks, resume=None):
    """Runs the loop; returns its outcome and the losses of each step."""
    record = Record()
    return loop.optimise(*work, [record, *hooks], resume), record.history.get("total", [])


@dataclass(frozen=True)
class FailingSteps(Steps):
    """Steps on whole pictures, one of which fails.

    Attributes:
      fails_at: number of the step, from 1.
      uses_up_state: whether it has used up the state that it was given by then.
      message: of JAX's error.
    """

    # None of these is for the compiler to see.
    fails_at: int = field(default=1, compare=False)
    uses_up_state: bool = field(default=False, compare=False)
    message: str = field(default="RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.", compare=False)

    def step(self, size, inputs, state):
        """Does one step, or fails."""
        if state.step + 1 != self.fails_at:
            return super().step(size, inputs, state)
        if self.uses_up_state:
            super().step(size, inputs, state)
        raise jax.errors.JaxRuntimeError(self.message)


def as_on_an_accelerator(monkeypatch, in_flight=3):
    """Makes the loop read losses only when later steps are on their way; call it after the first step."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(loop, "IN_FLIGHT", in_flight)
