"""Writes docs/studies/NAME.md: the claims of the reports beside what was measured.

`python scripts/make_study_pages.py` reads `docs/studies/data/NAME/PAIR.csv`, each the `cells.csv` of a run of
`jaxnst study NAME`, and computes nothing. A claim holds, does not hold, or depends on the pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study_claims import CLAIMS, Cells, Claim, Finding, number, pairs_of, show

from jaxnst.studies.study import read_study

DOCS = Path(__file__).parent.parent / "docs" / "studies"

HOW_TO_READ = (
    "Each pair has its own numbers. Losses are the parts, unweighted; metrics are means over layers: "
    "`content` and `style` distances (lower is nearer), `ssim` a similarity (higher is nearer). Where "
    "several cells match, losses are their geometric mean and metrics their mean. `color/style` and "
    "`sliced_wasserstein` are distances to the style too: of the colours, and of features at layers that no "
    "trial optimises; `style 1` is the distance to the first of several. All metrics: "
    "[jaxnst/metrics/definitions.py](../../jaxnst/metrics/definitions.py)."
)
OF_LAYERS = (
    "Which of the five layers count: for content (the style is compared at all five) and for style (the "
    "content is compared at conv2_2). Distances to the photo (`content`) and to the painting (`style`), "
    "means over layers after the ReLU, some of which the trials with ReLU layers optimise."
)


def verdict(findings: Sequence[Finding]) -> str:
    """Summarises what all tables say of a claim."""
    answers = {finding.holds for finding in findings}
    if not answers:
        return "not measured"
    if None in answers:
        return "measured"
    return "**depends**" if len(answers) > 1 else "**holds**" if True in answers else "**does not hold**"


def table_of_claims(claims: Sequence[Claim], tables: Sequence[Cells]) -> list[str]:
    """Writes claims and what was measured as a table in Markdown."""
    lines = ["| claim | measured | |", "|---|---|---|"]
    for claim in claims:
        having = [cells for cells in tables if cells.has(claim.grid)]
        findings = [claim.check(cells) for cells in having]
        numbers = "<br>".join(
            f"*{cells.pair}*: {finding.numbers}" for cells, finding in zip(having, findings, strict=True)
        )
        lines.append(f"| {claim.text} | {numbers} | {verdict(findings)} |")
    return lines


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Writes a table in Markdown."""
    return [f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)]


def _joshi_hu_tables(cells: Cells) -> list[str]:
    """Writes tables 2 and 3 of Joshi and Hu."""
    lines = ["", f"## Table 2: layers ({cells.pair})", "", OF_LAYERS, ""]
    names = [f"{kind}-{layer}" for kind in ("content", "style") for layer in ("conv", "relu")]
    columns = [cells.pick(name) for name in names]
    rows = []
    for line in zip(*columns, strict=True):
        layers = line[0]["content_layers"].split()
        which = [
            ("✓" if layer in layers else "")
            for layer in ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
        ]
        rows.append([*which, *(f"{number(row, kind):.3f}" for row in line for kind in ("content", "style"))])
    header = ["1_1", "1_2", "2_1", "2_2", "3_1"]
    header += [f"{name.replace('-', ' ')}: {kind}" for name in names for kind in ("content", "style")]
    lines += markdown(header, rows)
    lines += ["", f"## Table 3: hyper-parameters ({cells.pair})", ""]
    rows = []
    for grid, axes in (
        ("iterations", ["steps"]),
        ("style-weight", ["style_weight"]),
        ("content-weight", ["content_weight"]),
        ("shift", ["random_shift"]),
        ("start", ["preset", "start"]),
        ("norm", ["norm"]),
        ("optimizer", ["optimizer"]),
    ):
        for row in cells.pick(grid):
            names = ("loss/content", "loss/style", "loss/total", "content", "ssim", "style")
            ended = "" if row["ended"] == "finished" else row["ended"]
            rows.append(
                [grid, " ".join(row[axis] for axis in axes), *(show([number(row, n)]) for n in names), ended]
            )
    lines += markdown(["", "", "content loss", "style loss", "total", "content", "ssim", "style", ""], rows)
    return lines


def _table_5(cells: Cells) -> list[str]:
    lines = ["", "## Table 5: baseline and revised, four pictures pairwise", ""]
    names = ("content", "ssim", "style", "sliced_wasserstein", "color/style")
    rows = [
        [content, style, *(f"{number(baseline, n):.3f} / {number(revised, n):.3f}" for n in names)]
        for (content, style), (baseline, revised) in pairs_of(cells).items()
    ]
    return lines + markdown(["content", "style", *(f"{n}: baseline / revised" for n in names)], rows)


def page(name: str, tables: Sequence[Cells]) -> str:
    """Writes the page of a study."""
    study = read_study(name)
    notes = DOCS / "data" / name / "notes.md"
    lines = [f"# {study.title}", "", study.about, ""]
    lines += [notes.read_text("utf-8").strip(), ""] if notes.exists() else []
    if (DOCS / f"{name}.jpg").exists():
        lines += [f"![{study.title}]({name}.jpg)", ""]
    lines += ["## Claims", "", HOW_TO_READ, ""]
    lines += table_of_claims(CLAIMS[name], tables)
    if name == "joshi-hu":
        lines += [line for cells in tables if cells.has("style-relu") for line in _joshi_hu_tables(cells)]
        lines += [line for cells in tables if cells.has("pairs") for line in _table_5(cells)]
    lines += ["", "## Tables", ""]
    lines += [f"- [data/{name}/{cells.pair}.csv](data/{name}/{cells.pair}.csv)" for cells in tables]
    return "\n".join([*lines, "", "Written by `python scripts/make_study_pages.py`.", ""])


def main() -> None:
    """Writes every page that has tables."""
    for name in CLAIMS:
        tables = [Cells(path) for path in sorted((DOCS / "data" / name).glob("*.csv"))]
        if tables:
            (DOCS / f"{name}.md").write_text(page(name, tables), "utf-8")


if __name__ == "__main__":
    main()
