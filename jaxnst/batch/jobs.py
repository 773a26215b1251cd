"""A job: one picture to be made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jaxnst.run.plan import Pictures

if TYPE_CHECKING:
    from jaxnst.config.config import Config


@dataclass(frozen=True, eq=False)
class Job:
    """A pair of pictures (one content, its styles) with its settings.

    Attributes:
      pictures: what it is made from.
      config: checked settings.
      out: name of the picture to write; empty for a job that writes none.
      key: a digest of all that the picture depends on; empty for a job that writes none.
      snapshot_steps: steps whose pictures are kept in the result.
      final_losses: whether the finished picture is evaluated once more.
    """

    pictures: Pictures
    config: Config
    out: str = ""
    key: str = ""
    snapshot_steps: frozenset[int] = frozenset()
    final_losses: bool = False

    @property
    def files(self) -> list[Path]:
        """Every file that is read for it: pictures, masks, the start picture and the network's weights."""
        settings = (
            *self.config.content_masks,
            *self.config.style_masks,
            self.config.start,
            self.config.weights,
        )
        pictures = (self.pictures.content, *self.pictures.styles)
        return [
            *(picture for picture in pictures if isinstance(picture, Path)),
            *(path for path in map(Path, settings) if path.is_file()),
        ]
