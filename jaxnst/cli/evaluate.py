"""`jaxnst evaluate`: how near pictures are to a photo and to paintings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from jaxnst import metrics
from jaxnst.cli.output import cache_compiled_programs
from jaxnst.errors import InputError
from jaxnst.io import files, images


def evaluate(
    image: Annotated[tuple[str, ...], arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint="(required)")],
    /,
    content: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    style: Annotated[tuple[str, ...], arg(metavar="FILE [FILE ...]", help_behavior_hint="")] = (),
    size: int = metrics.SIZE,
    out: Annotated[str | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
) -> int:
    """Measure how close pictures are to a photo and to paintings, in numbers that no setting changes.

    Four numbers between 0 and 1 sum up palette, style, structure and speckle; a table has the details.

    Args:
      image: The pictures to measure.
      content: The photo.
      style: The paintings.
      size: Longer side of all pictures when they are compared, in pixels.
      out: Also write the numbers to this JSON file.
    """
    if not image:
        raise InputError("image: no picture is given; add one, for example `jaxnst evaluate picture.png`.")
    if out is not None:
        files.check_file(out, "out")
    names, arrays = _distinct_names(image), [images.read_image(path, "image") for path in image]
    cache_compiled_programs()
    styles = list(style) or None
    measures = [metrics.measure(array, content, styles, size) for array in arrays]
    summaries = [metrics.summary(array, content, styles, size) for array in arrays]
    print(metrics.table(dict(zip(names, summaries, strict=True))))
    print()
    for key in summaries[0]:
        print(f"{key}: {metrics.SUMMARY[key].meaning}.")
    print()
    print(metrics.table(dict(zip(names, measures, strict=True))))
    if out is not None:
        numbers = [brief | detailed for brief, detailed in zip(summaries, measures, strict=True)]
        files.write_whole(out, json.dumps(dict(zip(image, numbers, strict=True)), indent=2).encode())
    return 0


def _distinct_names(paths: tuple[str, ...]) -> list[str]:
    """Returns the file names, or the whole paths if two names are equal."""
    if len(set(paths)) < len(paths):
        raise InputError("image: a picture is named twice; name each once.")
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)
