"""Which cells are one run, and which runs go together without becoming others."""

import dataclasses

import numpy as np
import pytest

import jaxnst
from jaxnst.run import vectorised as lanes
from jaxnst.run.plan import Pictures, prepare
from jaxnst.studies.runs import Run, pooled, runs_of
from jaxnst.studies.study import Cell, read_study


def cell(**settings):
    return Cell("grid", {}, jaxnst.Config(**settings).checked(), "content 1", ("style 1",))


def test_cells_that_differ_in_steps_are_one_run():
    cells = [cell(steps=steps, seed=seed) for seed in (0, 1) for steps in (7, 3, 9)]
    runs = runs_of(cells)
    assert len(set(runs.values())) == 2
    assert runs[0] == runs[1] == runs[2] == Run(cells[2].config, "content 1", ("style 1",), (3, 7, 9))


def test_steps_of_several_scales_are_runs_of_their_own():
    cells = [cell(steps=steps, start_size=64, size=128) for steps in (4, 8)]
    assert len(set(runs_of(cells).values())) == 2


def test_other_pictures_are_other_runs():
    cells = [cell(), dataclasses.replace(cell(), content="content 2"), dataclasses.replace(cell(), styles=())]
    assert len(set(runs_of(cells).values())) == 3


def test_a_key_tells_settings_pictures_and_files_apart():
    run = runs_of([cell()])[0]
    digests = {"content 1": "a", "style 1": "b", "mask.png": "m", "start.png": "s"}

    def changed(**settings):
        return dataclasses.replace(run, config=run.config.replace(**settings))

    masked = changed(content_masks=("mask.png",))
    started = changed(start="start.png")
    keys = [
        run.key(digests, "w"),
        run.key(digests, "v"),
        run.key(digests | {"style 1": "c"}, "w"),
        changed(seed=1).key(digests, "w"),
        dataclasses.replace(run, content=None).key(digests, "w"),
        *(one.key(digests, "w") for one in (masked, started)),
        masked.key(digests | {"mask.png": "n"}, "w"),
        started.key(digests | {"start.png": "t"}, "w"),
        changed(start_size=64).key(digests, "w"),
        changed(start_size=64, steps=70).key(digests, "w"),
    ]
    assert len(set(keys)) == len(keys)
    same = [
        dataclasses.replace(run, looks=(1, 60)),
        changed(steps=70),  # on the way
        changed(style_weight=50, style_layer_weights=(1,)),
    ]
    assert {one.key(digests | {"style 2": "z"}, "w") for one in same} == {keys[0]}


def test_the_124_trials_of_layers_are_one_program():
    study = read_study("joshi-hu", grids=["content-conv", "content-relu", "style-conv", "style-relu"])
    runs = runs_of(study.cells)
    assert len(runs) == 124
    configs = pooled(set(runs.values()))
    shared = {(config.content_layers, config.style_layers) for config in configs.values()}
    assert len(shared) == 1
    [(content, style)] = shared
    assert len(content) == len(style) == 10
    for run, config in configs.items():
        for kind in ("content", "style"):
            layers, weights = getattr(config, f"{kind}_layers"), getattr(config, f"{kind}_layer_weights")
            counted = {layer for layer, weight in zip(layers, weights, strict=True) if weight}
            assert counted == set(getattr(run.config, f"{kind}_layers"))


@pytest.mark.parametrize(
    "settings",
    [
        {"statistic": ("gram", "mean_std"), "style_layers": ("relu1_1", "relu2_1")},
        {"style_weights": (1.0, 2.0), "style_layers": ("relu1_1", "relu2_1")},
        {"content_layers": ()},
    ],
)
def test_what_is_said_layer_by_layer_stays_as_it_is(settings):
    runs = set(runs_of([cell(**settings), cell()]).values())
    found = pooled(runs)
    assert all(found[run] == run.config for run in runs)


@pytest.mark.parametrize(
    "settings", [{"size": 64}, {"steps": 7}, {"weights": "caffe-unit"}, {"optimizer": "adam"}]
)
def test_runs_of_other_programs_keep_their_layers(settings):
    runs = set(
        runs_of([cell(style_layers=("relu1_1",)), cell(style_layers=("relu2_1",), **settings)]).values()
    )
    assert all(config.style_layers == run.config.style_layers for run, config in pooled(runs).items())


def test_layers_of_weight_zero_change_nothing(photo, painting):
    """Each trial in the pooled program is the run of its own layers."""
    base = {"size": 32, "steps": 3, "style_weight": 1e3}
    cells = [
        cell(content_layers=("relu2_1",), style_layers=("relu1_1",), **base),
        cell(
            content_layers=("conv2_2",),
            style_layers=("conv1_1", "relu2_1"),
            style_layer_weights=(2, 1),
            **base,
        ),
    ]
    runs = runs_of(cells)
    configs = pooled(runs.values())
    plans = lanes.gather(prepare(Pictures(photo, [painting]), configs[runs[index]]) for index in (0, 1))
    assert lanes.program(plans[0]) == lanes.program(plans[1])
    *_, last = lanes.optimise(plans)
    for lane, one in enumerate(cells):
        alone = jaxnst.stylize(photo, painting, config=one.config, progress=False)
        np.testing.assert_allclose(last.images[lane], alone.array, atol=2e-3)
