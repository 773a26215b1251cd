"""How much memory a run needs, before anything is compiled."""

import jax
import numpy as np
import pytest
from pictures import refusal

import jaxnst
from jaxnst import memory
from jaxnst.core import solver
from jaxnst.core.compilation import OPTIONS
from jaxnst.inputs import inputs_at, params_of_steps
from jaxnst.plan import Pictures, prepare
from jaxnst.translate import to_problem


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the figure is a CPU's")
def test_the_estimate_is_the_compilers(photo, painting):
    """Of what a step needs for its features, in bytes per pixel."""
    plan = prepare(Pictures(photo, [painting]), jaxnst.Config(size=192).checked())
    problem, inputs = to_problem(plan.config), inputs_at(plan, (192, 192), params_of_steps(plan))
    start = jax.jit(solver.start, static_argnums=0)
    variable, remembered = start(problem, inputs, np.zeros((192, 192, 3), np.float32), jax.random.key(0))
    step = jax.jit(solver.step, static_argnums=0, compiler_options=OPTIONS["cpu"])
    compiled = step.lower(problem, inputs, variable, remembered).compile()
    needed = compiled.memory_analysis().temp_size_in_bytes / 192**2
    assert memory.SCRATCH_BYTES_PER_PIXEL["cpu"] == pytest.approx(needed, rel=0.25)


def test_auto_cuts_pictures_when_memory_is_short(monkeypatch):
    config = jaxnst.Config(size=2000, memory=5).checked()
    sizes = [(2000, 1500)]
    whole = memory.estimate_bytes(config, *sizes[0])
    monkeypatch.setattr(memory, "available_bytes", lambda: whole)
    assert memory.choose_tile(config, sizes, "auto") is None
    monkeypatch.setattr(memory, "available_bytes", lambda: whole // 2)
    tile = memory.choose_tile(config, sizes, "auto")
    planned = memory.SHARE * whole / 2
    assert memory.estimate_bytes(config, *sizes[0], tile) <= planned
    assert memory.estimate_bytes(config, *sizes[0], tile + 64) > planned
    message = refusal(memory.choose_tile, config, sizes, None)
    assert f"tile={tile} would fit" in message
    assert f"{whole / 1e9:.1f} GB" in message
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**8)
    assert "no size would fit" in refusal(memory.choose_tile, config, sizes, "auto")
    unfit = config.replace(statistic=("histogram",)).checked()
    assert "Histogram" in refusal(memory.choose_tile, unfit, sizes, "auto")
