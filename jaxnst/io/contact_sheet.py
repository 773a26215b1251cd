"""Contact sheets: pictures in lines, each above its label.

Knows about layout and lettering; `jaxnst.io.save` writes the sheet, `jaxnst.studies` draws sheets with axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxnst.io import images
from jaxnst.io.save import to_pil

if TYPE_CHECKING:
    from jaxtyping import Float

CELLS_IN_LINE = 8
"""Most pictures in a line where nothing else decides it."""

INK = (34, 34, 34)


def contact_sheet(
    pictures: Sequence[Float[np.ndarray, "h w 3"]],
    labels: Sequence[str],
    side: int = 384,
    columns: int | None = None,
) -> Float[np.ndarray, "h w 3"]:
    """Puts pictures in lines on white, each above its label.

    Args:
      pictures: at least one, float `[H, W, 3]` in [0, 1], of any sizes.
      labels: one for each picture; a long one is broken into lines.
      side: longer side of each picture on the sheet, in pixels; default 384.
      columns: pictures in a line; default: at most four in a single line, else about as many as lines.

    Returns:
      Float32 `[H, W, 3]` in [0, 1].
    """
    shown = [images.resize(picture, images.fit_size(picture.shape[:2], side)) for picture in pictures]
    cell, letter, gap = max(picture.shape[1] for picture in shown), max(11, side // 20), max(4, side // 48)
    font, line = _font(letter), math.ceil(1.4 * letter)
    texts = [_wrapped(label, font, cell) for label in labels]
    rows = in_lines(len(shown), columns or columns_for(len(shown)))
    highs = [max(shown[index].shape[0] for index in row if index is not None) for row in rows]
    rooms = [line * max(texts[index].count("\n") + 1 for index in row if index is not None) for row in rows]
    width = gap + len(rows[0]) * (cell + gap)
    sheet = Image.new("RGB", (width, gap + sum(highs) + sum(rooms) + 2 * gap * len(rows)), "white")
    draw, top = ImageDraw.Draw(sheet), gap
    for row, high, room in zip(rows, highs, rooms, strict=True):
        for column, index in enumerate(row):
            if index is None:
                continue
            tall, wide = shown[index].shape[:2]
            left = gap + column * (cell + gap)
            sheet.paste(to_pil(shown[index]), (left + (cell - wide) // 2, top + high - tall))
            for number, text in enumerate(texts[index].split("\n")):
                draw.text((left + cell / 2, top + high + gap + number * line), text, INK, font, "ma")
        top += high + room + 2 * gap
    return np.asarray(sheet, np.float32) / 255


def columns_for(count: int) -> int:
    """Chooses how many pictures stand in a line: all up to four, else about as many as there are lines."""
    return count if count <= 4 else min(CELLS_IN_LINE, math.ceil(math.sqrt(count)))


def in_lines(count: int, columns: int) -> tuple[tuple[int | None, ...], ...]:
    """Breaks the indices from 0 to `count` into lines of equal length; None fills the last."""
    indices = [*range(count), *[None] * (-count % columns)]
    return tuple(tuple(indices[start : start + columns]) for start in range(0, len(indices), columns))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size)
    except ImportError:  # a Pillow that was built without FreeType has one small font
        return ImageFont.load_default()


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Breaks a text where it is wider than `width` pixels: between words, or else within one."""
    lines = [""]
    for word in text.split():
        if lines[-1] and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(lines)
