"""Runs the `jaxnst` command, and turns every mistake into one sentence and an exit status."""

from __future__ import annotations

import gc
import sys
import warnings
from typing import Any

from jaxnst.cli.batch import batch
from jaxnst.cli.compare import compare
from jaxnst.cli.evaluate import evaluate
from jaxnst.cli.interpolate import interpolate
from jaxnst.cli.output import GOES_ON, INTERRUPTED
from jaxnst.cli.parse import run_command
from jaxnst.cli.presets import presets
from jaxnst.cli.reconstruct import reconstruct
from jaxnst.cli.study import study
from jaxnst.cli.stylize import stylize
from jaxnst.cli.weights import weights
from jaxnst.config.version import version
from jaxnst.errors import InputError
from jaxnst.run.interrupts import Interrupted

COMMANDS = {
    "stylize": stylize,
    "reconstruct": reconstruct,
    "interpolate": interpolate,
    "batch": batch,
    "evaluate": evaluate,
    "compare": compare,
    "study": study,
    "weights": weights,
    "presets": presets,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
      arguments: the words after `jaxnst`; default: those of this process.

    Returns:
      The exit status: 0 for success, 1 for a failure of the system or of some pictures, 2 for input that
      cannot be used, 130 for Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    gc.freeze()  # imported modules are never garbage, and there are many of them in JAX
    warnings.showwarning = _show_warning
    try:
        return _run(arguments or ["--help"])
    except InputError as error:
        print(f"jaxnst: {error}", file=sys.stderr)
        return 2
    except Interrupted:
        print(GOES_ON, file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("jaxnst: interrupted before there was a picture.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"jaxnst: {error.filename or 'while writing'}: {error.strerror or error}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"jaxnst {version()}")
        return 0
    return run_command(COMMANDS, arguments)


def _show_warning(message: Warning | str, *_: Any) -> None:
    print(f"jaxnst: warning: {message}", file=sys.stderr)
