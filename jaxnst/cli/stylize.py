"""`jaxnst stylize`: one picture from a photo and paintings, on one machine or on several."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import jax
from tyro.conf import arg

from jaxnst.api.stylize import stylize as make_picture
from jaxnst.cli.options import (
    CheckpointOptions,
    HostOptions,
    Hosts,
    Machine,
    MachineOptions,
    OutputOptions,
    Settings,
    StartingPoint,
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
from jaxnst.errors import InputError


def stylize(
    content: Annotated[str, arg(metavar="CONTENT")],
    style: Annotated[tuple[str, ...], arg(metavar="STYLE [STYLE ...]", help_behavior_hint="(required)")],
    /,
    output: OutputOptions,
    starting_point: StartingPoint,
    settings: Settings,
    machine: MachineOptions,
    checkpoints: CheckpointOptions,
    hosts: HostOptions,
) -> int:
    """Make a picture with the content of a photo in the style of a painting.

    Args:
      content: The content picture, for example a photo.
      style: The style picture, for example a painting, or several to mix.
      output: Files and messages.
      starting_point: Start from a preset or a saved picture instead of the defaults.
      settings: Settings of the picture.
      machine: Use of memory and devices. These options do not change the picture.
      checkpoints: Continue a run that was stopped or killed.
      hosts: Several processes that make one picture together. Start the same command with --devices all in
        each of them; process 0 writes the picture.
    """
    config, saved = starting_point.resolve(settings)
    if not style:
        raise InputError(
            "style: no painting is given; add one, for example `jaxnst stylize photo.jpg painting.jpg`."
        )
    inputs = {"content": [content], "style": style, **masks_and_start(config)}
    chosen = named(output, content, *style)
    with ready(chosen, inputs, checkpoints):
        is_writer = _join(hosts, machine)
        result = make_picture(
            content,
            style,
            config=config,
            progress=is_writer and not output.quiet,
            callback=snapshot_writer(chosen, config, is_writer),
            preview=preview_path(chosen),
            evolution=output.evolution,
            **asdict(machine),
            **asdict(checkpoints),
        )
    if is_writer:
        save_result(named(output, content, *style), result, saved, checkpoints, preview_path(chosen))
    return exit_status(result)


def _join(hosts: Hosts, machine: Machine) -> bool:
    """Connects this process with the others, and returns whether it is the one that writes the picture."""
    if hosts == Hosts():
        return True
    if hosts.num_processes != 1 and machine.devices != "all":
        raise InputError("devices: several processes make one picture on all their devices; use all.")
    jax.config.update("jax_enable_preemption_service", False)  # it would catch SIGTERM and let the run go on
    try:
        jax.distributed.initialize(hosts.coordinator_address, hosts.num_processes, hosts.process_id)
    except (ValueError, RuntimeError) as error:
        message = " ".join(str(error).split())
        raise InputError(f"coordinator_address, num_processes, process_id: {message}") from error
    return jax.process_index() == 0
