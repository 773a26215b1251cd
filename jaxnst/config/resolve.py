"""Builds one Config from a preset, saved settings or the defaults, and single settings that change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxnst.config.config import Config
from jaxnst.config.presets import LOOKS, PRESETS
from jaxnst.errors import InputError, choose


def resolve_config(preset: str | None, config: Config | None, settings: Mapping[str, Any]) -> Config:
    """Builds the Config of a call from Python.

    Args:
      preset: name of a look or of a published system, or None.
      config: all settings, or None. Without either, the defaults hold.
      settings: changes to the preset, the config or the defaults.

    Raises:
      InputError: both a preset and a config, an unknown preset, or an unknown or impossible setting.
    """
    if config is not None and not isinstance(config, Config):
        raise InputError(f"config: {config!r} is not a jaxnst.Config; name a preset as preset=.")
    return _base(preset, config).replace(**settings).checked()


def resolve(
    preset: str | None,
    saved: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    defaults: Config | None = None,
) -> Config:
    """Builds the Config of a command.

    The result is not checked, because a row of a manifest may still change it.

    Args:
      preset: name of a look or of a published system, or None.
      saved: settings from a saved picture, or None.
      options: only the settings that the user wrote.
      defaults: what holds without a preset and saved settings; default `Config()`.

    Raises:
      InputError: both a preset and saved settings, an unknown preset, an unknown setting, or a saved setting
        that cannot work.
    """
    config = None if saved is None else Config.from_dict(saved)
    return _base(preset, config, defaults).replace(**options)


def _base(preset: str | None, config: Config | None, defaults: Config | None = None) -> Config:
    if preset is not None and config is not None:
        raise InputError("preset and config are both given; each is a whole set of settings, so give one.")
    if preset is not None:
        choose("preset", preset, [*LOOKS, *PRESETS])
        if preset in PRESETS:
            return PRESETS[preset]
        return (defaults or Config()).replace(**LOOKS[preset].settings)
    return config or defaults or Config()
