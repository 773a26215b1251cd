"""Lanes of one program are the runs that they would be alone."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from pictures import refusal
from runs import FailingSteps, SaveAt, Watch, as_on_an_accelerator

import jaxnst
from jaxnst.errors import InputError
from jaxnst.run.ended import Ended
from jaxnst.run.hooks import Record
from jaxnst.run.loop import optimise
from jaxnst.run.plan import Pictures, prepare
from jaxnst.run.result import run_plan
from jaxnst.run.vectorised import MOST_LANES, most_lanes, program, run_plans, scale_of_lanes, shared

SMALL = {
    "size": 32,
    "steps": 4,
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "style_weight": 500.0,
    "precision": "float32",
}

DESCENT = {"optimizer": "sgd", "steps": 6, "clamp": False}

TOO_HEAVY = {"weighting": "absolute", "content_weight": 1e38, "style_weight": 1e38, "start": "noise"}

CALM, WILD = (DESCENT | {"learning_rate": rate} for rate in (1e-8, 1e8))


@pytest.fixture
def plans(photo, painting):
    """Makes plans from settings, one after another."""

    def make(*settings):
        configs = [jaxnst.Config(**SMALL | changed).checked() for changed in settings]
        return [prepare(Pictures(photo, [painting]), config) for config in configs]

    return make


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        (
            [
                {"style_weight": 5.0, "learning_rate": 0.5},
                {"start": "blend", "seed": 3, "style_layer_weights": (1.0, 0.0)},
                {"start": "noise", "tv_weight": 0.0, "content_weight": 3.0},
            ],
            2e-3,
        ),
        (
            [
                {
                    "optimizer": "adam",
                    "learning_rate": rate,
                    "random_shift": shift,
                    "norm": "l1",
                    "start_size": 16,
                    "seed": seed,
                    "color": "luminance",
                    "steps": 2,
                }
                for seed, (rate, shift) in enumerate(((0.02, 0.95), (0.05, 0.99)))
            ],
            1e-4,
        ),
        ([{"style_scale": scale} for scale in (0.5, 1.0)], 2e-3),
    ],
    ids=["weights, rates, starts", "two scales, shifts", "scales of the style"],
)
def test_lanes_are_single_runs(plans, photo, painting, settings, tolerance):
    together = plans(*settings)
    assert len({program(plan) for plan in together}) == 1
    results = run_plans(together, snapshot_steps={1})
    for changed, plan, result in zip(settings, together, results, strict=True):
        single = jaxnst.stylize(photo, painting, progress=False, snapshots=1, **SMALL | changed)
        np.testing.assert_allclose(result.array, single.array, atol=tolerance)
        assert result.ended == single.ended == "finished"
        assert result.config == single.config
        assert result.metadata == single.metadata
        assert list(result.history) == list(single.history)
        for name, history in single.history.items():
            assert len(result.history[name]) == plan.config.steps
            np.testing.assert_allclose(result.history[name], history, rtol=1e-3, atol=1e-9)
        assert result.snapshots.keys() == result.snapshot_seconds.keys() == {1}
        np.testing.assert_allclose(result.snapshots[1], single.snapshots[1], atol=tolerance)
        assert result.final_losses == {}


def test_final_losses_are_those_of_the_finished_pictures(plans, photo, painting):
    together = plans({"seed": 0}, {"start": "noise", "content_weight": 3.0})
    for plan, result in zip(together, run_plans(together, final_losses=True), strict=True):
        expected = jaxnst.evaluate(result.array, photo, painting, plan.config)
        assert result.final_losses == pytest.approx(expected, rel=1e-4)
        assert len(result.history["total"]) == plan.config.steps
        alone = run_plan(plan, final_losses=True)
        expected = jaxnst.evaluate(alone.array, photo, painting, plan.config)
        assert alone.final_losses == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("in_flight", [False, True])
def test_progress_of_lanes_means_what_that_of_one_run_means(plans, monkeypatch, in_flight):
    """Losses before the step, pictures after it, numbers from 1; and a progress that is kept stays so."""
    together = plans({"seed": 0}, {"seed": 1, "start": "noise"})
    at_once, later = [], Watch()

    class ReadAtOnce(Watch):
        def __call__(self, progress, state, scale):
            at_once.append((progress.step, progress.losses, progress.image))

    results = run_plans(together, [ReadAtOnce()])
    if in_flight:
        as_on_an_accelerator(monkeypatch)
    run_plans(together, [later])
    assert later.steps == [step for step, *_ in at_once] == [1, 2, 3, 4]
    assert later.readable == ([4] if in_flight else [1, 2, 3, 4])
    for progress, (step, losses, image) in zip(later.seen, at_once, strict=True):
        assert progress.steps == 4
        assert progress.size == (32, 32)
        assert progress.image.shape == (2, 32, 32, 3)
        np.testing.assert_array_equal(progress.image, image)
        assert progress.losses.keys() == results[0].history.keys()
        for name, values in progress.losses.items():
            np.testing.assert_array_equal(values, losses[name])
            np.testing.assert_array_equal(values, [result.history[name][step - 1] for result in results])
    for result, image in zip(results, progress.image, strict=True):
        np.testing.assert_array_equal(result.array, image)


def test_what_is_alike_is_there_once(plans):
    first, second = shared(plans({"seed": 0}, {"seed": 1}))
    assert first.content is second.content
    assert first.styles[0] is second.styles[0]
    assert first.params is second.params


def test_styles_of_other_sizes_are_lanes(photo, painting):
    """Gram matrices have no size."""
    config = jaxnst.Config(**SMALL).checked()
    together = [prepare(Pictures(photo, [style]), config) for style in (painting, photo)]
    assert program(together[0]) == program(together[1])
    assert program(together[0]) != program(prepare(Pictures(painting, [photo]), config))
    for style, result in zip((painting, photo), run_plans(together), strict=True):
        alone = jaxnst.stylize(photo, style, config=config, progress=False)
        np.testing.assert_allclose(result.history["total"], alone.history["total"], rtol=1e-3)
    patches = config.replace(statistic=("patches",), steps=1, edges="drop").checked()
    together = [prepare(Pictures(photo, [style]), patches) for style in (painting, photo)]
    assert program(together[0]) != program(together[1])


def test_what_the_compiler_sees_is_no_lane(plans):
    base, *others = plans(
        {}, {"steps": 5}, {"norm": "l1"}, {"size": 48}, {"random_shift": 0.9}, {"optimizer": "adam"}
    )
    assert all(program(base) != program(other) for other in others)


def test_a_plan_in_tiles_is_no_lane(photo, painting):
    config = jaxnst.Config(**SMALL | {"size": 160}).checked()
    first, second = (prepare(Pictures(photo, [painting]), config, tile=64) for _ in range(2))
    assert program(first) != program(second)
    assert most_lanes(first) == 1


def test_a_lane_that_diverges_stays_and_the_others_go_on(plans, photo, painting):
    calm, wild = run_plans(plans(CALM, WILD), snapshot_steps=range(1, 7), final_losses=True)
    assert calm.ended is Ended.finished
    assert len(calm.history["total"]) == len(calm.snapshots) == 6
    assert np.isfinite(list(calm.final_losses.values())).all()
    [alone] = run_plans(plans(CALM))
    np.testing.assert_allclose(calm.history["total"], alone.history["total"], rtol=1e-4)
    np.testing.assert_allclose(calm.array, alone.array, atol=1e-4)
    with pytest.warns(UserWarning, match="no longer a finite number"):
        single = jaxnst.stylize(photo, painting, progress=False, snapshots=1, **SMALL | WILD)
    assert wild.ended == single.ended == "diverged"
    assert np.isfinite(wild.array).all()
    np.testing.assert_allclose(wild.history["total"], single.history["total"], rtol=1e-3)
    np.testing.assert_allclose(wild.array, single.array, atol=1e-4)
    assert wild.snapshots.keys() == single.snapshots.keys()
    assert np.isnan(wild.final_losses["total"])


def test_lanes_that_all_diverge_end_the_run(plans):
    watch = Watch()
    results = run_plans(plans(WILD, WILD | {"learning_rate": 1e9}), [watch], final_losses=True)
    assert [result.ended for result in results] == [Ended.diverged] * 2
    assert 1 <= max(len(result.history["total"]) for result in results) == len(watch.steps) < 6
    assert all(np.isfinite(result.array).all() for result in results)
    assert [result.final_losses for result in results] == [{}, {}]


def test_a_hook_stops_all_lanes_and_one_that_had_diverged_says_so(plans):
    calm, wild = run_plans(plans(CALM, WILD), [Watch(stop_at=5, reason=Ended.interrupted)])
    assert calm.ended is Ended.interrupted
    assert len(calm.history["total"]) == 5
    assert wild.ended is Ended.diverged
    assert len(wild.history["total"]) < 5


def test_a_first_picture_without_a_loss_is_refused_and_the_other_lanes_go_on(plans):
    good, refused = run_plans(plans({}, TOO_HEAVY))
    assert good.ended is Ended.finished
    assert isinstance(refused, InputError)
    [alone] = plans(TOO_HEAVY)
    assert str(refused) == refusal(run_plan, alone)


def test_memory_that_runs_out_is_the_callers_affair(plans):
    """Who asked for so many lanes can ask for fewer."""
    together = [
        dataclasses.replace(plan, steps=FailingSteps(plan.steps.problem, fails_at=2))
        for plan in plans({"seed": 0}, {"seed": 1})
    ]
    with pytest.raises(MemoryError, match=r"2 pictures of \(32, 32\) at once"):
        run_plans(together)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_lanes_go_on_from_a_saved_state_bit_for_bit(plans, at):
    """Also in the middle of the scales, 2 steps each, and just between them."""
    settings = [{"start_size": 16, "seed": seed, "start": "blend", "random_shift": 0.95} for seed in (0, 1)]
    together, save, record, later = shared(plans(*settings)), SaveAt(at), Record(), Record()
    work = partial(scale_of_lanes, together), together[0].ends
    whole = optimise(*work, [record, save])
    assert all(isinstance(leaf, np.ndarray) for leaf in save.saved.leaves)
    rest = optimise(*work, [later], save.saved)
    for name, losses in record.history.items():
        np.testing.assert_array_equal(later.history[name], losses[at:])
    np.testing.assert_array_equal(rest.scale.picture(rest.state), whole.scale.picture(whole.state))


def test_memory_decides_how_many(plans, monkeypatch):
    [plan] = plans({})
    free = partial(monkeypatch.setattr, psutil, "virtual_memory")
    free(lambda: SimpleNamespace(available=10**12))
    assert most_lanes(plan) == MOST_LANES
    free(lambda: SimpleNamespace(available=920_000_000))
    assert 1 <= most_lanes(plan) < MOST_LANES
    free(lambda: SimpleNamespace(available=10**6))
    assert most_lanes(plan) == 1
