"""`jaxnst compare`: pictures side by side, with labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from jaxnst.cli.output import free_name, refuse_same_files
from jaxnst.errors import InputError
from jaxnst.io import images, save
from jaxnst.io.contact_sheet import contact_sheet


def compare(
    image: Annotated[tuple[str, ...], arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint="(required)")],
    /,
    out: Annotated[
        str | None, arg(metavar="FILE", help_behavior_hint="(default: sheet.png, or sheet-2.png and so on)")
    ] = None,
    labels: Annotated[
        tuple[str, ...], arg(metavar="TEXT [TEXT ...]", help_behavior_hint="(default: the file names)")
    ] = (),
    columns: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None,
    side: int = 384,
) -> int:
    """Put pictures side by side on one sheet, each above its label.

    Args:
      image: The pictures, in the order of the sheet.
      out: File to write the sheet to: .png, .jpg, .webp or .tif.
      labels: Text below each picture.
      columns: Number of pictures in a line. Without this option: one line of up to four, else about a square.
      side: Longer side of each picture on the sheet, in pixels.
    """
    if not image:
        raise InputError("image: no picture is given; add some, for example `jaxnst compare a.png b.png`.")
    if labels and len(labels) != len(image):
        raise InputError(
            f"labels: {len(labels)} texts for {len(image)} pictures; give one for each, or none."
        )
    for name, value, least in (("columns", columns, 1), ("side", side, 16)):
        if value is not None and value < least:
            raise InputError(f"{name}: {value} is too small; the least is {least}.")
    path = free_name("sheet") if out is None else out
    save.check_output(path)
    refuse_same_files({"out": path}, {"image": image})
    pictures = [images.read_image(picture, "image") for picture in image]
    sheet = contact_sheet(pictures, labels or distinct_names(image), side, columns)
    save.check_output(path, size=sheet.shape[:2])
    save.save_image(path, sheet)
    print(f"{path}: {sheet.shape[1]}x{sheet.shape[0]}, {len(pictures)} pictures", file=sys.stderr)
    return 0


def distinct_names(paths: tuple[str, ...]) -> list[str]:
    """Returns the file names without extension, or the whole paths if two names are equal."""
    names = [Path(path).stem for path in paths]
    return names if len(set(names)) == len(names) else list(paths)
