"""Two hooks for people who watch a run: the preview shows the picture so far, the evolution is a film of it.

Neither `settles` a step, so that an accelerator never waits for them: a picture can be read later, too.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxnst.errors import InputError
from jaxnst.io import film, images, save
from jaxnst.io.bit_depth import to_bytes
from jaxnst.io.files import reason
from jaxnst.run.loop import Hook, Progress
from jaxnst.run.mesh import any_process

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from jaxnst.core.sharding import Placement
    from jaxnst.io.files import PathLike
    from jaxnst.run.scale import Scale
    from jaxnst.run.state import State

PREVIEW_SECONDS = 3.0
"""Least time between two previews."""

PREVIEW_SHARE = 0.05
"""Largest share of the time of a run that previews may take."""


@dataclass
class Preview(Hook):
    """Writes the picture so far to a file, every few seconds. If that fails, warns and writes no more.

    Attributes:
      path: of the file; its extension chooses the format.
      placement: of the picture; of several processes the first writes.
      seconds: least time between two previews.
      clock: seconds since any moment.
    """

    path: PathLike
    placement: Placement
    seconds: float = PREVIEW_SECONDS
    clock: Callable[[], float] = time.monotonic
    _due: float = field(init=False)
    _works: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        """Starts the clock."""
        self._due = self.clock() + self.seconds

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Writes the picture if the time has come. All processes compute it, for each holds a part."""
        began = self.clock()
        if not any_process(self.placement, self._works and began >= self._due):
            return
        picture = progress.image
        if self._works and jax.process_index() == 0:
            self._works = attempt(
                lambda: save.save_image(self.path, picture),
                "preview: it cannot be written ({}); the run goes on without previews.",
            )
        ended = self.clock()
        self._due = ended + max(self.seconds, (ended - began) / PREVIEW_SHARE)


@dataclass
class Evolution(Hook):
    """Keeps at most `film.MOST_FRAMES` pictures of a run, evenly spread over its steps, and writes the film.

    Attributes:
      path: of the film.
      size: height and width of its frames, which smaller pictures are enlarged to.
      steps: whose pictures are kept.
      frames: by step.
    """

    path: PathLike
    size: tuple[int, int]
    steps: frozenset[int]
    frames: dict[int, UInt8[np.ndarray, "h w 3"]] = field(default_factory=dict)
    _last: Progress | None = field(init=False, default=None)

    @classmethod
    def of(cls, path: PathLike, shape: tuple[int, int], steps: int) -> Evolution:
        """Makes the hook for a run whose finished picture has the height and width `shape`."""
        size = images.fit_size(shape, min(max(shape), film.LONGEST_SIDE))
        return cls(path, size, frozenset(film.spread(steps, film.MOST_FRAMES)))

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Keeps the picture of a step that is a frame."""
        self._last = progress
        if progress.step in self.steps:
            self._keep(progress)

    def write(self) -> None:
        """Writes the film, which ends with the last picture, also of a run that was stopped.

        A run without a step has no film.
        """
        if self._last is None:
            return
        self._keep(self._last)
        if jax.process_index() == 0:
            # Not even Ctrl-C may keep the caller from the picture that is made.
            attempt(
                lambda: film.save_film(self.path, self.frames),
                "evolution: the film cannot be written ({}).",
                (KeyboardInterrupt,),
            )

    def _keep(self, progress: Progress) -> None:
        self.frames[progress.step] = to_bytes(images.resize(progress.image, self.size))


def attempt(write: Callable[[], None], sentence: str, also: tuple[type[BaseException], ...] = ()) -> bool:
    """Writes a file that is not worth a run: if it fails, for example on a full disk, it only warns.

    Args:
      write: writes it.
      sentence: of the warning; "{}" stands for the reason.
      also: errors that are caught beside those of files.
    """
    try:
        write()
    except (OSError, InputError, *also) as error:
        warnings.warn(sentence.format(reason(error) or type(error).__name__), stacklevel=2)
        return False
    return True
