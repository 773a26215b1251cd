"""Several devices give what one gives: pairs over them, rows of one picture, or both. There are eight."""

import dataclasses
import re
from functools import partial

import jax
import numpy as np
import pytest
from objectives import SIZE, assert_equal, half, objective_of, picture, weights_of
from pictures import refusal
from runs import SaveAt, Watch

import jaxnst
from jaxnst.config.config import Config
from jaxnst.config.presets import PLAIN
from jaxnst.core import losses, objective, vgg
from jaxnst.core import statistics as st
from jaxnst.core.sharding import ONE_DEVICE, OverDevices, make_mesh
from jaxnst.core.sharding.rows import Within
from jaxnst.io.weights.load import load_weights
from jaxnst.run.loop import optimise
from jaxnst.run.memory_budget import estimate_bytes, fit_in_memory
from jaxnst.run.mesh import any_process, for_one_picture, for_pairs, numbers_of_all
from jaxnst.run.plan import Pictures, prepare
from jaxnst.run.scale import scale_of
from jaxnst.run.vectorised import filled_up, run_plans, scale_of_lanes, shared

SETTINGS = {
    "size": 56,
    "steps": 4,
    "content_layers": ("relu2_2",),
    "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
    "tv_weight": 0.0,
}


@pytest.fixture(scope="module")
def params():
    return load_weights("caffe").params


def over(pairs, rows):
    """Returns the placement of so many pairs, the rows of each over so many devices."""
    return OverDevices(make_mesh(jax.devices()[: pairs * rows], rows))


def value_and_grad(described, params, given, weights, image, placement):
    """Computes losses and gradient where a placement puts the features."""

    def total(image, params, targets):
        found = objective.evaluate(described, params, targets, weights, image, look=placement.look)
        return found["total"], found

    @jax.jit
    def make_targets(params, given):
        return objective.make_targets(described, params, *given, look=placement.look)

    targets = make_targets(params, given)
    (_, found), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(image, params, targets)
    return found, gradient


def both(described, params, given, weights, image, count):
    """Computes losses and gradients on one device, and with rows over several."""
    arguments = (described, params, given, weights, image)
    return tuple(value_and_grad(*arguments, placement) for placement in (ONE_DEVICE, over(1, count)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statistic", "norm", "count"),
    [("gram", "l2", 8), ("covariance", "l1", 3)],
)
def test_rows_add_up_to_the_whole(params, statistic, norm, count):
    """91 rows divide by none of these."""
    described = objective_of(st.STATISTICS[statistic](losses.gram_chw, losses.NORMS[norm]), norm)
    given = (picture(*SIZE), [picture(80, 101, 2)])
    assert_equal(*both(described, params, given, weights_of(described, 1), picture(*SIZE, 1), count))


@pytest.mark.slow
def test_masks_and_several_styles(params):
    described, mask = objective_of(st.Gram(losses.gram_hw)), half(*SIZE)
    given = (
        picture(*SIZE),
        [picture(80, 101, 2), picture(64, 48, 3)],
        [mask, 1 - mask],
        [half(80, 101), np.ones((64, 48), np.float32)],
    )
    assert_equal(*both(described, params, given, weights_of(described, 2), picture(*SIZE, 1), 4))


@pytest.mark.slow
def test_other_paddings_are_those_of_the_picture(params):
    described = objective_of(st.Gram(losses.gram_hw))
    described = dataclasses.replace(described, padding=vgg.reflect, pooling=vgg.average_pool)
    given = (picture(*SIZE), [picture(80, 101, 2)])
    assert_equal(*both(described, params, given, weights_of(described, 1), picture(*SIZE, 1), 4))


@pytest.mark.slow
def test_zeros_below_the_picture_would_show(params, monkeypatch):
    """What the tests above could not see otherwise: these rows' features change the picture's own."""
    monkeypatch.setattr(Within, "__call__", lambda self, convolve, x: convolve(x))
    described = objective_of(st.Gram(losses.gram_hw))
    given = (picture(*SIZE), [picture(80, 101, 2)])
    (_, expected), (_, found) = both(described, params, given, weights_of(described, 1), picture(*SIZE, 1), 8)
    assert np.abs(expected - found).max() > 1e-3 * np.abs(expected).max()


def program_of_a_step(scale, state):
    """Returns the program that XLA makes of a step, as text."""
    return scale.steps.lower(scale.size, scale.inputs, state).compile().as_text()


def history_of(state):
    """Returns what L-BFGS keeps of earlier steps, `[history_size, H, W, 3]`, or that of each pair."""
    ndim = state.solver.variable.ndim + 1
    return [leaf for leaf in jax.tree.leaves(state.solver.optimizer) if leaf.ndim == ndim]


def sides_of_shards(array, axis):
    """Returns the lengths of an array's parts on the devices along an axis."""
    return {shard.data.shape[axis] for shard in array.addressable_shards}


@pytest.mark.parametrize("size", [(201, 61), pytest.param((128, 128), marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "settings", [{}, pytest.param({"edges": "drop", "laplacian_weight": 0.0}, marks=pytest.mark.slow)]
)
def test_neighbours_exchange_rows_and_nobody_collects_features(size, settings):
    """In a step with L-BFGS, whose history is spread as the picture is.

    128 is a number of channels, too: kernels and Gram matrices have such sides. The mirrored frame and the
    Laplacian loss look at the pixels of the whole picture, nothing else does.
    """
    config = Config(quality="none", size=max(size), history_size=5, **settings).checked()
    pictures = Pictures(picture(*size), [picture(80, 101, 2)])
    plan = prepare(pictures, config, size, placements=for_one_picture(8))
    scale = scale_of(plan, 0)
    for content in scale.inputs.targets.terms["content"]:
        assert sides_of_shards(content, 0) == {content.shape[0] // 8}
    state = scale.start()
    program = program_of_a_step(scale, state)
    assert "collective-permute" in program
    collected = re.findall(r"= (\S+) (?:all-gather|all-to-all)", program)
    assert all(re.match(r"f32\[\d+,\d+,3\]", array) for array in collected), collected
    if config.edges == "drop":
        assert not collected
    pairs = history_of(state)
    assert len(pairs) == 2
    rows = -(-size[0] // 8)
    for spread, axis in ((state.solver.variable, 0), (state.good, 0), *((pair, 1) for pair in pairs)):
        assert spread.shape[axis] == 8 * rows
        assert sides_of_shards(spread, axis) == {rows}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(101, 61), pytest.param((128, 61), marks=pytest.mark.slow)])
def test_nor_where_pairs_are_spread_too(size):
    config = Config(quality="none", history_size=5).checked()
    plans = [
        prepare(Pictures(picture(*size, seed), [picture(80, 101, 2)]), config, size, placements=[over(2, 4)])
        for seed in range(2)
    ]
    scale = scale_of_lanes(shared(plans), 0)
    for content in scale.inputs.targets.terms["content"]:
        assert sides_of_shards(content, 0) == {1}
        assert sides_of_shards(content, 1) == {content.shape[1] // 4}
    state = scale.start()
    program = program_of_a_step(scale, state)
    assert "collective-permute" in program
    collected = re.findall(r"= (\S+) (?:all-gather|all-to-all)", program)
    assert all(re.match(r"f32\[[\d,]+,3\]", array) for array in collected), collected
    pairs = history_of(state)
    assert len(pairs) == 2
    for pair in pairs:
        assert sides_of_shards(pair, 0) == {1}
        assert sides_of_shards(pair, 2) == {-(-size[0] // 4)}


def test_each_device_has_the_targets_of_its_own_pairs():
    """The network, which all pairs share, is on every device."""
    config, size = Config(**SETTINGS).checked(), (56, 50)
    plans = [
        prepare(Pictures(picture(*size, seed), [picture(50, 40, 10)]), config, size, placements=[over(4, 1)])
        for seed in range(3)
    ]
    scale = scale_of_lanes(filled_up(shared(plans)), 0)
    state = scale.start()
    for leaf in jax.tree.leaves((scale.inputs.targets, state.arrays)):
        assert leaf.shape[0] == 4
        assert sides_of_shards(leaf, 0) == {1}
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(scale.inputs.params))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"start_size": 32},
        {"size": 57, "max_step": 0.01},  # each step is cut off, by a mean over the picture
        {"optimizer": "adam", "random_shift": 0.9, "config": PLAIN},
        {"size": 51, "steps": 2, "parametrisation": "fourier", "color": "luminance"},
        {"line_search": "zoom", "steps": 2},
        {"content_masks": [half(80, 71)], "style_masks": [half(60, 50)]},
    ],
    ids=["scales", "max-step", "adam", "fourier", "zoom", "masks"],
)
def test_a_picture_over_several_devices(settings):
    settings, used = SETTINGS | {"progress": False} | settings, set()
    given = (picture(80, 71, 4), picture(60, 50, 5))
    one = jaxnst.stylize(*given, **settings)

    def watch(progress):
        used.update(progress.unclipped.sharding.device_set)

    several = jaxnst.stylize(*given, devices=8, callback=watch, **settings)
    assert len(used) == 8
    np.testing.assert_allclose(several.array, one.array, rtol=0, atol=1e-4)
    np.testing.assert_allclose(several.history["total"], one.history["total"], rtol=1e-5)


@pytest.mark.slow
def test_bfloat16_over_several_devices():
    """To its own rounding."""
    given = (picture(80, 71, 4), picture(60, 50, 5))
    settings = SETTINGS | {"precision": "bf16", "progress": False}
    one, several = (jaxnst.stylize(*given, devices=count, **settings) for count in (None, 8))
    np.testing.assert_allclose(several.history["total"], one.history["total"], rtol=0.01)


@pytest.mark.slow
def test_lanes_over_several_devices_go_on():
    """Each part of the state is put back where it was."""
    config, size = Config(**SETTINGS), (56, 50)
    plans = [
        prepare(Pictures(picture(*size, seed), [picture(50, 40, 10)]), config, size, placements=[over(2, 2)])
        for seed in range(2)
    ]
    work, save = (partial(scale_of_lanes, shared(plans)), plans[0].ends), SaveAt(2)
    whole = optimise(*work, [save])
    rest = optimise(*work, [], save.saved)
    assert [sides_of_shards(pair, 2) for pair in history_of(whole.state)] == [{28}, {28}]
    np.testing.assert_array_equal(rest.progress.image, whole.progress.image)
    for found, expected in zip(
        jax.tree.leaves(rest.state.arrays), jax.tree.leaves(whole.state.arrays), strict=True
    ):
        assert found.sharding == expected.sharding


@pytest.mark.slow
def test_pairs_over_several_devices():
    """Three pairs divide by neither 2 nor 4; `test_vectorised` compares pairs with single runs."""
    contents, style = [picture(60, 57, seed) for seed in range(3)], picture(50, 40, 10)
    batch = partial(jaxnst.stylize_batch, contents, style, progress=False, **SETTINGS)
    expected = batch()
    for devices in (4, over(2, 4).mesh):
        found = batch(devices=devices)
        assert len(found) == len(expected)
        for result, alone in zip(found, expected, strict=True):
            np.testing.assert_allclose(result.array, alone.array, rtol=0, atol=1e-4)
            np.testing.assert_allclose(result.history["total"], alone.history["total"], rtol=1e-5)


@pytest.mark.slow
def test_a_progress_of_pairs_over_devices_that_is_kept_stays_what_it_was():
    config, size = Config(**SETTINGS), (56, 50)
    plans = [
        prepare(Pictures(picture(*size, seed), [picture(50, 40, 10)]), config, size, placements=[over(2, 2)])
        for seed in range(2)
    ]
    watch = Watch()
    results = run_plans(plans, [watch], snapshot_steps={1, 2, 3, 4})
    for progress in watch.seen:
        for lane, result in enumerate(results):
            np.testing.assert_array_equal(progress.image[lane], result.snapshots[progress.step])
            assert progress.losses["total"][lane] == result.history["total"][progress.step - 1]


@pytest.mark.fast
def test_memory_says_over_how_many_devices_rows_go(monkeypatch):
    """Of accelerators, each with memory of its own."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    config, (*placements, alone) = Config(), for_pairs(8)
    assert alone is ONE_DEVICE
    assert [placement.rows for placement in placements] == [1, 2, 4, 8]
    choose = partial(fit_in_memory, config, [(4096, 4096)], "auto", placements=placements)
    needed = estimate_bytes(config, 4096, 4096)
    for available, count in ((needed, 1), (needed - 1, 2), (needed // 3, 4)):
        tile, chosen = choose(available)
        assert tile is None
        assert chosen.rows == count
    tile, chosen = choose(needed // 4, placements=[*placements[:2], ONE_DEVICE])
    assert tile >= 64
    assert chosen is ONE_DEVICE
    message = refusal(choose, needed // 4, placements=placements[:2])
    assert "on each device" in message
    assert "without devices, tile=" in message


def test_what_cannot_be_spread_is_refused():
    given = (picture(80, 71, 4), picture(60, 50, 5))
    stylize = partial(jaxnst.stylize, *given, progress=False, **SETTINGS)
    assert "99 are asked for, and there are 8" in refusal(stylize, devices=99)
    assert "there is no 'al'" in refusal(stylize, devices="al")
    assert "a number, 'all'" in refusal(stylize, devices=1.5)
    assert "Histogram" in refusal(stylize, devices=2, histogram_weight=1.0)
    assert "do not go together" in refusal(stylize, devices=2, tile=64)
    assert "there is one picture" in refusal(stylize, devices=over(2, 4).mesh)
    columns = jax.sharding.Mesh(np.array(jax.devices()), ("columns",))
    assert "columns" in refusal(stylize, devices=columns)


@pytest.mark.fast
def test_a_mesh_may_be_laid_out_in_any_order():
    [found] = for_pairs(jax.make_mesh((4, 2), ("rows", "pairs")))
    assert (found.pairs, found.rows) == (2, 4)
    [found] = for_one_picture(jax.make_mesh((8,), ("rows",)))
    assert (found.pairs, found.rows) == (1, 8)


@pytest.mark.fast
@pytest.mark.parametrize("placement", [ONE_DEVICE, over(2, 4)], ids=["one device", "eight"])
def test_one_process_agrees_with_itself(placement):
    """`test_hosts` has two."""
    assert numbers_of_all(placement, 7).tolist() == [7]
    assert any_process(placement, True) is True
    assert any_process(placement, False) is False


@pytest.mark.fast
@pytest.mark.parametrize("lanes", [False, True])
@pytest.mark.parametrize("height", [7, 8])
def test_a_state_goes_to_devices_and_back(lanes, height):
    """Its random keys, too; and rows of zeros are cut off."""
    placement, front = over(2, 4), (2,) * lanes
    state = {
        "picture": np.random.default_rng(0).random((*front, height, 5, 3), np.float32),
        "history": np.random.default_rng(1).random((*front, 6, height, 5, 3), np.float32),
        "count": np.full(front, 3, np.int32),
        "key": jax.random.split(jax.random.key(1), 2) if lanes else jax.random.key(1),
    }
    placed = placement.put_state(state, lanes)
    assert placed["picture"].shape == (*front, 8, 5, 3)
    assert sides_of_shards(placed["picture"], -3) == sides_of_shards(placed["history"], -3) == {2}
    found = placement.on_host(placed, height)
    for name in ("picture", "history", "count"):
        np.testing.assert_array_equal(found[name], state[name])
    np.testing.assert_array_equal(jax.random.key_data(found["key"]), jax.random.key_data(state["key"]))
