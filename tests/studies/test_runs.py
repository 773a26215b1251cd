"""Which cells are one run, and which runs share a program without a change of their results."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

import jaxnst
from jaxnst.run import vectorised
from jaxnst.run.plan import Pictures, prepare
from jaxnst.studies.runs import Run, runs_of, with_common_layers
from jaxnst.studies.study import Cell, read_study


def cell(**settings):
    config = jaxnst.Config(**{"quality": "none"} | settings).checked()
    return Cell("grid", {}, config, "content 1", ("style 1",))


@pytest.mark.fast
def test_cells_that_differ_in_steps_are_one_run():
    cells = [cell(steps=steps, seed=seed) for seed in (0, 1) for steps in (7, 3, 9)]
    runs = runs_of(cells)
    assert len(set(runs)) == 2
    assert runs[0] == runs[1] == runs[2] == Run(cells[2].config, "content 1", ("style 1",), (3, 7, 9))


@pytest.mark.fast
def test_steps_of_several_scales_are_separate_runs():
    cells = [cell(steps=steps, start_size=64, size=128) for steps in (4, 8)]
    assert len(set(runs_of(cells))) == 2


@pytest.mark.fast
def test_other_pictures_are_other_runs():
    cells = [cell(), dataclasses.replace(cell(), content="content 2"), dataclasses.replace(cell(), styles=())]
    assert len(set(runs_of(cells))) == 3


@pytest.mark.fast
def test_keys_differ_with_settings_pictures_and_files():
    [run] = runs_of([cell()])
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
        masked.key(digests, "w"),
        started.key(digests, "w"),
        masked.key(digests | {"mask.png": "n"}, "w"),
        started.key(digests | {"start.png": "t"}, "w"),
        changed(start_size=64).key(digests, "w"),
        changed(start_size=64, steps=70).key(digests, "w"),
    ]
    assert len(set(keys)) == len(keys)
    same = [
        dataclasses.replace(run, snapshot_steps=(1, 60)),
        changed(steps=70),  # passes through the picture after 60 steps
        changed(style_weight=8, style_layer_weights=(1,)),
    ]
    assert {other.key(digests | {"style 2": "z"}, "w") for other in same} == {keys[0]}


@pytest.mark.fast
def test_a_key_has_the_settings_under_their_first_names():
    """Runs that an earlier version saved, before `memory` became `history_size`, are found again."""
    [run] = runs_of([cell(history_size=7)])
    settings = run.config.to_dict() | {"laplacian_windows": [4.0, 16.0]}
    del settings["steps"]
    settings = {"memory" if name == "history_size" else name: value for name, value in settings.items()}
    parts = [settings, False, ["a", "b"], "w", jaxnst.__version__]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    assert run.key({"content 1": "a", "style 1": "b"}, "w") == key


@pytest.mark.fast
def test_the_124_trials_of_layers_are_one_program():
    study = read_study("joshi-hu", grids=["content-conv", "content-relu", "style-conv", "style-relu"])
    runs = runs_of(study.cells)
    assert len(runs) == 124
    configs = with_common_layers(runs)
    [(content, style)] = {(config.content_layers, config.style_layers) for config in configs.values()}
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
@pytest.mark.fast
def test_settings_that_name_each_layer_stay_as_they_are(settings):
    configs = with_common_layers(runs_of([cell(**settings), cell()]))
    assert all(config == run.config for run, config in configs.items())


@pytest.mark.parametrize(
    "settings", [{"size": 64}, {"steps": 7}, {"weights": "caffe-unit"}, {"optimizer": "adam"}]
)
@pytest.mark.fast
def test_runs_of_other_programs_keep_their_layers(settings):
    runs = runs_of([cell(style_layers=("relu1_1",)), cell(style_layers=("relu2_1",), **settings)])
    configs = with_common_layers(runs)
    assert all(config.style_layers == run.config.style_layers for run, config in configs.items())


def test_layers_of_weight_zero_change_nothing(photo, painting):
    """Each trial in the common program is the run of its own layers."""
    base = {"size": 32, "steps": 3, "style_weight": 1e3}
    own = [
        {"content_layers": ("pool1",), "style_layers": ("relu1_1",)},
        {
            "content_layers": ("conv1_2",),
            "style_layers": ("conv1_1", "relu1_2"),
            "style_layer_weights": (2, 1),
        },
    ]
    runs = runs_of([cell(**base, **settings) for settings in own])
    configs = with_common_layers(runs)
    plans = [prepare(Pictures(photo, [painting]), configs[run]) for run in runs]
    assert vectorised.program(plans[0]) == vectorised.program(plans[1])
    for run, result in zip(runs, vectorised.run_plans(plans), strict=True):
        alone = jaxnst.stylize(photo, painting, config=run.config, progress=False)
        np.testing.assert_allclose(result.array, alone.array, atol=2e-3)
