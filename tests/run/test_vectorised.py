"""Lanes of one program are the runs that they would be alone."""

import itertools

import jax
import numpy as np
import pytest

import jaxnst
from jaxnst.io.leaves import leaves_of
from jaxnst.run import vectorised as lanes
from jaxnst.run.plan import Pictures, prepare

SMALL = {
    "size": 32,
    "steps": 4,
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "style_weight": 500.0,
}


@pytest.fixture
def plans(photo, painting):
    """Makes plans from settings, one after another."""

    def make(*settings):
        configs = [jaxnst.Config(**SMALL | one).checked() for one in settings]
        return lanes.gather(prepare(Pictures(photo, [painting]), config) for config in configs)

    return make


def run(plans):
    """Losses by name `[steps + 1, lanes]`, and the last pictures."""
    losses, images = [], None
    for progress in lanes.optimise(plans):
        losses.append(progress.losses)
        images = progress.images
    return {name: np.array([of[name] for of in losses]) for name in losses[0]}, images


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
                {"optimizer": "adam", "learning_rate": rate, "random_shift": shift, "steps": 2, "norm": "l1"}
                for rate, shift in ((0.02, 0.95), (0.05, 0.99))
            ],
            1e-4,
        ),
        (
            [
                {
                    "optimizer": "adam",
                    "learning_rate": 0.02,
                    "start_size": 16,
                    "seed": seed,
                    "color": "luminance",
                }
                for seed in (0, 1)
            ],
            1e-4,
        ),
        ([{"style_scale": scale} for scale in (0.5, 1.0)], 2e-3),
    ],
    ids=["weights, rates, starts", "shifts", "two scales", "scales of the style"],
)
def test_lanes_are_single_runs(plans, photo, painting, settings, tolerance):
    together = plans(*settings)
    assert len({lanes.program(plan) for plan in together}) == 1
    losses, images = run(together)
    for lane, one in enumerate(settings):
        single = jaxnst.stylize(photo, painting, progress=False, **SMALL | one)
        np.testing.assert_allclose(images[lane], single.array, atol=tolerance)
        steps = len(single.history["total"])
        for name, history in single.history.items():
            np.testing.assert_allclose(losses[name][:steps, lane], history, rtol=1e-3, atol=1e-9)
        # One more than the history has: of the picture that is handed over.
        assert len(losses["total"]) == steps + 1


def test_what_is_alike_is_there_once(plans):
    first, second = plans({"seed": 0}, {"seed": 1})
    assert first.content is second.content
    assert first.styles[0] is second.styles[0]
    assert first.params is second.params


def test_styles_of_other_sizes_are_lanes(photo, painting):
    """Gram matrices have no size."""
    config = jaxnst.Config(**SMALL).checked()
    given = [prepare(Pictures(photo, [style]), config) for style in (painting, photo)]
    together = lanes.gather(given)
    assert lanes.program(together[0]) == lanes.program(together[1])
    assert lanes.program(given[0]) != lanes.program(prepare(Pictures(painting, [photo]), config))
    losses, _ = run(together)
    for lane, style in enumerate((painting, photo)):
        alone = jaxnst.stylize(photo, style, config=config, progress=False)
        np.testing.assert_allclose(losses["total"][:4, lane], alone.history["total"], rtol=1e-3)
    patches = config.replace(statistic=("patches",), steps=1).checked()
    given = [prepare(Pictures(photo, [style]), patches) for style in (painting, photo)]
    assert lanes.program(given[0]) != lanes.program(given[1])


def test_what_the_compiler_sees_is_no_lane(plans):
    base, *others = plans(
        {}, {"steps": 5}, {"norm": "l1"}, {"size": 48}, {"random_shift": 0.9}, {"optimizer": "adam"}
    )
    assert all(lanes.program(base) != lanes.program(other) for other in others)


def test_a_lane_that_diverges_stays_and_the_others_go_on(plans):
    descent = {"optimizer": "sgd", "steps": 6, "clamp": False}
    losses, images = run(plans(descent | {"learning_rate": 1e-8}, descent | {"learning_rate": 1e8}))
    assert np.isfinite(losses["total"][:, 0]).all()
    assert np.isnan(losses["total"][-1, 1])
    assert np.isfinite(losses["total"][0, 1])
    assert np.isfinite(images).all()
    alone, _ = run(plans(descent | {"learning_rate": 1e-8}))
    np.testing.assert_allclose(losses["total"][:, 0], alone["total"][:, 0], rtol=1e-4)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_goes_on_from_its_leaves_bit_for_bit(plans, at):
    """Also in the middle of the scales, 2 steps each, and just between them."""
    settings = [{"start_size": 16, "seed": seed, "start": "blend", "random_shift": 0.95} for seed in (0, 1)]
    whole = [(state.step, state.losses, state.images) for state in lanes.optimise(plans(*settings))]
    cut = next(itertools.islice(lanes.optimise(plans(*settings)), at, None))
    saved = (cut.step + 1, leaves_of(cut.state))
    rest = [(state.step, state.losses, state.images) for state in lanes.optimise(plans(*settings), saved)]
    assert [step for step, *_ in rest] == list(range(at + 1, 5))
    for (_, losses, images), (_, others, also) in zip(whole[at + 1 :], rest, strict=True):
        assert all((losses[name] == others[name]).all() for name in losses)
        assert (images == also).all()


def test_memory_decides_how_many(plans, monkeypatch):
    [plan] = plans({})
    monkeypatch.setattr(lanes, "available_bytes", lambda *_: 10**12)
    assert lanes.most(plan) == lanes.MOST_LANES
    monkeypatch.setattr(lanes, "available_bytes", lambda *_: 920_000_000)
    assert 1 <= lanes.most(plan) < lanes.MOST_LANES
    monkeypatch.setattr(lanes, "available_bytes", lambda *_: 10**6)
    assert lanes.most(plan) == 1


def test_keys_go_through_plain_arrays(plans):
    state = next(lanes.optimise(plans({}))).state
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves_of(state))
    assert len(leaves_of(state)) == len(jax.tree.leaves(state))
