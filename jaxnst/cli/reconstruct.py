"""`jaxnst reconstruct`: what layers of the network keep of one picture."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, TypeAlias

from tyro.conf import arg

from jaxnst.api import variations
from jaxnst.cli.options import Checkpoints, Machine, Output, StartingPoint, settings_type
from jaxnst.cli.output import exit_status, ready, save_result, snapshot_writer
from jaxnst.config.config import Config

DEFAULTS = Config(**variations.RECONSTRUCTION)

Settings: TypeAlias = Annotated[dict[str, Any], arg(constructor_factory=partial(settings_type, DEFAULTS))]


def reconstruct(
    picture: Annotated[str, arg(metavar="PICTURE")],
    /,
    output: Output,
    starting_point: StartingPoint,
    settings: Settings,
    machine: Machine,
    checkpoints: Checkpoints,
    layer: Annotated[tuple[str, ...], arg(metavar="LAYER [LAYER ...]", help_behavior_hint="")] = (),
) -> int:
    """Make a picture from the features of a photo, or a texture from the style of a painting.

    Args:
      picture: The picture to reconstruct.
      output: Files and messages.
      starting_point: Start from a preset or a saved picture instead of the defaults.
      settings: Settings of the picture.
      machine: Use of memory and devices. These options do not change the picture.
      checkpoints: Continue a run that was stopped or killed.
      layer: Reconstruct the content from the features of these layers. Without this option, reconstruct the
        style from the statistics of --style-layers.
    """
    config, saved = starting_point.resolve(settings, DEFAULTS)
    with ready(output):
        result = variations.reconstruct(
            picture,
            layer or None,
            config=config,
            progress=not output.quiet,
            callback=snapshot_writer(output, config),
            **asdict(machine),
            **asdict(checkpoints),
        )
    save_result(output, result, saved, checkpoints)
    return exit_status(result)
