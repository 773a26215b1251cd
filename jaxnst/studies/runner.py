"""Runs a study: cells become jobs for `jaxnst.batch`, and what they give becomes files and a report.

Runs that are in the folder are kept. A study that was stopped goes on with those that are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from jaxnst.batch.engine import run_jobs
from jaxnst.batch.journal import at_work, reason
from jaxnst.errors import InputError
from jaxnst.io import images
from jaxnst.io.files import expand, write_whole
from jaxnst.metrics import LEAST_SIDE, SIZE
from jaxnst.run.ended import Ended
from jaxnst.run.interrupts import Interrupted, stop_on_interrupt
from jaxnst.run.networks import Networks
from jaxnst.run.progress_bar import pairs_bar
from jaxnst.run.result import Result
from jaxnst.studies import results, table
from jaxnst.studies.jobs import jobs_of, read_pictures
from jaxnst.studies.runs import runs_of
from jaxnst.studies.study import Study, read_study

if TYPE_CHECKING:
    from jaxnst.io.files import PathLike
    from jaxnst.io.images import Picture
    from jaxnst.studies.runs import Run
    from jaxnst.studies.table import Row


@dataclass(frozen=True)
class Studied:
    """A study that has been run.

    Attributes:
      study: as declared.
      rows: results, one for each cell.
      folder: where everything is: `report.html`, `cells.csv`, `losses.csv`, pictures.
    """

    study: Study
    rows: list[Row]
    folder: Path

    @property
    def failed(self) -> list[Row]:
        """Cells without a picture."""
        return [row for row in self.rows if row.saved is None]


def run_study(
    study: PathLike,
    content: Picture | Sequence[Picture],
    style: Picture | Sequence[Picture],
    out: PathLike,
    *,
    quick: bool = False,
    grids: Sequence[str] = (),
    progress: bool = True,
    **settings: Any,
) -> Studied:
    """Computes every cell of a study that is not in the folder yet, and writes the report.

    Args:
      study: one of `jaxnst.studies.names()`, or the path of a TOML file (docs/studies/README.md).
      content: the photo, or several: "content 1", "content 2" in the file. Paths, PIL images or arrays.
      style: the painting, or several.
      out: folder for the results, which is made. If it holds a part of the study, that part is kept.
      quick: whether to run the study's quick form, with small pictures and few steps; default False.
      grids: names of the grids to run; default all.
      progress: whether to show a progress bar on standard error.
      **settings: fields of `Config` that replace the study's, for example `size`. An axis keeps its values.

    Returns:
      A `Studied`.

    Raises:
      InputError: an argument or a cell that cannot work, before anything is computed.
      Interrupted: Ctrl-C was pressed; the report has what is finished, and the same call goes on later.
      OSError: the disk is full or the like.
    """
    write_report = _report_writer()
    declared = read_study(study, quick, grids, settings)
    pictures = read_pictures(declared, content=images.as_list(content), style=images.as_list(style))
    runs = runs_of(declared.cells)
    smallest = min(cell.config.size for cell in declared.cells)
    measured_size = max(min(SIZE, smallest), LEAST_SIDE)  # one for all, so that numbers compare
    networks, folder = Networks(), expand(out)
    jobs = jobs_of(declared, runs, pictures, measured_size, networks)
    folders = {run: folder / "runs" / job.key for run, job in jobs.items()}
    failures: dict[Run, str] = {}
    interrupted = False
    with at_work(folder):
        (folder / "runs").mkdir(exist_ok=True)
        left = [run for run in jobs if results.read_run(folders[run], run.snapshot_steps) is None]
        device = jax.devices()[0].device_kind
        try:
            with (
                stop_on_interrupt() as flag,
                pairs_bar(progress, len(jobs), len(jobs) - len(left)) as show,
            ):
                for number, result in run_jobs(
                    [jobs[run] for run in left], stop=flag.is_set, networks=networks
                ):
                    run = left[number]
                    if not isinstance(result, Result) or result.ended is Ended.out_of_memory:
                        failures[run] = reason(result)
                    else:
                        results.write_run(folders[run], run, result, device)
                    show()
        except Interrupted:
            interrupted = True
        rows = table.rows_of(declared.cells, runs, folders, failures, pictures, measured_size)
        write_whole(folder / "cells.csv", table.to_csv(rows))
        write_whole(folder / "losses.csv", table.losses_to_csv(rows))
        write_report(declared, rows, pictures, folder)
    if interrupted:
        raise Interrupted
    return Studied(declared, rows, folder)


def _report_writer() -> Callable[..., None]:
    """Loads what writes the report, before anything is computed for it.

    Raises:
      InputError: the extra `report` is not installed.
    """
    try:
        from jaxnst.studies.report import write_report
    except ImportError as error:
        raise InputError(f"study: the report needs {error.name}; pip install 'jaxnst[report]'.") from error
    return write_report
