"""Traced programs are kept between processes, and only what would be traced to the same is used."""

import inspect
import pickle
from dataclasses import dataclass
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnst
from jaxnst.core.statistics.moments import Moments
from jaxnst.run import loop as run
from jaxnst.run import scale as inputs
from jaxnst.run import traces

TRACED = []


def function(factor, x, memory):
    TRACED.append(factor)
    return Moments(jnp.sum(x), {"by": factor * x}, ()), memory + 1


def of_the_callers_own(factor, x):
    return factor(x)


def twice(x):
    return 2 * x


@dataclass(frozen=True)
class Factor:
    number: float

    def __call__(self, x):
        return self.number * x


def without_guarantee(factor, x):
    return jax.pure_callback(lambda x: np.asarray(factor * x), x, x)


@pytest.fixture
def kept(tmp_path):
    TRACED.clear()
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "kept"))
    yield lambda: sorted((tmp_path / "kept").glob("traced-*"))
    jax.config.update("jax_compilation_cache_dir", before)


def call(factor=2.0, x=(1.0, 2.0)):
    """As a process that has just begun."""
    x = jnp.array(x)
    found, memory = traces.jit(function, donate_argnums=(2,))(factor, x, jnp.zeros(2))
    assert isinstance(found, Moments)
    np.testing.assert_array_equal(found.first["by"], factor * x)
    assert found.weight == x.sum()
    np.testing.assert_array_equal(memory, 1)


def test_the_next_process_traces_nothing(kept):
    call()
    call()
    assert TRACED == [2.0]
    assert len(kept()) == 1


@pytest.mark.parametrize("another", [{"factor": 3.0}, {"x": (1.0,)}, {"x": (1, 2)}])
def test_another_argument_is_another_program(kept, another):
    call()
    call(**another)
    assert len(TRACED) == len(kept()) == 2


@pytest.mark.parametrize("of", [jax, flax, optax])
def test_another_version_is_another_program(kept, monkeypatch, of):
    call()
    monkeypatch.setattr(of, "__version__", "99")
    traces._versions.cache_clear()
    call()
    traces._versions.cache_clear()
    assert len(TRACED) == len(kept()) == 2


def test_another_source_is_another_program(kept, monkeypatch, tmp_path):
    assert traces._source(Path(jaxnst.__file__).parent) == traces.SOURCE
    (tmp_path / "package" / "core").mkdir(parents=True)
    changed = tmp_path / "package" / "core" / "losses.py"
    changed.write_text("x = 1")
    before = traces._source(tmp_path / "package")
    changed.write_text("x = 2")
    assert traces._source(tmp_path / "package") != before
    call()
    monkeypatch.setattr(traces, "SOURCE", before)
    call()
    assert len(TRACED) == len(kept()) == 2


def test_another_setting_is_another_program(kept):
    program = traces.jit(function)
    program(2.0, jnp.ones(2), jnp.zeros(2))
    before = jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", "bfloat16")
    try:
        program(2.0, jnp.ones(2), jnp.zeros(2))
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    assert len(TRACED) == len(kept()) == 2


@pytest.mark.parametrize("damaged", [b"", b"no program", None])
def test_a_damaged_file_is_made_anew(kept, damaged):
    call()
    [path] = kept()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damaged is None else damaged)
    call()
    assert len(TRACED) == 2
    call()
    assert len(TRACED) == 2


def test_memory_is_given_back(kept):
    del kept
    given = jnp.zeros(1000)
    traces.jit(function, donate_argnums=(2,))(2.0, jnp.ones(2), given)
    assert given.is_deleted()


def test_what_cannot_be_kept_is_computed(kept):
    """Of the caller's own code nobody knows whether it has changed."""
    assert traces.jit(of_the_callers_own)(lambda x: 2 * x, jnp.ones(())) == 2
    assert traces.jit(of_the_callers_own)(twice, jnp.ones(())) == 2
    assert traces.jit(of_the_callers_own)(Factor(2.0), jnp.ones(())) == 2
    assert traces.jit(without_guarantee)(2.0, jnp.ones(())) == 2
    assert kept() == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("jax_compilation_cache_dir", None),
        ("jax_compilation_cache_dir", "gs://bucket/cache"),
        ("jax_enable_compilation_cache", False),
    ],
)
def test_without_a_place_nothing_is_kept(kept, setting, value):
    before = jax.config.values[setting]
    jax.config.update(setting, value)
    try:
        assert traces._folder([]) is None
        if value != "gs://bucket/cache":
            call()
    finally:
        jax.config.update(setting, before)
    assert kept() == []


def test_on_other_devices_nothing_is_kept(kept):
    x, memory = jax.device_put((jnp.ones(2), jnp.zeros(2)), jax.devices()[1])
    found, _ = traces.jit(function)(2.0, x, memory)
    assert found.weight == 2
    assert kept() == []


def test_no_code_is_run_from_a_file(kept):
    call()
    [path] = kept()
    path.write_bytes(pickle.dumps((b"", twice)))
    assert traces._read(path) is None


def test_a_run_is_the_same_to_the_last_bit(kept, monkeypatch):
    """Traced and kept; read again, as by another process; and without a place to keep it."""
    given = np.random.default_rng(0).random((2, 40, 36, 3), np.float32)
    settings = {"size": 32, "steps": 3, "progress": False, "start_size": 24}
    results, written = [], []
    for _ in range(2):
        monkeypatch.setattr(run, "_step", traces.jit(inspect.unwrap(run._step), donate_argnums=(3,)))
        monkeypatch.setattr(inputs, "_targets", traces.jit(inspect.unwrap(inputs._targets)))
        results.append(jaxnst.stylize(*given, **settings))
        written.append({path: path.stat().st_mtime_ns for path in kept()})
    assert written[0] == written[1]
    assert len(written[0]) == 4  # targets and step, at two sizes
    jax.config.update("jax_compilation_cache_dir", None)
    results.append(jaxnst.stylize(*given, **settings))
    for result in results[1:]:
        np.testing.assert_array_equal(result.array, results[0].array)
