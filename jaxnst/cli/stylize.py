"""`jaxnst stylize`: one picture from a photo and paintings, on one machine or on several."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import jax
from tyro.conf import arg

from jaxnst.api.stylize import stylize as make_picture
from jaxnst.cli.options import Checkpoints, Machine, Output, Settings, StartingPoint
from jaxnst.cli.output import exit_status, ready, save_result, snapshot_writer
from jaxnst.errors import InputError


@dataclass(frozen=True)
class Hosts:
    """Holds the options of `jax.distributed.initialize`, for several processes that make one picture."""

    distributed: bool = False
    """Let JAX ask the cluster (Slurm, Open MPI, Cloud TPU) for the values below."""
    coordinator_address: Annotated[str | None, arg(metavar="HOST:PORT", help_behavior_hint="")] = None
    """Address of process 0, at which all processes meet."""
    num_processes: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Number of processes."""
    process_id: Annotated[int | None, arg(metavar="I", help_behavior_hint="")] = None
    """Number of this process, from 0."""


def stylize(
    content: Annotated[str, arg(metavar="CONTENT")],
    style: Annotated[tuple[str, ...], arg(metavar="STYLE [STYLE ...]", help_behavior_hint="(required)")],
    /,
    output: Output,
    starting_point: StartingPoint,
    settings: Settings,
    machine: Machine,
    checkpoints: Checkpoints,
    hosts: Hosts,
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
    with ready(output):
        is_writer = _join(hosts, machine)
        result = make_picture(
            content,
            style,
            config=config,
            progress=is_writer and not output.quiet,
            callback=snapshot_writer(output, config, is_writer),
            **asdict(machine),
            **asdict(checkpoints),
        )
    if is_writer:
        save_result(output, result, saved, checkpoints)
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
