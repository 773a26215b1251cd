"""The jobs of `jaxnst batch`: the rows of a table, or every photo of a folder in every style of another.

Reads names and settings, no pictures: a broken picture is a failure of its job, found when its turn comes.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import hashlib
import json
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from jaxnst.batch.jobs import Job
from jaxnst.config.config import OLD_NAMES, RENAMED, Config
from jaxnst.config.version import version
from jaxnst.errors import InputError, choose
from jaxnst.io.files import expand, reason
from jaxnst.io.save import FORMATS
from jaxnst.run.plan import STARTS, gather

COLUMNS = ("content", "style", "out")
"""Columns of a manifest beside fields of `Config`; the last may be missing."""

SEPARATOR = ";"
"""Between several styles of a pair, and between the values of a setting that has several."""


class Row(NamedTuple):
    """A pair as it was asked for; `out` is empty where the name is left to us."""

    out: str
    content: Path
    styles: tuple[Path, ...]
    config: Config

    def job(self, out: str) -> Job:
        """Makes the job that writes the picture `out`."""
        job = Job(*gather(self.content, list(self.styles), None, None, self.config), out)
        files = list(map(_state, job.files))
        settings = {OLD_NAMES.get(name, name): value for name, value in self.config.to_dict().items()}
        parts = [out, str(self.content), *map(str, self.styles), files, settings, version()]
        return dataclasses.replace(job, key=hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32])


def _state(path: Path) -> tuple[str, int, int]:
    """Returns what a file counts by: its place, its size and the time of its last change."""
    try:
        state = path.stat()
    except OSError:
        return (str(path.absolute()), 0, 0)
    return (str(path.absolute()), state.st_size, state.st_mtime_ns)


def read_jobs(sources: Sequence[str], config: Config, extension: str = ".png") -> list[Job]:
    """Reads the jobs of a manifest, or of two folders.

    Args:
      sources: the path of a CSV file with a header; or a folder of photos and one of paintings.
      config: settings; a row may change them.
      extension: of pictures whose names the manifest does not give; default .png.

    Raises:
      InputError: with the row of the manifest, if there is one.
    """
    if extension not in FORMATS:
        choose("extension", extension, FORMATS)
    if len(sources) == 2:
        contents, styles = (_pictures_in(name, path) for name, path in zip(COLUMNS, sources, strict=False))
        rows = [Row("", content, (style,), config.checked()) for content in contents for style in styles]
    elif len(sources) == 1:
        rows = list(_rows(sources[0], config))
    else:
        raise InputError(f"manifest: {len(sources)} paths are given; give a CSV file, or two folders.")
    if not rows:
        raise InputError(f"manifest: there are no pairs in {' and '.join(map(repr, sources))}.")
    return _named(rows, extension)


def check_apart(jobs: Sequence[Job], folder: Path) -> None:
    """Refuses a folder for the results from which pictures are read.

    Raises:
      InputError: results would become what the next run reads, or take its place.
    """
    resolved = folder.resolve()
    if any(file.resolve().parent == resolved for job in jobs for file in job.files):
        raise InputError(f"out: pictures in {str(folder)!r} are read; give another folder for the results.")


def _pictures_in(argument: str, folder: str) -> list[Path]:
    path = expand(folder)
    if not path.is_dir():
        raise InputError(f"{argument}: {folder!r} is no folder; give one, or a manifest alone.")
    read = {extension for extension, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = (file for file in path.iterdir() if file.suffix.lower() in read and file.name[0] != ".")
    return sorted(file for file in files if file.is_file())


def _rows(manifest: str, config: Config) -> Iterable[Row]:
    path = expand(manifest)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, strict=True)
            rows = [(table.line_num, row) for row in table]
            columns = list(table.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"manifest: {manifest!r} cannot be read ({reason(error)}); give a CSV file."
        ) from error
    missing = [name for name in COLUMNS[:2] if name not in columns]
    if missing:
        raise InputError(
            f"manifest: {manifest!r} has no column {missing[0]!r}; its first line names columns."
        )
    twice = [name for name, count in collections.Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f"manifest: {manifest!r} has the column {twice[0]!r} twice.")
    settings = [name for name in columns if name not in COLUMNS]
    for name in settings:
        choose("manifest", name, [*COLUMNS, *_TYPES, *RENAMED])
    for number, row in rows:
        try:
            yield _row(row, settings, config, path.parent)
        except InputError as error:
            raise InputError(f"manifest: line {number}: {error}") from error


def _row(row: dict[str | None, Any], settings: Sequence[str], config: Config, folder: Path) -> Row:
    if None in row or None in row.values():
        raise InputError("it has another number of cells than the first line.")
    content, *styles = (cell.strip() for cell in (row["content"], *row["style"].split(SEPARATOR)))
    if not content or not all(styles):
        raise InputError("content and style must both be named.")
    changes = {name: _value(name, row[name]) for name in settings if row[name] != ""}
    for name, value in changes.items():  # paths start where the manifest is, like those of the pictures
        if name in ("content_masks", "style_masks"):
            changes[name] = tuple(str(folder / expand(path)) for path in value)
        elif (name == "start" and value not in STARTS) or (name == "weights" and Path(value).suffix):
            changes[name] = str(folder / expand(value))
    return Row(
        row.get("out", "").strip(),
        folder / expand(content),
        tuple(folder / expand(style) for style in styles),
        config.replace(**changes).checked(),
    )


_TYPES = typing.get_type_hints(Config)


def _value(name: str, cell: str) -> Any:
    kind = _TYPES[RENAMED.get(name, name)]
    if typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
        return tuple(_parsed(name, part.strip(), kind) for part in cell.split(SEPARATOR))
    return _parsed(name, cell.strip(), kind)


def _parsed(name: str, cell: str, kind: Any) -> Any:
    if kind is bool:
        return {"true": True, "false": False}[choose(name, cell.lower(), ("true", "false"))]
    try:
        return kind(cell) if kind in (int, float) else cell
    except ValueError:
        raise InputError(f"{name}: {cell!r} is no {'whole ' if kind is int else ''}number.") from None


def _named(rows: Sequence[Row], extension: str) -> list[Job]:
    """Makes jobs with names for the pictures that have none; equal names are numbered in order."""
    jobs, counts = [], collections.Counter[str]()
    names = collections.Counter(row.out for row in rows if row.out)
    for row in rows:
        out = row.out
        if not out:
            stem = "--".join(path.stem for path in (row.content, *row.styles))
            counts[stem] += 1
            out = f"{stem}-{counts[stem]}{extension}" if counts[stem] > 1 else f"{stem}{extension}"
        elif names[out] > 1:
            raise InputError(f"manifest: {out!r} is named {names[out]} times in the column 'out'.")
        if Path(out).name != out or Path(out).suffix.lower() not in FORMATS:
            raise InputError(
                f"manifest: out: {out!r} is not the name of a picture; use one of: {', '.join(FORMATS)}."
            )
        jobs.append(row.job(out))
    twice = [name for name, count in collections.Counter(job.out for job in jobs).items() if count > 1]
    if twice:
        raise InputError(f"manifest: two pictures would be called {twice[0]!r}; name them in a column 'out'.")
    return jobs
