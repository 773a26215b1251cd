"""What is done of many pairs, on disk: a line for each, written when its picture is there."""

from __future__ import annotations

import collections
import contextlib
import csv
import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxnst.batch import folders
from jaxnst.batch.engine import pairs_bar, work_through
from jaxnst.batch.manifest import check_apart
from jaxnst.cli.processes import Place
from jaxnst.errors import InputError, TooLargeError
from jaxnst.io import save as saving
from jaxnst.run.checkpoint import Checkpoint, check_minutes
from jaxnst.run.interrupts import stop_on_interrupt
from jaxnst.run.mesh import Devices, for_pairs

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import BinaryIO

    from jaxnst.batch.manifest import Entry
    from jaxnst.run.memory_budget import Tile
    from jaxnst.run.result import Result

MOST_WAITING = 64
"""Pictures that are computed but not yet written."""

AGAIN = ("failed", "out of memory")
"""How pairs end that may do better next time."""


class Journal:
    """One process's, which may look into those of others.

    A line is written after its picture, so a kill between the two leaves a picture without a line; the
    picture carries its pair's key, and counts. A line cut off by a kill does not.
    """

    def __init__(self, folder: Path, file: BinaryIO) -> None:
        """`file`: open for appending, locked."""
        self.folder = folder
        self._file = file
        self._last = _last_records(folder)
        """By name of the picture, what was written of it last, as far as this process knows."""

    def is_done(self, entry: Entry) -> bool:
        """Whether a pair needs no work any more: its picture is there, or its files are broken."""
        record, path = self._last.get(entry.out), self.folder / entry.out
        if record is not None and record["key"] == entry.key:
            return record["ended"] == "broken" or (record["ended"] not in AGAIN and path.is_file())
        if not path.is_file():
            return False
        try:
            metadata = saving.read_metadata(path)
        except InputError:
            return False
        if metadata.get("key") != entry.key:
            return False
        self._append(entry, metadata["ended"], metadata["why"])
        return metadata["ended"] not in AGAIN

    def save(self, entry: Entry, result: Result) -> None:
        """Write a picture, and then that it is there.

        Raises:
          InputError: its format cannot hold it.
          OSError: the disk is full or the like; neither is written.
        """
        good = f"{result.ended} after {len(result.history['total'])} steps; the picture is the last good one."
        why = "" if result.ended == "finished" else good
        metadata = result.metadata | {"key": entry.key, "ended": result.ended, "why": why}
        saving.save_image(self.folder / entry.out, result.array, metadata)
        self._append(entry, result.ended, why)
        if result.ended not in AGAIN:
            self._checkpoint(entry).unlink(missing_ok=True)

    def checkpoint(self, entry: Entry, minutes: float) -> Checkpoint:
        """Where a run that takes long keeps its state until its picture is there."""
        return Checkpoint(self._checkpoint(entry), minutes, strict=False)

    def forget_all_but(self, entries: Sequence[Entry]) -> None:
        """Remove the checkpoints that none of these pairs will want."""
        wanted = {self._checkpoint(entry) for entry in entries}
        for path in set(self.folder.glob(".checkpoint-*.h5")) - wanted:
            path.unlink(missing_ok=True)

    def _checkpoint(self, entry: Entry) -> Path:
        return self.folder / f".checkpoint-{entry.key}.h5"

    def fail(self, entry: Entry, error: Exception) -> None:
        """Write why there is no picture; what is not the files' fault is tried again next time."""
        broken = isinstance(error, InputError) and not isinstance(error, TooLargeError)
        told = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        self._append(entry, "broken" if broken else "failed", told.splitlines()[0])

    def _append(self, entry: Entry, ended: str, why: str) -> None:
        record = {"key": entry.key, "out": entry.out, "ended": ended, "why": why, "time": time.time()}
        self._last[entry.out] = record
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def keep(self, entry: Entry, result: Result | Exception) -> None:
        """Write what has come of a pair; only a disk that fails ends the others' work, too."""
        if isinstance(result, Exception):
            self.fail(entry, result)
            return
        try:
            self.save(entry, result)
        except InputError as error:
            self.fail(entry, error)

    def failures(self, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """Pairs that have no picture, or not the last one, each with why."""
        return _failures(self._last, entries)


def _last_records(folder: Path) -> dict[str, Any]:
    """By name of the picture, what any process wrote of it last."""
    records = []
    for path in folder.glob("journal-*.jsonl"):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                records.append((record["time"], record["out"], record))
    last: dict[str, Any] = {}
    for _, out, record in sorted(records, key=lambda each: each[:2]):
        known = last.get(out)
        # Hosts' clocks differ: a picture that is there has not failed since.
        made = known and known["key"] == record["key"] and known["ended"] == "finished"
        if not (made and (folder / out).is_file()):
            last[out] = record
    return last


def _failures(last: Mapping[str, Any], entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
    known = [(entry, last.get(entry.out)) for entry in entries]
    return [(entry, of["why"]) for entry, of in known if of and of["key"] == entry.key and of["why"]]


def write_failures(folder: Path, entries: Sequence[Entry]) -> None:
    """Bring `failures.csv` up to date with the journals of all processes; there is none without failures."""
    path = folder / "failures.csv"
    with folders.one_at_a_time(folder):  # so that the last one to write has read what all have written
        failures = _failures(_last_records(folder), entries)
        if not failures:
            path.unlink(missing_ok=True)
            return
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["content", "style", "out", "why"])
        for entry, why in failures:
            writer.writerow([entry.content, ";".join(map(str, entry.styles)), entry.out, why])
        saving.write_whole(path, table.getvalue().encode())


@contextlib.contextmanager
def opened(folder: Path, part: int | None = None) -> Iterator[Journal]:
    """Make the folder if its parent is there, and open the journal of one process.

    Args:
      folder: of the pictures.
      part: this process's number among several that work here; None: it shall be the only one.

    Raises:
      InputError: the folder cannot be made, or another process keeps this journal.
    """
    path = folder / f"journal-{part or 0}.jsonl"
    with folders.at_work(folder, part=part), path.open("ab") as file:
        if file.tell() and path.read_bytes()[-1:] != b"\n":
            file.write(b"\n")  # after a line that a kill cut off
        yield Journal(folder, file)


def make_all(
    entries: Sequence[Entry],
    folder: Path,
    tile: Tile,
    devices: Devices = None,
    progress: bool = True,
    place: Place | None = None,
    checkpoint_minutes: float = 10.0,
) -> list[tuple[Entry, str]]:
    """Make the pictures of one process's share that are not done, and write each when it is there.

    Args:
      entries: from `manifest.read`.
      folder: for the pictures; made, if its parent is there.
      tile: as for `stylize`.
      devices: as for `stylize_batch`.
      progress: show a bar on standard error.
      place: of this process among those that work in this folder; None: it is alone, and does all.
      checkpoint_minutes: between two checkpoints of a picture that is computed alone, because it is large.

    Returns:
      The pairs of the share that have no picture, or not the last one, each with why; `failures.csv` has
      those of all processes.

    Raises:
      InputError: a folder in which pictures cannot be kept.
      Interrupted: by Ctrl-C; the next call goes on where this one stopped.
      OSError: the disk is full or the like; the same.
    """
    check_minutes(checkpoint_minutes)
    place, meshes = place or Place(), for_pairs(devices)
    check_apart(entries, folder)
    with opened(folder, place.index if place.count > 1 else None) as journal:
        share = place.share(entries)
        for entry in share:
            saving.check_output(folder / entry.out)
        left = [entry for entry in share if not journal.is_done(entry)]
        with (
            stop_on_interrupt() as interrupted,
            pairs_bar(progress, len(share), len(share) - len(left)) as show,
            ThreadPoolExecutor(1) as writer,
        ):
            writing: collections.deque[Future[None]] = collections.deque()

            def file_of(number: int) -> Checkpoint:
                return journal.checkpoint(left[number], checkpoint_minutes)

            def written(at_most: int) -> None:
                """Wait until so few are left to be written."""
                while writing and (writing[0].done() or len(writing) > at_most):
                    writing.popleft().result()
                    show()

            try:
                pairs = (entry.pair() for entry in left)
                for number, result in work_through(
                    pairs, tile, interrupted.is_set, meshes=meshes, file_of=file_of
                ):
                    writing.append(writer.submit(journal.keep, left[number], result))
                    written(MOST_WAITING)
            finally:
                written(0)
                write_failures(folder, entries)
        done = {entry.out for entry in share if journal.is_done(entry)}
        journal.forget_all_but([entry for entry in entries if entry.out not in done])
        return journal.failures(share)
