"""How much memory a run needs, before anything is compiled."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest
from pictures import refusal

import jaxnst
from jaxnst.config.build import to_loss_weights, to_problem
from jaxnst.core import objective, solver, vgg
from jaxnst.core.compilation import OPTIONS
from jaxnst.core.sharding import ONE_DEVICE
from jaxnst.io.weights.load import load_weights
from jaxnst.run.memory_budget import (
    NETWORK_BYTES,
    SCRATCH_BYTES_PER_PIXEL,
    SHARE,
    estimate_bytes,
    fit_in_memory,
)

ROOT = Path(__file__).parents[2]
SIZING = ROOT / "benchmarks" / "results" / "sizing.json"


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
        state = start(problem, inputs, picture, jax.random.key(0))
        step = jax.jit(solver.step, static_argnums=0, compiler_options=OPTIONS["cpu"])
        compiled = step.lower(problem, inputs, state).compile()
    needed = compiled.memory_analysis().temp_size_in_bytes / side**2
    assert SCRATCH_BYTES_PER_PIXEL["cpu"] == pytest.approx(needed, rel=0.25)


@pytest.mark.fast
def test_the_estimate_for_accelerators_is_not_below_the_compilers(monkeypatch):
    """Of one picture over many devices, as the sizing table has it; the network is an allowance."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for row in json.loads(SIZING.read_text())["results"]["rows"]:
        if row["pairs"] == 1:
            side, placement = row["size"], SimpleNamespace(rows=row["rows"])
            estimate = estimate_bytes(jaxnst.Config(size=side), side, side, None, placement)
            assert row["memory_bytes"] < estimate < 2 * row["memory_bytes"] + NETWORK_BYTES, row


def test_the_sizing_table_is_what_was_computed():
    """`python -m benchmarks.sizing` writes both."""
    sizing = runpy.run_path(str(ROOT / "benchmarks" / "sizing.py"))
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    rows = json.loads(SIZING.read_text())["results"]["rows"]
    assert page == sizing["put"](page, sizing["table"](rows))


@pytest.mark.fast
def test_auto_cuts_pictures_when_memory_is_short():
    config = jaxnst.Config(size=2000, history_size=5).checked()
    sizes = [(2000, 1500)]
    whole = estimate_bytes(config, *sizes[0])
    assert fit_in_memory(config, sizes, "auto", whole) == (None, ONE_DEVICE)
    tile, placement = fit_in_memory(config, sizes, "auto", whole // 2)
    assert placement is ONE_DEVICE
    planned = SHARE * whole / 2
    assert estimate_bytes(config, *sizes[0], tile) <= planned
    assert estimate_bytes(config, *sizes[0], tile + 64) > planned
    message = refusal(fit_in_memory, config, sizes, None, whole // 2)
    assert f"tile={tile} would fit" in message
    assert f"{whole / 1e9:.1f} GB" in message
    assert "no size would fit" in refusal(fit_in_memory, config, sizes, "auto", 10**8)
    unfit = config.replace(statistic=("histogram",)).checked()
    assert "Histogram" in refusal(fit_in_memory, unfit, sizes, "auto", 10**8)


@pytest.mark.fast
def test_what_is_free_now_counts_by_default(monkeypatch):
    config, sizes = jaxnst.Config(size=2000, history_size=5).checked(), [(2000, 1500)]
    whole = estimate_bytes(config, *sizes[0])
    for available, tiled in ((whole, False), (whole // 2, True)):
        free = SimpleNamespace(available=available)
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: free)
        tile, _ = fit_in_memory(config, sizes, "auto")
        assert (tile is not None) is tiled


@pytest.mark.fast
def test_a_refusal_says_why_there_are_no_tiles():
    config = jaxnst.Config(size=2000, line_search="zoom").checked()
    message = refusal(fit_in_memory, config, [(2000, 1500)], "auto", 10**9)
    assert "only 'none' goes with tiles" in message
