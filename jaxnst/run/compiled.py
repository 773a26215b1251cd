"""Compiled programs, kept on disk between runs by JAX's own cache."""

from __future__ import annotations

import jax

from jaxnst.io.weights.load import cache_folder


def cache_compiled_programs() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX has a place for them already."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
