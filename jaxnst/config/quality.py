"""The quality levels: at which scales a run works, and how many steps it does at each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

QUALITIES: Mapping[str, tuple[int, ...]] = {
    "draft": (18, 8, 6, 5, 4),
    "good": (32, 12, 10, 8, 6),
    "best": (120, 80, 60, 40, 20, 12),
}
"""Quality levels by name: the number of steps at scales of up to 128 pixels, of about 256, 512, ... pixels.

The last holds for all larger scales. docs/quality.md has the measurements from which they were chosen."""

FIRST_SIDE = 128
"""Longer side at the first scale of every level, in pixels. A smaller one moves eyes and mouths."""


def steps_of(level: tuple[int, ...], side: int) -> int:
    """Returns the number of steps that a level does at a scale with a longer side of `side` pixels."""
    octave = round(math.log2(max(side / FIRST_SIDE, 1)))
    return level[min(octave, len(level) - 1)]


NO_LEVEL = "none"
"""Value of `quality` with which `start_size` and `steps` mean exactly what they say."""


def share_out(total: int, parts: Sequence[int]) -> list[int]:
    """Divides a number of steps in the ratio of `parts`; each part gets at least one.

    Args:
      total: at least the number of parts.
      parts: positive.

    Returns:
      Whole numbers with sum `total`; `parts` itself if that is their sum.
    """
    whole, before = sum(parts), 0
    shares, done = [], 0
    for index, part in enumerate(parts):
        before += part
        left = len(parts) - index - 1
        shares.append(min(max(total * before // whole - done, 1), total - done - left))
        done += shares[-1]
    return shares
