"""Neural style transfer by optimisation (Gatys et al.) on JAX.

`stylize`, `reconstruct` and `interpolate` make pictures, `run_study` many of them; `evaluate`, `features` and
`jaxnst.metrics` measure them; `jaxnst.core` is for people who bring their own loop, optimiser or network.
"""

from importlib.metadata import version

from jaxnst import metrics
from jaxnst.config import Config
from jaxnst.core.vgg import LAYERS
from jaxnst.errors import InputError
from jaxnst.evaluation import evaluate, features
from jaxnst.presets import PRESETS
from jaxnst.recipes import interpolate, reconstruct
from jaxnst.run import Progress
from jaxnst.studies import run_study
from jaxnst.stylize import Result, stylize

__version__ = version("jaxnst")

__all__ = [
    "LAYERS",
    "PRESETS",
    "Config",
    "InputError",
    "Progress",
    "Result",
    "evaluate",
    "features",
    "interpolate",
    "metrics",
    "reconstruct",
    "run_study",
    "stylize",
]
