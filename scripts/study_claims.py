"""The claims of the five reports, each with a function that checks it against a study's table.

Only tables count, not pictures or runs. `make_study_pages.py` writes the answers to docs/studies.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnst.metrics import METRICS, kind

PICTURE_COLUMNS = ("content", "style")
"""Columns that name the pictures of a cell; metrics of these names have a layer appended."""


class Cells:
    """Holds the rows of one `cells.csv`."""

    def __init__(self, path: Path) -> None:
        """Reads the file."""
        self.pair = path.stem
        with path.open(newline="") as file:
            self.rows = list(csv.DictReader(file))

    def pick(self, grid: str, **labels: str | float) -> list[dict[str, str]]:
        """Returns the rows of a grid with these labels, in order."""
        wanted = {
            axis: f"{label:g}" if isinstance(label, float | int) else label for axis, label in labels.items()
        }
        return [
            row
            for row in self.rows
            if row["grid"] == grid and all(row[axis] == label for axis, label in wanted.items())
        ]

    def has(self, grid: str) -> bool:
        """Says whether this table has a grid."""
        return bool(self.pick(grid))

    def value(self, name: str, grid: str, **labels: str | float) -> float:
        """Returns the geometric mean of a loss, or the mean of a metric, over the cells that match.

        NaN if one of them did not finish.
        """
        rows = self.pick(grid, **labels)
        values = [number(row, name) if row["ended"] == "finished" else np.nan for row in rows]
        return float(np.exp(np.mean(np.log(values))) if name.startswith("loss/") else np.mean(values))

    def along(
        self, name: str, grid: str, axis: str, values: Sequence[str | float], **labels: str | float
    ) -> list[float]:
        """Returns a value for each label of an axis."""
        return [self.value(name, grid, **{axis: value}, **labels) for value in values]


def number(row: dict[str, str], name: str) -> float:
    """Returns a column, or the mean of a metric's columns; NaN if the cell has no picture."""
    if name.startswith("loss/"):
        return float(row.get(name) or "nan")

    values = [
        float(text)
        for column, text in row.items()
        if text
        and column not in PICTURE_COLUMNS
        and name in (column, column.rpartition("/")[0], kind(column))
    ]
    return float(np.mean(values)) if values else float("nan")


class Finding(NamedTuple):
    """Says what a table has about a claim; `holds` is None if it cannot decide."""

    numbers: str
    holds: bool | None


@dataclass(frozen=True)
class Claim:
    """Holds something that a report says, or a question of its experiment.

    Attributes:
      text: the claim in a sentence.
      grid: name of the grid that decides; tables without it are skipped.
      check: compares the claim with a table.
    """

    text: str
    grid: str
    check: Callable[[Cells], Finding]


def show(values: Sequence[float]) -> str:
    """Formats numbers, separated by commas."""
    return ", ".join(f"{value:.3g}".replace("e+0", "e").replace("e+", "e") for value in values)


def falls(values: Sequence[float]) -> bool:
    """Says whether every value is below its predecessor."""
    return all(b < a for a, b in itertools.pairwise(values))


def rises(values: Sequence[float]) -> bool:
    """Says whether every value is above its predecessor."""
    return falls(list(values)[::-1])


def trend(
    text: str,
    name: str,
    grid: str,
    axis: str,
    values: Sequence[str | float],
    test: Callable,
    **labels: str | float,
) -> Claim:
    """Makes a claim about how a number changes along an axis."""

    def check(cells: Cells) -> Finding:
        numbers = cells.along(name, grid, axis, values, **labels)
        where = [f"{label} {_label(value)}" for label, value in labels.items()]
        where.append(f"{axis} {', '.join(_label(value) for value in values)}")
        return Finding(
            f"{name} at {'; '.join(where)}: {show(numbers)}",
            test(numbers) if np.isfinite(numbers).all() else None,
        )

    return Claim(text, grid, check)


def _label(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def best(at: int, higher: bool = False) -> Callable[[Sequence[float]], bool]:
    """Returns a test whether the value at this index is the best."""
    return lambda values: int(np.argmax(values) if higher else np.argmin(values)) == at


def _fall_done(
    grid: str, by: int, first: int, last: int, least: float | None = None
) -> Callable[[Cells], Finding]:
    """Checks whether 95 % of the fall is done, or the loss is below `least` times the last one."""

    def check(cells: Cells) -> Finding:
        begun, there, ended = cells.along("loss/total", grid, "steps", (first, by, last))
        share = (begun - there) / (begun - ended)
        left = there / ended
        return Finding(
            f"{share:.2%} of the fall between steps {first} and {last} is done at {by}; the total is then "
            f"{left:.2f} times the last",
            share > 0.95 if least is None else left < least,
        )

    return check


def _seeds(cells: Cells) -> Finding:
    total = cells.along("loss/total", "iterations", "seed", (0, 2019), steps=1000)
    similar = cells.along("ssim", "iterations", "seed", (0, 2019), steps=1000)
    apart = abs(total[0] / total[1] - 1)
    return Finding(f"total {show(total)}, {apart:.1%} apart; ssim {show(similar)}", apart < 0.05)


def _relu_beats_conv(kind: str, name: str) -> Callable[[Cells], Finding]:
    """Compares subset by subset, by a metric that no trial optimises: of pixels, or at other layers."""
    higher = METRICS[name].higher_is_better

    def check(cells: Cells) -> Finding:
        conv, relu = (
            [number(row, name) for row in cells.pick(f"{kind}-{layer}")] for layer in ("conv", "relu")
        )
        if not np.isfinite([*conv, *relu]).all():
            return Finding(f"{name}: not all cells have ended", None)
        better = sum(b > a if higher else b < a for a, b in zip(conv, relu, strict=True))
        return Finding(
            f"{name}: ReLU is better in {better} of {len(conv)} choices of layers; medians: conv "
            f"{np.median(conv):.4g}, ReLU {np.median(relu):.4g}",
            better * 2 > len(conv),
        )

    return check


def _optimizers(cells: Cells) -> Finding:
    rows = cells.pick("optimizer")
    total = {row["optimizer"]: number(row, "loss/total") for row in rows if row["ended"] == "finished"}
    diverged = [row["optimizer"] for row in rows if row["ended"] != "finished"]
    text = "; ".join(f"{name}: {show([value])}" for name, value in total.items())
    text += f"; diverged: {', '.join(diverged)}" if diverged else ""
    adam = [value for name, value in total.items() if name.startswith("adam")]
    return Finding(f"total {text}", total.get("lbfgs 1", np.inf) < min(adam, default=np.inf))


def _revised(name: str) -> Callable[[Cells], Finding]:
    def check(cells: Cells) -> Finding:
        pairs = pairs_of(cells)
        ratios = [number(revised, name) / number(baseline, name) for baseline, revised in pairs.values()]
        better = sum(ratio < 1 for ratio in ratios)
        text = f"revised is nearer in {better} of {len(ratios)} pairs, median ratio {np.median(ratios):.3g}"
        return Finding(f"{name}: {text}", better * 2 > len(ratios))

    return check


def pairs_of(cells: Cells) -> dict[tuple[str, str], tuple[dict[str, str], dict[str, str]]]:
    """Returns the baseline and the revised row of each pair of two different pictures."""
    pairs: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in cells.pick("pairs"):
        if row["content"] != row["style"]:
            pairs.setdefault((row["content"], row["style"]), {})[row["preset"]] = row
    return {key: (rows["joshi-hu"], rows["joshi-hu-revised"]) for key, rows in pairs.items()}


def _measured(
    grid: str, axis: str, names: Sequence[str], **labels: str | float
) -> Callable[[Cells], Finding]:
    """Lists what was measured, where the report makes no claim that we know of."""

    def check(cells: Cells) -> Finding:
        rows = cells.pick(grid, **labels)
        text = (
            f"{row[axis]}: {', '.join(f'{name} {show([number(row, name)])}' for name in names)}"
            for row in rows
        )
        return Finding("; ".join(text), None)

    return check


def _between(cells: Cells) -> Finding:
    text, holds = [], []
    for name in ("ssim", "style"):
        first, second, *others = cells.along(name, "guidelines", "preset", PRESETS)
        text.append(f"{name}: {show([first, second])}, between them {show(others)}")
        holds += [min(first, second) <= other <= max(first, second) for other in others]
    return Finding("; ".join(text), all(holds))


BLENDS, RATES = (0.3, 0.5, 0.7), (0.4, 0.7, 1.0)
GUIDELINES = ("content-preservation", "strong-style", "balanced", "challenging-pairs")
PRESETS = tuple(f"ranka-{name}" for name in GUIDELINES)
DEEPER = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
MORE = ("conv1_1", "to conv2_1", "to conv3_1", "to conv4_1", "to conv5_1")
SHARES = ("1 0", "0.75 0.25", "0.5 0.5", "0.25 0.75", "0 1")
FEW = ("1 : 1e6", "10 : 1e5")

CLAIMS: dict[str, tuple[Claim, ...]] = {
    "ranka": (
        trend(
            "A higher noise ratio starts at a lower content loss",
            "loss/content",
            "noise-ratio",
            "blend",
            BLENDS,
            falls,
            steps=1,
        ),
        trend(
            "A lower noise ratio ends at a lower style loss",
            "loss/style",
            "noise-ratio",
            "blend",
            BLENDS,
            rises,
            steps=1000,
        ),
        trend(
            "Learning rate 0.7 ends lowest",
            "loss/total",
            "noise-ratio",
            "learning_rate",
            RATES,
            best(1),
            steps=1000,
        ),
        Claim(
            "Most of the loss falls before step 750 (here: 95 % before 800)",
            "noise-ratio",
            _fall_done("noise-ratio", 800, 1, 1000),
        ),
        trend(
            "Guideline: content preservation keeps most of the content",
            "ssim",
            "guidelines",
            "preset",
            PRESETS,
            best(0, higher=True),
        ),
        trend(
            "Guideline: strong style comes nearest to the style",
            "style",
            "guidelines",
            "preset",
            PRESETS,
            best(1, higher=False),
        ),
        Claim(
            "Guidelines: balanced and challenging pairs lie between",
            "guidelines",
            _between,
        ),
    ),
    "jaiswal": (
        trend(
            "The more a style weighs, the nearer the picture is to it (style 1's share 1 to 0)",
            "style 1",
            "blends",
            "style_weights",
            SHARES,
            rises,
        ),
        trend(
            "The more a style weighs, the nearer the picture is to its colours",
            "color/style 1",
            "blends",
            "style_weights",
            SHARES,
            rises,
        ),
        trend(
            "Deeper layers keep less of the content",
            "ssim",
            "content-reconstruction",
            "content_layers",
            DEEPER,
            falls,
        ),
        trend(
            "More layers bring a texture nearer to the style",
            "style",
            "style-reconstruction",
            "style_layers",
            MORE,
            falls,
        ),
        Claim(
            "One style to two contents",
            "contents",
            _measured("contents", "content", ("loss/style", "style", "ssim")),
        ),
        Claim(
            "128 and 512 pixels",
            "sizes",
            _measured("sizes", "size", ("content", "ssim", "style", "color/style")),
        ),
    ),
    "wang": (
        Claim("Seeds hardly matter (total less than 5 % apart)", "iterations", _seeds),
        Claim(
            "Most of the loss (95 % of its fall) falls before step 750",
            "iterations",
            _fall_done("iterations", 750, 1, 1000),
        ),
        trend(
            "The deeper the content layer, the less of the content is kept",
            "ssim",
            "content-layer",
            "content_layers",
            ("relu1_1", "relu3_1", "relu5_1"),
            falls,
        ),
        trend(
            "The larger the ratio, the less of the content is kept",
            "ssim",
            "ratio",
            "style_weight",
            (100, 1000, 10000),
            falls,
        ),
        trend(
            "The larger the ratio, the nearer to the style",
            "style",
            "ratio",
            "style_weight",
            (100, 1000, 10000),
            falls,
        ),
    ),
    "danayak": (
        trend(
            "Weights 10 : 1e5 keep more of the content than 1 : 1e6",
            "ssim",
            "weights",
            "content_to_style",
            FEW,
            rises,
        ),
        trend("Weights 1 : 1e6 come nearer to the style", "style", "weights", "content_to_style", FEW, rises),
        trend(
            "Learning rate 0.003 ends lower than 0.001",
            "loss/total",
            "weights",
            "learning_rate",
            (0.003, 0.001),
            rises,
            content_to_style="1 : 1e6",
        ),
        trend(
            "5000 steps end lower than 2000",
            "loss/total",
            "weights",
            "steps",
            (2000, 5000),
            falls,
            content_to_style="1 : 1e6",
        ),
        trend(
            "Weighted style layers keep more of the content than equal ones of the same sum",
            "ssim",
            "layers",
            "layers",
            ("1, 0.75, 0.2, 0.2, 0.2", "0.47 each"),
            falls,
        ),
        trend(
            "Equal style layers, of the same sum, come nearer to the style than weighted ones",
            "style",
            "layers",
            "layers",
            ("1, 0.75, 0.2, 0.2, 0.2", "0.47 each"),
            falls,
        ),
    ),
    "joshi-hu": (
        Claim(
            "After 300 iterations little is gained (the total is within 10 % of that after 2000)",
            "iterations",
            _fall_done("iterations", 300, 100, 2000, least=1.1),
        ),
        *(
            Claim(
                f"ReLU layers beat conv layers, as {kind} layers, in nearness to the {nearness}",
                f"{kind}-relu",
                _relu_beats_conv(kind, name),
            )
            for kind in ("content", "style")
            for nearness, name in (("content", "ssim"), ("style", "sliced_wasserstein"))
        ),
        trend(
            "A larger style weight brings the picture nearer to the style",
            "style",
            "style-weight",
            "style_weight",
            (100, 1000, 1e5, 1e6),
            falls,
        ),
        *(
            trend(
                f"A larger content weight keeps more of the content, by {name}",
                name,
                "content-weight",
                "content_weight",
                (1, 5, 10, 20, 100),
                test,
            )
            for name, test in (("content", falls), ("ssim", rises))
        ),
        trend(
            "The smaller the shift factor, the less of the content is kept",
            "ssim",
            "shift",
            "random_shift",
            (0.95, 0.96, 0.97, 0.98, 0.99),
            rises,
        ),
        trend(
            "Starting from the content ends lowest (baseline)",
            "loss/total",
            "start",
            "start",
            ("content", "noise", "black"),
            best(0),
            preset="joshi-hu",
        ),
        trend(
            "Starting from the content ends lowest (revised)",
            "loss/total",
            "start",
            "start",
            ("content", "noise", "black"),
            best(0),
            preset="joshi-hu-revised",
        ),
        trend(
            "L1 ends far above L2 (their totals, which are of different units)",
            "loss/total",
            "norm",
            "norm",
            ("l2", "l1"),
            lambda values: values[1] > 2 * values[0],
        ),
        trend(
            "L1 ends above L2 by a measure that is the same for both",
            "style",
            "norm",
            "norm",
            ("l2", "l1"),
            rises,
        ),
        Claim("L-BFGS ends below Adam", "optimizer", _optimizers),
        Claim(
            "The revised algorithm keeps more of the content than the baseline", "pairs", _revised("content")
        ),
        Claim("The revised algorithm comes nearer to the style", "pairs", _revised("style")),
    ),
}
