"""The quality levels: at which scales a run works, and how many steps it does at each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Quality(NamedTuple):
    """Says how much work goes into a picture.

    Attributes:
      start_size: longer side at the first scale, in pixels, for pictures that are larger.
      steps: number of steps at scales of about 64, 128, 256, ... pixels; the last holds for all larger ones.
    """

    start_size: int
    steps: tuple[int, ...]

    def steps_at(self, side: int) -> int:
        """Returns the number of steps at a scale with a longer side of `side` pixels."""
        octave = round(math.log2(max(side, 64) / 64))
        return self.steps[min(octave, len(self.steps) - 1)]


QUALITIES: Mapping[str, Quality] = {
    "draft": Quality(64, (40, 25, 15, 10, 6)),
    "good": Quality(128, (60, 50, 20, 15, 10, 8)),
    "best": Quality(128, (120, 120, 80, 60, 40, 20, 12)),
}
"""Quality levels by name. From 64 pixels on, faces lose their eyes and mouths, which 128 pixels keep."""

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
