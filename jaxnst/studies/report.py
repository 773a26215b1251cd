"""The report: one self-contained page, and the same as PNG. Gathers what the template and the plots show."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

from jaxnst import images, metrics, saving
from jaxnst.evaluation import features
from jaxnst.studies import plots
from jaxnst.studies.sheet import Sheet, sheet_of, spans
from jaxnst.studies.table import Row, best, means

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.studies.study import Grid, Study

AS_IT_IS = 160
"""Longer side up to which a picture is shown without loss, as PNG; larger ones become JPEG."""

TILES = 8
"""Feature maps shown for each layer."""


def write_report(
    study: Study, rows: Sequence[Row], pictures: Mapping[str, Float[np.ndarray, "h w 3"]], folder: Path
) -> None:
    """Write `report.html`, and `GRID.png` and `GRID-losses.png` for each grid.

    Args:
      study: as declared.
      rows: of its cells, in order.
      pictures: what was given, by name.
      folder: where to.

    Raises:
      OSError: the disk is full or the like.
    """
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (resources.files("jaxnst") / "studies" / "report.html").read_text("utf-8")
    )
    left = list(rows)
    parts = []
    for grid in study.grids:
        of_grid, left = left[: len(grid.cells)], left[len(grid.cells) :]
        parts.append(_part(grid, of_grid, pictures, folder))
    page = template.render(
        study=study,
        parts=parts,
        facts=_facts(rows),
        failed=[row for row in rows if row.done is None or row.ended != "finished"],
        metrics=metrics.METRICS,
        curves={
            row.key: _uri(_curves_of(row)) for row in {row.key: row for row in rows if row.done}.values()
        },
    )
    saving.write_whole(folder / "report.html", page.encode())


@dataclass(frozen=True)
class Shown:
    """A cell on the page.

    Attributes:
      id: unique on the page.
      row: what was found.
      picture: as a data URI; empty: there is none.
      features: feature maps as a data URI; empty: none were asked for.
      config: all settings, as JSON.
    """

    id: str
    row: Row
    picture: str
    features: str
    config: str

    @property
    def labels(self) -> str:
        """Where it stands."""
        return ", ".join(f"{axis} {label}" for axis, label in self.row.cell.labels.items())


@dataclass(frozen=True)
class Part:
    """What the page shows of a grid.

    Attributes:
      grid: as declared.
      beside: the given pictures that it uses, by name, as data URIs.
      cells: all of them.
      sheet: where they lie.
      down: for each line of the sheet its headers: axis, label, lines that it spans.
      across: for each level of column headers: axis, label, columns that it spans.
      curves: loss curves of all runs, as a data URI.
      columns: names of the table's columns.
      best: by column the best cell.
      shared: settings that all cells have in common, as JSON.
      tiles: what the feature maps show.
    """

    grid: Grid
    beside: dict[str, str]
    cells: list[Shown]
    sheet: Sheet
    down: list[list[tuple[str, str, int]]]
    across: list[list[tuple[str, str, int]]]
    curves: str
    columns: list[str]
    best: dict[str, Shown]
    shared: str
    tiles: str

    @staticmethod
    def numbers(shown: Shown) -> dict[str, float]:
        """What stands in a row of the table."""
        return means(shown.row)


def _part(
    grid: Grid, rows: Sequence[Row], pictures: Mapping[str, Float[np.ndarray, "h w 3"]], folder: Path
) -> Part:
    sheet = sheet_of(grid)
    used = dict.fromkeys(name for row in rows for name in (row.cell.content, *row.cell.styles) if name)
    beside = {name: _thumbnail(pictures[name]) for name in used}
    arrays = [None if row.done is None else images.read_image(row.done.picture(_look(row))) for row in rows]
    captions = [" ".join(row.cell.labels.values()) for row in rows]
    figure = plots.contact_sheet(grid.title, sheet, arrays, captions, beside)
    saving.write_whole(folder / f"{grid.name}.png", plots.to_png(figure, 130))
    curves = plots.loss_curves(_runs(rows), grid.title)
    if curves is not None:
        saving.write_whole(folder / f"{grid.name}-losses.png", plots.to_png(curves, 130))
    mosaics, tiles = _feature_maps(grid, rows, arrays, pictures)
    cells = [
        Shown(
            id=f"{grid.name}-{index}",
            row=row,
            picture="" if array is None else _picture_uri(array),
            features=mosaics.get(index, ""),
            config=json.dumps(row.cell.config.to_dict(), indent=1),
        )
        for index, (row, array) in enumerate(zip(rows, arrays, strict=True))
    ]
    of = dict(zip(map(id, rows), cells, strict=True))
    columns = list(dict.fromkeys(name for row in rows for name in means(row)))
    return Part(
        grid=grid,
        beside={name: _picture_uri(array) for name, array in beside.items()},
        cells=cells,
        sheet=sheet,
        down=_headers_down(sheet),
        across=[
            spans(sheet.columns, level) for level in range(len(sheet.columns[0]) if sheet.columns else 0)
        ],
        curves="" if curves is None else _uri(plots.to_png(curves)),
        columns=columns,
        best={name: of[id(row)] for name, row in best(rows).items()},
        shared=json.dumps(_shared(rows), indent=1),
        tiles=tiles,
    )


def _look(row: Row) -> int:
    return row.cell.config.steps


def _headers_down(sheet: Sheet) -> list[list[tuple[str, str, int]]]:
    """Row headers line by line: a header that spans lines stands in the first of them only."""
    lines: list[list[tuple[str, str, int]]] = [[] for _ in sheet.cells]
    for level in range(len(sheet.rows[0]) if sheet.rows else 0):
        at = 0
        for axis, label, span in spans(sheet.rows, level):
            lines[at].append((axis, label, span))
            at += span
    return lines


def _runs(rows: Sequence[Row]) -> dict[str, plots.Curves]:
    """Losses of each run once, by what sets it apart from the grid's others."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.done is not None:
            found[row.key] = row
    labels = {key: {a: b for a, b in row.cell.labels.items() if a != "steps"} for key, row in found.items()}
    return {
        ", ".join(f"{axis} {label}" for axis, label in labels[key].items()) or "steps": row.done.losses
        for key, row in found.items()
        if row.done is not None
    }


def _curves_of(row: Row) -> bytes:
    assert row.done is not None
    figure = plots.loss_curves({"": row.done.losses}, panel_width=2.7)
    return b"" if figure is None else plots.to_png(figure, 120)


def _shared(rows: Sequence[Row]) -> dict[str, Any]:
    """Settings that are the same in all cells."""
    first, *others = (row.cell.config.to_dict() for row in rows)
    return {name: value for name, value in first.items() if all(other[name] == value for other in others)}


def _feature_maps(
    grid: Grid,
    rows: Sequence[Row],
    arrays: Sequence[np.ndarray | None],
    pictures: Mapping[str, Float[np.ndarray, "h w 3"]],
) -> tuple[dict[int, str], str]:
    """For each cell the channels in which the content picture is strongest; and what to call them."""
    mosaics: dict[int, str] = {}
    if not grid.feature_maps:
        return mosaics, ""
    chosen: dict[str, list[int]] = {}
    most: dict[str, np.ndarray] = {}
    for index, (row, array) in enumerate(zip(rows, arrays, strict=True)):
        if array is None:
            continue
        config = row.cell.config

        def see(picture: np.ndarray, config: Any = config) -> dict[str, np.ndarray]:
            return features(picture, grid.feature_maps, config.weights, config.pooling)

        if not chosen:
            first = next(iter(pictures.values())) if row.cell.content is None else pictures[row.cell.content]
            found = see(images.resize(first, (array.shape[0], array.shape[1])))
            for layer, of_layer in found.items():
                strength = of_layer.mean((0, 1))
                chosen[layer] = sorted(np.argsort(-strength)[:TILES].tolist())
                most[layer] = of_layer.max((0, 1))
        mosaics[index] = _png_uri(plots.feature_maps(see(array), chosen, most))
    told = "; ".join(f"{layer}: {', '.join(map(str, of))}" for layer, of in chosen.items())
    return (
        mosaics,
        f"Channels, from above and the left: {told}; the strongest in the content; its maximum is white.",
    )


def _facts(rows: Sequence[Row]) -> str:
    from jaxnst import __version__

    runs = {row.key: row for row in rows if row.done is not None}
    seconds = sum(max(row.done.seconds.values()) for row in runs.values() if row.done is not None)
    steps = sum(len(row.done.losses["total"]) - 1 for row in runs.values() if row.done is not None)
    records = [
        json.loads((row.done.folder / "run.json").read_text("utf-8")) for row in runs.values() if row.done
    ]
    devices = ", ".join(sorted({record["device"] for record in records}))
    return (
        f"{sum(row.done is not None for row in rows)} of {len(rows)} cells from {len(runs)} runs with "
        f"{steps} steps; {seconds:.0f} s on {devices or 'no device'}; jaxnst {__version__}."
    )


def _thumbnail(array: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    shape = (array.shape[0], array.shape[1])
    return images.resize(array, images.fit_size(shape, min(512, max(shape))))


def _picture_uri(array: Float[np.ndarray, "h w 3"]) -> str:
    if max(array.shape) <= AS_IT_IS:
        return _png_uri(array)
    file = io.BytesIO()
    saving.to_pil(array).save(file, "JPEG", quality=90, subsampling=0)
    return _uri(file.getvalue(), "jpeg")


def _png_uri(array: Float[np.ndarray, "h w 3"]) -> str:
    file = io.BytesIO()
    saving.to_pil(array).save(file, "PNG")
    return _uri(file.getvalue())


def _uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}" if data else ""
