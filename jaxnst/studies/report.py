"""The report: one self-contained page, and PNG files. Gathers what the template and the plots show."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

from jaxnst.api.evaluate import features
from jaxnst.config.version import version
from jaxnst.io import images
from jaxnst.io.files import write_whole
from jaxnst.io.save import to_pil
from jaxnst.metrics import METRICS
from jaxnst.studies import plots
from jaxnst.studies.sheet import Sheet, header, levels, sheet_of, spans
from jaxnst.studies.table import Row, best, means

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float

    from jaxnst.io.images import Picture
    from jaxnst.studies.jobs import Arrays
    from jaxnst.studies.study import Grid, Study

LARGEST_PNG = 160
"""Longer side up to which the page holds a picture as PNG, in pixels; it holds larger ones as JPEG."""

LARGEST = 1024
"""Longer side of a picture in the page, in pixels; `runs/` has pictures of full size."""

THUMBNAIL = 256
"""Longer side of a picture in the contact sheet, in pixels."""

CHANNELS = 8
"""Number of feature maps shown for each layer."""


def write_report(study: Study, rows: Sequence[Row], pictures: Arrays, folder: Path) -> None:
    """Writes `report.html`, and `GRID.png` and `GRID-losses.png` for each grid.

    Args:
      study: as declared.
      rows: of its cells, in order.
      pictures: content and style pictures by name.
      folder: for the files.

    Raises:
      OSError: the disk is full or the like.
    """
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (resources.files("jaxnst") / "studies" / "report.html").read_text("utf-8")
    )
    rest = list(rows)
    parts = []
    for number, grid in enumerate(study.grids, start=1):
        own, rest = rest[: len(grid.cells)], rest[len(grid.cells) :]
        parts.append(_part(number, grid, own, pictures, folder))
    page = template.render(
        study=study,
        parts=parts,
        facts=_facts(rows),
        failed=[row for row in rows if row.ended != "finished"],
        metrics=METRICS,
        means=means,
        curves={row.key: _run_curves(row) for row in {row.key: row for row in rows if row.saved}.values()},
    )
    write_whole(folder / "report.html", page.encode())


def _part(number: int, grid: Grid, rows: Sequence[Row], pictures: Arrays, folder: Path) -> dict[str, Any]:
    """Writes the PNG files of a grid, and gathers what the page shows of it, by the template's names.

    Pictures become data URIs; an empty one stands for a picture that does not exist.
    """
    sheet = sheet_of(grid)
    names = dict.fromkeys(name for row in rows for name in (row.cell.content, *row.cell.styles) if name)
    beside = {name: _at_most(pictures[name], 2 * THUMBNAIL) for name in names}
    channels, feature_maps = _feature_maps(grid, rows, pictures)
    cells, thumbnails = [], []
    for index, row in enumerate(rows):
        array = None if row.picture is None else images.read_image(row.picture)
        thumbnails.append(None if array is None else _at_most(array, THUMBNAIL))
        cell = {
            "id": f"cell-{number}-{index}",
            "row": row,
            "labels": ", ".join(header(axis, label) for axis, label in row.cell.labels.items()),
            "picture": "" if array is None else _picture_uri(array),
            "features": feature_maps.get(index, ""),
            "config": json.dumps(row.cell.config.to_dict(), indent=1),
        }
        cells.append(cell)
    captions = [" ".join(row.cell.labels.values()) for row in rows]
    figure = plots.contact_sheet(grid.title, sheet, thumbnails, captions, beside)
    write_whole(folder / f"{grid.name}.png", plots.to_png(figure, 130))
    curves = plots.loss_curves(_curves(rows), grid.title)
    if curves is not None:
        write_whole(folder / f"{grid.name}-losses.png", plots.to_png(curves, 130))
    return {
        "id": f"grid-{number}",
        "grid": grid,
        "beside": {name: _picture_uri(array) for name, array in beside.items()},
        "cells": cells,
        "sheet": sheet,
        "down": _headers_down(sheet),
        "across": [spans(sheet.columns, level) for level in levels(sheet.columns)],
        "curves": "" if curves is None else _uri(plots.to_png(curves)),
        "columns": list(dict.fromkeys(name for row in rows for name in means(row))),
        "best": {name: cells[index] for name, index in best(rows).items()},
        "shared": json.dumps(_shared_settings(rows), indent=1),
        "channels": channels,
    }


def _headers_down(sheet: Sheet) -> list[list[tuple[str, str, int]]]:
    """Returns the row headers of each line; a header that spans several lines stands in the first."""
    lines: list[list[tuple[str, str, int]]] = [[] for _ in sheet.cells]
    for level in levels(sheet.rows):
        first = 0
        for axis, label, span in spans(sheet.rows, level):
            lines[first].append((axis, label, span))
            first += span
    return lines


def _curves(rows: Sequence[Row]) -> dict[str, plots.Curves]:
    """Returns the losses of each run up to the last cell of this grid, by the labels that differ."""
    by_run: dict[str, list[Row]] = {}
    for row in rows:
        if row.saved is not None:
            by_run.setdefault(row.key, []).append(row)
    curves: dict[str, plots.Curves] = {}
    for members in by_run.values():
        last = max(members, key=lambda row: row.cell.config.steps)
        axes = [axis for axis in last.cell.labels if axis != "steps" or len(members) == 1]
        label = ", ".join(header(axis, last.cell.labels[axis]) for axis in axes) or "all steps"
        assert last.saved is not None
        end = last.cell.config.steps + 1
        curves[label] = {name: values[:end] for name, values in last.saved.losses.items()}
    return curves


def _run_curves(row: Row) -> str:
    assert row.saved is not None
    figure = plots.loss_curves({"": row.saved.losses}, panel_width=2.7)
    return "" if figure is None else _uri(plots.to_png(figure, 120))


def _shared_settings(rows: Sequence[Row]) -> dict[str, Any]:
    first, *others = (row.cell.config.to_dict() for row in rows)
    return {name: value for name, value in first.items() if all(other[name] == value for other in others)}


def _feature_maps(grid: Grid, rows: Sequence[Row], pictures: Arrays) -> tuple[str, dict[int, str]]:
    """Draws, for each cell, the channels in which the content is strongest.

    Returns:
      An explanation, and data URIs by the index of the cell; both empty if the grid shows no feature maps.
    """
    first = next((row for row in rows if row.saved is not None), None)
    if not grid.feature_maps or first is None:
        return "", {}

    def maps_of(row: Row, picture: Picture) -> dict[str, np.ndarray]:
        return features(picture, grid.feature_maps, row.cell.config.weights, row.cell.config.pooling)

    content = pictures[first.cell.content or first.cell.styles[0]]
    content_maps = maps_of(first, _at_most(content, first.cell.config.size))
    strengths = {layer: maps.mean((0, 1)) for layer, maps in content_maps.items()}
    channels = {layer: sorted(np.argsort(-means)[:CHANNELS].tolist()) for layer, means in strengths.items()}
    white = {layer: maps.max((0, 1)) for layer, maps in content_maps.items()}
    lines = "; ".join(f"{layer}: {', '.join(map(str, shown))}" for layer, shown in channels.items())
    return f"Channels, by lines: {lines}; the strongest in the content, whose maximum is white.", {
        index: _png_uri(plots.feature_maps(maps_of(row, row.picture), channels, white))
        for index, row in enumerate(rows)
        if row.picture is not None
    }


def _facts(rows: Sequence[Row]) -> str:
    runs = {row.key: row.saved for row in rows if row.saved is not None}.values()
    seconds = sum(max(run.seconds.values()) for run in runs)
    steps = sum(max(len(run.losses["total"]) - 1, 0) for run in runs)
    devices = ", ".join(sorted({run.device for run in runs}))
    return (
        f"{sum(row.saved is not None for row in rows)} of {len(rows)} cells from {len(runs)} runs with "
        f"{steps} steps; {seconds:.0f} s on {devices or 'no device'}; jaxnst {version()}."
    )


def _at_most(array: Float[np.ndarray, "h w 3"], side: int) -> Float[np.ndarray, "h w 3"]:
    shape = (array.shape[0], array.shape[1])
    return images.resize(array, images.fit_size(shape, min(side, max(shape))))


def _picture_uri(array: Float[np.ndarray, "h w 3"]) -> str:
    if max(array.shape) <= LARGEST_PNG:
        return _png_uri(array)
    file = io.BytesIO()
    to_pil(_at_most(array, LARGEST)).save(file, "JPEG", quality=90, subsampling=0)
    return _uri(file.getvalue(), "jpeg")


def _png_uri(array: Float[np.ndarray, "h w 3"]) -> str:
    file = io.BytesIO()
    to_pil(array).save(file, "PNG")
    return _uri(file.getvalue())


def _uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
