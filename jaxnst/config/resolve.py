"""What callers give: which settings hold, which pictures and masks belong to one run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxnst.config.config import Config
from jaxnst.config.presets import PRESETS
from jaxnst.errors import InputError, choose
from jaxnst.io import images
from jaxnst.run.plan import Pictures

if TYPE_CHECKING:
    from jaxnst.io.images import Picture


def resolve_config(preset: str | None, config: Config | None, settings: Mapping[str, Any]) -> Config:
    """Settle which settings hold: a preset or a Config or the defaults, with single fields changed.

    Raises:
      InputError: both a preset and a config, an unknown preset, or an unknown or impossible setting.
    """
    if config is not None and not isinstance(config, Config):
        raise InputError(f"config: {config!r} is not a jaxnst.Config; a preset goes by preset=.")
    if preset is not None and config is not None:
        raise InputError("preset and config are both given; each is a whole set of settings, so give one.")
    if preset is not None:
        config = PRESETS[choose("preset", preset, PRESETS)]
    return (config or Config()).replace(**settings).checked()


def gather(
    content: Picture | None, style: Any, content_masks: Any, style_masks: Any, config: Config
) -> tuple[Pictures, Config]:
    """The pictures and the masks, which the config keeps by their paths (arrays by a name that is none)."""
    found: dict[str, list[Picture]] = {}
    for name, given in (("content_masks", content_masks), ("style_masks", style_masks)):
        found[name] = images.as_list(getattr(config, name) if given is None else given)
        config = config.replace(**{name: tuple(map(_name_of_mask, found[name]))})
    styles = images.as_list(style)
    if style is not None and not styles:
        raise InputError("style: no picture is given; give at least one, or None to reconstruct the content.")
    return Pictures(content, styles, **found), config


def _name_of_mask(mask: Picture) -> str:
    if isinstance(mask, str | os.PathLike):
        return os.fspath(mask)
    return f"<{type(mask).__name__}>"
