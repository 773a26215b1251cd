"""`jaxnst reconstruct`: what layers of the network keep of one picture."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, TypeAlias

from tyro.conf import arg

from jaxnst.api import variations
from jaxnst.cli.options import (
    MAIN,
    CheckpointOptions,
    MachineOptions,
    OutputOptions,
    StartingPoint,
    settings_type,
)
from jaxnst.cli.output import (
    exit_status,
    masks_and_start,
    named,
    preview_path,
    ready,
    save_result,
    snapshot_writer,
)
from jaxnst.config.config import Config

DEFAULTS = Config(**variations.RECONSTRUCTION)

Settings: TypeAlias = Annotated[
    dict[str, Any], arg(constructor_factory=partial(settings_type, DEFAULTS, (*MAIN, "style_layers")))
]


def reconstruct(
    picture: Annotated[str, arg(metavar="PICTURE")],
    /,
    output: OutputOptions,
    starting_point: StartingPoint,
    settings: Settings,
    machine: MachineOptions,
    checkpoints: CheckpointOptions,
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
    words = (picture, "-".join(layer) or "texture")
    chosen = named(output, *words)
    with ready(chosen, {"picture": [picture], **masks_and_start(config)}, checkpoints):
        result = variations.reconstruct(
            picture,
            layer or None,
            config=config,
            progress=not output.quiet,
            callback=snapshot_writer(chosen, config),
            preview=preview_path(chosen),
            evolution=output.evolution,
            **asdict(machine),
            **asdict(checkpoints),
        )
    save_result(named(output, *words), result, saved, checkpoints, preview_path(chosen))
    return exit_status(result)
