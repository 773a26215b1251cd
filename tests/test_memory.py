"""How much memory a run needs, before anything is compiled."""

import jax
import numpy as np
import pytest
from pictures import refusal

import jaxnst
from jaxnst import memory
from jaxnst.core import objective, solver, vgg
from jaxnst.core.compilation import OPTIONS
from jaxnst.translate import to_loss_weights, to_problem
from jaxnst.weights import load_weights


def test_the_estimate_is_the_compilers():
    """Of what a step on a CPU needs for its features, in bytes per pixel; compiled for one anywhere."""
    config, side = jaxnst.Config(precision="float32").checked(), 192
    problem, picture = to_problem(config), np.zeros((side, side, 3), np.float32)
    with jax.default_device(jax.devices("cpu")[0]):
        params = vgg.for_cpu(vgg.up_to_deepest(load_weights("caffe").params, problem.objective.layers))
        make_targets = jax.jit(objective.make_targets, static_argnums=0)
        targets = make_targets(problem.objective, params, picture, [picture])
        inputs = solver.Inputs(params, targets, to_loss_weights(config, 1), np.float32(1))
        start = jax.jit(solver.start, static_argnums=0)
        variable, remembered = start(problem, inputs, picture, jax.random.key(0))
        step = jax.jit(solver.step, static_argnums=0, compiler_options=OPTIONS["cpu"])
        compiled = step.lower(problem, inputs, variable, remembered).compile()
    needed = compiled.memory_analysis().temp_size_in_bytes / side**2
    assert memory.SCRATCH_BYTES_PER_PIXEL["cpu"] == pytest.approx(needed, rel=0.25)


def test_auto_cuts_pictures_when_memory_is_short(monkeypatch):
    config = jaxnst.Config(size=2000, memory=5).checked()
    sizes = [(2000, 1500)]
    whole = memory.estimate_bytes(config, *sizes[0])
    monkeypatch.setattr(memory, "available_bytes", lambda *_: whole)
    assert memory.choose_tile(config, sizes, "auto") == (None, None)
    monkeypatch.setattr(memory, "available_bytes", lambda *_: whole // 2)
    tile, _ = memory.choose_tile(config, sizes, "auto")
    planned = memory.SHARE * whole / 2
    assert memory.estimate_bytes(config, *sizes[0], tile) <= planned
    assert memory.estimate_bytes(config, *sizes[0], tile + 64) > planned
    message = refusal(memory.choose_tile, config, sizes, None)
    assert f"tile={tile} would fit" in message
    assert f"{whole / 1e9:.1f} GB" in message
    monkeypatch.setattr(memory, "available_bytes", lambda *_: 10**8)
    assert "no size would fit" in refusal(memory.choose_tile, config, sizes, "auto")
    unfit = config.replace(statistic=("histogram",)).checked()
    assert "Histogram" in refusal(memory.choose_tile, unfit, sizes, "auto")
