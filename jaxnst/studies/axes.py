"""The axes of a grid, from TOML: labels, and what each sets. Refuses what cannot be meant."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxnst import metrics
from jaxnst.config.config import Config
from jaxnst.errors import InputError, choose

PICTURES = ("content", "style")
SETTINGS = (*PICTURES, "preset", *(field.name for field in dataclasses.fields(Config)))
"""What an axis may set: which pictures, from which preset, and every setting."""

OF_CELLS = ("content", "style", "size", "steps")
OF_RUNS = ("run", "ended", "evaluations", "seconds", "measured_size")
"""Columns of tables beside grid, axes and metrics; they have values of their own, not labels."""

MANY = 100_000
"""Cells beyond which a grid is taken for a mistake."""

Points = dict[str, dict[str, Any]]
"""Of one axis: for each label what it sets."""


def read_axes(
    where: str, table: Mapping[str, Any], fixed: Mapping[str, Any], quick: Mapping[str, Any]
) -> dict[str, Points]:
    """Read the axes of one grid.

    Args:
      where: names the grid in messages.
      table: by name the values of a setting, labelled settings, or `subsets`.
      fixed: settings of the whole grid, which no axis may set.
      quick: by name other values, or some of the labels; other keys do not matter.

    Returns:
      Points by axis.

    Raises:
      InputError: an axis without values, unknown keys, or two that set the same.
    """
    if not table:
        raise InputError(f"study: {where} has no axes; give at least one under [grids.axes].")
    axes = {}
    for axis, given in table.items():
        of_axis = f"{where}, axis {axis}"
        axes[axis] = _read(of_axis, axis, given)
        if axis in quick:
            axes[axis] = _replaced(of_axis, axis, given, axes[axis], quick[axis])
    _check(where, axes, fixed)
    return axes


def _read(where: str, axis: str, given: Any) -> Points:
    if isinstance(given, dict) and given.keys() == {"subsets"}:
        given = _subsets(where, given["subsets"])
    if not isinstance(given, list | dict) or not given:
        raise InputError(f"study: {where} has no values; give a list of them, or settings by label.")
    if isinstance(given, dict):
        if axis in ("grid", *OF_CELLS, *OF_RUNS, *metrics.METRICS):
            raise InputError(f"study: {where} has the name of a column, which labels cannot have; rename it.")
        return {label: _labelled(where, axis, label, settings) for label, settings in given.items()}
    choose(f"study: {where}", axis, SETTINGS)
    points = {_label(value): {axis: value} for value in given}
    if len(points) < len(given):
        raise InputError(f"study: {where} has a value twice in {', '.join(map(_label, given))}.")
    return points


def _subsets(where: str, values: Any) -> list[list[Any]]:
    """All but the empty one, the smaller first."""
    if not isinstance(values, list):
        raise InputError(f"study: {where}: subsets must be a list, not {values!r}.")
    if 2 ** len(values) > MANY:
        raise InputError(f"study: {where}: {len(values)} values have too many subsets; {MANY} are the most.")
    sizes = range(1, len(values) + 1)
    return [list(of) for size in sizes for of in itertools.combinations(values, size)]


def _labelled(where: str, axis: str, label: str, settings: Any) -> dict[str, Any]:
    if not isinstance(settings, dict) or not settings:
        raise InputError(f"study: {where}: {label!r} is not a table of settings.")
    for key in settings:
        choose(f"study: {where}, {label}", key, SETTINGS)
    if axis in SETTINGS and axis not in settings:
        raise InputError(f"study: {where}: {label!r} does not set {axis}; rename the axis.")
    return settings


def _replaced(where: str, axis: str, given: Any, points: Points, quick: Any) -> Points:
    """The axis as it is in the quick form: other values, or some of its labels."""
    if not isinstance(given, dict) or "subsets" in given:
        return _read(f"{where} in quick", axis, quick)
    if not isinstance(quick, list) or not quick:
        raise InputError(f"study: {where} in quick has no labels; list some of {', '.join(points)}.")
    return {label: points[choose(f"study: {where} in quick", label, points)] for label in quick}


def _label(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_label, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check(where: str, axes: Mapping[str, Points], fixed: Mapping[str, Any]) -> None:
    if (count := math.prod(map(len, axes.values()))) > MANY:
        raise InputError(f"study: {where} has {count} cells; {MANY} are the most.")
    sets = {axis: {name for settings in of.values() for name in settings} for axis, of in axes.items()}
    for axis, names in sets.items():
        for name in sorted(names & fixed.keys()):
            raise InputError(f"study: {where}: the axis {axis} and settings both set {name}; take one away.")
    for one, other in itertools.combinations(sets, 2):
        for name in sorted(sets[one] & sets[other]):
            raise InputError(f"study: {where}: the axes {one} and {other} both set {name}; take it from one.")


def combinations(axes: Mapping[str, Points]) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Every combination: its labels by axis, and all that it sets; the last axis changes fastest."""
    found = []
    for chosen in itertools.product(*(points.items() for points in axes.values())):
        labels = {axis: label for axis, (label, _) in zip(axes, chosen, strict=True)}
        found.append((labels, {name: value for _, settings in chosen for name, value in settings.items()}))
    return found


def strings(where: str, table: Mapping[str, Any], key: str, default: Sequence[str]) -> tuple[str, ...]:
    """A list of names in a table."""
    given = table.get(key, list(default))
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise InputError(f"study: {where}: {key} must be a list of names, not {given!r}.")
    if len({*given}) < len(given):
        raise InputError(f"study: {where}: {key} has a name twice in {', '.join(given)}.")
    return tuple(given)
