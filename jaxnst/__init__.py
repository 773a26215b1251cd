"""Neural style transfer by optimisation (Gatys et al.) on JAX.

`stylize` makes a picture; `evaluate` and `features` measure one; `jaxnst.core` is for people who bring their
own loop, optimiser or network.
"""

from importlib.metadata import version

from jaxnst.config import Config
from jaxnst.core.vgg import LAYERS
from jaxnst.errors import InputError
from jaxnst.presets import PRESETS
from jaxnst.run import Progress
from jaxnst.stylize import Result, evaluate, features, stylize

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
    "stylize",
]
