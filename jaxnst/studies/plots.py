"""Draws contact sheets, loss curves and feature maps with matplotlib; its callers decide what they show."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from jaxnst.io import images
from jaxnst.studies.sheet import Sheet, header, levels, spans

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes

    Curves = Mapping[str, Float[np.ndarray, " steps"]]

INK, FAINT = "#222222", "#767676"
LETTER = 0.0088
"""Width of a letter in inches for each point of its size, an upper bound."""
LEGEND = 10
"""A figure with more lines has no legend; the page shows the curves of each run beside its picture."""


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """Encodes a figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, facecolor="white")
    return file.getvalue()


def contact_sheet(
    title: str,
    sheet: Sheet,
    pictures: Sequence[Float[np.ndarray, "h w 3"] | None],
    captions: Sequence[str],
    beside: Mapping[str, Float[np.ndarray, "h w 3"]],
    cell: float = 1.25,
) -> Figure:
    """Draws all pictures of a grid, with the axes as rows and columns.

    Args:
      title: of the figure.
      sheet: where each picture goes.
      pictures: of the cells; None where there is none.
      captions: of the cells, shown if the sheet has no headers.
      beside: content and style pictures by name, drawn at the left.
      cell: width of a cell in inches; default 1.25.
    """
    gap, line, edge = 0.06, 0.15, 0.12
    high = max((_height(picture, cell) for picture in pictures if picture is not None), default=cell)
    rows = [[header(axis, label) for axis, label in labels] for labels in sheet.rows if labels]
    room = LETTER * 8 * max((len(text) for texts in rows for text in texts), default=0) + 0.25 * bool(rows)
    start = edge + cell + 0.25 + room
    headers = _headers(sheet, cell + gap, line)
    top = 0.45 + sum(tall for tall, _ in headers)
    wrapped = [_wrapped(caption, cell, 6) for caption in captions] if not sheet.columns else []
    caption = 0.11 * max((text.count("\n") + 1.4 for text in wrapped), default=0)
    step = high + gap + caption
    width = max(start + len(sheet.cells[0]) * (cell + gap) + edge, LETTER * 11 * len(title) + 2 * edge)
    height = (
        edge
        + top
        + max(len(sheet.cells) * step, sum(_height(picture, cell) + 0.35 for picture in beside.values()))
    )
    figure = Figure(figsize=(width, height))

    def show(picture: np.ndarray, left: float, upper: float, most: float) -> None:
        tall = _height(picture, cell)
        low = upper + (most - tall) / 2
        axes = figure.add_axes((left / width, 1 - (low + tall) / height, cell / width, tall / height))
        axes.imshow(np.clip(picture, 0, 1), interpolation="lanczos", aspect="auto")
        axes.set_axis_off()

    def write(
        text: str, left: float, upper: float, align: str = "left", size: float = 8, ink: str = INK
    ) -> None:
        at = (left / width, 1 - upper / height)
        figure.text(*at, text, fontsize=size, color=ink, va="center", ha=align, parse_math=False)

    write(title, edge, 0.2, size=11)
    at = top
    for name, picture in beside.items():
        show(picture, edge, at, _height(picture, cell))
        at += _height(picture, cell) + 0.12
        write(name, edge, at, ink=FAINT)
        at += 0.23
    upper = 0.45
    for tall, labels in headers:
        for text, middle in labels:
            write(text, start + middle, upper + tall / 2, "center")
        upper += tall
    for row, places in enumerate(sheet.cells):
        upper = top + row * step
        if rows:
            write("\n".join(rows[row]), start - 0.1, upper + high / 2, "right")
        for column, place in enumerate(places):
            left = start + column * (cell + gap)
            if place is None:
                continue
            if wrapped:
                write(wrapped[place], left + cell / 2, upper + caption / 2, "center", 6)
            picture = pictures[place]
            if picture is None:
                write("no picture", left + cell / 2, upper + caption + high / 2, "center", ink="#b00020")
            else:
                show(picture, left, upper + caption, high)
    return figure


def _headers(sheet: Sheet, step: float, line: float) -> list[tuple[float, list[tuple[str, float]]]]:
    """Returns the height of each level of column headers, and its texts with the places of their middles."""
    headers = []
    for level in levels(sheet.columns):
        left, labels = 0.0, []
        for axis, label, span in spans(sheet.columns, level):
            labels.append((_wrapped(header(axis, label), span * step, 8), left + span * step / 2))
            left += span * step
        headers.append((line * max(text.count("\n") + 1.4 for text, _ in labels), labels))
    return headers


def _wrapped(text: str, width: float, size: float) -> str:
    """Breaks a text into lines that are at most `width` inches wide."""
    return textwrap.fill(text, max(4, int(width / (LETTER * size))))


def _height(picture: np.ndarray, width: float) -> float:
    return width * picture.shape[0] / picture.shape[1]


def loss_curves(curves: Mapping[str, Curves], title: str = "", panel_width: float = 4.6) -> Figure | None:
    """Draws the total loss and its parts over the steps: a panel for each part, a line for each run.

    Args:
      curves: losses after 0, 1, 2 ... steps, by the name of the run.
      title: of the figure; default none.
      panel_width: in inches; default 4.6.

    Returns:
      A figure with logarithmic axes; None if no loss is ever positive.
    """
    names = [
        name
        for name in dict.fromkeys(name for losses in curves.values() for name in losses)
        if any(np.nanmax(losses.get(name, [0]), initial=0) > 0 for losses in curves.values())
    ]
    if not names:
        return None
    wide = min(len(names), 2)
    lines = -(-len(names) // wide)
    named = 1 < len(curves) <= LEGEND
    above, below = 0.28 + 0.25 * bool(title), 0.42 + (0.1 + 0.19 * -(-len(curves) // 3)) * named
    width, height = panel_width * wide, 0.5 * panel_width * lines + above + below
    figure = Figure(figsize=(width, height))
    panels = figure.subplots(lines, wide, sharex=True, squeeze=False).ravel()
    # Fixed margins: matplotlib's automatic layouts draw everything twice, and a study has hundreds of these.
    figure.subplots_adjust(
        left=0.55 / width,
        right=1 - 0.1 / width,
        top=1 - above / height,
        bottom=below / height,
        wspace=0.55 / (panel_width - 0.6),
        hspace=0.64 / panel_width,
    )
    shades = colormaps["viridis"](np.linspace(0, 0.92, len(curves)))
    for panel, name in zip(panels, names, strict=False):
        for (run, losses), shade in zip(curves.items(), shades, strict=True):
            if name in losses:
                panel.plot(losses[name], color=shade, linewidth=1.2, label=run)
        _style(panel, name, np.concatenate([losses[name] for losses in curves.values() if name in losses]))
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    for panel in panels[max(0, len(names) - wide) : len(names)]:
        panel.set_xlabel("steps", fontsize=8, color=FAINT)
        panel.tick_params(labelbottom=True)
    if title:
        at = (0.1 / width, 1 - 0.15 / height)
        figure.text(*at, title, fontsize=10, color=INK, va="center", parse_math=False)
    if named:
        handles, labels = panels[0].get_legend_handles_labels()
        legend = figure.legend(handles, labels, loc="lower left", ncols=3, fontsize=7, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def _style(panel: Axes, name: str, values: Float[np.ndarray, " values"]) -> None:
    panel.set_yscale("log", nonpositive="mask")
    positive = values[values > 0]
    ratio = positive.max() / positive.min()
    decades = LogLocator(subs=(1.0,) if ratio > 100 else (1.0, 2.0, 5.0), numticks=6)
    panel.yaxis.set_major_locator(MaxNLocator(4) if ratio < 4 else decades)
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("e+0", "e")))
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.set_title(name, fontsize=9, loc="left", color=INK)
    panel.tick_params(labelsize=7, colors=FAINT)
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def feature_maps(
    features: Mapping[str, Float[np.ndarray, "h w c"]],
    channels: Mapping[str, Sequence[int]],
    white: Mapping[str, Float[np.ndarray, " c"]],
    side: int = 64,
) -> Float[np.ndarray, "h w 3"]:
    """Draws some channels as gray tiles, in a line for each layer.

    Args:
      features: feature maps by layer.
      channels: by layer, the channels to show; the same number for each layer.
      white: by layer, the value of each channel that is drawn white.
      side: height of a tile in pixels; default 64.

    Returns:
      A picture, float32 in [0, 1].
    """
    lines = []
    for layer, shown in channels.items():
        maps = features[layer][..., list(shown)] / (white[layer][list(shown)] + 1e-12)
        size = (side, round(side * maps.shape[1] / maps.shape[0]))
        tiles = [images.resize(np.clip(tile, 0, 1)[..., None], size) for tile in np.moveaxis(maps, -1, 0)]
        lines.append(
            np.concatenate([np.pad(tile, ((0, 2), (0, 2), (0, 0)), constant_values=1) for tile in tiles], 1)
        )
    narrowest = min(line.shape[1] for line in lines)
    return np.repeat(np.concatenate([line[:, :narrowest] for line in lines], 0), 3, axis=-1)
