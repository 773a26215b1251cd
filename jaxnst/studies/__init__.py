"""Experiments: a declared grid of settings, run in batches, and a report to look at.

TOML to cells: `study`, `axes`. Cells to runs, and which of them share a program: `runs`. Runs to files:
`runner`, `results`. Files to rows: `table`. Rows to pictures and a page: `sheet`, `plots`, `report`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxnst import metrics
from jaxnst.errors import InputError
from jaxnst.io import images
from jaxnst.io import save as saving
from jaxnst.run.interrupts import Interrupted
from jaxnst.studies import results, runner, table
from jaxnst.studies.runs import Run, runs_of
from jaxnst.studies.study import Study, names, read_study

if TYPE_CHECKING:
    from jaxnst.io.images import Picture
    from jaxnst.studies.table import Row

__all__ = ["Studied", "names", "read_study", "run_study"]


@dataclass(frozen=True)
class Studied:
    """A study that has been run.

    Attributes:
      study: what was to be done.
      rows: what was found, one for each cell.
      folder: where everything is: `report.html`, `cells.csv`, `losses.csv`, pictures.
    """

    study: Study
    rows: list[Row]
    folder: Path

    @property
    def failed(self) -> list[Row]:
        """Cells without a picture."""
        return [row for row in self.rows if row.done is None]


def run_study(
    study: str | os.PathLike[str],
    content: Picture | Sequence[Picture],
    style: Picture | Sequence[Picture],
    out: str | os.PathLike[str],
    *,
    quick: bool = False,
    grids: Sequence[str] = (),
    progress: bool = True,
    **settings: Any,
) -> Studied:
    """Run every cell of a study that is not in the folder yet, and write the report.

    Args:
      study: one of `jaxnst.studies.names()`, or the path of a TOML file (docs/studies/README.md).
      content: the photo, or several: "content 1", "content 2" in the file. Paths, PIL images or arrays.
      style: the painting, or several.
      out: the folder; made if need be. One that holds a part of the study is completed.
      quick: the study's quick form: small and few steps.
      grids: names of the grids to run; none: all.
      progress: show a progress bar on standard error.
      **settings: fields of `Config` that replace the study's, for example `size`; an axis keeps its values.

    Returns:
      A `Studied`.

    Raises:
      InputError: anything that cannot work, in any cell, before anything runs.
      Interrupted: Ctrl-C; the same call goes on later.
      OSError: the disk is full or the like.
    """
    report = _report()
    declared = read_study(study, quick, grids, settings)
    pictures = _read(declared, content=images.as_list(content), style=images.as_list(style))
    cells, folder = declared.cells, images.expand(out)
    runs = runs_of(cells)
    # One size for all, so that the numbers compare.
    size = max(min([metrics.SIZE, *(cell.config.size for cell in cells)]), metrics.LEAST_SIDE)
    job = runner.check(_asked(declared, runs), pictures, folder, size)
    failed: dict[Run, str] = {}

    def write_tables() -> list[Row]:
        rows = table.rows_of(job, cells, runs, failed, size)
        saving.write_whole(folder / "cells.csv", table.to_csv(rows))
        saving.write_whole(folder / "losses.csv", table.losses_to_csv(rows))
        return rows

    with results.opened(folder):
        try:
            runner.run_all(job, progress, failed, write_tables)
        except Interrupted:
            report(declared, write_tables(), pictures, folder)
            raise
        rows = write_tables()
        report(declared, rows, pictures, folder)
    return Studied(declared, rows, folder)


def _asked(study: Study, runs: Mapping[int, Run]) -> dict[Run, runner.Asked]:
    """For each run the name of its first cell, and all layers that its cells are to show."""
    shown = [grid.feature_maps for grid in study.grids for _ in grid.cells]
    found: dict[Run, runner.Asked] = {}
    for index, cell in enumerate(study.cells):
        before = found.get(runs[index], runner.Asked(f"{study.name}, {cell.name}", ()))
        found[runs[index]] = before._replace(shown=before.shown + shown[index])
    return found


def _read(study: Study, **given: Sequence[Picture]) -> Mapping[str, Any]:
    """The pictures by name; each that a cell asks for must be there."""
    for kind, several in given.items():
        if not several:
            raise InputError(f"{kind}: no picture is given; give at least one.")
    for cell in study.cells:
        for name in (cell.content, *cell.styles):
            kind, _, number = (name or "").partition(" ")
            if name is not None and int(number) > len(given[kind]):
                raise InputError(
                    f"{kind}: the grid {cell.grid} of {study.name} asks for {name}, and {len(given[kind])} "
                    f"is given; give more, or leave the grid out with grids."
                )
    return {
        f"{kind} {number}": images.read_image(picture, kind)
        for kind, several in given.items()
        for number, picture in enumerate(several, start=1)
    }


def _report() -> Callable[..., None]:
    try:
        from jaxnst.studies.report import write_report
    except ImportError as error:
        raise InputError(f"study: the report needs {error.name}; pip install 'jaxnst[report]'.") from error
    return write_report
