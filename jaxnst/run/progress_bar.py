"""Progress bars on standard error: the steps of one run, and the pairs of a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxnst.run.loop import Hook, Progress

if TYPE_CHECKING:
    from tqdm import tqdm

    from jaxnst.run.scale import Scale
    from jaxnst.run.state import State


@dataclass
class Bar(Hook):
    """Shows the steps and the losses of one run on a progress bar."""

    bar: tqdm

    def __call__(self, progress: Progress, state: State | None, scale: Scale) -> None:
        """Moves the bar by one step."""
        losses = {name: f"{loss:.3g}" for name, loss in progress.losses.items()}
        self.bar.set_postfix(losses, refresh=False)
        self.bar.update()


@contextlib.contextmanager
def step_bar(steps: int, done: int) -> Iterator[Bar]:
    """Opens a progress bar of `steps` steps on standard error, of which `done` are done."""
    from tqdm import tqdm

    with tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True) as bar:
        yield Bar(bar)


@contextlib.contextmanager
def pairs_bar(wanted: bool, count: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Opens a progress bar with pairs per minute and the time left; gives what to call after each pair."""
    if not wanted:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(
        total=count,
        initial=done,
        unit="pair",
        dynamic_ncols=True,
        smoothing=0,
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
    ) as bar:

        def show() -> None:
            bar.update()
            rate = (bar.n - done) / max(bar.format_dict["elapsed"], 1e-9)
            bar.set_postfix_str(f"{60 * rate:.1f} pairs/min")

        yield show
