"""Neural style transfer by optimisation (Gatys et al.) on JAX.

`stylize`, `reconstruct` and `interpolate` make pictures, `run_study` many of them; `evaluate`, `features` and
`jaxnst.metrics` measure them; `jaxnst.core` is for people who bring their own loop, optimiser or network.

Each name is loaded when it is first used, so that `import jaxnst` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxnst import core, metrics
    from jaxnst.api.batch import stylize_batch
    from jaxnst.api.evaluate import evaluate, features
    from jaxnst.api.stylize import stylize
    from jaxnst.api.variations import interpolate, reconstruct
    from jaxnst.config.config import Config
    from jaxnst.config.presets import LOOKS, PRESETS
    from jaxnst.core.vgg import LAYERS
    from jaxnst.errors import InputError
    from jaxnst.run.loop import Progress
    from jaxnst.run.result import Result
    from jaxnst.studies import run_study

    __version__: str

__all__ = [
    "LAYERS",
    "LOOKS",
    "PRESETS",
    "Config",
    "InputError",
    "Progress",
    "Result",
    "core",
    "evaluate",
    "features",
    "interpolate",
    "metrics",
    "reconstruct",
    "run_study",
    "stylize",
    "stylize_batch",
]

_MODULES = {
    "LAYERS": "core.vgg",
    "LOOKS": "config.presets",
    "PRESETS": "config.presets",
    "Config": "config.config",
    "InputError": "errors",
    "Progress": "run.loop",
    "Result": "run.result",
    "evaluate": "api.evaluate",
    "features": "api.evaluate",
    "interpolate": "api.variations",
    "reconstruct": "api.variations",
    "run_study": "studies",
    "stylize": "api.stylize",
    "stylize_batch": "api.batch",
}


def __getattr__(name: str) -> object:
    """Loads a name of `__all__`, or the version."""
    if name in _MODULES:
        value = getattr(import_module(f"jaxnst.{_MODULES[name]}"), name)
    elif name in __all__:
        value = import_module(f"jaxnst.{name}")
    elif name == "__version__":
        value = import_module("jaxnst.config.version").version()
    else:
        raise AttributeError(f"module 'jaxnst' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
