"""`jaxnst presets`: the published systems."""

from __future__ import annotations

from typing import Any

from jaxnst.config.config import Config
from jaxnst.config.presets import PRESETS


def presets() -> int:
    """List the published systems, with the settings in which each differs from the defaults."""
    defaults = Config().to_dict()
    for name, preset in PRESETS.items():
        print(name)
        for field, value in preset.to_dict().items():
            if value != defaults[field]:
                print(f"  {_option(field.replace('_', '-'), value)}")
    return 0


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
