"""A study: grids over `Config`, declared in TOML, as cells with settings. Knows no pictures and runs nothing.

The language is described in docs/studies/README.md.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jaxnst.config import Config
from jaxnst.core import vgg
from jaxnst.errors import InputError, choose
from jaxnst.images import expand, reason
from jaxnst.stylize import resolve_config

STUDY_KEYS = ("title", "about", "preset", "settings", "quick", "grids")
GRID_KEYS = ("name", "title", "about", "preset", "settings", "axes", "columns", "feature_maps", "quick")
PICTURES = ("content", "style")
SETTINGS = (*PICTURES, "preset", *(field.name for field in dataclasses.fields(Config)))
"""What an axis may vary beside its own label: which pictures, from which preset, and every setting."""

MANY = 100_000
"""Cells beyond which a grid is taken for a mistake."""


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
      settings: fields of Config that replace those of the study; not those of an axis.

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
    base = (
        _table(where, found, "settings")
        | (_table(where, found, "quick") if quick else {})
        | dict(settings or {})
    )
    base = {"preset": found.get("preset")} | base
    _check_keys(f"{where}, settings", base, SETTINGS)
    made = [
        _read_grid(f"{where}, grid {number}", table, base, quick) for number, table in enumerate(tables, 1)
    ]
    known = [grid.name for grid in made]
    if len(set(known)) < len(known):
        raise InputError(f"study: {where} has two grids of one name; their names are {', '.join(known)}.")
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


def _read_grid(where: str, table: Any, base: Mapping[str, Any], quick: bool) -> Grid:
    if not isinstance(table, dict):
        raise InputError(f"study: {where} is not a table; write it as [[grids]].")
    name = _text(where, table, "name", "")
    if not name or any(character in name for character in "/\\\0"):
        raise InputError(
            f"study: {where} needs a name, which becomes part of file names; {name!r} will not do."
        )
    where = f"{where.partition(',')[0]}, {name}"
    _check_keys(where, table, GRID_KEYS)
    axes, fixed = _table(where, table, "axes"), _table(where, table, "settings")
    replaced = _table(where, table, "quick") if quick else {}
    _check_keys(f"{where}, settings", fixed, SETTINGS)
    _check_keys(f"{where}, quick", {key: 0 for key in replaced if key not in axes}, SETTINGS)
    for axis in axes.keys() & fixed.keys():
        raise InputError(f"study: {where}: {axis} is an axis and among the settings too; take one away.")
    axes = {axis: _replaced(f"{where}, quick", axis, given, replaced) for axis, given in axes.items()}
    points = {axis: _read_axis(f"{where}, axis {axis}", axis, given) for axis, given in axes.items()}
    _check_axes(where, points)
    fixed = {"preset": table.get("preset", base["preset"])} | {
        **{key: value for key, value in base.items() if key != "preset"},
        **fixed,
        **{key: value for key, value in replaced.items() if key not in axes},
    }
    columns = tuple(table.get("columns", list(axes)[-1:]))
    for axis in columns:
        choose(f"{where}: columns", axis, axes)
    for layer in table.get("feature_maps", ()):
        choose(f"study: {where}: feature_maps", layer, vgg.LAYERS)
    combinations = itertools.product(*(of.items() for of in points.values()))
    return Grid(
        name=name,
        title=_text(where, table, "title", name),
        about=_text(where, table, "about", ""),
        axes={axis: tuple(of) for axis, of in points.items()},
        columns=columns,
        feature_maps=tuple(table.get("feature_maps", ())),
        cells=tuple(_read_cell(where, name, tuple(points), chosen, fixed) for chosen in combinations),
    )


def _replaced(where: str, axis: str, given: Any, replaced: Mapping[str, Any]) -> Any:
    """The axis as it is in the quick form: other values, or some of its labels."""
    if axis not in replaced:
        return given
    values = replaced[axis]
    if isinstance(given, dict) and "subsets" not in given:
        for label in values:
            choose(f"{where}: {axis}", label, given)
        return {label: given[label] for label in values}
    return values


def _read_axis(where: str, axis: str, given: Any) -> dict[str, dict[str, Any]]:
    """Settings by label: of a setting's values, of a table's entries, or of all subsets of some values."""
    if isinstance(given, dict) and given.keys() == {"subsets"}:
        values = given["subsets"]
        given = [
            list(subset)
            for size in range(1, len(values) + 1)
            for subset in itertools.combinations(values, size)
        ]
    if not isinstance(given, list | dict) or not given:
        raise InputError(
            f"study: {where} has no values; give a list of them, or a table of settings by label."
        )
    if isinstance(given, dict):
        for label, settings in given.items():
            if not isinstance(settings, dict) or not settings:
                raise InputError(f"study: {where}: {label!r} is not a table of settings.")
            _check_keys(f"{where}, {label}", settings, SETTINGS)
            if axis in SETTINGS and axis not in settings:
                raise InputError(f"study: {where}: {label!r} does not set {axis}; rename the axis.")
        return given
    choose(f"study: {where}", axis, SETTINGS)
    points = {_label(value): {axis: value} for value in given}
    if len(points) < len(given):
        raise InputError(f"study: {where} has a value twice in {', '.join(map(_label, given))}.")
    return points


def _label(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_label, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_axes(where: str, points: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    if not points:
        raise InputError(f"study: {where} has no axes; give at least one under [grids.axes].")
    if (count := _product(map(len, points.values()))) > MANY:
        raise InputError(f"study: {where} has {count} cells; {MANY} are the most.")
    sets = {axis: {name for settings in of.values() for name in settings} for axis, of in points.items()}
    for one, other in itertools.combinations(sets, 2):
        for name in sorted(sets[one] & sets[other]):
            raise InputError(f"study: {where}: the axes {one} and {other} both set {name}; take it from one.")


def _product(lengths: Iterator[int]) -> int:
    count = 1
    for length in lengths:
        count *= length
    return count


def _read_cell(
    where: str,
    grid: str,
    axes: Sequence[str],
    chosen: Sequence[tuple[str, Mapping[str, Any]]],
    fixed: Mapping[str, Any],
) -> Cell:
    settings = dict(fixed)
    for _, of_axis in chosen:
        settings |= of_axis
    labels = {axis: label for axis, (label, _) in zip(axes, chosen, strict=True)}
    content, style = settings.pop("content", "content 1"), settings.pop("style", "style 1")
    preset = settings.pop("preset")
    try:
        config = resolve_config(preset, None, settings)
    except InputError as error:
        at = ", ".join(f"{axis} {label}" for axis, label in labels.items())
        raise InputError(f"study: {where}, at {at}: {error}") from error
    styles = tuple(style) if isinstance(style, list) else (style,)
    cell = Cell(
        grid, labels, config, None if content == "none" else content, () if styles == ("none",) else styles
    )
    for picture in (cell.content, *cell.styles):
        _check_picture(f"study: {where}", picture)
    return cell


def _check_picture(where: str, picture: Any) -> None:
    kind, _, number = str(picture).partition(" ")
    if picture is not None and not (kind in PICTURES and number.isdecimal() and int(number) > 0):
        raise InputError(f"{where}: there is no picture {picture!r}; write 'content 1', 'style 2' or 'none'.")


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
