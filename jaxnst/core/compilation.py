"""How large programs are compiled: `jax.jit`, with the options that pay on the backend at hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

R = TypeVar("R")

OPTIONS: dict[str, dict[str, Any]] = {
    # XLA's usual schedule on a CPU leaves independent work to run side by side, which two pictures' features
    # do not need and memory does: with this one a step takes a quarter less, making the targets a third.
    "cpu": {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"},
}
"""XLA's options by backend."""


def jit(function: Callable[..., R], **options: Any) -> Callable[..., R]:
    """`jax.jit` with `OPTIONS` of the backend that is there at the first call, not at import.

    Args:
      function: to be compiled.
      options: as `jax.jit` takes them.

    Returns:
      The function, compiled when it is called.
    """

    @functools.cache
    def jitted() -> Callable[..., R]:
        return jax.jit(function, compiler_options=OPTIONS.get(jax.default_backend()), **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> R:
        return jitted()(*args, **kwargs)

    return call
