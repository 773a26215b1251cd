"""The compute core: pure functions of arrays, for callers who bring their own loop, optimiser or network.

It reads no files, prints nothing and imports jax, flax, optax and numpy only. `__all__` lists what is public:
modules, and the classes that describe an optimisation.
"""

from jaxnst.core import (
    color,
    conv,
    guides,
    hypercolumns,
    losses,
    objective,
    optimizers,
    parametrisation,
    sharding,
    solver,
    statistics,
    terms,
    tiling,
    transforms,
    vgg,
)
from jaxnst.core.objective import LossWeights, Objective, Targets, TermWeights
from jaxnst.core.optimizers import LBFGS, SGD, Adagrad, Adam, RMSprop
from jaxnst.core.solver import Inputs, Problem, State
from jaxnst.core.statistics import Statistic
from jaxnst.core.terms import Term, View

__all__ = [
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "Inputs",
    "LossWeights",
    "Objective",
    "Problem",
    "RMSprop",
    "State",
    "Statistic",
    "Targets",
    "Term",
    "TermWeights",
    "View",
    "color",
    "conv",
    "guides",
    "hypercolumns",
    "losses",
    "objective",
    "optimizers",
    "parametrisation",
    "sharding",
    "solver",
    "statistics",
    "terms",
    "tiling",
    "transforms",
    "vgg",
]
