"""Groups of options that several commands share.

The options for settings are generated from `Config`, so that each exists once; their help is the docstring of
the field. All are optional: what the user did not write, `StartingPoint.resolve` takes from elsewhere.

The help shows the options of `MAIN`; `--help-all` shows all.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import typing
import warnings
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from tyro.conf import Suppress, arg

from jaxnst.config.config import RENAMED, Config
from jaxnst.config.resolve import resolve
from jaxnst.errors import InputError
from jaxnst.io import save
from jaxnst.run.memory_budget import Tile

MAIN = (
    *("out", "preview", "evolution", "preset", "config"),
    *("quality", "strength", "size", "steps", "style_scale", "seed", "start", "content_weight"),
    *("style_weight", "style_weights", "content_masks", "color"),
)
"""Options of the groups below, and settings, that the help shows; `--help-all` shows the others too."""

SHORT_HELP: ContextVar[bool] = ContextVar("SHORT_HELP", default=False)
"""Says whether a command is parsed for its short help, which has only the options of `MAIN`."""


@dataclass(frozen=True)
class Output:
    """Holds the options for files and messages."""

    out: Annotated[
        str | None,
        arg(metavar="FILE", help_behavior_hint="(default: a name made from those of the pictures)"),
    ] = None
    """File to write the picture to: .png, .jpg, .webp or .tif. Without this option an existing file is never
    overwritten."""
    preview: bool = False
    """Also write the picture so far every few seconds, to `NAME.preview.png` beside `NAME.png`. It is removed
    once the picture is written."""
    evolution: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Also show how the picture was made, in this file: a film (.gif or .webp) or a contact sheet (.png)."""
    bits: int = 8
    """Bits per colour channel in the file: 8, or 16 for PNG and TIFF."""
    dither: bool = False
    """Add noise before rounding to 8 bits, so that smooth areas show no bands."""
    history: Annotated[str | None, arg(metavar="FILE.csv", help_behavior_hint="")] = None
    """Also write the losses of every step to this CSV file."""
    snapshots: int = 0
    """Also save the picture every N steps, beside the output file. 0: never."""
    quiet: bool = False
    """Show no progress bar and no messages."""
    verbose: bool = False
    """Print the device, the picture sizes, the memory estimate and the compile time."""


@dataclass(frozen=True)
class Machine:
    """Holds the options for the use of the machine, which do not change the picture."""

    tile: Annotated[Tile, arg(metavar="auto|None|PIXELS")] = "auto"
    """Side of the tiles, in pixels, for pictures too large for memory. auto: only if needed. None: never."""
    devices: Annotated[
        int | Literal["all"] | None, arg(metavar="N|all", help_behavior_hint="(default: one)")
    ] = None
    """Number of devices (GPUs or TPUs) that share the rows of one picture, or the pairs of a batch."""


@dataclass(frozen=True)
class Checkpoints:
    """Holds the options for a run that continues after it was stopped or killed."""

    checkpoint: Annotated[str | None, arg(metavar="FILE.h5", help_behavior_hint="")] = None
    """Keep the state of the run in this file, and continue from it if it exists. Delete it to start anew."""
    checkpoint_minutes: float = 10.0
    """Minutes between two checkpoints. 0: save after each step."""


@dataclass(frozen=True)
class Hosts:
    """Holds the options of `jax.distributed.initialize`, for several processes that make one picture."""

    distributed: bool = False
    """Let JAX ask the cluster (Slurm, Open MPI, Cloud TPU) for the values below."""
    coordinator_address: Annotated[str | None, arg(metavar="HOST:PORT", help_behavior_hint="")] = None
    """Address of process 0, at which all processes meet."""
    num_processes: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Number of processes."""
    process_id: Annotated[int | None, arg(metavar="I", help_behavior_hint="")] = None
    """Number of this process, from 0."""


@dataclass(frozen=True)
class StartingPoint:
    """Holds the options for the settings that the other options change."""

    preset: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Start from the settings of a look or of a published system. `jaxnst presets` lists them."""
    config: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Start from the settings of a picture that jaxnst saved."""

    def resolve(
        self, settings: Mapping[str, Any], defaults: Config | None = None
    ) -> tuple[Config, dict[str, Any]]:
        """Builds the Config of a command, not yet checked, and reads the metadata of the saved picture.

        Args:
          settings: only what the user wrote.
          defaults: what holds without a preset and a saved picture; default `Config()`.

        Returns:
          The Config, and the metadata; empty without a saved picture.

        Raises:
          InputError: a name is unknown, a file has no settings, or two options contradict each other.
        """
        metadata = {} if self.config is None else save.read_metadata(self.config)
        saved = metadata.get("config")
        if self.config is not None and not isinstance(saved, dict):
            raise InputError(f"config: {self.config!r} has no settings; give a picture saved by jaxnst.")
        config = resolve(self.preset, saved, settings, defaults)
        done, steps = metadata.get("steps_done"), (saved or {}).get("steps")
        if done not in (None, steps):
            warnings.warn(f"{self.config} was saved after {done} of its {steps} steps.", stacklevel=2)
        return config, metadata


def settings_type(defaults: Config | None = None, main: tuple[str, ...] = MAIN) -> type:
    """Makes the options for all settings: one for each field of `Config`, and one for each old name.

    Args:
      defaults: what the help shows as the default of each option; default `Config()`.
      main: settings that the short help shows.
    """
    types, docstrings, shown = typing.get_type_hints(Config), _docstrings(), (defaults or Config()).to_dict()
    fields = {
        name: Annotated[types[name], arg(help=text, help_behavior_hint=f"(default: {_words(shown[name])})")]
        for name, text in docstrings.items()
    }
    for old, name in RENAMED.items():
        note = f"Old name of --{name.replace('_', '-')}."
        fields[old] = Annotated[types[name], arg(help=note, help_behavior_hint="")]
    return TypedDict("Settings", _shown(fields, main), total=False)  # pyright: ignore


Settings: TypeAlias = Annotated[dict[str, Any], arg(constructor_factory=settings_type)]
"""The settings that the user wrote, by name."""


def _shown(types: Mapping[str, Any], main: tuple[str, ...]) -> dict[str, Any]:
    """Marks what the short help leaves out. tyro then does not parse it, but prints the help and ends."""
    return {
        name: Annotated[kind, Suppress] if SHORT_HELP.get() and name not in main else kind
        for name, kind in types.items()
    }


def _group(options: type) -> Callable[[], type]:
    """Returns what makes the type of a group of options: the group, or a subclass with a short help."""

    def make() -> type:
        if not SHORT_HELP.get():
            return options
        defaults = {field.name: field.default for field in dataclasses.fields(options)}
        hints = typing.get_type_hints(options, include_extras=True)
        shown = _shown({name: hints[name] for name in defaults}, MAIN)
        fields = [(name, kind, dataclasses.field(default=defaults[name])) for name, kind in shown.items()]
        return dataclasses.make_dataclass(options.__name__, fields, bases=(options,), frozen=True)

    return make


OutputOptions: TypeAlias = Annotated[Output, arg(constructor_factory=_group(Output))]
MachineOptions: TypeAlias = Annotated[Machine, arg(constructor_factory=_group(Machine))]
CheckpointOptions: TypeAlias = Annotated[Checkpoints, arg(constructor_factory=_group(Checkpoints))]
HostOptions: TypeAlias = Annotated[Hosts, arg(constructor_factory=_group(Hosts))]


def _docstrings() -> dict[str, str]:
    """Reads the docstring below each field of `Config`, which Python does not keep."""
    [definition] = ast.parse(inspect.getsource(Config)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        ast.unparse(field.target): " ".join(ast.literal_eval(text.value).split())
        for field, text in itertools.pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def _words(value: Any) -> str:
    return (" ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
