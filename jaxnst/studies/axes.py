"""The axes of a grid, from TOML: labels, and the settings behind each label. Refuses what cannot be meant."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxnst.config.config import RENAMED, Config, canonical_name
from jaxnst.errors import InputError, choose
from jaxnst.metrics import METRICS

PICTURES = ("content", "style")
SETTINGS = (*PICTURES, "preset", *(field.name for field in dataclasses.fields(Config)), *RENAMED)
"""Names that an axis or a table of settings may set."""

CELL_COLUMNS = ("content", "style", "size", "steps")
RUN_COLUMNS = ("run", "ended", "evaluations", "seconds", "measured_size")
"""Columns of `cells.csv` beside the grid, its axes and the numbers."""

MOST_CELLS = 100_000
"""A grid with more cells is taken for a mistake."""

Points = dict[str, dict[str, Any]]
"""The points of one axis: the settings behind each label."""


def read_settings(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the names of settings, and replaces old names by present ones; values are not checked.

    Args:
      where: the place in the study, for messages.
      table: settings by name.

    Returns:
      The same values under present names.

    Raises:
      InputError: an unknown name.
    """
    return {canonical_name(choose(f"study: {where}", name, SETTINGS)): table[name] for name in table}


def read_axes(
    where: str, table: Mapping[str, Any], fixed: Mapping[str, Any], quick: Mapping[str, Any]
) -> dict[str, Points]:
    """Reads the axes of one grid.

    Args:
      where: the grid, for messages.
      table: by axis a list of values, settings by label, or `subsets`.
      fixed: settings of the whole grid, which no axis may set.
      quick: by axis other values, or some of its labels; keys that are no axis are ignored.

    Returns:
      Points by axis.

    Raises:
      InputError: there is no axis, an axis has no values or sets something unknown, or two set the same.
    """
    if not table:
        raise InputError(f"study: {where} has no axes; give at least one under [grids.axes].")
    axes = {}
    for axis, declared in table.items():
        place = f"{where}, axis {axis}"
        axes[axis] = _points(place, axis, declared)
        if axis in quick:
            axes[axis] = _quick_points(place, axis, declared, axes[axis], quick[axis])
    _check_apart(where, axes, fixed)
    return axes


def combinations(axes: Mapping[str, Points]) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Lists every combination as labels by axis, and settings; the last axis changes fastest."""
    combined = []
    for chosen in itertools.product(*(points.items() for points in axes.values())):
        labels = {axis: label for axis, (label, _) in zip(axes, chosen, strict=True)}
        combined.append((labels, {name: value for _, point in chosen for name, value in point.items()}))
    return combined


def read_names(where: str, table: Mapping[str, Any], key: str, default: Sequence[str]) -> tuple[str, ...]:
    """Reads a list of different names from a table.

    Raises:
      InputError: the value is no list of names, or has a name twice.
    """
    listed = table.get(key, list(default))
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise InputError(f"study: {where}: {key} must be a list of names, not {listed!r}.")
    if len({*listed}) < len(listed):
        raise InputError(f"study: {where}: {key} has a name twice in {', '.join(listed)}.")
    return tuple(listed)


def _points(where: str, axis: str, declared: Any) -> Points:
    if isinstance(declared, dict) and declared.keys() == {"subsets"}:
        declared = _subsets(where, declared["subsets"])
    if not isinstance(declared, list | dict) or not declared:
        raise InputError(f"study: {where} has no values; give a list of them, or settings by label.")
    if isinstance(declared, dict):
        if axis in ("grid", *CELL_COLUMNS, *RUN_COLUMNS, *METRICS):
            raise InputError(f"study: {where} has the name of a column of cells.csv; rename it.")
        return {label: _labelled(where, axis, label, point) for label, point in declared.items()}
    name = canonical_name(choose(f"study: {where}", axis, SETTINGS))
    points = {_label(value): {name: value} for value in declared}
    if len(points) < len(declared):
        raise InputError(f"study: {where} has a value twice in {', '.join(map(_label, declared))}.")
    return points


def _subsets(where: str, values: Any) -> list[list[Any]]:
    """Lists every non-empty subset, the smaller first."""
    if not isinstance(values, list):
        raise InputError(f"study: {where}: subsets must be a list, not {values!r}.")
    if 2 ** len(values) > MOST_CELLS:
        raise InputError(
            f"study: {where}: {len(values)} values have too many subsets; at most {MOST_CELLS} are possible."
        )
    counts = range(1, len(values) + 1)
    return [list(subset) for count in counts for subset in itertools.combinations(values, count)]


def _labelled(where: str, axis: str, label: str, point: Any) -> dict[str, Any]:
    if not isinstance(point, dict) or not point:
        raise InputError(f"study: {where}: {label!r} is not a table of settings.")
    settings = read_settings(f"{where}, {label}", point)
    if axis in SETTINGS and canonical_name(axis) not in settings:
        raise InputError(f"study: {where}: {label!r} does not set {axis}; rename the axis.")
    return settings


def _quick_points(where: str, axis: str, declared: Any, points: Points, quick: Any) -> Points:
    """Returns an axis as the quick form has it: with other values, or with some of its labels."""
    where = f"{where} in quick"
    if not isinstance(declared, dict) or "subsets" in declared:
        return _points(where, axis, quick)
    if not isinstance(quick, list) or not quick:
        raise InputError(f"study: {where} has no labels; list some of {', '.join(points)}.")
    return {label: points[choose(f"study: {where}", label, points)] for label in quick}


def _label(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_label, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_apart(where: str, axes: Mapping[str, Points], fixed: Mapping[str, Any]) -> None:
    """Refuses too many cells, and a setting that two axes, or an axis and the grid, both set."""
    if (count := math.prod(map(len, axes.values()))) > MOST_CELLS:
        raise InputError(f"study: {where} has {count} cells; at most {MOST_CELLS} are possible.")
    setters = {"settings": set(fixed)} | {
        f"the axis {axis}": {name for point in points.values() for name in point}
        for axis, points in axes.items()
    }
    for (first, names), (second, others) in itertools.combinations(setters.items(), 2):
        for name in sorted(names & others):
            raise InputError(f"study: {where}: {second} and {first} both set {name}; take one away.")
