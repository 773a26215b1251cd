"""Experiments: a declared grid of settings, run in batches, and a report to look at.

study.py    TOML to cells
runs.py     cells to runs, and which of them share a program
runner.py   runs to files, resumable
folder.py   the files
table.py    files to rows
plots.py, report.py   rows to pictures and a page
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxnst import images, metrics, saving
from jaxnst.errors import InputError
from jaxnst.studies import folder as folders
from jaxnst.studies import runner, table
from jaxnst.studies.runner import Interrupted
from jaxnst.studies.runs import runs_of
from jaxnst.studies.study import Study, names, read_study

if TYPE_CHECKING:
    from jaxnst.images import Picture
    from jaxnst.studies.table import Row

__all__ = ["Interrupted", "Studied", "names", "run_study"]


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
    cells = declared.cells
    runs = runs_of(cells)
    of_runs = {run: f"{declared.name}, {cells[index].name}" for index, run in reversed(runs.items())}
    folder = Path(os.fspath(out))
    todo = runner.check(of_runs, pictures, folder)
    folders.make(os.fspath(out))
    failed = runner.work(todo, progress)
    # One size for all, so that the numbers compare.
    size = max(min([metrics.SIZE, *(cell.config.size for cell in cells)]), metrics.LEAST_SIDE)
    rows = table.rows_of(todo, cells, runs, failed, size)
    saving.write_whole(folder / "cells.csv", table.to_csv(rows))
    saving.write_whole(folder / "losses.csv", table.losses_to_csv(rows))
    report(declared, rows, pictures, folder)
    return Studied(declared, rows, folder)


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
