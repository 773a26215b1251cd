"""`jaxnst presets`: looks and published systems."""

from __future__ import annotations

from typing import Any

from jaxnst.config.config import Config
from jaxnst.config.presets import LOOKS, PLAIN, PRESETS


def presets() -> int:
    """List the looks and the published systems, with the settings that each changes.

    A look changes the defaults. A published system changes what stands below "all of them".
    """
    defaults = Config()
    print("Looks\n")
    for name, look in LOOKS.items():
        print(f"{name}: {look.description}")
        _print_changes(defaults, defaults.replace(**look.settings))
    print("\nPublished systems\n\nall of them")
    _print_changes(defaults, PLAIN)
    for name, preset in PRESETS.items():
        print(name)
        _print_changes(PLAIN, preset)
    return 0


def _print_changes(defaults: Config, preset: Config) -> None:
    before = defaults.to_dict()
    for field, value in preset.to_dict().items():
        if value != before[field]:
            print(f"  {_option(field.replace('_', '-'), value)}")


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
