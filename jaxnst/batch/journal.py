"""The progress of many jobs in a folder: what is done, and what failed.

A picture whose metadata carries its job's key is done. Failures are appended to `failures.csv` and tried
again by the next run. One lock keeps two runs from the same work; processes that each make a shard hold it
for moments only.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from jaxnst.batch.engine import READERS, run_jobs
from jaxnst.batch.manifest import check_apart
from jaxnst.errors import InputError
from jaxnst.io import files, save
from jaxnst.run.checkpoint import Checkpoint, check_minutes
from jaxnst.run.ended import Ended
from jaxnst.run.interrupts import stop_on_interrupt
from jaxnst.run.mesh import Devices, for_pairs
from jaxnst.run.progress_bar import pairs_bar

if TYPE_CHECKING:
    from jaxnst.batch.jobs import Job
    from jaxnst.run.memory_budget import Tile
    from jaxnst.run.result import Result

MOST_WAITING = 64
"""Pictures that are computed but not yet written, at most."""

LOCK_SECONDS = 60
"""Time that a process waits for another's moment with the list of failures."""

COLUMNS = ("content", "style", "out", "why")

Shard: TypeAlias = tuple[int, int] | None
"""Part `(I, N)` of N equal parts, from 1; None: all."""

Locks: TypeAlias = Callable[[], contextlib.AbstractContextManager[bool]]
"""Locks something, and says whether that succeeded."""


def make_all(
    jobs: Sequence[Job],
    folder: Path,
    *,
    tile: Tile = "auto",
    devices: Devices = None,
    progress: bool = True,
    checkpoint_minutes: float = 10.0,
    shard: Shard = None,
) -> list[tuple[Job, str]]:
    """Makes the pictures that are not done yet, and writes each when it is finished.

    Args:
      jobs: from `manifest.read_jobs`.
      folder: for the pictures; it is made, if its parent exists.
      tile: as for `stylize`.
      devices: as for `stylize_batch`.
      progress: whether to show a bar on standard error.
      checkpoint_minutes: time between two checkpoints of a picture that is computed alone, because it is
        large.
      shard: the part of the jobs that this process makes.

    Returns:
      The jobs of the shard that have no picture, or not the last one, each with the reason. `failures.csv`
      lists those of all processes.

    Raises:
      InputError: a folder in which pictures cannot be kept, or in which another process works.
      Interrupted: by Ctrl-C; the next call goes on where this one stopped.
      OSError: the disk is full or the like; the next call goes on too.
    """
    check_minutes(checkpoint_minutes)
    placements = for_pairs(devices)
    check_apart(jobs, folder)
    own = part_of(jobs, shard)
    with at_work(folder, shared=shard is not None) as locked:
        for job in own:
            save.check_output(folder / job.out)
        with ThreadPoolExecutor(READERS) as pool:
            metadata = list(pool.map(lambda job: done(folder, job), own))
        left = [job for job, about in zip(own, metadata, strict=True) if about is None]
        reasons = {
            job: about["why"] for job, about in zip(own, metadata, strict=True) if about and about["why"]
        }
        with (
            stop_on_interrupt() as interrupted,
            pairs_bar(progress, len(own), len(own) - len(left)) as show,
            ThreadPoolExecutor(1) as writer,
        ):
            writing: deque[tuple[Job, Future[str]]] = deque()

            def checkpoint_of(job: Job) -> Checkpoint:
                return Checkpoint(_checkpoint(folder, job), checkpoint_minutes, strict=False)

            def collect(at_most: int) -> None:
                """Waits until so few pictures are left to be written."""
                while writing and (writing[0][1].done() or len(writing) > at_most):
                    job, future = writing.popleft()
                    if why := future.result():
                        reasons[job] = why
                    show()

            try:
                for number, result in run_jobs(
                    left, tile, interrupted.is_set, placements=placements, checkpoint_of=checkpoint_of
                ):
                    job = left[number]
                    writing.append((job, writer.submit(_keep, folder, job, result, locked)))
                    collect(MOST_WAITING)
            finally:
                collect(0)
                _drop_made(folder, jobs, locked)
        made = set(own) - set(reasons)
        wanted = {_checkpoint(folder, job) for job in jobs if job not in made}
        for path in set(folder.glob(".checkpoint-*.h5")) - wanted:
            path.unlink(missing_ok=True)
    return [(job, reasons[job]) for job in own if job in reasons]


def part_of(jobs: Sequence[Job], shard: Shard) -> Sequence[Job]:
    """Returns the jobs of one part."""
    index, count = shard or (1, 1)
    return jobs[index - 1 :: count]


def done(folder: Path, job: Job) -> Mapping[str, Any] | None:
    """Returns the metadata of a job's finished picture; None if the job must be done, or done again."""
    path = folder / job.out
    if not path.is_file():
        return None
    try:
        metadata = save.read_metadata(path)
    except InputError:
        return None
    finished = metadata.get("key") == job.key and metadata.get("ended") not in (None, Ended.out_of_memory)
    return {"why": "", **metadata} if finished else None


def _keep(folder: Path, job: Job, result: Result | Exception, locked: Locks) -> str:
    """Writes a picture, or the reason why there is none, which it returns."""
    why = reason(result)
    if not isinstance(result, Exception):
        why += "; the picture is the last good one." if why else ""
        metadata = result.metadata | {"key": job.key, "ended": result.ended, "why": why}
        try:
            save.save_image(folder / job.out, result.array, metadata)
            if result.ended is not Ended.out_of_memory:
                _checkpoint(folder, job).unlink(missing_ok=True)
        except InputError as error:
            why = str(error)
    if why:
        _append_failure(folder, job, why, locked)
    return why


def reason(result: Result | Exception) -> str:
    """Says why a job has no finished picture; empty if it has one."""
    if isinstance(result, InputError):
        return str(result).splitlines()[0]
    if isinstance(result, Exception):
        return f"{type(result).__name__}: {result}".splitlines()[0]
    if result.ended is Ended.finished:
        return ""
    return f"{result.ended} after {len(result.history['total'])} steps"


def _checkpoint(folder: Path, job: Job) -> Path:
    return folder / f".checkpoint-{job.key}.h5"


@contextlib.contextmanager
def at_work(folder: Path, shared: bool = False) -> Iterator[Locks]:
    """Makes a folder if its parent exists, and keeps other runs from the same work in it.

    Args:
      folder: of the results.
      shared: whether several processes each make a shard there.

    Yields:
      What locks the list of failures for a moment. A run of all jobs has locked the folder already.

    Raises:
      InputError: the folder cannot be made, or another process is at work in it.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out: {str(folder)!r} is a file; give a folder.")
    try:
        folder.mkdir(exist_ok=True)  # another process may make it at the same moment
    except OSError as error:
        files.check_file(folder, "out")
        raise InputError(
            f"out: {str(folder)!r} cannot be used ({error.strerror}); choose another."
        ) from error
    lock = functools.partial(files.locked, folder / ".lock", "out")
    if shared:
        yield functools.partial(lock, LOCK_SECONDS)
        return
    with lock() as alone:
        if not alone:
            raise InputError(f"out: another process works in {str(folder)!r}; wait, or choose another.")
        for left_by_a_kill in (*folder.glob(files.ASIDE), *folder.glob(f"runs/*/{files.ASIDE}")):
            left_by_a_kill.unlink(missing_ok=True)
        yield functools.partial(contextlib.nullcontext, True)


def _append_failure(folder: Path, job: Job, why: str, locked: Locks) -> None:
    """Appends a line to `failures.csv` in one write."""
    path = folder / "failures.csv"
    content, styles = job.pictures.content, job.pictures.styles
    row = [content, ";".join(map(str, styles)), job.out, why]
    with locked():
        header = [] if path.exists() else [COLUMNS]
        with path.open("ab", buffering=0) as file:
            file.write(files.csv_bytes([*header, row]))
            os.fsync(file.fileno())


def _drop_made(folder: Path, jobs: Sequence[Job], locked: Locks) -> None:
    """Reduces `failures.csv` to the last failure of each job whose picture was not made since."""
    path = folder / "failures.csv"
    with locked() as alone:
        if not alone or not path.exists():
            return
        rows = {row[2]: row for row in _rows(path)}
        failed = [rows[job.out] for job in jobs if job.out in rows and not _is_made(folder, job)]
        if failed:
            files.write_whole(path, files.csv_bytes([COLUMNS, *failed]))
        else:
            path.unlink()


def _rows(path: Path) -> list[list[str]]:
    """Reads the rows of `failures.csv` up to where it is damaged: what failed is tried again in any case."""
    rows: list[list[str]] = []
    # Names of files need not be UTF-8.
    with (
        path.open(newline="", encoding="utf-8", errors="surrogateescape") as file,
        contextlib.suppress(csv.Error),
    ):
        rows.extend(csv.reader(file))
    return [row for row in rows if len(row) == len(COLUMNS) and tuple(row) != COLUMNS]


def _is_made(folder: Path, job: Job) -> bool:
    """Says whether a job has its picture, and not only the last good one of a run that ended early."""
    metadata = done(folder, job)
    return metadata is not None and not metadata["why"]
