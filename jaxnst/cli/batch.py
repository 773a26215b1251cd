"""`jaxnst batch`: the pictures of many pairs."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from jaxnst.cli.options import MachineOptions, Settings, StartingPoint
from jaxnst.cli.output import cache_compiled_programs
from jaxnst.errors import InputError


def batch(
    sources: Annotated[
        tuple[str, ...], arg(metavar="MANIFEST.csv | CONTENTS STYLES", help_behavior_hint="(required)")
    ],
    /,
    out: Annotated[str, arg(metavar="DIR")],
    starting_point: StartingPoint,
    settings: Settings,
    machine: MachineOptions,
    shard: Annotated[str | None, arg(metavar="I/N", help_behavior_hint="(default: all)")] = None,
    extension: Annotated[str, arg(metavar=".png|.jpg|...")] = ".png",
    checkpoint_minutes: float = 10.0,
    quiet: bool = False,
) -> int:
    """Make the pictures of many pairs of content and style. If it stops, the same command continues.

    Args:
      sources: A CSV file, or two folders. The file has the columns content and style (semicolons separate
        several styles), and optionally out and any setting. With two folders, every content picture in the
        first is combined with every style picture in the second.
      out: Folder for the pictures. Pictures that it already holds are not made again.
      starting_point: Start from a preset or a saved picture instead of the defaults.
      settings: Settings of all pictures. The columns of the CSV file override them.
      machine: Use of memory and devices. These options do not change the pictures.
      shard: Make only part I of N parts of the work, so that N processes (1/N to N/N) can share one folder.
      extension: Format of pictures whose names the CSV file does not give.
      checkpoint_minutes: Minutes between two checkpoints of a picture so large that it is made alone.
      quiet: Show no progress bar and no messages.
    """
    from jaxnst.batch import journal, manifest

    part = None if shard is None else _part(shard)
    config, _ = starting_point.resolve(settings)
    cache_compiled_programs()
    jobs = manifest.read_jobs(sources, config, extension)
    failures = journal.make_all(
        jobs,
        Path(out),
        **asdict(machine),
        progress=not quiet,
        checkpoint_minutes=checkpoint_minutes,
        shard=part,
    )
    for job, reason in failures:
        print(f"jaxnst: {job.out}: {reason}", file=sys.stderr)
    if not quiet:
        count = len(journal.part_of(jobs, part))
        suffix = "" if shard is None else f" in shard {shard}"
        print(f"{out}: {count - len(failures)} of {count} pictures{suffix}", file=sys.stderr)
    return 1 if failures else 0


def _part(shard: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"shard: {shard!r} is not I/N with I from 1 to N; use for example 1/4 to 4/4.")
    return int(match[1]), int(match[2])
