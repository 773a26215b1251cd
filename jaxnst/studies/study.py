"""A study: grids over `Config`, declared in TOML, as cells with settings. Knows no pictures and runs nothing.

The language is described in docs/studies/README.md.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jaxnst.config.config import Config
from jaxnst.config.resolve import resolve_config
from jaxnst.core import vgg
from jaxnst.errors import InputError, choose
from jaxnst.io.images import expand, reason
from jaxnst.studies import axes
from jaxnst.studies.axes import PICTURES, SETTINGS

STUDY_KEYS = ("title", "about", "preset", "settings", "quick", "grids")
GRID_KEYS = ("name", "title", "about", "preset", "settings", "axes", "columns", "feature_maps", "quick")


@dataclass(frozen=True)
class Cell:
    """One picture of a study.

    Attributes:
      grid: the name of its grid.
      labels: what it has on each axis.
      config: all its settings.
      content: which picture, "content 1" or "style 2", in the order in which they are given; None: none.
      styles: the same of the styles.
    """

    grid: str
    labels: Mapping[str, str]
    config: Config
    content: str | None
    styles: tuple[str, ...]

    @property
    def name(self) -> str:
        """For messages."""
        return ", ".join([self.grid, *(f"{axis} {label}" for axis, label in self.labels.items())])


@dataclass(frozen=True)
class Grid:
    """Cells along axes.

    Attributes:
      name, title, about: as in the file.
      axes: labels along each axis.
      columns: the axes that run from left to right in a contact sheet; the others run down.
      feature_maps: layers whose features the report shows for each cell.
      cells: every combination; the last axis changes fastest.
    """

    name: str
    title: str
    about: str
    axes: Mapping[str, tuple[str, ...]]
    columns: tuple[str, ...]
    feature_maps: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Study:
    """A name, what it is about, and its grids."""

    name: str
    title: str
    about: str
    grids: tuple[Grid, ...]

    @property
    def cells(self) -> list[Cell]:
        """Of all grids."""
        return [cell for grid in self.grids for cell in grid.cells]


def names() -> list[str]:
    """The studies that come with jaxnst."""
    return sorted(
        path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml")
    )


def read_study(
    study: str | os.PathLike[str],
    quick: bool = False,
    grids: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Study:
    """Read a study and check every cell of it.

    Args:
      study: one of `names()`, or the path of a TOML file.
      quick: take its quick form.
      grids: names of the grids to keep; none: all.
      settings: fields of Config that replace those of the study and its grids, not those that an axis sets.

    Returns:
      The study.

    Raises:
      InputError: no such study; TOML that cannot be parsed; an unknown key, layer or preset; an empty grid or
        axis; two axes that set the same; settings that no picture can be made with.
    """
    name, where, text = _find(study)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"study: {where} is not TOML: {str(error).rstrip('.')}.") from error
    _check_keys(where, found, STUDY_KEYS)
    tables = found.get("grids", [])
    if not isinstance(tables, list) or not tables:
        raise InputError(f"study: {where} has no grids; write at least one [[grids]] with [grids.axes].")
    base, replaced = _table(where, found, "settings"), _table(where, found, "quick")
    for of, table in (("settings", base), ("quick", replaced), ("settings", settings or {})):
        _check_keys(f"{where}, {of}", table, SETTINGS)
    base = _with_preset(where, found.get("preset"), base) | (replaced if quick else {})
    made = [
        _read_grid(f"{where}, grid {number}", table, base, settings or {}, quick)
        for number, table in enumerate(tables, start=1)
    ]
    _check_names(where, made)
    known = [grid.name for grid in made]
    for one in grids:
        choose("grids", one, known)
    return Study(
        name=name,
        title=_text(where, found, "title", name),
        about=_text(where, found, "about", ""),
        grids=tuple(grid for grid in made if not grids or grid.name in grids),
    )


def _folder() -> Any:
    return resources.files("jaxnst") / "studies"


def _find(study: str | os.PathLike[str]) -> tuple[str, str, str]:
    """Name, what to call it in messages, and text."""
    given = os.fspath(study)
    if given in names():
        return given, given, (_folder() / f"{given}.toml").read_text("utf-8")
    path = expand(given)
    if path.suffix != ".toml":
        choose("study", given, names())
    try:
        return path.stem, path.name, path.read_text("utf-8")
    except FileNotFoundError as error:
        raise InputError(f"study: there is no file {given!r}; jaxnst has {', '.join(names())}.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"study: {given!r} cannot be read ({reason(error)}); give a TOML file.") from error


def _read_grid(
    where: str, table: Any, base: Mapping[str, Any], given: Mapping[str, Any], quick: bool
) -> Grid:
    """`base` are the study's settings, which the grid's replace; `given` the caller's, which replace both."""
    if not isinstance(table, dict):
        raise InputError(f"study: {where} is not a table; write it as [[grids]].")
    name = _text(where, table, "name", "")
    if not name or any(character in name for character in "/\\\0"):
        raise InputError(f"study: {where} needs a name that can be part of file names; {name!r} will not do.")
    where = f"{where.partition(',')[0]}, {name}"
    _check_keys(where, table, GRID_KEYS)
    declared = _table(where, table, "axes")
    fixed, replaced = _table(where, table, "settings"), _table(where, table, "quick")
    _check_keys(f"{where}, settings", fixed, SETTINGS)
    in_quick = {key: value for key, value in replaced.items() if key not in declared}
    _check_keys(f"{where}, quick", in_quick, SETTINGS)
    if "preset" in table:
        fixed = _with_preset(where, table["preset"], fixed)
    points = axes.read_axes(where, declared, fixed | in_quick, replaced if quick else {})
    if quick:
        fixed |= in_quick
    columns = axes.strings(where, table, "columns", list(points)[-1:])
    for axis in columns:
        choose(f"study: {where}: columns", axis, points)
    feature_maps = axes.strings(where, table, "feature_maps", ())
    for layer in feature_maps:
        choose(f"study: {where}: feature_maps", layer, vgg.LAYERS)
    settings = {**base, **fixed, **given}
    return Grid(
        name=name,
        title=_text(where, table, "title", name),
        about=_text(where, table, "about", ""),
        axes={axis: tuple(of) for axis, of in points.items()},
        columns=columns,
        feature_maps=feature_maps,
        cells=tuple(
            _read_cell(where, name, labels, settings | of_axes)
            for labels, of_axes in axes.combinations(points)
        ),
    )


def _with_preset(where: str, preset: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    if preset is not None and "preset" in settings:
        raise InputError(f"study: {where}: preset and settings both name a preset; take one away.")
    return {"preset": preset, **settings}


def _read_cell(where: str, grid: str, labels: Mapping[str, str], settings: dict[str, Any]) -> Cell:
    content, style = settings.pop("content", "content 1"), settings.pop("style", "style 1")
    preset = settings.pop("preset")
    try:
        config = resolve_config(preset, None, settings)
    except InputError as error:
        at = ", ".join(f"{axis} {label}" for axis, label in labels.items())
        raise InputError(f"study: {where}, at {at}: {error}") from error
    styles = tuple(style) if isinstance(style, list) else (style,)
    contents, styles = (() if of == ("none",) else of for of in ((content,), styles))
    for picture in contents + styles:
        _check_picture(f"study: {where}", picture)
    return Cell(grid, labels, config, contents[0] if contents else None, styles)


def _check_picture(where: str, picture: Any) -> None:
    kind, _, number = str(picture).partition(" ")
    if kind not in PICTURES or not number.isdecimal() or number != str(int(number)) or number == "0":
        raise InputError(f"{where}: there is no picture {picture!r}; write 'content 1', 'style 2' or 'none'.")


def _check_names(where: str, grids: Sequence[Grid]) -> None:
    """Names become file names: `NAME.png`, `NAME-losses.png`."""
    files = [file for grid in grids for file in (grid.name, f"{grid.name}-losses")]
    for name in files:
        if files.count(name) > 1:
            raise InputError(f"study: {where}: two grids would write {name}.png; rename one.")


def _check_keys(where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        choose(f"study: {where}", key, known)


def _table(where: str, table: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"study: {where}: {key} is not a table; write it as [{key}].")
    return dict(found)


def _text(where: str, table: Mapping[str, Any], key: str, default: str) -> str:
    found = table.get(key, default)
    if not isinstance(found, str):
        raise InputError(f"study: {where}: {key} must be text, not {found!r}.")
    return " ".join(found.split())
