"""`jaxnst.stylize`, `evaluate` and `features` as a Python caller meets them, on small pictures."""

import threading

import numpy as np
import pytest
from PIL import Image

import jaxnst
from jaxnst.io.images import read_image, resize
from jaxnst.io.save import read_metadata

FAST = {
    "size": 48,
    "steps": 4,
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "style_layer_weights": (1.0,),
    "progress": False,
}

NOTHING = {f"{term}_weight": 0.0 for term in ("content", "style", "tv", "laplacian")}


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(0)
    return generator.random((40, 64, 3), np.float32), generator.random((50, 30, 3), np.float32)


def test_result_has_everything_it_promises(photo, painting):
    result = jaxnst.stylize(photo, painting, **FAST)
    assert result.array.shape == (48, 48, 3)
    assert result.array.dtype == np.float32
    assert 0 <= result.array.min() < result.array.max() <= 1
    assert result.image.size == (48, 48)
    assert set(result.history) == {"total", "content", "style", "tv", "laplacian"}
    assert all(len(values) == 4 for values in result.history.values())
    assert result.history["total"][-1] < result.history["total"][0]
    assert result.seconds > 0
    assert result.config.size == 48


def test_all_kinds_of_pictures_give_the_same(photo, painting):
    array = read_image(photo)
    first, *others = [
        jaxnst.stylize(content, painting, **FAST).array
        for content in (photo, str(photo), Image.open(photo), array, (array * 255).round().astype(np.uint8))
    ]
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_history_is_what_evaluate_says_of_the_same_picture(pictures):
    """The loss before the first step is that of the start, the one before the second that after one step."""
    content, style = pictures
    settings = FAST | {"size": 64, "start": "content"}
    images = []
    result = jaxnst.stylize(content, style, callback=lambda p: images.append(p.image), clamp=True, **settings)
    at_start = jaxnst.evaluate(content, content, style, result.config)
    after_one_step = jaxnst.evaluate(images[0], content, style, result.config)
    for part in ("content", "style", "tv", "total"):
        assert result.history[part][0] == pytest.approx(at_start[part], rel=1e-5)
        assert result.history[part][1] == pytest.approx(after_one_step[part], rel=1e-5)


def test_total_is_the_weighted_sum_of_the_parts(pictures):
    weights = {"content_weight": 2.0, "style_weight": 30.0, "tv_weight": 500.0, "laplacian_weight": 0.5}
    parts = jaxnst.evaluate(pictures[1], *pictures, **weights)
    expected = 2 * parts["content"] + 30 * parts["style"] + 500 * parts["tv"] + 0.5 * parts["laplacian"]
    assert parts["total"] == pytest.approx(expected, rel=1e-5)


def test_same_seed_same_bytes_other_seed_other_picture(pictures, tmp_path):
    files = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        path = tmp_path / f"{name}.png"
        jaxnst.stylize(*pictures, start="noise", seed=seed, random_shift=0.97, **FAST).save(path)
        files.append(path.read_bytes())
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize(
    ("start", "mean"),
    [("black", 0.0), ("white", 1.0), ("noise", 0.5), ("content", None), ("style", None), ("blend", None)],
)
def test_starts(pictures, start, mean):
    content, style = pictures
    first = []
    still = FAST | {"size": 64, "steps": 1, "optimizer": "sgd", "learning_rate": 1e-30}
    jaxnst.stylize(content, style, start=start, blend=0.25, callback=lambda p: first.append(p.image), **still)
    expected = {"content": content, "style": resize(style, (40, 64))}.get(start)
    if mean is not None:
        assert first[0].mean() == pytest.approx(mean, abs=0.02)
    elif start == "blend":
        assert np.corrcoef(first[0].ravel(), content.ravel())[0, 1] == pytest.approx(0.35, abs=0.15)
    else:
        np.testing.assert_allclose(first[0], expected, atol=1e-6)


def test_start_from_a_file(pictures, tmp_path):
    path = tmp_path / "start.png"
    Image.new("RGB", (64, 40), (255, 0, 0)).save(path)
    result = jaxnst.stylize(
        *pictures, start=str(path), **FAST | {"steps": 1, "optimizer": "sgd", "learning_rate": 1e-30}
    )
    np.testing.assert_allclose(result.array, np.broadcast_to([1.0, 0, 0], (30, 48, 3)), atol=1e-6)


def test_callback_stops_early_and_keeps_what_exists(pictures):
    steps = []

    def callback(progress):
        steps.append((progress.step, progress.steps, progress.losses["total"], progress.image.shape))
        return progress.step < 2

    result = jaxnst.stylize(*pictures, callback=callback, **FAST)
    assert [step for step, *_ in steps] == [1, 2]
    assert steps[0][1] == 4
    assert steps[0][3] == (30, 48, 3)
    assert len(result.history["total"]) == 2
    assert result.ended == "stopped"
    assert result.metadata["steps_done"] == 2


@pytest.mark.parametrize(
    "settings",
    [{"optimizer": "adam", "learning_rate": 0.02, "start_size": 24}, {"size": 96, "tile": 64}],
    ids=["at two scales", "in tiles"],
)
def test_a_progress_that_a_callback_keeps_stays_what_it_was(pictures, settings):
    """Its losses and its image are read for the first time when the run is over."""
    kept, expected = [], []
    jaxnst.stylize(*pictures, callback=kept.append, **FAST | settings)
    jaxnst.stylize(
        *pictures, callback=lambda p: expected.append((p.step, p.losses, p.image)), **FAST | settings
    )
    assert len(kept) == 4
    for progress, (step, losses, image) in zip(kept, expected, strict=True):
        assert progress.step == step
        assert progress.losses == losses
        np.testing.assert_array_equal(progress.image, image)
    assert np.abs(kept[-1].image - kept[-2].image).max() > 1e-3


def test_snapshots(pictures):
    result = jaxnst.stylize(*pictures, snapshots=2, **FAST)
    assert sorted(result.snapshots) == [2, 4]
    np.testing.assert_array_equal(result.snapshots[4], result.array)


def test_scales_share_the_steps_coarse_to_fine(pictures):
    sizes = []
    jaxnst.stylize(
        *pictures,
        callback=lambda p: sizes.append(p.size),
        **FAST | {"size": 64, "start_size": 16, "steps": 7},
    )
    assert sizes == [(10, 16)] * 2 + [(20, 32)] * 2 + [(40, 64)] * 3


def test_a_style_given_twice_is_that_style(pictures):
    content, style = pictures
    once = jaxnst.stylize(content, style, **FAST)
    twice = jaxnst.stylize(content, [style, style], style_weights=(0.25, 0.75), **FAST)
    np.testing.assert_allclose(once.history["total"], twice.history["total"], rtol=1e-4)


def test_clamp_keeps_every_step_in_range(pictures):
    ranges = {}
    for clamp in (True, False):
        steps = []
        far = FAST | {"optimizer": "adam", "learning_rate": 5.0}
        jaxnst.stylize(*pictures, clamp=clamp, callback=steps.append, **far)
        ranges[clamp] = [(float(step.unclipped.min()), float(step.unclipped.max())) for step in steps]
    assert all(low >= 0 and high <= 1 for low, high in ranges[True])
    assert all(low < 0 and high > 1 for low, high in ranges[False][:1])


def test_a_run_that_diverges_ends_with_the_last_good_picture_and_a_warning(pictures):
    with pytest.warns(UserWarning, match="no longer a finite number"):
        far = {"optimizer": "sgd", "learning_rate": 1e30, "clamp": False, "steps": 9}
        result = jaxnst.stylize(*pictures, **FAST | far)
    assert result.ended == "diverged"
    assert 0 < len(result.history["total"]) < 9
    losses = jaxnst.evaluate(result.array, *pictures, result.config)
    assert np.isfinite(losses["total"])


@pytest.mark.slow
def test_bfloat16_hardly_costs_loss(photo, painting):
    """What counts is the float32 loss of the finished picture."""
    settings = {"size": 64, "steps": 30, "progress": False}
    exact, rough = (
        jaxnst.stylize(photo, painting, **settings, precision=precision) for precision in ("float32", "bf16")
    )
    exact_loss, rough_loss = (
        jaxnst.evaluate(result.array, photo, painting, result.config)["total"] for result in (exact, rough)
    )
    assert rough_loss <= 1.02 * exact_loss
    assert np.abs(exact.array - rough.array).max() > 0.01  # and it was used


def test_a_cpu_computes_in_float32(pictures):
    exact = jaxnst.stylize(*pictures, **FAST, precision="float32").array
    for precision in ("auto", "tf32"):
        np.testing.assert_array_equal(jaxnst.stylize(*pictures, **FAST, precision=precision).array, exact)


def test_works_outside_the_main_thread(pictures):
    results = []
    thread = threading.Thread(target=lambda: results.append(jaxnst.stylize(*pictures, **FAST)))
    thread.start()
    thread.join()
    assert len(results[0].history["total"]) == 4


# The parity tests have the losses and the gradient of each published system.
@pytest.mark.parametrize(
    "preset",
    [
        name if name in ("gatys", "joshi-hu-revised") else pytest.param(name, marks=pytest.mark.slow)
        for name in jaxnst.PRESETS
    ],
)
def test_every_preset_runs(photo, painting, preset):
    size = max(40, jaxnst.PRESETS[preset].start_size)
    result = jaxnst.stylize(photo, painting, preset=preset, size=size, steps=3, progress=False)
    assert len(result.history["total"]) == 3
    assert np.isfinite(result.history["total"]).all()
    assert result.config == jaxnst.PRESETS[preset].replace(size=size, steps=3)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif"])
def test_a_saved_picture_knows_how_to_repeat_itself(pictures, tmp_path, extension):
    result = jaxnst.stylize(*pictures, **FAST)
    path = tmp_path / f"out.{extension}"
    result.save(path)
    metadata = read_metadata(path)
    assert metadata["version"] == jaxnst.__version__
    assert metadata["weights_sha256"] == result.weights_sha256
    assert jaxnst.Config.from_dict(metadata["config"]) == result.config


def test_features_are_feature_maps_at_the_size_of_the_picture(photo):
    maps = jaxnst.features(photo, layers=("relu1_2", "pool2"), pooling="average")
    assert maps["relu1_2"].shape == (512, 512, 64)
    assert maps["pool2"].shape == (128, 128, 128)
    assert maps["relu1_2"].min() == 0 < maps["relu1_2"].max()


BAD_ARRAYS = {
    "shape": (np.zeros((3, 40, 40), np.float32), r"content: .*\[3, 40, 40\].*channels last"),
    "dtype": (np.zeros((40, 40, 3), np.int64), "content: .*int64"),
    "nan": (np.full((40, 40, 3), np.nan), "content: .*NaN"),
    "range": (np.full((40, 40, 3), 200.0), r"content: .*\[0, 1\].*divide by 255"),
    "zero size": (np.zeros((0, 40, 3), np.float32), "content: .*no pixels"),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_bad_arrays_are_refused_in_one_sentence(pictures, kind):
    array, message = BAD_ARRAYS[kind]
    with pytest.raises(jaxnst.InputError, match=message):
        jaxnst.stylize(array, pictures[1], **FAST)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimiser": "adam"}, "did you mean optimizer"),
        ({"steps": -1}, "steps: -1 is too small"),
        ({"steps": 2.5}, "steps: 2.5 is not"),
        ({"seed": -1}, "seed: -1"),
        ({"style_weight": float("nan")}, "style_weight: nan"),
        ({"style_weight": -1.0}, "style_weight: -1.0 is negative"),
        (NOTHING, "all zero"),
        ({"style_layer_weights": (1.0, 2.0, 3.0)}, "3 values for 2 style_layers"),
        ({"style_weights": (1.0, 2.0, 3.0)}, "3 values for 1 style pictures"),
        ({"style_layers": ("relu1_1", "relu1_1")}, "named twice"),
        ({"content_layers": (), "style_layers": ()}, "both empty"),
        ({"optimizer": "adam", "line_search": "zoom"}, "works with lbfgs only"),
        ({"blend": 2.0}, "blend: 2.0 is outside"),
        ({"random_shift": 0.1}, "random_shift: 0.1 is outside"),
        ({"steps": 2, "start_size": 12}, "2 steps cannot be shared by 3 scales"),
        ({"preset": "gatys", "config": jaxnst.Config()}, "preset and config are both given"),
        ({"config": "gatys"}, "not a jaxnst.Config"),
        ({"callback": 3}, "callback: 3 is not a function"),
        ({"snapshots": -1}, "snapshots: -1 is negative"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(pictures, settings, message):
    with pytest.raises(jaxnst.InputError, match=message):
        jaxnst.stylize(*pictures, **FAST | settings)


def test_no_style_is_refused(pictures):
    with pytest.raises(jaxnst.InputError, match="style: no picture is given"):
        jaxnst.stylize(pictures[0], [], **FAST)
