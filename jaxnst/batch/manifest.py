"""What `jaxnst batch` shall make: the rows of a table, or every photo of a folder in every style of another.

Reads names and settings, no pictures: one that is broken is a failure of its pair, found when its turn comes.
"""

from __future__ import annotations

import collections
import csv
import hashlib
import json
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from jaxnst.batch.engine import Pair
from jaxnst.config.config import Config
from jaxnst.config.resolve import gather
from jaxnst.errors import InputError, choose
from jaxnst.io.images import expand, reason
from jaxnst.io.save import FORMATS
from jaxnst.run.plan import STARTS

COLUMNS = ("content", "style", "out")
"""Of a manifest, beside fields of `Config`; the last may be missing."""

SEPARATOR = ";"
"""Between several styles of a pair, and between the values of a setting that has several."""


@dataclass(frozen=True)
class Entry:
    """One pair.

    Attributes:
      out: name of the picture to write.
      content: path.
      styles: paths.
      config: checked settings.
      key: a digest of what the picture depends on; files count by size and time of change at the beginning.
    """

    out: str
    content: Path
    styles: tuple[Path, ...]
    config: Config
    key: str

    def pair(self) -> Pair:
        """What `batch.work_through` takes."""
        return Pair(*gather(self.content, list(self.styles), None, None, self.config))

    @property
    def files(self) -> list[Path]:
        """All that is read for it."""
        return _files(self.content, self.styles, self.config)


def _files(content: Path, styles: Sequence[Path], config: Config) -> list[Path]:
    others = [*config.content_masks, *config.style_masks, config.start, config.weights]
    return [content, *styles, *(path for path in map(Path, others) if path.is_file())]


def _key(out: str, content: Path, styles: Sequence[Path], config: Config) -> str:
    from jaxnst import __version__

    files = list(map(_state, _files(content, styles, config)))
    parts = [out, str(content), *map(str, styles), files, config.to_dict(), __version__]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _state(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (str(path.absolute()), 0, 0)
    return (str(path.absolute()), found.st_size, found.st_mtime_ns)


def read(sources: Sequence[str], config: Config, extension: str = ".png") -> list[Entry]:
    """The pairs of a manifest, or of two folders.

    Args:
      sources: the path of a CSV file with a header; or a folder of photos and one of paintings.
      config: settings, over which those of a row go.
      extension: of pictures that have no name of their own.

    Raises:
      InputError: with the row of the manifest, if there is one.
    """
    if extension not in FORMATS:
        choose("extension", extension, FORMATS)
    if len(sources) == 2:
        contents, styles = (_pictures_in(name, path) for name, path in zip(COLUMNS, sources, strict=False))
        asked = [("", content, (style,), config.checked()) for content in contents for style in styles]
    elif len(sources) == 1:
        asked = list(_rows(sources[0], config))
    else:
        raise InputError(f"manifest: {len(sources)} paths are given; give a CSV file, or two folders.")
    if not asked:
        raise InputError(f"manifest: there are no pairs in {' and '.join(map(repr, sources))}.")
    return _named(asked, extension)


def check_apart(entries: Sequence[Entry], folder: Path) -> None:
    """Refuse a folder for the results that what is read comes from.

    Raises:
      InputError: results would become what the next run reads, or take its place.
    """
    resolved = folder.resolve()
    if any(file.resolve().parent == resolved for entry in entries for file in entry.files):
        raise InputError(f"out: pictures in {str(folder)!r} are read; give another folder for the results.")


def _pictures_in(argument: str, folder: str) -> list[Path]:
    path = expand(folder)
    if not path.is_dir():
        raise InputError(f"{argument}: {folder!r} is no folder; give one, or a manifest alone.")
    read = {extension for extension, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = (file for file in path.iterdir() if file.suffix.lower() in read and file.name[0] != ".")
    return sorted(file for file in files if file.is_file())


def _rows(manifest: str, config: Config) -> Iterable[tuple[str, Path, tuple[Path, ...], Config]]:
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
        choose("manifest", name, [*COLUMNS, *_TYPES])
    for number, row in rows:
        try:
            yield _entry(row, settings, config, path.parent)
        except InputError as error:
            raise InputError(f"manifest: line {number}: {error}") from error


def _entry(
    row: dict[str | None, Any], settings: Sequence[str], config: Config, folder: Path
) -> tuple[str, Path, tuple[Path, ...], Config]:
    if None in row or None in row.values():
        raise InputError("it has another number of cells than the first line.")
    content, *styles = (cell.strip() for cell in (row["content"], *row["style"].split(SEPARATOR)))
    if not content or not all(styles):
        raise InputError("content and style must both be named.")
    given = {name: _value(name, row[name]) for name in settings if row[name] != ""}
    for name, value in given.items():  # paths start where the manifest is, like those of the pictures
        if name in ("content_masks", "style_masks"):
            given[name] = tuple(str(folder / expand(path)) for path in value)
        elif (name == "start" and value not in STARTS) or (name == "weights" and Path(value).suffix):
            given[name] = str(folder / expand(value))
    chosen = config.replace(**given).checked()
    return (
        row.get("out", "").strip(),
        folder / expand(content),
        tuple(folder / expand(of) for of in styles),
        chosen,
    )


_TYPES = typing.get_type_hints(Config)


def _value(name: str, cell: str) -> Any:
    wanted = _TYPES[name]
    if typing.get_origin(wanted) is tuple:
        kind = typing.get_args(wanted)[0]
        return tuple(_one(name, each.strip(), kind) for each in cell.split(SEPARATOR))
    return _one(name, cell.strip(), wanted)


def _one(name: str, cell: str, kind: Any) -> Any:
    if kind is bool:
        return {"true": True, "false": False}[choose(name, cell.lower(), ("true", "false"))]
    try:
        return kind(cell) if kind in (int, float) else cell
    except ValueError:
        raise InputError(f"{name}: {cell!r} is no {'whole ' if kind is int else ''}number.") from None


def _named(asked: Iterable[tuple[str, Path, tuple[Path, ...], Config]], extension: str) -> list[Entry]:
    """With names for the pictures that have none; equal ones are numbered in order."""
    found, counts = [], collections.Counter[str]()
    given = collections.Counter(out for out, *_ in asked if out)
    for out, content, styles, config in asked:
        if not out:
            stem = "--".join(path.stem for path in (content, *styles))
            counts[stem] += 1
            out = f"{stem}-{counts[stem]}{extension}" if counts[stem] > 1 else f"{stem}{extension}"
        elif given[out] > 1:
            raise InputError(f"manifest: {out!r} is named {given[out]} times in the column 'out'.")
        if Path(out).name != out or Path(out).suffix.lower() not in FORMATS:
            raise InputError(
                f"manifest: out: {out!r} is not the name of a picture; use one of: {', '.join(FORMATS)}."
            )
        found.append(Entry(out, content, styles, config, _key(out, content, styles, config)))
    twice = [name for name, count in collections.Counter(entry.out for entry in found).items() if count > 1]
    if twice:
        raise InputError(f"manifest: two pictures would be called {twice[0]!r}; name them in a column 'out'.")
    return found
