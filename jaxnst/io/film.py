"""Films: frames of one size become an animation, or a contact sheet, by the extension of the file."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from jaxnst.errors import InputError
from jaxnst.io.contact_sheet import contact_sheet
from jaxnst.io.files import PathLike, check_file, expand, write_whole
from jaxnst.io.save import save_image

if TYPE_CHECKING:
    from jaxtyping import UInt8

    Frame = UInt8[np.ndarray, "h w 3"]

EXTENSIONS = (".gif", ".webp", ".png")

MOST_FRAMES = 60
"""Frames of a film; more make a file of tens of megabytes, and show no more."""

LONGEST_SIDE = 512
"""Longer side of a film, in pixels: a GIF of this size takes about 15 MB."""

SECONDS, LAST_SECONDS = 6.0, 2.0
"""Length of a film, and how long it holds its last frame."""

SHEET_FRAMES, SHEET_SIDE = 16, 256
"""Pictures of a contact sheet, and their longer side in pixels."""


def check_film(path: PathLike, argument: str = "evolution") -> None:
    """Checks, before the work starts, that a film can be written to a path.

    Raises:
      InputError: the extension is none of `EXTENSIONS`, or `files.check_file` refuses the path.
    """
    suffix = check_file(path, argument).suffix.lower()
    if suffix not in EXTENSIONS:
        raise InputError(
            f"{argument}: {os.fspath(path)!r} is no film; use .gif or .webp, or .png for a contact sheet."
        )


def spread(count: int, most: int) -> list[int]:
    """Chooses at most `most` of the numbers 1 to `count`, evenly spread, with the first and the last."""
    return sorted({round(number) for number in np.linspace(1, count, min(count, most))})


def save_film(path: PathLike, frames: Mapping[int, Frame]) -> None:
    """Writes a film, or a contact sheet of at most `SHEET_FRAMES` of its frames.

    Args:
      path: .gif, .webp or .png.
      frames: by step, in order, uint8 `[H, W, 3]`, all of one size; at least one.

    Raises:
      OSError: the write failed; the old file is unchanged.
    """
    suffix = expand(path).resolve().suffix.lower()
    if suffix == ".png":
        steps = list(frames)
        chosen = [steps[number - 1] for number in spread(len(steps), SHEET_FRAMES)]
        pictures = [frames[step].astype(np.float32) / 255 for step in chosen]
        save_image(path, contact_sheet(pictures, [f"step {step}" for step in chosen], SHEET_SIDE))
        return
    pictures = [Image.fromarray(frame) for frame in frames.values()]
    each = round(1000 * min(0.4, SECONDS / len(pictures)))
    times = [each] * (len(pictures) - 1) + [round(1000 * LAST_SECONDS)]
    file = io.BytesIO()
    if suffix == ".gif":
        first, *rest = map(_with_palette, pictures)
        first.save(file, "GIF", save_all=True, append_images=rest, duration=times, loop=0, optimize=False)
    else:
        first, *rest = pictures
        first.save(file, "WEBP", save_all=True, append_images=rest, duration=times, loop=0, quality=85)
    write_whole(path, file.getvalue())


def _with_palette(picture: Image.Image) -> Image.Image:
    """Reduces a picture to 256 colours of its own, and dithers it, so that skies show no bands."""
    # An octree is as close as median cut or maximal coverage, refined by k-means, and 30 times faster.
    palette = picture.quantize(256, Image.Quantize.FASTOCTREE)
    return picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
