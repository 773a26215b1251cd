"""Traced programs, kept in files beside the compiled ones: JAX itself keeps XLA's work, not Python's.

A file goes by all that decides what is traced: the function and what is static in it, shapes, versions, JAX's
settings, and this package's source. What cannot be kept is traced each time.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import flax
import jax
import jaxlib
import optax
from jax import export

from jaxnst import saving
from jaxnst.core import compilation

R = TypeVar("R")

log = logging.getLogger("jaxnst")


def jit(function: Callable[..., R], donate_argnums: tuple[int, ...] = ()) -> Callable[..., R]:
    """`core.compilation.jit` with the first argument static; traced once for all processes.

    Only where JAX keeps compiled programs, and on the first device alone.

    Args:
      function: to be compiled; a module's, with positional arguments.
      donate_argnums: as `jax.jit` takes them.

    Returns:
      The function, compiled when it is called.
    """
    plain = compilation.jit(function, static_argnums=0, donate_argnums=donate_argnums)
    known: dict[Any, Callable[..., R]] = {}
    donated = tuple(number - 1 for number in donate_argnums)  # of what is not static

    @functools.wraps(function)
    def call(static: Any, *arguments: Any) -> R:
        leaves, structure = jax.tree.flatten(arguments)
        key = (static, structure, *map(_kind, leaves), *jax.config.values.values())
        if key not in known:
            program = _kept(function, static, structure, leaves)
            known[key] = plain if program is None else _call(function.__name__, *program, donated)
        return known[key](static, *arguments)

    return call


def _kind(leaf: Any) -> Any:
    """What a program knows of an array; called at each step, and faster than `jax.typeof`."""
    if not isinstance(leaf, jax.Array):
        return jax.typeof(leaf)
    return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False), leaf.sharding


def _folder(leaves: list[Any]) -> Path | None:
    """Where JAX keeps compiled programs, if it does, on this machine; and for its first device."""
    settings, first = jax.config.values, set(jax.local_devices()[:1])
    folder = settings["jax_compilation_cache_dir"]
    if not folder or "://" in folder or not settings["jax_enable_compilation_cache"]:
        return None
    elsewhere = any(leaf.devices() != first for leaf in leaves if isinstance(leaf, jax.Array))
    return None if elsewhere else Path(folder)


def _kept(function: Callable, static: Any, structure: Any, leaves: list[Any]) -> tuple[Any, Any] | None:
    """What `_trace` makes, from its file, which is written if it is not there; None if it cannot be kept."""
    folder = _folder(leaves)
    if folder is None:
        return None
    of_arguments = jax.tree.unflatten(structure, range(structure.num_leaves))
    try:
        about = _by_value((function.__module__, function.__qualname__, static, of_arguments))
    except (pickle.PicklingError, AttributeError, TypeError):  # functions of the caller's own
        return None
    types = [str(jax.typeof(leaf)) for leaf in leaves]
    digest = hashlib.sha256(about + f"{types} {_settings()} {_surroundings()}".encode()).hexdigest()
    path = folder / f"traced-{function.__name__}-{digest}"
    try:
        program, like = pickle.loads(path.read_bytes())
        return export.deserialize(program), like
    except Exception:  # it is not there, cut off by a full disk, or of a JAX that says the same of itself
        try:
            traced, like = _trace(function, static, structure, leaves)
            folder.mkdir(parents=True, exist_ok=True)
            saving.write_whole(path, pickle.dumps((traced.serialize(), like)))
        except (ValueError, NotImplementedError, OSError) as error:  # JAX cannot write it; a full disk
            log.info("the traced program is not kept: %s", error)
            return None
    return traced, like


def _by_value(known: Any) -> bytes:
    """Pickled, whichever parts of it are the same object."""
    found = io.BytesIO()
    pickler = pickle.Pickler(found)
    pickler.fast = True
    pickler.dump(known)
    return found.getvalue()


def _settings() -> dict[str, Any]:
    """JAX's, but for where the cache is."""
    return {name: value for name, value in jax.config.values.items() if "cache" not in name}


def _trace(function: Callable, static: Any, structure: Any, leaves: list[Any]) -> tuple[Any, Any]:
    """The program from leaves to leaves, and what it gives as a whole, with numbers for leaves."""
    found = []

    def flat(*leaves: Any) -> list[Any]:
        found.append(jax.tree.structure(out := function(static, *jax.tree.unflatten(structure, leaves))))
        return jax.tree.leaves(out)

    traced = export.export(jax.jit(flat))(*leaves)
    return traced, jax.tree.unflatten(found[0], range(found[0].num_leaves))


def _call(name: str, traced: Any, like: Any, donate_argnums: tuple[int, ...]) -> Callable:
    """What `jax.jit` would have made, the static argument aside."""

    def program(*arguments: Any) -> Any:
        return jax.tree.unflatten(jax.tree.structure(like), traced.call(*jax.tree.leaves(arguments)))

    program.__name__ = name
    compiled = compilation.jit(program, donate_argnums=donate_argnums)
    return lambda static, *arguments: compiled(*arguments)


@functools.cache
def _surroundings() -> str:
    """What decides, beside the function and its arguments, what is traced."""
    versions = {module.__name__: module.__version__ for module in (jax, jaxlib, flax, optax)}
    package = Path(__file__).parent
    source = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source.update(f"{path.relative_to(package)} {path.stat().st_size} ".encode() + path.read_bytes())
    device = jax.local_devices()[0]
    return f"{versions} {source.hexdigest()} {device.platform} {device.device_kind}"
