"""A study: grids over `Config`, read from TOML, as cells with settings. Reads no pictures and runs nothing.

docs/studies/README.md describes the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from jaxnst.config.resolve import resolve_config
from jaxnst.core import vgg
from jaxnst.errors import InputError, choose
from jaxnst.io.files import expand, reason
from jaxnst.studies import axes
from jaxnst.studies.axes import PICTURES

if TYPE_CHECKING:
    from jaxnst.config.config import Config
    from jaxnst.io.files import PathLike

FOLDER = resources.files("jaxnst") / "studies"
STUDY_KEYS = ("title", "about", "preset", "settings", "quick", "grids")
GRID_KEYS = ("name", "title", "about", "preset", "settings", "axes", "columns", "feature_maps", "quick")


@dataclass(frozen=True)
class Cell:
    """Describes one point of a grid: one picture to be made.

    Attributes:
      grid: name of its grid.
      labels: its label on each axis.
      config: all settings.
      content: name of the content picture, such as "content 1" or "style 2"; None: there is none.
      styles: names of the style pictures.
    """

    grid: str
    labels: Mapping[str, str]
    config: Config
    content: str | None
    styles: tuple[str, ...]

    @property
    def name(self) -> str:
        """The grid and the labels, for messages."""
        return ", ".join([self.grid, *(f"{axis} {label}" for axis, label in self.labels.items())])


@dataclass(frozen=True)
class Grid:
    """Describes cells along axes.

    Attributes:
      name: part of the names of its files.
      title: heading in the report.
      about: text below the heading.
      axes: labels of each axis.
      columns: axes that run from left to right in the contact sheet; the others run down.
      feature_maps: layers whose features the report shows for each cell.
      cells: every combination of labels; the last axis changes fastest.
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
    """Describes an experiment: its name, its title, what it is about, and its grids."""

    name: str
    title: str
    about: str
    grids: tuple[Grid, ...]

    @property
    def cells(self) -> list[Cell]:
        """The cells of all grids, in order."""
        return [cell for grid in self.grids for cell in grid.cells]


def names() -> list[str]:
    """Lists the studies that come with jaxnst."""
    files = (path.name for path in FOLDER.iterdir())
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def read_study(
    study: PathLike,
    quick: bool = False,
    grids: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Study:
    """Reads a study and checks every cell of it.

    Args:
      study: one of `names()`, or the path of a TOML file.
      quick: whether to take its quick form; default False.
      grids: names of the grids to keep; default all.
      settings: fields of Config that replace those of the study and its grids. An axis keeps its values.

    Raises:
      InputError: there is no such study, its TOML cannot be parsed, a key, layer or preset is unknown, a grid
        or an axis is empty, two axes set the same, or the settings of a cell cannot work.
    """
    name, where, text = _find(str(study))
    try:
        declared = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"study: {where} is not TOML: {str(error).rstrip('.')}.") from error
    _check_keys(where, declared, STUDY_KEYS)
    tables = declared.get("grids", [])
    if not isinstance(tables, list) or not tables:
        raise InputError(f"study: {where} has no grids; write at least one [[grids]] with [grids.axes].")
    base = _with_preset(where, declared.get("preset"), _settings(where, declared, "settings"))
    quick_settings = _settings(where, declared, "quick")
    replaced = axes.read_settings(f"{where}, settings", settings or {})
    read = [
        _read_grid(
            f"{where}, grid {number}", table, base | (quick_settings if quick else {}), replaced, quick
        )
        for number, table in enumerate(tables, start=1)
    ]
    _check_names(where, read)
    for grid in grids:
        choose("grids", grid, [grid.name for grid in read])
    return Study(
        name=name,
        title=_text(where, declared, "title", name),
        about=_text(where, declared, "about", ""),
        grids=tuple(grid for grid in read if not grids or grid.name in grids),
    )


def _find(study: str) -> tuple[str, str, str]:
    """Returns the name of a study, its name in messages, and its text."""
    if study in names():
        return study, study, (FOLDER / f"{study}.toml").read_text("utf-8")
    path = expand(study)
    if path.suffix != ".toml":
        choose("study", study, names())
    try:
        return path.stem, path.name, path.read_text("utf-8")
    except FileNotFoundError as error:
        raise InputError(f"study: there is no file {study!r}; jaxnst has {', '.join(names())}.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"study: {study!r} cannot be read ({reason(error)}); give a TOML file.") from error


def _read_grid(
    where: str, table: Any, base: Mapping[str, Any], replaced: Mapping[str, Any], quick: bool
) -> Grid:
    """Reads a grid. Its settings replace `base`, the study's; `replaced`, the caller's, replace both."""
    if not isinstance(table, dict):
        raise InputError(f"study: {where} is not a table; write it as [[grids]].")
    name = _text(where, table, "name", "")
    if not name or any(character in name for character in "/\\\0"):
        raise InputError(f"study: {where} needs a name that can be part of a file's name, not {name!r}.")
    where = f"{where.partition(',')[0]}, {name}"
    _check_keys(where, table, GRID_KEYS)
    declared, in_quick = _table(where, table, "axes"), _table(where, table, "quick")
    quick_settings = axes.read_settings(
        f"{where}, quick", {key: value for key, value in in_quick.items() if key not in declared}
    )
    fixed = _settings(where, table, "settings")
    if "preset" in table:
        fixed = _with_preset(where, table["preset"], fixed)
    points = axes.read_axes(where, declared, fixed | quick_settings, in_quick if quick else {})
    columns = axes.read_names(where, table, "columns", list(points)[-1:])
    for axis in columns:
        choose(f"study: {where}: columns", axis, points)
    feature_maps = axes.read_names(where, table, "feature_maps", ())
    for layer in feature_maps:
        choose(f"study: {where}: feature_maps", layer, vgg.LAYERS)
    settings = {**base, **fixed, **(quick_settings if quick else {}), **replaced}
    return Grid(
        name=name,
        title=_text(where, table, "title", name),
        about=_text(where, table, "about", ""),
        axes={axis: tuple(labels) for axis, labels in points.items()},
        columns=columns,
        feature_maps=feature_maps,
        cells=tuple(
            _read_cell(where, name, labels, settings | point) for labels, point in axes.combinations(points)
        ),
    )


def _with_preset(where: str, preset: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    if preset is not None and "preset" in settings:
        raise InputError(f"study: {where}: preset and settings both name a preset; take one away.")
    return {"preset": preset, **settings}


def _read_cell(where: str, grid: str, labels: Mapping[str, str], settings: dict[str, Any]) -> Cell:
    content, style = settings.pop("content", "content 1"), settings.pop("style", "style 1")
    try:
        config = resolve_config(settings.pop("preset"), None, settings)
    except InputError as error:
        point = ", ".join(f"{axis} {label}" for axis, label in labels.items())
        raise InputError(f"study: {where}, at {point}: {error}") from error
    contents = [] if content == "none" else [content]
    styles = [] if style in ("none", ["none"]) else style if isinstance(style, list) else [style]
    for picture in (*contents, *styles):
        _check_picture(f"study: {where}", picture)
    return Cell(grid, labels, config, contents[0] if contents else None, tuple(styles))


def _check_picture(where: str, picture: Any) -> None:
    kind, _, number = str(picture).partition(" ")
    if kind not in PICTURES or not number.isdecimal() or number != str(int(number)) or number == "0":
        raise InputError(f"{where}: there is no picture {picture!r}; write 'content 1', 'style 2' or 'none'.")


def _check_names(where: str, grids: Sequence[Grid]) -> None:
    """Refuses grids that would write the same file, `NAME.png` or `NAME-losses.png`."""
    files = [file for grid in grids for file in (grid.name, f"{grid.name}-losses")]
    for name in files:
        if files.count(name) > 1:
            raise InputError(f"study: {where}: two grids would write {name}.png; rename one of them.")


def _check_keys(where: str, table: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in table:
        choose(f"study: {where}", key, keys)


def _settings(where: str, table: Mapping[str, Any], key: str) -> dict[str, Any]:
    return axes.read_settings(f"{where}, {key}", _table(where, table, key))


def _table(where: str, table: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"study: {where}: {key} is not a table; write it as [{key}].")
    return value


def _text(where: str, table: Mapping[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise InputError(f"study: {where}: {key} must be text, not {value!r}.")
    return " ".join(value.split())
