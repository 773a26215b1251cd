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
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import flax
import jax
import jaxlib
import optax
from jax import export

from jaxnst.core import compilation
from jaxnst.io import save as saving
from jaxnst.io.weights.load import cache_folder

R = TypeVar("R")

log = logging.getLogger("jaxnst")

LIBRARIES = {"jaxnst", "jax", "jaxlib", "flax", "optax", "numpy", "builtins", "functools", "copyreg"}
"""Whose code is known by its version, or this package's source."""


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


def cache_compiled_programs() -> None:
    """Keep compiled programs between runs, unless the user has chosen a place already."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


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
    folder, of_arguments = _folder(leaves), jax.tree.unflatten(structure, range(structure.num_leaves))
    if folder is None:
        return None
    try:
        about = _by_value((function.__module__, function.__qualname__, static, of_arguments))
    except Exception as error:  # there is no end to what callers can put into an objective
        log.info("%s is not kept: %s", function.__name__, error)
        return None
    shapes = [str(jax.typeof(leaf)) for leaf in leaves]
    digest = hashlib.sha256(about + f"{shapes} {_settings()} {_versions()} {SOURCE}".encode()).hexdigest()
    path = folder / f"traced-{function.__name__}-{digest}"
    if found := _read(path):
        return found
    try:
        found = _trace(function, static, structure, leaves)
    except Exception as error:  # calls without a guarantee; of the rest `jax.jit` tells
        log.info("%s is not kept: %s", function.__name__, error)
        return None
    _write(path, *found)
    return found


def _read(path: Path) -> tuple[Any, Any] | None:
    """What `_write` wrote, if it is there and whole."""
    try:
        with path.open("rb") as file:
            program, like = _Tuples(file).load()
        return export.deserialize(program), like
    except FileNotFoundError:
        return None
    except Exception as error:  # cut off by a full disk, or whatever else has happened to it
        log.info("%s cannot be read: %s", path, error)
        return None


def _write(path: Path, traced: Any, like: Any) -> None:
    """If it can be; the run does not depend on it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        saving.write_whole(path, pickle.dumps((bytes(traced.serialize()), like)))
    except Exception as error:  # a full disk, a class within a function
        log.info("%s cannot be written: %s", path, error)


class _Tuples(pickle.Unpickler):
    """Reads numbers, texts, and the tuples with names that libraries have; no other code is run."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if module.partition(".")[0] in LIBRARIES else None
        if not (isinstance(found, type) and issubclass(found, tuple)):
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a traced program")
        return found


class _Values(pickle.Pickler):
    """Refuses code that no version says anything of: the caller's own."""

    def reducer_override(self, known: Any) -> Any:
        is_code = isinstance(known, type | types.FunctionType)
        if is_code and known.__module__.partition(".")[0] not in LIBRARIES:
            raise pickle.PicklingError(f"{known.__module__}.{known.__qualname__} may change")
        return NotImplemented


def _by_value(known: Any) -> bytes:
    """The same bytes for what is equal, whichever parts of it are one object."""
    found = io.BytesIO()
    pickler = _Values(found)
    pickler.fast = True
    pickler.dump(known)
    return found.getvalue()


def _settings() -> dict[str, Any]:
    """JAX's, but for where the cache is."""
    return {name: value for name, value in jax.config.values.items() if "cache" not in name}


@functools.cache
def _versions() -> str:
    """Of what decides, beside the function and its arguments, what is traced."""
    versions = {module.__name__: module.__version__ for module in (jax, jaxlib, flax, optax)}
    device = jax.local_devices()[0]
    return f"{versions} {device.platform} {device.device_kind}"


def _source(package: Path) -> str:
    """A digest of a package's code."""
    source = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source.update(f"{path.relative_to(package)} {path.stat().st_size} ".encode() + path.read_bytes())
    return source.hexdigest()


SOURCE = _source(Path(__file__).parent)
"""Of this one, when it was imported; what becomes of the files later does not matter to this process."""


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
