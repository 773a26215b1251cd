"""Many pairs: each result is the single run's, whatever the other pairs do."""

import contextlib
import logging
import os
import signal

import jax
import numpy as np
import pytest
from failing import FLAT, NOISY, FailsOnFlat
from pictures import refusal

import jaxnst
from jaxnst.batch import engine
from jaxnst.batch.jobs import Job
from jaxnst.errors import TooLargeError
from jaxnst.run import vectorised
from jaxnst.run.plan import Pictures

SETTINGS = {
    "size": 32,
    "steps": 3,
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
}
FAST = SETTINGS | {"progress": False}

SHALLOW = {"size": 32, "steps": 3, "content_layers": ("conv1_1",), "style_layers": ("conv1_1",)}


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(0)
    coarse = [generator.random((6, 8, 3)) for _ in range(5)]
    smooth = [jax.image.resize(array, (48, 64, 3), "cubic") for array in coarse]
    return [np.clip(array, 0, 1).astype(np.float32) for array in smooth]


def stylize(content, style, **settings):
    return jaxnst.stylize(content, style, **FAST | settings)


def assert_same(result, expected):
    np.testing.assert_allclose(result.array, expected.array, rtol=0, atol=1e-4)
    assert result.ended == expected.ended
    assert result.config == expected.config
    for name, losses in expected.history.items():
        np.testing.assert_allclose(result.history[name], losses, rtol=1e-3)


def test_each_result_is_that_of_the_single_run(pictures):
    """With two sizes among them, and settings of their own."""
    contents = [pictures[0], pictures[1][:40], pictures[2], pictures[3]]
    configs = [
        jaxnst.Config(**SETTINGS, **own)
        for own in ({}, {}, {"style_weight": 5.0, "seed": 3, "start": "blend"}, {"learning_rate": 0.5})
    ]
    results = jaxnst.stylize_batch(contents, pictures[4], config=configs, progress=False)
    for content, config, result in zip(contents, configs, results, strict=True):
        assert_same(result, jaxnst.stylize(content, pictures[4], config=config, progress=False))


def test_crossed_pairs_come_content_by_content(pictures):
    results = jaxnst.stylize_batch(pictures[:2], pictures[2:4], crossed=True, **FAST)
    expected = [stylize(content, style) for content in pictures[:2] for style in pictures[2:4]]
    for result, single in zip(results, expected, strict=True):
        assert_same(result, single)


def test_one_picture_may_serve_all_pairs(pictures):
    results = jaxnst.stylize_batch(pictures[0], pictures[2:4], **FAST)
    for result, style in zip(results, pictures[2:4], strict=True):
        assert_same(result, stylize(pictures[0], style))


def test_a_pair_that_diverges_leaves_the_others_alone(pictures):
    configs = [jaxnst.Config(max_step=0.0, clamp=False, learning_rate=rate) for rate in (1.0, 1e30, 1.0)]
    results = jaxnst.stylize_batch(pictures[:3], pictures[4], config=configs, **FAST)
    assert [result.ended for result in results] == ["finished", "diverged", "finished"]
    assert np.isfinite(results[1].array).all()
    for index, result in enumerate(results):
        with pytest.warns(UserWarning) if index == 1 else contextlib.nullcontext():
            expected = jaxnst.stylize(pictures[index], pictures[4], config=configs[index], **FAST)
        assert len(result.history["total"]) == len(expected.history["total"])
        assert_same(result, expected)


def test_a_pair_whose_first_picture_has_no_loss_leaves_the_others_alone(pictures):
    """Its weight makes the loss infinite; alone, the run would be refused."""
    configs = [jaxnst.Config(style_weight=weight) for weight in (10.0, 3e38)]
    settings = FAST | {"statistic": "covariance", "weighting": "absolute"}
    results = jaxnst.stylize_batch(pictures[:2], pictures[4], config=configs, **settings)
    assert results[0].ended == "finished"
    assert "the loss of the first picture is not a finite number" in str(results[1])


@pytest.fixture
def jobs(pictures):
    """Makes jobs whose pictures can be computed together, from their own settings and shared ones."""

    def make(*own_settings, **settings):
        return [
            Job(
                Pictures(pictures[0], [pictures[4]]),
                jaxnst.Config(**SHALLOW | settings | own).checked(),
            )
            for own in own_settings
        ]

    return make


def test_a_group_that_fails_is_halved_until_the_pair_at_fault_is_alone(jobs):
    """Whatever the error: here it comes from a statistic of the user's own."""
    statistic = FailsOnFlat(ZeroDivisionError, "for a reason of its own")
    results = dict(engine.run_jobs(jobs(NOISY, FLAT, NOISY | {"seed": 2}, statistic=(statistic,))))
    assert "for a reason of its own" in str(results[1])
    assert results[0].ended == results[2].ended == "finished"
    assert statistic.evaluations in (2, 3)  # with both others, perhaps with one, and alone


@pytest.mark.parametrize("error", [pytest.param(ZeroDivisionError, marks=pytest.mark.slow), MemoryError])
def test_a_group_that_failed_keeps_no_memory(jobs, monkeypatch, error):
    """The arrays of all four pairs are gone when the first half is done, those of two when the next is."""
    monkeypatch.setattr(logging.getLogger("jax"), "propagate", False)  # pytest keeps errors that are logged
    statistic, shapes = FailsOnFlat(error, "out of memory"), []
    for _ in engine.run_jobs(jobs(NOISY, FLAT, NOISY, NOISY, statistic=(statistic,))):
        shapes.append([array.shape for array in jax.live_arrays() if array.shape[-3:] == (24, 32, 3)])
    assert statistic.evaluations >= 3
    assert shapes == [[]] * 4


def test_memory_that_runs_out_for_a_pair_leaves_its_last_good_picture(jobs):
    """Memory runs out for two pairs together, and again at the second step of the larger one alone."""
    statistic = FailsOnFlat(MemoryError, "out of memory", at=(1, 3))
    with pytest.warns(UserWarning, match="memory ran out at step 2"):
        results = dict(engine.run_jobs(jobs(NOISY, FLAT, statistic=(statistic,))))
    assert results[0].ended == "finished"
    assert results[1].ended == "out of memory"
    assert len(results[1].history["total"]) == 1
    np.testing.assert_allclose(results[1].array, 1, atol=1e-6)


def test_memory_that_runs_out_in_tiles_is_the_error_of_that_pair(pictures):
    """Before its first step is done; the other pairs are still made."""
    statistic = FailsOnFlat(MemoryError, "out of memory")
    configs = [jaxnst.Config(**SHALLOW | own).replace(size=96) for own in (FLAT, NOISY)]
    results = jaxnst.stylize_batch(
        [pictures[0]] * 2, pictures[4], config=configs, statistic=(statistic,), tile=64, progress=False
    )
    assert isinstance(results[0], TooLargeError)
    assert results[1].ended == "finished"


def test_a_picture_that_cannot_be_read_is_the_error_of_its_job(jobs, tmp_path):
    first, second, third = jobs({}, {}, {"seed": 2})
    broken = Job(Pictures(tmp_path / "none.png", second.pictures.styles), second.config)
    results = dict(engine.run_jobs([first, broken, third]))
    assert str(results[1]).startswith("content: there is no file")
    assert results[0].ended == results[2].ended == "finished"


def test_jobs_are_taken_from_as_they_are_needed(jobs, monkeypatch):
    monkeypatch.setattr(engine, "AHEAD", 6)
    monkeypatch.setattr(vectorised, "MOST_LANES", 2)
    taken = []
    results = engine.run_jobs(taken.append(job) or job for job in jobs(*[{"steps": 1}] * 12))
    next(results)
    assert len(taken) <= 6
    numbers = [number for number, _ in results]
    assert len(numbers) == 11
    assert len(taken) == 12


def test_no_jobs_have_no_results():
    assert list(engine.run_jobs([])) == []


def test_ctrl_c_ends_a_batch_between_two_steps(pictures):
    class Interrupts(FailsOnFlat):
        def look(self, seen):
            os.kill(os.getpid(), signal.SIGINT)
            return np.float32(0)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        jaxnst.stylize_batch(
            pictures[:2], pictures[4], **SHALLOW | {"steps": 1000}, statistic=Interrupts(None), progress=False
        )
    assert signal.getsignal(signal.SIGINT) is before


def test_pairs_that_cannot_work_are_refused_before_the_first_step(pictures, tmp_path):
    statistic = FailsOnFlat(AssertionError, "a step was done")
    settings = SHALLOW | FLAT | {"statistic": statistic, "progress": False}
    assert "3 and 2" in refusal(jaxnst.stylize_batch, pictures[:3], pictures[:2])
    assert refusal(jaxnst.stylize_batch, [], pictures[0]).startswith("contents:")
    contents = [pictures[0], tmp_path / "none.png"]
    message = refusal(jaxnst.stylize_batch, contents, pictures[1], **settings)
    assert message.startswith("pair 2: content:")
    configs = [jaxnst.Config(), jaxnst.Config(steps=-1)]
    assert refusal(jaxnst.stylize_batch, pictures[:2], pictures[2], config=configs).startswith(
        "pair 2: steps:"
    )
    assert "config: 1 for 2" in refusal(
        jaxnst.stylize_batch, pictures[:2], pictures[2], config=[jaxnst.Config()]
    )
    assert statistic.evaluations == 0
