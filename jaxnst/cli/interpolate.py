"""`jaxnst interpolate`: a strip of pictures from one style to another."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from jaxnst.api import variations
from jaxnst.cli.options import MachineOptions, OutputOptions, Settings, StartingPoint
from jaxnst.cli.output import (
    exit_status,
    masks_and_start,
    named,
    ready,
    report,
    save_picture,
    without_interrupts,
)
from jaxnst.errors import InputError
from jaxnst.run.ended import Ended

if TYPE_CHECKING:
    from jaxnst.run.result import Result


def interpolate(
    content: Annotated[str, arg(metavar="CONTENT")],
    style: Annotated[tuple[str, ...], arg(metavar="STYLE STYLE", help_behavior_hint="(required)")],
    /,
    output: OutputOptions,
    starting_point: StartingPoint,
    settings: Settings,
    machine: MachineOptions,
    count: int = 5,
) -> int:
    """Make a strip of pictures that changes from one style to another.

    Args:
      content: The content picture, for example a photo.
      style: The two style pictures.
      output: Files and messages.
      starting_point: Start from a preset or a saved picture instead of the defaults.
      settings: Settings of the pictures.
      machine: Use of memory and devices. These options do not change the picture.
      count: Number of pictures in the strip.
    """
    if output.history is not None or output.snapshots or output.preview or output.evolution is not None:
        raise InputError(
            "history and snapshots, preview and evolution: a strip comes from several runs; leave them out."
        )
    if len(style) != 2:
        raise InputError(f"style: give two paintings, to go from one to the other, not {len(style)}.")
    config, _ = starting_point.resolve(settings)
    results: list[Result] = []
    chosen = named(output, content, *style)
    with ready(chosen, {"content": [content], "style": style, **masks_and_start(config)}):
        runs = variations.interpolate(
            content, style, count, config=config, progress=not output.quiet, **asdict(machine)
        )
        try:
            for result in runs:
                results.append(result)
                if result.ended != Ended.finished:
                    break
        finally:
            finished = [result for result in results if result.ended == Ended.finished]
            if finished:
                arrays = [result.array for result in finished]
                metadata = finished[0].metadata | {"config": config.to_dict(), "pictures": len(finished)}
                chosen = named(output, content, *style)
                with without_interrupts():
                    save_picture(chosen, variations.strip(arrays), metadata)
                report(chosen, f"{len(finished)} of {count} pictures")
    return exit_status(results[-1])
