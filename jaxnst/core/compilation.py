"""Compiles large programs: `jax.jit` with the compiler options that pay on the current backend."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

OPTIONS: dict[str, dict[str, Any]] = {
    # By default XLA schedules independent work to run concurrently on a CPU, which keeps the features of two
    # pictures in memory at once. With this schedule a step takes a quarter less memory, making the targets a
    # third less.
    "cpu": {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"},
}
"""XLA's compiler options, by backend."""

PROGRAMS_KEPT = 24
"""Compiled programs that one function keeps. A step on a CPU takes 400 of the 65 530 memory maps that Linux
gives a process, and without any left XLA aborts: after a hundred sizes of pictures, were all kept."""


def jit(function: Callable, **options: Any) -> Any:
    """Wraps `jax.jit` with the `OPTIONS` of the backend in use at the first call.

    The backend is not looked up earlier, because that would initialise the devices at import.

    Args:
      function: function to compile.
      options: keyword arguments of `jax.jit`.

    Returns:
      A function that compiles at its first call, and forgets its programs when there are more than
      `PROGRAMS_KEPT`; its `lower` is that of `jax.jit`.
    """

    @functools.cache
    def jitted() -> Any:
        return jax.jit(function, compiler_options=OPTIONS.get(jax.default_backend()), **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        found = jitted()(*args, **kwargs)
        if jitted()._cache_size() > PROGRAMS_KEPT:
            jitted().clear_cache()
        return found

    call.lower = lambda *args, **kwargs: jitted().lower(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
    return call
