"""Lays measurements of several pictures side by side as text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence

from jaxnst.metrics.definitions import METRICS, SUMMARY, kind


def table(measurements: Mapping[str, Mapping[str, float]]) -> str:
    """Formats measurements as a table for a terminal, and marks the best picture of each row.

    Args:
      measurements: for each picture's name, what `measure` or `summary` returned. A key that a picture lacks
        leaves a gap; a key that is from neither is shown without a mark.

    Returns:
      A row for each metric and a column for each picture, with empty lines between groups and without a final
      newline. With several pictures, the best number of a row has a `*`, unless all are equal.
    """
    keys = dict.fromkeys(itertools.chain.from_iterable(measurements.values()))
    several = len(measurements) > 1
    rows = [["", *(name + " " * several for name in measurements)]]
    for _, group in itertools.groupby(keys, lambda key: key.rpartition("/")[0]):
        rows += [
            [key, *_cells(key, [numbers.get(key) for numbers in measurements.values()])] for key in group
        ]
        rows += [[""] * len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows).rstrip()


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip()


def _cells(key: str, values: Sequence[float | None]) -> list[str]:
    """Formats the numbers of one row, with room for the mark if there are several."""
    texts = ["-" if value is None else f"{value:.4g}" for value in values]
    if len(values) == 1:
        return texts
    best = _best(key, {value for value in values if value is not None and not math.isnan(value)})
    return [
        text + ("*" if best is not None and value == best else " ")
        for text, value in zip(texts, values, strict=True)
    ]


def _best(key: str, values: Collection[float]) -> float | None:
    metric = SUMMARY.get(key) or METRICS.get(kind(key))
    if metric is None or len(values) < 2:
        return None
    return max(values) if metric.higher_is_better else min(values)
