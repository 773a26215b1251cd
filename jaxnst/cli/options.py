"""Groups of flags that several commands share; `Config` and `Processes` are others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from jaxnst.run.memory_budget import Tile


@dataclass(frozen=True)
class Output:
    """Where the picture goes, and what is told meanwhile."""

    out: Annotated[str, arg(metavar="FILE")]
    """The picture to write: .png, .jpg, .webp or .tif."""
    bits: int = 8
    """Bits of each colour in the file: 8, or 16 for PNG and TIFF."""
    dither: bool = False
    """Round to 8 bits with noise, so that smooth areas show no bands."""
    history: Annotated[str | None, arg(metavar="FILE.csv")] = None
    """Write the losses of every step to this CSV file."""
    snapshots: int = 0
    """Also write the picture after every so many steps, beside `out`."""
    quiet: bool = False
    """No progress bar, no messages."""
    verbose: bool = False
    """Tell device, sizes, memory estimate and compile time."""


@dataclass(frozen=True)
class Resources:
    """How a run uses the machine, which does not change the picture."""

    tile: Annotated[Tile, arg(metavar="auto|None|PIXELS")] = "auto"
    """Work through pictures in pieces of this side: auto, if the memory is too small for the whole; None:
    never."""
    devices: Annotated[int | Literal["all"] | None, arg(metavar="N|all")] = None
    """Spread the work over so many devices: the rows of one picture, the pairs of a batch."""


@dataclass(frozen=True)
class Resuming:
    """How a run that was stopped or killed goes on."""

    checkpoint: Annotated[str | None, arg(metavar="FILE.h5")] = None
    """Keep in this file what the run needs to go on, and go on from it if it is there. After a finished run
    the same command gives its picture again; delete the file to start anew."""
    checkpoint_minutes: float = 10.0
    """Between two checkpoints; 0: at each step. One is also made when a scale or the run ends."""
