"""The artist's controls as a Python caller meets them: each does what it says, and all work together."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import refusal
from PIL import Image

import jaxnst
from jaxnst.config.build import to_objective, to_problem
from jaxnst.config.presets import PLAIN
from jaxnst.core import color, objective, solver
from jaxnst.core.transforms import RandomShift
from jaxnst.io.images import fit_size, read_image, resize
from jaxnst.run.plan import Pictures, prepare, style_sizes
from jaxnst.run.scale import inputs_at, photo_at

SETTINGS = {
    "size": 48,
    "steps": 6,
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "tv_weight": 0.0,
}
FAST = SETTINGS | {"progress": False}


def scale_inputs(pictures, config, size):
    """Computes the inputs of a step at a size."""
    plan = prepare(pictures, config)
    return inputs_at(plan, size, photo_at(plan, size))


@pytest.fixture(scope="module")
def pictures():
    """A smooth photo and two paintings of stripes, lying and standing, in other colours."""
    rows, columns = np.mgrid[0:36, 0:48] / 48
    photo = np.stack([rows, columns, 1 - columns], axis=-1).astype(np.float32)
    lying = np.where(np.arange(40)[:, None, None] % 8 < 4, [0.9, 0.2, 0.1], [0.1, 0.1, 0.3])
    standing = np.where(np.arange(40)[None, :, None] % 6 < 3, [0.1, 0.8, 0.3], [0.9, 0.9, 0.2])
    return photo, np.broadcast_to(lying, (40, 40, 3)), np.broadcast_to(standing, (40, 40, 3))


@pytest.mark.slow
def test_scales_go_by_any_factor_with_steps_of_their_own(pictures):
    sizes = []
    result = jaxnst.stylize(
        *pictures[:2],
        callback=lambda p: sizes.append(max(p.size)),
        **FAST
        | {"config": PLAIN, "steps": 0, "start_size": 24, "scale_factor": 2**0.5, "scale_steps": (3, 1, 2)},
    )
    assert sizes == [24] * 3 + [34] + [48] * 2
    assert result.config.steps == 6
    assert max(np.diff(result.history["total"][:3])) < 0


def test_style_scale_sets_the_size_of_the_style(pictures):
    """A style picture that has that size already is the same style; at another scale it is not."""
    photo, style = pictures[0], pictures[1][:30]
    settings = SETTINGS | {"weighting": "absolute", "statistic": "gram"}
    losses, same_losses = (
        jaxnst.evaluate(photo, photo, picture, style_scale=0.5, **settings)
        for picture in (style, resize(style, (18, 24)))
    )
    assert losses["style"] == pytest.approx(same_losses["style"], rel=1e-5)
    other_losses = jaxnst.evaluate(photo, photo, style, style_scale=1.0, **settings)
    assert abs(other_losses["style"] / losses["style"] - 1) > 0.05


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"size": 640}, (400, 300)),
        ({"size": 320}, (320, 240)),
        ({"size": 640, "style_scale": 1.5}, (600, 450)),
        ({"size": 640, "enlarge_style": True}, (640, 480)),
    ],
    ids=str,
)
def test_a_style_is_not_enlarged_beyond_its_pixels(settings, shown):
    """Shown too large it would be blurred, and so would be the strokes."""
    style, tiny = np.zeros((400, 300, 3), np.float32), np.zeros((20, 10, 3), np.float32)
    config = jaxnst.Config(**settings)
    found, of_tiny = style_sizes(config, [style, tiny], (config.size, config.size // 2))
    assert found == shown
    assert of_tiny[0] >= 256


@pytest.mark.parametrize("kind", ["luminance", "cholesky", "pca", "histogram"])
def test_the_contents_colours_stay(pictures, kind):
    photo = pictures[0]
    blocks = np.random.default_rng(0).random((10, 10, 3)) * [0.9, 0.5, 0.1]
    style = np.kron(blocks, np.ones((4, 4, 1)))
    settings = FAST | {"style_weight": 50.0, "steps": 12}

    def distance(array):
        return np.abs(array.mean((0, 1)) - photo.mean((0, 1))).max()

    assert distance(jaxnst.stylize(photo, style, **settings).array) > 0.15
    assert distance(jaxnst.stylize(photo, style, color=kind, **settings).array) < 0.08


def test_luminance_keeps_the_chroma_of_every_pixel(pictures):
    photo, style, _ = pictures
    kept = []
    result = jaxnst.stylize(
        photo, style, color="luminance", callback=lambda p: kept.append(np.asarray(p.unclipped)), **FAST
    )
    for array in (kept[-1], result.array):  # also where clipping could change it
        np.testing.assert_allclose(color.chroma(array), color.chroma(photo), atol=1e-5)
    assert np.abs(color.luminance(result.array) - color.luminance(photo)).mean() > 0.02


@pytest.fixture(scope="module")
def halves():
    left = np.zeros((36, 48), np.float32)
    left[:, :24] = 1
    return left, 1 - left


def test_each_half_has_its_own_style(pictures, halves):
    """The Gram loss of each half to its own style is lower than to the other's."""
    photo, *styles = pictures
    settings = FAST | {"config": PLAIN, "steps": 30, "style_weight": 1e3}
    result = jaxnst.stylize(photo, styles, content_masks=halves, **settings)
    for half, (own, other) in ((np.s_[:, :24], styles), (np.s_[:, 24:], styles[::-1])):
        cut = result.array[half]
        own_losses, other_losses = (
            jaxnst.evaluate(cut, None, style, result.config.replace(content_masks=()))
            for style in (own, other)
        )
        assert own_losses["style"] < 0.5 * other_losses["style"]


def test_a_region_without_a_style_keeps_the_photo(pictures, halves):
    photo, style, _ = pictures
    left, right = halves
    result = jaxnst.stylize(photo, style, content_masks=left, **FAST)
    np.testing.assert_allclose(result.array[:, 24:], photo[:, 24:], atol=1e-6)
    assert np.abs(result.array[:, :24] - photo[:, :24]).mean() > 0.02
    soft = 0.5 * left
    half = jaxnst.stylize(photo, style, content_masks=soft, **FAST | {"steps": 1}).array
    assert np.abs(half[:, :24] - photo[:, :24]).mean() > 0
    np.testing.assert_allclose(half[:, 24:], photo[:, 24:], atol=1e-6)
    assert right.sum() > 0


def test_a_style_mask_takes_the_style_from_a_part_of_its_picture(pictures, halves):
    """The left half of a picture of two halves is the picture of the left half."""
    photo, lying, standing = pictures
    both = np.concatenate([lying[:36, :24], standing[:36, :24]], axis=1)
    settings = SETTINGS | {"config": PLAIN, "content_layers": ("relu1_1",), "style_layers": ("conv1_1",)}
    masked = jaxnst.evaluate(photo, photo, both, style_masks=halves[0], **settings)
    alone = jaxnst.evaluate(photo, photo, lying[:36, :24], **settings | {"style_scale": 0.75})
    other = jaxnst.evaluate(photo, photo, standing[:36, :24], **settings | {"style_scale": 0.75})
    assert masked["style"] == pytest.approx(alone["style"], rel=0.1)
    assert abs(other["style"] / alone["style"] - 1) > 0.3


def test_masks_from_files_stay_in_the_config(pictures, halves, tmp_path):
    paths = []
    for name, mask in zip("ab", halves, strict=True):
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray((mask * 255).astype(np.uint8)).save(paths[-1])
    result = jaxnst.stylize(pictures[0], list(pictures[1:]), content_masks=paths, **FAST)
    assert result.config.content_masks == tuple(map(str, paths))
    again = jaxnst.stylize(pictures[0], list(pictures[1:]), config=result.config, progress=False)
    np.testing.assert_array_equal(again.array, result.array)
    arrays = jaxnst.stylize(pictures[0], list(pictures[1:]), content_masks=halves, **FAST)
    np.testing.assert_allclose(arrays.array, result.array, atol=1e-5)
    assert arrays.config.content_masks == ("<ndarray>", "<ndarray>")  # which is no file, and says so
    message = refusal(jaxnst.evaluate, result.array, pictures[0], list(pictures[1:]), arrays.config)
    assert message.startswith("content_masks 1: there is no file '<ndarray>'")


def test_styles_are_mixed_layer_by_layer(pictures):
    photo, *styles = pictures
    settings = SETTINGS | {"weighting": "absolute"}
    by_layer = jaxnst.evaluate(photo, photo, styles, style_weights=(1.0, 0.0, 0.0, 2.0), **settings)
    fine = jaxnst.evaluate(photo, photo, styles[0], **settings | {"style_layers": ("relu1_1",)})
    coarse = jaxnst.evaluate(photo, photo, styles[1], **settings | {"style_layers": ("relu2_1",)})
    assert by_layer["style"] == pytest.approx(fine["style"] + 2 * coarse["style"], rel=1e-4)


def test_interpolation_goes_from_one_style_to_the_other(pictures):
    photo, *styles = pictures
    results = list(jaxnst.interpolate(photo, styles, count=3, **FAST))
    ends = [jaxnst.stylize(photo, style, **FAST) for style in styles]
    np.testing.assert_allclose(results[0].array, ends[0].array, atol=2e-3)
    np.testing.assert_allclose(results[2].array, ends[1].array, atol=2e-3)
    distance = [np.abs(result.array - ends[1].array).mean() for result in results]
    assert distance[0] > distance[1] > distance[2]
    assert "count: 1" in refusal(lambda: list(jaxnst.interpolate(photo, styles, count=1, **FAST)))
    assert "two style pictures" in refusal(lambda: list(jaxnst.interpolate(photo, styles[0], **FAST)))


@pytest.mark.slow
def test_content_and_style_reconstruction_need_one_picture(pictures):
    photo, style, _ = pictures
    content = jaxnst.reconstruct(photo, "relu1_2", size=48, steps=40, progress=False)
    assert content.array.shape == (36, 48, 3)
    assert np.corrcoef(content.array.ravel(), photo.ravel())[0, 1] > 0.9
    assert content.history["style"].max() == 0
    texture = jaxnst.reconstruct(
        style[:, :30], style_layers=("relu1_1", "relu2_1"), size=40, steps=40, edges="drop", progress=False
    )
    assert texture.array.shape == (40, 30, 3)
    assert texture.history["content"].max() == 0
    assert texture.history["style"][-1] < 0.05 * texture.history["style"][0]


def test_a_saved_reconstruction_can_be_made_again(pictures):
    small = {"size": 32, "steps": 2, "progress": False}
    for layer, style_layers in (("relu1_1", ()), (None, ("relu1_1",))):
        settings = {"style_layers": style_layers} if layer is None else {}
        first = jaxnst.reconstruct(pictures[1], layer, **small, **settings)
        again = jaxnst.reconstruct(pictures[1], config=first.config, progress=False)
        np.testing.assert_array_equal(first.array, again.array)
        assert first.config.start == "noise"
    preset = jaxnst.reconstruct(pictures[1], "relu2_1", preset="jaiswal", **small)
    assert preset.history["content"][0] > 0  # not from the picture itself


def test_colours_come_from_the_styles_own_region(pictures, halves):
    """With regions, each style gets the colours of the part of the photo that it goes to."""
    photo = np.zeros((36, 48, 3), np.float32)
    photo[:, :24], photo[:, 24:] = [0.8, 0.2, 0.2], [0.2, 0.2, 0.8]
    photo += 0.1 * np.random.default_rng(0).random(photo.shape, np.float32)
    noise = np.random.default_rng(1).random((2, 40, 40, 3), np.float32)
    config = jaxnst.Config(**SETTINGS, color="cholesky").checked()
    plan = prepare(Pictures(photo, list(noise), halves), config)
    for style, half in zip(plan.styles, (photo[:, :24], photo[:, 24:]), strict=True):
        np.testing.assert_allclose(style.mean((0, 1)), half.mean((0, 1)), atol=0.01)


def test_an_interrupted_coarse_scale_still_gives_the_size_asked_for(pictures):
    settings = FAST | {"start_size": 24}
    result = jaxnst.stylize(*pictures[:2], callback=lambda progress: progress.step < 2, **settings)
    assert (result.ended, result.array.shape) == ("stopped", (36, 48, 3))


def test_regions_move_with_the_random_shift(pictures, halves):
    """What a step sees of a guide is what it sees of a picture that looks like the guide."""
    shift, key = RandomShift(0.9), jax.random.key(3)
    left = jnp.asarray(halves[0])
    as_picture = shift(jnp.stack([left] * 3, axis=-1), key)[..., 0]
    config = jaxnst.Config(**SETTINGS | {"style_layers": ("relu1_1",)}).checked()
    view = objective.view(
        to_objective(config),
        prepare(Pictures(pictures[0], [pictures[1]]), config).params,
        jnp.asarray(pictures[0]),
        [{"relu1_1": left}],
        lambda image: shift(image, key),
    )
    np.testing.assert_allclose(view.guide("relu1_1"), as_picture, atol=1e-6)
    np.testing.assert_array_equal(view.image, pictures[0])
    assert np.abs(as_picture - left).max() > 0.1


@pytest.mark.slow
def test_extra_terms_are_in_the_history_and_do_their_work(pictures):
    photo, style, _ = pictures
    extra = {
        "laplacian_weight": 1e7,
        "laplacian_windows": (2, 4),
        "histogram_weight": 1e-3,
        "histogram_layers": ("relu1_1",),
        "range_weight": 1e9,
    }
    settings = FAST | extra | {"clamp": False, "style_weight": 1e3, "steps": 12}
    result = jaxnst.stylize(photo, style, **settings)
    assert list(result.history) == ["total", "content", "style", "tv", "laplacian", "histogram", "range"]
    without = jaxnst.stylize(photo, style, **settings | {"laplacian_weight": 1e-9, "range_weight": 1e-9})
    for name in ("laplacian", "range"):
        assert 0 < result.history[name][-1] < 0.5 * without.history[name][-1]
    losses = jaxnst.evaluate(result.array, photo, style, result.config)
    weights = {name: getattr(result.config, f"{name}_weight") for name in losses if name != "total"}
    assert losses["total"] == pytest.approx(sum(weights[name] * losses[name] for name in weights), rel=1e-5)


def test_a_statistic_of_your_own(pictures):
    @functools.partial(lambda cls: cls())
    class Means:
        def __call__(self, features, guide):
            return jnp.einsum("hwc,hw->c", features, guide) / guide.sum()

        def distance(self, means, target):
            return jnp.mean((means - target) ** 2)

    photo, style, _ = pictures
    result = jaxnst.stylize(photo, style, statistic=(Means, "gram"), **FAST)
    assert result.history["style"][-1] < result.history["style"][0]
    json.dumps(result.metadata)


EVERYTHING = {
    "start_size": 24,
    "style_scale": 1.25,
    "statistic": ("gram", "sliced_wasserstein"),
    "color": "histogram",
    "random_shift": 0.97,
    "tv_weight": 10.0,
    "tv_norm": "l2",
    "laplacian_weight": 1.0,
    "histogram_weight": 1e-3,
    "histogram_layers": ("relu1_1",),
    "range_weight": 1.0,
    "clamp": False,
    "pooling": "l2",
    "pooling_rescale": True,
    "padding": "reflect",
    "parametrisation": "fourier",
    "decorrelate": True,
    "norm": "scaled",
    "style_balance": 1.0,
    "guidance": "all",
    "style_weights": (1.0, 0.5, 0.5, 1.0),
}


@pytest.mark.slow
def test_everything_works_together_and_from_a_saved_config(pictures, halves):
    photo, *styles = pictures
    settings = FAST | EVERYTHING
    result = jaxnst.stylize(photo, styles, content_masks=halves, **settings)
    assert result.ended == "finished"
    assert np.isfinite(result.array).all()
    assert np.abs(result.array - resize(photo, result.array.shape[:2])).mean() > 0.01
    config = jaxnst.Config.from_dict(json.loads(json.dumps(result.config.to_dict())))
    assert config == result.config
    again = jaxnst.stylize(photo, styles, content_masks=halves, config=config, progress=False)
    np.testing.assert_array_equal(again.array, result.array)


@pytest.mark.slow
def test_everything_vmaps(pictures, halves):
    """Two lanes of one program, with other weights, learning rates and pictures, are two single runs."""
    photo, *styles = pictures
    config = jaxnst.Config(**SETTINGS | EVERYTHING | {"optimizer": "adam"}).checked()
    problem, size = to_problem(config), (36, 48)
    runs = [
        (photo, halves, {"style_weight": 50.0, "learning_rate": 0.02}),
        (photo[::-1], halves[::-1], {"style_weight": 500.0, "learning_rate": 0.01}),
    ]
    keys = jax.random.split(jax.random.key(0), 2)
    lanes = [
        (scale_inputs(Pictures(content, styles, masks), config.replace(**own), size), content, key)
        for (content, masks, own), key in zip(runs, keys, strict=True)
    ]

    def run(inputs, image, key):
        state = solver.start(problem, inputs, image, key)
        for _ in range(2):
            state, losses = solver.step(problem, inputs, state)
        return solver.picture(problem, inputs, state.variable), losses["total"]

    images, totals = jax.jit(jax.vmap(run))(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes))
    single = jax.jit(run)
    for lane, arguments in enumerate(lanes):
        image, total = single(*arguments)
        np.testing.assert_allclose(images[lane], image, atol=2e-3)
        assert float(totals[lane]) == pytest.approx(float(total), rel=1e-3)
    assert np.abs(images[0] - images[1]).mean() > 0.01


@pytest.mark.parametrize("basis", [{}, {"parametrisation": "fourier", "decorrelate": True}])
def test_carrying_to_the_same_size_changes_nothing(pictures, basis):
    """Resampling to the size that is there leaves picture and optimiser as they are."""
    photo, style, _ = pictures
    adam = {"optimizer": "adam", "learning_rate": 0.01, "clamp": False}
    config = jaxnst.Config(**SETTINGS | basis | adam).checked()
    problem = to_problem(config)
    inputs = scale_inputs(Pictures(photo, [style]), config, (36, 48))
    start = solver.start(problem, inputs, photo, jax.random.key(0))
    state, _ = jax.jit(solver.step, static_argnums=0)(problem, inputs, start)
    carried = solver.carry(problem, state, (36, 48))
    for before, after in (
        (state.variable, carried.variable),
        (state.optimizer[0].mu, carried.optimizer[0].mu),
    ):
        np.testing.assert_allclose(after, before, atol=1e-4 * float(jnp.abs(before).max()))


@pytest.mark.parametrize(
    "basis",
    [
        {},
        pytest.param(
            {"parametrisation": "fourier", "fourier_decay": 0.5, "decorrelate": True}, marks=pytest.mark.slow
        ),
    ],
)
def test_a_carried_gradient_is_that_of_the_finer_picture(pictures, basis):
    """For an objective that is a mean over positions: resampled, and divided by the growth of the area."""
    photo = resize(pictures[0], (30, 40))
    config = jaxnst.Config(**SETTINGS, **basis, optimizer="adam", learning_rate=0.01, clamp=False).checked()
    problem = to_problem(config)

    def state_with_gradient(image):
        def loss(variable):
            return jnp.mean((solver.picture(problem, INPUTS, variable) - 0.3) ** 2)

        state = solver.start(problem, INPUTS, image, jax.random.key(0))
        first, *rest = state.optimizer
        return state._replace(optimizer=(first._replace(mu=jax.grad(loss)(state.variable)), *rest))

    carried = solver.carry(problem, state_with_gradient(photo), (60, 80)).optimizer[0].mu
    expected = state_with_gradient(resize(photo, (60, 80))).optimizer[0].mu
    assert np.linalg.norm(carried - expected) < 0.05 * np.linalg.norm(expected)


INPUTS = solver.Inputs({}, objective.Targets({}), {}, jnp.float32(0.01))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"content_masks": (np.ones((36, 48)),) * 2}, "content_masks: 2 masks for 1 style pictures"),
        ({"style_masks": np.zeros((40, 40))}, "style_masks 1: the region is empty"),
        ({"content_masks": "nowhere.png"}, "content_masks 1: there is no file"),
        ({"style_balance": 1.0}, "style_balance: it needs at least two"),
        ({"start_size": 96}, "start_size: 96 is larger than size, 48"),
        ({"style_weights": (1.0, 0.0), "style_layer_weights": (0.0, 1.0)}, "together they leave no style"),
        ({"style_layers": ()}, "style_layers, style_weight: the style counts for nothing"),
        ({"statistic": "patches", "style_layers": ("relu5_1",)}, "statistic: at relu5_1 of 48x36 pixels"),
    ],
)
def test_bad_controls_are_refused_in_one_sentence(pictures, settings, message):
    with pytest.raises(jaxnst.InputError, match=message):
        jaxnst.stylize(*pictures[:2], **FAST | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "start: 'recolored' needs a content picture; none is given"),
        ({"start": "noise", "color": "pca"}, "color: 'pca' needs a content picture"),
        ({"start": "noise", "style_weight": 0.0}, "style_layers, style_weight: the style counts for nothing"),
    ],
)
def test_what_needs_the_content_picture_says_so(pictures, settings, message):
    with pytest.raises(jaxnst.InputError, match=message):
        jaxnst.stylize(None, pictures[1], **FAST | settings)


def test_a_small_region_that_vanishes_inside_is_refused(pictures):
    mask = np.zeros((36, 48), np.float32)
    mask[10:13, 10:13] = 1
    with pytest.raises(jaxnst.InputError, match=r"content_masks 1: .* empty at relu2_1"):
        jaxnst.stylize(*pictures[:2], content_masks=mask, guidance="inside", **FAST)


def test_an_example_picture_with_masks_of_another_size_warns(photo, painting):
    mask = np.ones((10, 10), np.float32)
    with pytest.warns(UserWarning, match="content_masks 1: 10x10 pixels, resized"):
        result = jaxnst.stylize(photo, painting, content_masks=mask, **FAST | {"steps": 1})
    assert result.array.shape[:2] == fit_size(read_image(photo).shape[:2], 48)
