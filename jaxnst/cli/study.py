"""`jaxnst study`: an experiment over many settings, and its report."""

from __future__ import annotations

import sys
from typing import Annotated

from tyro.conf import arg

from jaxnst.cli.output import cache_compiled_programs
from jaxnst.run.interrupts import Interrupted


def study(
    name: Annotated[str, arg(metavar="NAME")],
    /,
    content: Annotated[tuple[str, ...], arg(metavar="FILE [FILE ...]")],
    style: Annotated[tuple[str, ...], arg(metavar="FILE [FILE ...]")],
    out: Annotated[str, arg(metavar="DIR")],
    quick: bool = False,
    grids: Annotated[
        tuple[str, ...], arg(metavar="GRID [GRID ...]", help_behavior_hint="(default: all)")
    ] = (),
    size: Annotated[int | None, arg(metavar="PIXELS", help_behavior_hint="")] = None,
    weights: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    quiet: bool = False,
) -> int:
    """Run an experiment over many settings and write a report. If it stops, the same command continues.

    Args:
      name: ranka, jaiswal, wang, danayak, joshi-hu, or the path of your own TOML file.
      content: The photo, or the photos that the study calls "content 1", "content 2" and so on.
      style: The painting, or the paintings that the study calls "style 1", "style 2" and so on.
      out: Folder for the report and the pictures. Pictures that it already holds are not made again.
      quick: Run the small form of the study: small pictures and few steps.
      grids: Run only these grids of the study.
      size: Longer side of the pictures in pixels, in place of the study's. A grid over sizes keeps its own.
      weights: Weights of the network, in place of the study's.
      quiet: Show no progress bar and no messages.
    """
    from jaxnst import studies

    cache_compiled_programs()
    options = {"size": size, "weights": weights}
    settings = {key: value for key, value in options.items() if value is not None}
    try:
        done = studies.run_study(
            name, content, style, out, quick=quick, grids=grids, progress=not quiet, **settings
        )
    except KeyboardInterrupt as error:
        raise Interrupted from error
    for row in done.failed:
        print(f"jaxnst: {row.cell.name}: {row.ended}", file=sys.stderr)
    if not quiet:
        print(f"{done.folder / 'report.html'}: {len(done.rows)} cells", file=sys.stderr)
    return 1 if done.failed else 0
