"""Many pairs: each result is the single run's, whatever its neighbours do."""

import contextlib
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import refusal

import jaxnst
from jaxnst.batch import engine as batch
from jaxnst.batch import groups
from jaxnst.errors import TooLargeError
from jaxnst.run import loop as run
from jaxnst.run import vectorised as lanes

FAST = {
    "size": 32,
    "steps": 3,
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "progress": False,
}


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(0)
    coarse = [generator.random((6, 8, 3)) for _ in range(5)]
    return [np.clip(jax.image.resize(of, (48, 64, 3), "cubic"), 0, 1).astype(np.float32) for of in coarse]


def alone(content, style, **settings):
    return jaxnst.stylize(content, style, **FAST | settings)


def assert_same(found, expected):
    np.testing.assert_allclose(found.array, expected.array, rtol=0, atol=1e-4)
    assert found.ended == expected.ended
    assert found.config == expected.config
    for name, losses in expected.history.items():
        np.testing.assert_allclose(found.history[name], losses, rtol=1e-3)


def test_each_result_is_that_of_the_single_run(pictures):
    """With several sizes among them, and settings of their own."""
    contents = [pictures[0], pictures[1][:40], pictures[2], pictures[3]]
    configs = [
        jaxnst.Config(**{name: value for name, value in FAST.items() if name != "progress"}, **own)
        for own in ({}, {}, {"style_weight": 5.0, "seed": 3, "start": "blend"}, {"learning_rate": 0.5})
    ]
    found = jaxnst.stylize_batch(contents, pictures[4], config=configs, progress=False)
    for content, config, result in zip(contents, configs, found, strict=True):
        assert_same(result, jaxnst.stylize(content, pictures[4], config=config, progress=False))


def test_crossed_pairs_come_content_by_content(pictures):
    found = jaxnst.stylize_batch(pictures[:2], pictures[2:4], crossed=True, **FAST)
    expected = [alone(content, style) for content in pictures[:2] for style in pictures[2:4]]
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_a_lane_that_diverges_leaves_the_others_alone(pictures):
    configs = [jaxnst.Config(max_step=0.0, clamp=False, learning_rate=rate) for rate in (1.0, 1e30, 1.0)]
    found = jaxnst.stylize_batch(pictures[:3], pictures[4], config=configs, **FAST)
    assert [result.ended for result in found] == ["finished", "diverged", "finished"]
    assert np.isfinite(found[1].array).all()
    for index, result in enumerate(found):
        with pytest.warns(UserWarning) if index == 1 else contextlib.nullcontext():
            expected = jaxnst.stylize(pictures[index], pictures[4], config=configs[index], **FAST)
        assert len(result.history["total"]) == len(expected.history["total"])
        assert_same(result, expected)


def test_what_fails_halves_the_batch(pictures, monkeypatch):
    """What is computed together is cut until it fits; a pair that never does is reported alone."""
    seen, run_plan = [], groups.run_plan

    def together(plans):
        seen.append(len(plans))
        raise RuntimeError("whatever it is")

    def alone(plan, *given, **settings):
        if plan.config.seed == 7:
            raise RuntimeError("whatever it is")
        return run_plan(plan, *given, **settings)

    monkeypatch.setattr(lanes, "optimise", together)
    monkeypatch.setattr(groups, "run_plan", alone)
    settings = {name: value for name, value in FAST.items() if name != "progress"}
    configs = [jaxnst.Config(**settings, seed=seed).checked() for seed in (1, 7, 2)]
    pairs = [batch.Pair(batch.Pictures(pictures[0], [pictures[4]]), config) for config in configs]
    found = dict(batch.work_through(pairs, None))
    assert seen[0] == 3
    assert isinstance(found[1], RuntimeError)
    assert found[0].ended == found[2].ended == "finished"


def test_memory_that_runs_out_in_tiles_is_the_pairs_own_affair(pictures, monkeypatch):
    step = run._step_in_tiles

    def short_of_memory(tile, problem, inputs, variable, memory):
        if variable.shape[0] == 96:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return step(tile, problem, inputs, variable, memory)

    monkeypatch.setattr(run, "_step_in_tiles", short_of_memory)
    contents = [np.ones((96, 64, 3), np.float32), pictures[0]]
    found = jaxnst.stylize_batch(contents, pictures[4], **FAST | {"size": 96}, tile=64)
    assert isinstance(found[0], TooLargeError)
    assert found[1].ended == "finished"


def test_memory_that_runs_out_leaves_the_last_good_picture(pictures, monkeypatch):
    """Of a pair that is alone already: after a step it has a picture, and the others are whole."""
    step, large, steps = run._step, [], []

    def short_together(plans):
        del plans
        large.append(weakref.ref(array := jnp.ones(1000)))
        raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: Out of memory after {array.size}")

    def short_alone(problem, inputs, *state):
        assert large[0]() is None, "what failed still has its memory"
        steps.append(inputs.learning_rate == 0.5)
        if steps[-1] and sum(steps) > 1:  # whichever pair comes first
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return step(problem, inputs, *state)

    monkeypatch.setattr(lanes, "optimise", short_together)
    monkeypatch.setattr(run, "_step", short_alone)
    settings = {name: value for name, value in FAST.items() if name != "progress"}
    configs = [jaxnst.Config(**settings, learning_rate=rate).checked() for rate in (1.0, 0.5)]
    pairs = [batch.Pair(batch.Pictures(pictures[0], [pictures[4]]), config) for config in configs]
    with pytest.warns(UserWarning, match="memory ran out at step 2"):
        found = dict(batch.work_through(pairs, None))
    assert found[0].ended == "finished"
    assert found[1].ended == "out of memory"
    assert len(found[1].history["total"]) == 1
    assert np.isfinite(found[1].array).all()


def test_pairs_that_cannot_be_are_refused_before_work_starts(pictures, monkeypatch, tmp_path):
    monkeypatch.setattr(batch, "work_through", None)
    assert "3 and 2" in refusal(jaxnst.stylize_batch, pictures[:3], pictures[:2])
    assert refusal(jaxnst.stylize_batch, [], pictures[0]).startswith("contents:")
    message = refusal(jaxnst.stylize_batch, [pictures[0], tmp_path / "none.png"], pictures[1])
    assert message.startswith("pair 2: content:")
    assert "config: 1 for 2" in refusal(
        jaxnst.stylize_batch, pictures[:2], pictures[2], config=[jaxnst.Config()]
    )
