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
    high, wide = (max(picture.shape[axis] for picture in shown) for axis in (0, 1))
    font = _font(max(11, side // 20))
    texts = [_wrapped(label, font, wide) for label in labels]
    gap, line = max(4, side // 48), math.ceil(1.3 * max(11, side // 20))
    room = line * max(text.count("\n") + 1 if text else 0 for text in texts)
    rows = in_lines(len(shown), columns or columns_for(len(shown)))
    step_down, step_right = high + room + 2 * gap, wide + gap
    size = len(rows[0]) * step_right + gap, len(rows) * step_down + gap
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, indices in enumerate(rows):
        for column, index in enumerate(indices):
            if index is None:
                continue
            picture, left, top = shown[index], gap + column * step_right, gap + row * step_down
            tall, broad = picture.shape[:2]
            at = left + (wide - broad) // 2, top + high - tall
            sheet.paste(Image.fromarray(np.rint(picture * 255).astype(np.uint8)), at)
            draw.multiline_text(
                (left + wide / 2, top + high + gap), texts[index], INK, font, "ma", line / 5, "center"
            )
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
