"""The report: one self-contained page, and the same as PNG. Gathers what the template and the plots show."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
import numpy as np

from jaxnst import metrics
from jaxnst.api.evaluate import features
from jaxnst.io import images
from jaxnst.io import save as saving
from jaxnst.studies import plots
from jaxnst.studies.sheet import Sheet, sheet_of, spans, told
from jaxnst.studies.table import Row, best, means

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.studies.study import Grid, Study

AS_IT_IS = 160
"""Longer side up to which a picture is shown without loss, as PNG; larger ones become JPEG."""

LARGEST = 1024
"""Longer side of a picture in the page, in pixels; the file has them all."""

THUMBNAIL = 256
"""Longer side of a picture in the contact sheet as PNG, in pixels."""

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
    for number, grid in enumerate(study.grids, start=1):
        of_grid, left = left[: len(grid.cells)], left[len(grid.cells) :]
        parts.append(_part(number, grid, of_grid, pictures, folder))
    page = template.render(
        study=study,
        parts=parts,
        facts=_facts(rows),
        failed=[row for row in rows if row.ended != "finished"],
        metrics=metrics.METRICS,
        means=means,
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
        return ", ".join(told(axis, label) for axis, label in self.row.cell.labels.items())


@dataclass(frozen=True)
class Part:
    """What the page shows of a grid.

    Attributes:
      id: unique on the page.
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

    id: str
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


def _part(
    number: int,
    grid: Grid,
    rows: Sequence[Row],
    pictures: Mapping[str, Float[np.ndarray, "h w 3"]],
    folder: Path,
) -> Part:
    sheet = sheet_of(grid)
    used = dict.fromkeys(name for row in rows for name in (row.cell.content, *row.cell.styles) if name)
    beside = {name: _at_most(pictures[name], 2 * THUMBNAIL) for name in used}
    maps = _strongest(grid, rows, pictures)
    cells, thumbnails = [], []
    for index, row in enumerate(rows):
        array = None if row.done is None else images.read_image(row.done.picture(row.cell.config.steps))
        thumbnails.append(None if array is None else _at_most(array, THUMBNAIL))
        shown = Shown(
            id=f"cell-{number}-{index}",
            row=row,
            picture="" if array is None else _picture_uri(array),
            features="" if array is None or maps is None else _png_uri(_feature_maps(maps, row, array)),
            config=json.dumps(row.cell.config.to_dict(), indent=1),
        )
        cells.append(shown)
    captions = [" ".join(row.cell.labels.values()) for row in rows]
    figure = plots.contact_sheet(grid.title, sheet, thumbnails, captions, beside)
    saving.write_whole(folder / f"{grid.name}.png", plots.to_png(figure, 130))
    curves = plots.loss_curves(_curves(rows), grid.title)
    if curves is not None:
        saving.write_whole(folder / f"{grid.name}-losses.png", plots.to_png(curves, 130))
    return Part(
        id=f"grid-{number}",
        grid=grid,
        beside={name: _picture_uri(array) for name, array in beside.items()},
        cells=cells,
        sheet=sheet,
        down=_headers_down(sheet),
        across=[
            spans(sheet.columns, level) for level in range(len(sheet.columns[0]) if sheet.columns else 0)
        ],
        curves="" if curves is None else _uri(plots.to_png(curves)),
        columns=list(dict.fromkeys(name for row in rows for name in means(row))),
        best={name: cells[index] for name, index in best(rows).items()},
        shared=json.dumps(_shared(rows), indent=1),
        tiles="" if maps is None else maps.told,
    )


def _headers_down(sheet: Sheet) -> list[list[tuple[str, str, int]]]:
    """Row headers line by line: a header that spans lines stands in the first of them only."""
    lines: list[list[tuple[str, str, int]]] = [[] for _ in sheet.cells]
    for level in range(len(sheet.rows[0]) if sheet.rows else 0):
        at = 0
        for axis, label, span in spans(sheet.rows, level):
            lines[at].append((axis, label, span))
            at += span
    return lines


def _curves(rows: Sequence[Row]) -> dict[str, plots.Curves]:
    """Losses of each run once, as far as this grid looks at it, by what sets it apart from the others."""
    of_runs: dict[str, list[Row]] = {}
    for row in rows:
        if row.done is not None:
            of_runs.setdefault(row.key, []).append(row)
    found: dict[str, plots.Curves] = {}
    for members in of_runs.values():
        last = max(members, key=lambda row: row.cell.config.steps)
        apart = [axis for axis in last.cell.labels if axis != "steps" or len(members) == 1]
        label = ", ".join(told(axis, last.cell.labels[axis]) for axis in apart) or "all steps"
        assert last.done is not None
        end = last.cell.config.steps + 1
        found[label] = {name: of[:end] for name, of in last.done.losses.items()}
    return found


def _curves_of(row: Row) -> bytes:
    assert row.done is not None
    figure = plots.loss_curves({"": row.done.losses}, panel_width=2.7)
    return b"" if figure is None else plots.to_png(figure, 120)


def _shared(rows: Sequence[Row]) -> dict[str, Any]:
    """Settings that are the same in all cells."""
    first, *others = (row.cell.config.to_dict() for row in rows)
    return {name: value for name, value in first.items() if all(other[name] == value for other in others)}


class Tiles(NamedTuple):
    """What a grid's feature maps show.

    Attributes:
      channels: by layer those in which the content is strongest.
      white: by layer the content's maximum in each channel.
    """

    channels: dict[str, list[int]]
    white: dict[str, Float[np.ndarray, " c"]]

    @property
    def told(self) -> str:
        """In a sentence."""
        channels = "; ".join(f"{layer}: {', '.join(map(str, of))}" for layer, of in self.channels.items())
        return f"Channels, by lines: {channels}; the strongest in the content, whose maximum is white."


def _strongest(
    grid: Grid, rows: Sequence[Row], pictures: Mapping[str, Float[np.ndarray, "h w 3"]]
) -> Tiles | None:
    """The same channels for all cells; None if none are to be shown, or there is no picture."""
    row = next((row for row in rows if row.done is not None), None)
    if not grid.feature_maps or row is None:
        return None
    given = pictures[row.cell.content or row.cell.styles[0]]
    found = _see(grid.feature_maps, row, _at_most(given, row.cell.config.size))
    return Tiles(
        {layer: sorted(np.argsort(-of.mean((0, 1)))[:TILES].tolist()) for layer, of in found.items()},
        {layer: of.max((0, 1)) for layer, of in found.items()},
    )


def _feature_maps(tiles: Tiles, row: Row, array: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h2 w2 3"]:
    """A line of tiles for each layer."""
    return plots.feature_maps(_see(tuple(tiles.channels), row, array), tiles.channels, tiles.white)


def _see(layers: tuple[str, ...], row: Row, picture: np.ndarray) -> dict[str, np.ndarray]:
    return features(picture, layers, row.cell.config.weights, row.cell.config.pooling)


def _facts(rows: Sequence[Row]) -> str:
    from jaxnst import __version__

    runs = {row.key: row for row in rows if row.done is not None}
    seconds = sum(max(row.done.seconds.values()) for row in runs.values() if row.done is not None)
    steps = sum(len(row.done.losses["total"]) - 1 for row in runs.values() if row.done is not None)
    devices = ", ".join(sorted({row.done.device for row in runs.values() if row.done is not None}))
    return (
        f"{sum(row.done is not None for row in rows)} of {len(rows)} cells from {len(runs)} runs with "
        f"{steps} steps; {seconds:.0f} s on {devices or 'no device'}; jaxnst {__version__}."
    )


def _at_most(array: Float[np.ndarray, "h w 3"], side: int) -> Float[np.ndarray, "h w 3"]:
    shape = (array.shape[0], array.shape[1])
    return images.resize(array, images.fit_size(shape, min(side, max(shape))))


def _picture_uri(array: Float[np.ndarray, "h w 3"]) -> str:
    if max(array.shape) <= AS_IT_IS:
        return _png_uri(array)
    file = io.BytesIO()
    saving.to_pil(_at_most(array, LARGEST)).save(file, "JPEG", quality=90, subsampling=0)
    return _uri(file.getvalue(), "jpeg")


def _png_uri(array: Float[np.ndarray, "h w 3"]) -> str:
    file = io.BytesIO()
    saving.to_pil(array).save(file, "PNG")
    return _uri(file.getvalue())


def _uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}" if data else ""
