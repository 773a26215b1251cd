"""The loop: its steps, its hooks, how it ends, and how it goes on; without a network."""

import jax
import numpy as np
import pytest
from runs import (
    ENDS,
    SIZES,
    FailingSteps,
    SaveAt,
    Watch,
    as_on_an_accelerator,
    first_picture,
    outcome_and_history,
    smoothing,
)

from jaxnst.core import optimizers
from jaxnst.run.ended import Ended
from jaxnst.run.loop import IN_FLIGHT, DelayedStepsDone, StepsDone, optimise

pytestmark = pytest.mark.fast

OPTIMIZERS = {"lbfgs": optimizers.LBFGS(4), "adam": optimizers.Adam()}

DIVERGING = {"optimizer": optimizers.SGD(), "learning_rate": 1e15, "sizes": SIZES[:1], "ends": [9]}


def roughness(image):
    """Computes the mean square of the differences between neighbours."""
    return sum(np.mean(np.diff(image, axis=axis) ** 2) for axis in (0, 1))


@pytest.fixture(params=["read at once", "in flight"])
def either_way(request, monkeypatch):
    """Runs a test as on a CPU, and as on an accelerator with steps in flight."""
    if request.param == "in flight":
        optimise(*smoothing(ends=[1, 2]), [])
        as_on_an_accelerator(monkeypatch)


@pytest.mark.usefixtures("either_way")
def test_progress_has_the_losses_before_the_step_and_the_picture_after_it():
    watch = Watch()
    outcome = optimise(*smoothing(optimizer=optimizers.Adam()), [watch])
    assert outcome.ended is Ended.finished
    assert watch.steps == [1, 2, 3, 4, 5, 6]
    assert {progress.steps for progress in watch.seen} == {6}
    assert [progress.size for progress in watch.seen] == [SIZES[0]] * 3 + [SIZES[1]] * 3
    before = first_picture()
    for progress in watch.seen:
        if progress.step != ENDS[0] + 1:  # where the picture is enlarged first
            assert progress.losses["total"] == pytest.approx(roughness(before), rel=1e-5)
        assert list(progress.losses) == ["total", "roughness"]
        assert progress.image.shape == (*progress.size, 3)
        assert progress.image.dtype == np.float32
        before = np.asarray(progress.unclipped)
    np.testing.assert_array_equal(progress.image, np.clip(before, 0, 1))
    assert outcome.progress is progress
    assert outcome.state.step == 6


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_progress_that_is_kept_stays_what_it_was(optimizer):
    """Its losses and its image are read only after the run, when later steps have used up the state."""
    at_once, later = [], Watch()

    class ReadAtOnce(Watch):
        def __call__(self, progress, state, scale):
            at_once.append((progress.losses, progress.image))

    optimise(*smoothing(optimizer=optimizer), [ReadAtOnce()])
    optimise(*smoothing(optimizer=optimizer), [later])
    assert len(at_once) == len(later.seen) == 6
    for (losses, image), progress in zip(at_once, later.seen, strict=True):
        assert progress.losses == losses
        np.testing.assert_array_equal(progress.image, image)
    assert len({image.tobytes() for _, image in at_once}) == 6


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("step", range(1, 7))
def test_a_run_goes_on_from_a_saved_state_bit_for_bit(optimizer, step):
    """In both scales, at the end of the first, and after the last step."""
    work, save = smoothing(optimizer=optimizer), SaveAt(step)
    whole, history = outcome_and_history(work, save)
    rest, later_history = outcome_and_history(work, resume=save.saved)
    assert rest.ended is Ended.finished
    assert later_history == history[step:]
    assert rest.scale.size == whole.scale.size
    expected, found = whole.scale.save(whole.state), rest.scale.save(rest.state)
    assert found[:2] == expected[:2]
    for leaf, other in zip(found.leaves, expected.leaves, strict=True):
        np.testing.assert_array_equal(leaf, other)
    np.testing.assert_array_equal(rest.scale.picture(rest.state), whole.scale.picture(whole.state))


def test_every_hook_sees_the_step_that_ends_the_run_and_the_first_reason_counts():
    """A hook that comes after the one that stops, such as a checkpoint, may have to act as well."""
    hooks = [Watch(), Watch(stop_at=2, reason=Ended.stopped), Watch(stop_at=2, reason=Ended.interrupted)]
    outcome = optimise(*smoothing(), hooks)
    assert outcome.ended is Ended.stopped
    assert [hook.steps for hook in hooks] == [[1, 2]] * 3
    assert [hook.readable for hook in hooks] == [[1, 2]] * 3
    assert outcome.state.step == outcome.progress.step == 2
    assert outcome.state.is_whole


def test_steps_in_flight_change_nothing(monkeypatch):
    expected, history = outcome_and_history(smoothing())
    as_on_an_accelerator(monkeypatch)
    found, same_history = outcome_and_history(smoothing(), Watch(settle_at={2}))
    assert same_history == history
    np.testing.assert_array_equal(found.scale.picture(found.state), expected.scale.picture(expected.state))


def test_a_state_can_be_read_at_steps_that_settle_and_at_the_last(monkeypatch):
    """Other states have been used up by later steps; a hook is given None in their place."""
    optimise(*smoothing(), [])
    as_on_an_accelerator(monkeypatch)
    watch, another = Watch(settle_at={2, 3}), Watch(settle_at={2})
    outcome = optimise(*smoothing(ends=[7, 12]), [watch, another])
    assert watch.steps == list(range(1, 13))
    assert watch.readable == another.readable == [2, 3, 12]
    assert outcome.state.is_whole


def test_a_reason_to_stop_ends_the_run_after_the_steps_in_flight(monkeypatch):
    optimise(*smoothing(), [])
    as_on_an_accelerator(monkeypatch, in_flight=3)
    watch = Watch(stop_at=2)
    outcome = optimise(*smoothing(ends=[8, 12]), [watch])
    assert outcome.ended is Ended.stopped
    assert watch.steps == [1, 2, 3, 4, 5]
    assert watch.readable == [5]
    assert outcome.state.step == 5
    assert outcome.state.is_whole


class Pending:
    """Stands in for a progress, and tells when its losses are waited for."""

    def __init__(self, step, waited_for, alive=True):
        self.step, self._waited_for, self._alive = step, waited_for, alive

    @property
    def alive(self):
        self._waited_for.append(self.step)
        return self._alive


class Readable:
    """Stands in for a state."""

    is_whole = True


def test_losses_are_waited_for_when_as_many_steps_are_on_their_way_as_shall_be():
    waited_for, watch = [], Watch(settle_at={20})
    delayed = DelayedStepsDone([watch])
    for step in range(1, IN_FLIGHT + 1):
        assert delayed.add(Pending(step, waited_for), Readable(), None) is None
    assert waited_for == []
    for step in range(IN_FLIGHT + 1, 20):
        delayed.add(Pending(step, waited_for), Readable(), None)
        assert waited_for == watch.steps == list(range(1, step - IN_FLIGHT + 1))


def test_on_a_cpu_each_step_is_over_before_the_next():
    waited_for, done = [], StepsDone([])
    for step in (1, 2, 3):
        done.add(Pending(step, waited_for), Readable(), None)
        assert waited_for == list(range(1, step + 1))


@pytest.mark.usefixtures("either_way")
def test_a_run_that_diverges_ends_with_the_last_picture_that_had_a_loss():
    watch = Watch()
    outcome, history = outcome_and_history(smoothing(**DIVERGING), watch)
    assert outcome.ended is Ended.diverged
    last = len(history)
    assert 1 < last < 9
    assert np.isfinite(history).all()
    assert watch.steps == list(range(1, last + 1))
    assert outcome.progress.step == last + 1
    # The loss of the picture after the last step is not finite, that of the picture before it was the last.
    assert not np.isfinite(outcome.progress.losses["total"])
    expected = watch.seen[last - 2].unclipped
    np.testing.assert_array_equal(outcome.scale.picture(outcome.state), expected)


def test_a_step_into_infinity_is_taken_back():
    outcome, history = outcome_and_history(smoothing(**DIVERGING | {"learning_rate": np.inf}))
    assert outcome.ended is Ended.diverged
    assert history == []
    assert outcome.progress.step == 1
    assert outcome.progress.losses["total"] == pytest.approx(roughness(first_picture()), rel=1e-5)
    np.testing.assert_array_equal(outcome.scale.picture(outcome.state), first_picture())


@pytest.mark.usefixtures("either_way")
def test_a_run_that_diverges_at_its_first_step_after_it_was_resumed_has_its_last_good_picture():
    outcome, history = outcome_and_history(smoothing(**DIVERGING))
    save = SaveAt(len(history))
    optimise(*smoothing(**DIVERGING), [save])
    resumed, no_history = outcome_and_history(smoothing(**DIVERGING), resume=save.saved)
    assert resumed.ended is Ended.diverged
    assert no_history == []
    assert resumed.progress.step == len(history) + 1
    expected = outcome.scale.picture(outcome.state)
    np.testing.assert_array_equal(resumed.scale.picture(resumed.state), expected)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("uses_up_state", [False, True])
@pytest.mark.parametrize("at", [2, 4, 5])
def test_memory_that_runs_out_ends_the_run_after_the_last_good_step(at, uses_up_state):
    """In a scale, at the first step of the second, and in that; no hook is given a state that is used up."""
    watch, failing = Watch(), {"fails_at": at, "uses_up_state": uses_up_state}
    outcome, history = outcome_and_history(smoothing(FailingSteps, **failing), watch)
    expected = Watch()
    _, whole_history = outcome_and_history(smoothing(), expected)
    assert outcome.ended is Ended.out_of_memory
    assert watch.steps == list(range(1, at))
    assert history == whole_history[: at - 1]
    assert outcome.state.step == at - 1
    # The failed step of the second scale was given a copy, at another size.
    assert outcome.state.is_whole is (at == ENDS[0] + 1 or not uses_up_state)
    picture = outcome.scale.picture(outcome.state)
    np.testing.assert_array_equal(picture, expected.seen[at - 2].unclipped)


@pytest.mark.parametrize("step", [2, 3])
def test_memory_that_runs_out_at_the_first_step_of_a_resumed_run_leaves_its_picture(step):
    save, watch = SaveAt(step), Watch()
    optimise(*smoothing(), [save, watch])
    outcome = optimise(*smoothing(FailingSteps, fails_at=step + 1), [], save.saved)
    assert outcome.ended is Ended.out_of_memory
    assert outcome.progress is None
    assert outcome.state.step == step
    assert outcome.scale.size == SIZES[0]
    np.testing.assert_array_equal(outcome.scale.picture(outcome.state), watch.seen[step - 1].unclipped)


def test_memory_that_runs_out_before_the_first_step_is_done_leaves_nothing():
    outcome = optimise(*smoothing(FailingSteps), [])
    assert outcome == (Ended.out_of_memory, None, None, None)


def test_memory_may_run_out_in_python_too():
    class Greedy(Watch):
        def __call__(self, progress, state, scale):
            raise MemoryError

    assert optimise(*smoothing(), [Greedy()]).ended is Ended.out_of_memory


def test_other_errors_of_a_device_are_raised():
    with pytest.raises(jax.errors.JaxRuntimeError, match="is gone"):
        optimise(*smoothing(FailingSteps, fails_at=2, message="INTERNAL: the device is gone"), [])


def test_the_ways_a_run_ends_are_their_texts():
    texts = ["finished", "stopped", "interrupted", "diverged", "out of memory"]
    assert [str(ended) for ended in Ended] == texts
    assert [Ended(text) for text in texts] == list(Ended)
    assert [ended for ended in Ended if ended.is_final] == ["finished", "diverged"]
