"""Which of several processes this one is, and how processes come together that compute one thing.

A batch needs no more than its place: each process works for itself, none waits for another or dies with it.
Under `jax.distributed` all end when one does, and none can come back alone (measured, docs/scaling.md).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax

from jaxnst.errors import InputError

T = TypeVar("T")

PATIENCE = 300
"""Seconds until all processes must have come together; `jax.distributed.initialize` waits as long."""


@dataclass(frozen=True)
class Processes:
    """Several processes at the same work, and which of them this one is; by default there is one."""

    distributed: bool = False
    """One of several processes: Slurm, Open MPI, Kubernetes or Cloud TPU says which, and of how many."""
    num_processes: int | None = None
    """How many processes there are, where nothing else says so."""
    process_id: int | None = None
    """Which of them this one is, from 0."""
    coordinator_address: str | None = None
    """HOST:PORT of process 0, where processes meet that compute one thing; those of a batch need not."""


@dataclass(frozen=True)
class Place:
    """One process among several.

    Attributes:
      index: which it is, from 0.
      count: how many there are.
      devices: the GPUs of its host that are this process's, by number; None: all that it sees.
    """

    index: int = 0
    count: int = 1
    devices: tuple[int, ...] | None = None

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """This process's part of something that all would do."""
        return work[self.index :: self.count]


def find(given: Processes) -> Place:
    """Find this process's place, without a word to the others.

    Raises:
      InputError: what is given does not go together, or there is no cluster to ask.
    """
    explicit = (given.num_processes, given.process_id, given.coordinator_address)
    if given.distributed and explicit != (None, None, None):
        raise InputError(
            "distributed: the cluster says which process this is; leave num_processes, process_id and "
            "coordinator_address out, or leave distributed out."
        )
    if given.distributed:
        _, count, index, devices = _ask_cluster("none")
        return _checked(Place(index, count, None if devices is None else tuple(devices)))
    if explicit == (None, None, None):
        return Place()
    if given.num_processes is None or given.process_id is None:
        raise InputError("num_processes, process_id: one is missing; give both, or distributed on a cluster.")
    if given.coordinator_address is not None:
        _port(given.coordinator_address)
    return _checked(Place(given.process_id, given.num_processes, _devices_asked_for()))


def _checked(place: Place) -> Place:
    if not 0 <= place.index < place.count:
        raise InputError(
            f"process_id: there is no process {place.index} of {place.count}; they go from 0 to "
            "num_processes - 1."
        )
    return place


def _ask_cluster(address: str | None) -> tuple[str, int, int, Sequence[int] | None]:
    """Address, count, index and devices, as `jax.distributed.initialize` finds them where they are None."""
    asked_for = _devices_asked_for()
    try:
        # The public function asks the same, but then waits for all the others.
        from jax._src.clusters import ClusterEnv

        ask = ClusterEnv.auto_detect_unset_distributed_params
        found = ask(address, None, None, asked_for, None, PATIENCE)
    except Exception as error:  # whatever a cluster's programs, files and variables do not say as expected
        raise InputError(
            f"distributed: the cluster does not say which process this is ({_told(error)}); give "
            "num_processes and process_id."
        ) from error
    address, count, index, devices = found
    if address is None or count is None or index is None:
        raise InputError(
            "distributed: no cluster is found here; start with srun, mpirun or the like, or give "
            "num_processes and process_id."
        )
    bound = asked_for is None and _one_gpu_is_visible()
    return address, count, index, None if bound else devices


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _devices_asked_for() -> tuple[int, ...] | None:
    """What the variable says that `jax.distributed.initialize` obeys."""
    asked = os.environ.get("JAX_LOCAL_DEVICE_IDS")
    try:
        return tuple(map(int, asked.split(","))) if asked else None
    except ValueError:
        raise InputError(f"JAX_LOCAL_DEVICE_IDS: {asked!r} are no numbers; use for example 0,1.") from None


def _one_gpu_is_visible() -> bool:
    """Whether the launcher has bound this process to one GPU already, which then is number 0 in each."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return bool(visible) and "," not in visible


def keep_to_own_devices(place: Place) -> None:
    """Hide the GPUs that are other processes' of the same host; to be called before JAX looks for devices."""
    if place.devices is not None:
        names = ",".join(map(str, place.devices))
        jax.config.update("jax_cuda_visible_devices", names)
        jax.config.update("jax_rocm_visible_devices", names)


def connect(given: Processes, seconds: float = PATIENCE) -> Place:
    """Bring the processes together that compute one thing: `jax.devices()` are then those of all.

    To be called before JAX looks for devices. From then on, when one process dies, JAX ends the others.

    Args:
      given: what is known of the processes.
      seconds: until all must have come.

    Raises:
      InputError: they cannot come together. One whose others did not come should end; it still waits, aside.
    """
    place = find(given)
    if place.count == 1:
        return place
    address = _ask_cluster(None)[0] if given.distributed else given.coordinator_address
    port = _port(address)
    if place.index == 0:
        _check_free(port)  # where it is not, JAX dies of a segmentation fault
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, and nobody listens
    failed: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(
                address,
                place.count,
                place.index,
                local_device_ids=place.devices,
                cluster_detection_method="deactivate",
                initialization_timeout=int(seconds) + 600,
            )
        except Exception as error:
            failed.append(error)

    # Aside, because JAX's own timeout ends the process from C++, with a stack trace.
    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise InputError(
            f"coordinator_address: {place.count} processes did not come together at {address!r} within "
            f"{seconds:.0f} s; start all of them, and let process 0 be reachable there."
        )
    if failed:
        raise InputError(f"coordinator_address: JAX cannot bring processes together ({_told(failed[0])}).")
    return place


def _port(address: str | None) -> int:
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"coordinator_address: {address!r} will not do; give HOST:PORT of process 0.")
    return int(port)


def _check_free(port: int) -> None:
    try:
        with socket.create_server(("", port)):
            pass
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise InputError(
            f"coordinator_address: port {port} cannot be used here ({why}); choose another."
        ) from error
