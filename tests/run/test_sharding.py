"""Several devices give what one gives: pairs over them, rows of one picture, or both. There are eight."""

import dataclasses
import inspect
import re
from functools import partial

import jax
import numpy as np
import pytest
from objectives import SIZE, assert_equal, half, objective_of, picture, weights_of
from pictures import refusal

import jaxnst
from jaxnst.config.config import Config
from jaxnst.core import losses, objective, vgg
from jaxnst.core import statistics as st
from jaxnst.core.sharding import rows
from jaxnst.core.sharding import spread as sharding
from jaxnst.io.leaves import leaves_of
from jaxnst.io.weights.load import load_weights
from jaxnst.run import loop as run
from jaxnst.run import memory_budget as memory
from jaxnst.run import mesh as devices
from jaxnst.run import scale as inputs
from jaxnst.run import vectorised as lanes
from jaxnst.run.plan import Pictures, prepare

SETTINGS = {
    "size": 56,
    "steps": 4,
    "content_layers": ("relu2_2",),
    "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
    "tv_weight": 0.0,
    "progress": False,
}


@pytest.fixture(scope="module")
def params():
    return load_weights("caffe").params


def mesh(pairs, of_rows):
    return sharding.make_mesh(jax.devices()[: pairs * of_rows], of_rows)


def value_and_grad(of, params, given, weights, image):
    def total(image, params, targets):
        found = objective.evaluate(of, params, targets, weights, image)
        return found["total"], found

    targets = jax.jit(objective.make_targets, static_argnums=0)(of, params, *given)
    (_, found), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(image, params, targets)
    return found, gradient


def both(of, params, given, weights, image, count):
    """Losses and gradients, on one device and with rows over several."""
    spread = dataclasses.replace(of, rows=rows.Rows(mesh(1, count)))
    return tuple(value_and_grad(each, params, given, weights, image) for each in (of, spread))


@pytest.mark.parametrize(("statistic", "norm", "count"), [("gram", "l2", 8), ("covariance", "l1", 3)])
def test_rows_add_up_to_the_whole(params, statistic, norm, count):
    """91 rows divide by none of these."""
    of = objective_of(st.STATISTICS[statistic](losses.gram_chw, losses.NORMS[norm]), norm)
    given = (picture(*SIZE), [picture(80, 101, 2)])
    assert_equal(*both(of, params, given, weights_of(of, 1), picture(*SIZE, 1), count))


def test_masks_and_several_styles(params):
    of, mask = objective_of(st.Gram(losses.gram_hw)), half(*SIZE)
    given = (
        picture(*SIZE),
        [picture(80, 101, 2), picture(64, 48, 3)],
        [mask, 1 - mask],
        [half(80, 101), np.ones((64, 48), np.float32)],
    )
    assert_equal(*both(of, params, given, weights_of(of, 2), picture(*SIZE, 1), 4))


def test_other_paddings_are_those_of_the_picture(params):
    of = objective_of(st.Gram(losses.gram_hw))
    of = dataclasses.replace(of, padding=vgg.reflect, pooling=vgg.average_pool)
    given = (picture(*SIZE), [picture(80, 101, 2)])
    assert_equal(*both(of, params, given, weights_of(of, 1), picture(*SIZE, 1), 4))


def test_zeros_below_the_picture_would_show(params, monkeypatch):
    """What the tests above could not see otherwise: these rows' features change the picture's own."""
    monkeypatch.setattr(rows.Within, "__call__", lambda self, convolve, x: convolve(x))
    of = objective_of(st.Gram(losses.gram_hw))
    given = (picture(*SIZE), [picture(80, 101, 2)])
    (_, expected), (_, found) = both(of, params, given, weights_of(of, 1), picture(*SIZE, 1), 8)
    assert np.abs(expected - found).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("size", [(201, 61), (128, 128)])
def test_neighbours_exchange_rows_and_nobody_collects_the_picture(size):
    """Of each step, with L-BFGS; and its history is spread as the picture is.

    128 is a number of channels, too: kernels and Gram matrices have such sides.
    """
    config = Config(size=max(size), memory=5).checked()
    given = Pictures(picture(*size), [picture(80, 101, 2)])
    plan = prepare(given, config, size, meshes=devices.for_one_picture(8))
    at = sharding.spread(plan.mesh, inputs.inputs_at(plan, size, plan.params), size)
    key = jax.random.key(0)
    state = run._start(plan.problem, plan.mesh, at, inputs.first_picture(plan, size), key)
    step = jax.jit(inspect.unwrap(run._step), static_argnums=0)
    program = step.lower(plan.problem, at, *state).compile().as_text()
    assert "collective-permute" in program
    assert not re.findall(r"all-gather|all-to-all", program)
    history = [leaf for leaf in jax.tree.leaves(state[1].optimizer) if leaf.ndim == 4]
    assert len(history) == 2
    for leaf in (*history, at.targets.terms["content"][0][None]):
        assert {shard.data.shape[1] for shard in leaf.addressable_shards} == {leaf.shape[1] // 8}


def test_nor_where_pairs_are_spread_too():
    plans = [
        prepare(
            Pictures(picture(128, 61, seed), [picture(80, 101, 2)]),
            Config(memory=5),
            (128, 61),
            meshes=[mesh(2, 4)],
        )
        for seed in range(2)
    ]
    plans, size = lanes.gather(plans), (128, 61)
    at, axes = lanes._joined(plans, size, plans[0].params)
    at = sharding.spread(plans[0].mesh, at, size, axes)
    state = next(lanes.optimise(plans)).state
    step = jax.jit(inspect.unwrap(lanes._advance), static_argnums=(0, 1))
    program = step.lower(plans[0].problem, axes, at, state).compile().as_text()
    assert "collective-permute" in program
    assert not re.findall(r"all-gather|all-to-all", program)


@pytest.mark.parametrize(
    "settings",
    [
        {"start_size": 32},
        {"size": 57, "max_step": 0.01},  # each step is cut off, by a mean over the picture
        {"optimizer": "adam", "random_shift": 0.9},
        {"size": 51, "steps": 2, "parametrisation": "fourier", "color": "luminance"},
        {"line_search": "zoom", "steps": 2},
        {"content_masks": [half(80, 71)], "style_masks": [half(60, 50)]},
    ],
    ids=["scales", "max-step", "adam", "fourier", "zoom", "masks"],
)
def test_a_picture_over_several_devices(settings):
    settings, used = SETTINGS | settings, set()
    given = (picture(80, 71, 4), picture(60, 50, 5))
    one = jaxnst.stylize(*given, **settings)

    def watch(progress):
        used.update(progress.unclipped.sharding.device_set)

    several = jaxnst.stylize(*given, devices=8, callback=watch, **settings)
    assert len(used) == 8
    np.testing.assert_allclose(several.array, one.array, rtol=0, atol=1e-4)
    np.testing.assert_allclose(several.history["total"], one.history["total"], rtol=1e-5)


def test_bfloat16_over_several_devices():
    """To its own rounding."""
    given = (picture(80, 71, 4), picture(60, 50, 5))
    settings = SETTINGS | {"precision": "bf16"}
    one, several = (jaxnst.stylize(*given, devices=count, **settings) for count in (None, 8))
    np.testing.assert_allclose(several.history["total"], one.history["total"], rtol=0.01)


def test_lanes_over_several_devices_go_on():
    """Each part of the state is put back where it was."""
    config, size = Config(**{name: of for name, of in SETTINGS.items() if name != "progress"}), (56, 50)
    plans = [
        prepare(Pictures(picture(*size, seed), [picture(50, 40, 10)]), config, size, meshes=[mesh(2, 2)])
        for seed in range(2)
    ]
    plans = lanes.gather(plans)
    for whole in lanes.optimise(plans):
        if whole.step == 1:
            leaves = leaves_of(sharding.on_host(whole.state))
    *_, last = lanes.optimise(plans, (2, leaves))
    np.testing.assert_array_equal(last.images, whole.images)
    assert jax.tree.map(lambda leaf: leaf.sharding, last.state) == jax.tree.map(
        lambda leaf: leaf.sharding, whole.state
    )


def test_pairs_over_several_devices():
    """Three pairs divide by neither 2 nor 4; `test_batch` compares those on one device with single runs."""
    contents, style = [picture(60, 57, seed) for seed in range(3)], picture(50, 40, 10)
    batch = partial(jaxnst.stylize_batch, contents, style, **SETTINGS)
    expected = batch()
    for several in (4, mesh(2, 4)):
        found = batch(devices=several)
        assert len(found) == len(expected)
        for result, of_one in zip(found, expected, strict=True):
            np.testing.assert_allclose(result.array, of_one.array, rtol=0, atol=1e-4)
            np.testing.assert_allclose(result.history["total"], of_one.history["total"], rtol=1e-5)


def test_memory_says_over_how_many_devices_rows_go(monkeypatch):
    """Of accelerators, each with memory of its own."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    config, (*meshes, alone) = Config(), devices.for_pairs(8)
    assert alone is None
    assert [one.shape["rows"] for one in meshes] == [1, 2, 4, 8]
    choose = partial(memory.fit_in_memory, config, [(4096, 4096)], "auto", meshes=meshes)
    needed = memory.estimate_bytes(config, 4096, 4096)
    for available, count in ((needed, 1), (needed - 1, 2), (needed // 3, 4)):
        tile, chosen = choose(available)
        assert tile is None
        assert chosen.shape["rows"] == count
    tile, chosen = choose(needed // 4, meshes=[*meshes[:2], None])
    assert tile >= 64
    assert chosen is None
    message = refusal(choose, needed // 4, meshes=meshes[:2])
    assert "on each device" in message
    assert "without devices, tile=" in message


def test_what_cannot_be_spread_is_refused():
    given = (picture(80, 71, 4), picture(60, 50, 5))
    stylize = partial(jaxnst.stylize, *given, **SETTINGS)
    assert "99 are asked for, and there are 8" in refusal(stylize, devices=99)
    assert "there is no 'al'" in refusal(stylize, devices="al")
    assert "a number, 'all'" in refusal(stylize, devices=1.5)
    assert "Histogram" in refusal(stylize, devices=2, histogram_weight=1.0)
    assert "do not go together" in refusal(stylize, devices=2, tile=64)
    assert "there is one picture" in refusal(stylize, devices=mesh(2, 4))
    columns = jax.sharding.Mesh(np.array(jax.devices()), ("columns",))
    assert "columns" in refusal(stylize, devices=columns)


def test_a_mesh_may_be_laid_out_in_any_order():
    [found] = devices.for_pairs(jax.make_mesh((4, 2), ("rows", "pairs")))
    assert dict(found.shape) == {"pairs": 2, "rows": 4}
    [found] = devices.for_one_picture(jax.make_mesh((8,), ("rows",)))
    assert dict(found.shape) == {"pairs": 1, "rows": 8}
