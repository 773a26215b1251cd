"""What is done of many pairs, on disk: a line for each, written when its picture is there."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxnst import folders, saving
from jaxnst.errors import InputError, TooLargeError

if TYPE_CHECKING:
    from typing import BinaryIO

    from jaxnst.manifest import Entry
    from jaxnst.stylization import Result


class Journal:
    """One process's, which may look into those of others.

    A line is written after its picture, so a kill between the two leaves a picture without a line; the
    picture carries its pair's key, and counts. A line cut off by a kill does not.
    """

    def __init__(self, folder: Path, file: BinaryIO) -> None:
        """`file`: open for appending, locked."""
        self.folder = folder
        self._file = file
        records = []
        for path in folder.glob("journal-*.jsonl"):
            for line in path.read_bytes().splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    records.append((record["time"], record["out"], record))
        self._last = {out: record for _, out, record in sorted(records, key=lambda each: each[:2])}
        """By name of the picture, what was written of it last."""

    def is_done(self, entry: Entry) -> bool:
        """Whether a pair needs no work any more: its picture is there, or its files are broken."""
        record, path = self._last.get(entry.out), self.folder / entry.out
        if record is not None and record["key"] == entry.key:
            return record["ended"] == "broken" or (record["ended"] != "failed" and path.is_file())
        if not path.is_file():
            return False
        try:
            metadata = saving.read_metadata(path)
        except InputError:
            return False
        if metadata.get("key") != entry.key:
            return False
        self._append(entry, metadata["ended"], metadata["why"])
        return True

    def save(self, entry: Entry, result: Result) -> None:
        """Write a picture, and then that it is there.

        Raises:
          InputError: its format cannot hold it.
          OSError: the disk is full or the like; neither is written.
        """
        diverged = f"diverged after {len(result.history['total'])} steps; the picture is the last good one."
        why = diverged if result.ended == "diverged" else ""
        metadata = result.metadata | {"key": entry.key, "ended": result.ended, "why": why}
        saving.save_image(self.folder / entry.out, result.array, metadata)
        self._append(entry, result.ended, why)

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

    def failures(self, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """Pairs that have no picture, or not the last one, each with why."""
        last = [(entry, self._last.get(entry.out)) for entry in entries]
        return [(entry, of["why"]) for entry, of in last if of and of["key"] == entry.key and of["why"]]

    def write_failures(self, entries: Sequence[Entry]) -> None:
        """Bring `failures.csv` up to date; there is none without failures."""
        path, failures = self.folder / "failures.csv", self.failures(entries)
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
def opened(folder: Path, index: int = 0) -> Iterator[Journal]:
    """Make the folder if its parent is there, and open the journal of one process.

    Raises:
      InputError: the folder cannot be made, or another process keeps this journal.
    """
    path = folder / f"journal-{index}.jsonl"
    with folders.at_work(folder, part=index), path.open("ab") as file:
        if file.tell() and path.read_bytes()[-1:] != b"\n":
            file.write(b"\n")  # after a line that a kill cut off
        yield Journal(folder, file)
