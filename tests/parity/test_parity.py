"""Features, losses, gradients and trajectories are PyTorch's: golden numbers, and live ones with torch."""

import functools
import importlib.util
import itertools

import jax
import numpy as np
import pytest
import torch_parity as parity

from jaxnst.config.build import to_learning_rate, to_loss_weights, to_objective, to_problem
from jaxnst.config.presets import PRESETS
from jaxnst.core import objective, solver, vgg
from jaxnst.io.weights.load import load_weights


@functools.cache
def params():
    return jax.device_put(load_weights(parity.WEIGHTS).params)


@functools.cache
def winograd_params():
    """Returns the weights in the form that `stylize` uses on a CPU."""
    return jax.jit(vgg.for_cpu)(params())


@functools.cache
def torch_live(key):
    return dict(parity.cases())[key]()


def slow(case):
    """Marks a parameter, or a tuple of them, whose tests take long."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)


HAS_TORCH = importlib.util.find_spec("torch") is not None


# With PyTorch at hand the golden numbers say again what it says; without, they are all there is.
@pytest.fixture(params=[pytest.param("golden", marks=pytest.mark.slow if HAS_TORCH else ()), "torch"])
def reference(request):
    """Returns PyTorch's numbers under a key: summaries from the file, or whole arrays computed now."""
    if request.param == "golden":
        return parity.golden
    pytest.importorskip("torch", reason="live parity needs PyTorch; the golden numbers are tested without")
    return torch_live


@functools.cache
def features(pooling, name, size):
    compute = jax.jit(vgg.features, static_argnums=(2, 3))
    maps = compute(params(), parity.image(name, size), vgg.LAYERS, vgg.POOLINGS[pooling])
    return {layer: np.asarray(values) for layer, values in maps.items()}


@pytest.mark.parametrize("size", parity.SIZES)
@pytest.mark.parametrize("name", parity.IMAGES)
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_all_37_layers(pooling, name, size, reference):
    expected = reference(f"features/{pooling}/{name}/{size}")
    maps = features(pooling, name, size)
    assert len(maps) == len(expected) == 37
    errors = {layer: parity.relative_error(maps[layer], expected[layer]) for layer in vgg.LAYERS}
    assert max(errors.values()) <= 1e-5, errors


@functools.partial(jax.jit, static_argnums=0)
def losses_and_gradient(terms, params, targets, loss_weights, image):
    def total(image):
        parts = objective.evaluate(terms, params, targets, loss_weights, image)
        return parts["total"], parts

    gradient, parts = jax.grad(total, has_aux=True)(image)
    return {**parts, "gradient": gradient}


make_targets = jax.jit(objective.make_targets, static_argnums=0)


@functools.cache
def losses(config, name, size, styles=("style",), params=params):
    """Computes the total, the parts and the gradient as the solver does."""
    terms, content = to_objective(config), parity.picture("content", size)
    targets = make_targets(terms, params(), content, [parity.picture(style, size) for style in styles])
    loss_weights = to_loss_weights(config, len(styles))
    return losses_and_gradient(terms, params(), targets, loss_weights, parity.image(name, size))


def assert_equal_losses(computed, expected):
    for part in ("total", "content", "style", "tv"):
        assert computed[part] == pytest.approx(float(expected[part]), rel=1e-5), part
    assert parity.relative_error(computed["gradient"], expected["gradient"]) <= 1e-4


def odd_size_slow(cases):
    """Marks the cases at the odd size, whose programs take long to compile, but for one of each pooling."""
    kept = ("gatys", "ranka")  # which pool by the average and by the maximum
    return [slow(case) if case[-1] == parity.SIZES[1] and case[0] not in kept else case for case in cases]


PRESET_CASES = itertools.product(parity.PRESET_NAMES, parity.IMAGES, parity.SIZES)


@pytest.mark.parametrize(("preset", "name", "size"), odd_size_slow(PRESET_CASES))
def test_total_and_gradient_of_every_preset(preset, name, size, reference):
    assert_equal_losses(losses(PRESETS[preset], name, size), reference(f"preset/{preset}/{name}/{size}"))


def test_winograds_way_is_as_close(reference):
    computed = losses(PRESETS["ranka"], "photo", "96x64", params=winograd_params)
    assert_equal_losses(computed, reference("preset/ranka/photo/96x64"))


@pytest.mark.parametrize("preset", ["gatys", *map(slow, parity.PRESET_NAMES[1:])])
def test_gradients_in_double_precision_on_any_noise(preset):
    """In float64 no unit is close enough to a kink of the ReLU to matter."""
    torch = pytest.importorskip("torch")
    import torch_reference

    image, content, style = np.random.default_rng(1).random((3, 32, 40, 3))
    expected = torch_reference.loss_and_gradient(
        torch_reference.load_network(parity.WEIGHTS, PRESETS[preset].pooling, torch.float64),
        torch_reference.presets[preset],
        torch.tensor(image),
        torch.tensor(content),
        [torch.tensor(style)],
        [1.0],
    )
    with jax.enable_x64(True):
        terms = to_objective(PRESETS[preset])
        double = jax.tree.map(lambda x: np.asarray(x, np.float64), params())
        loss_weights = jax.tree.map(lambda x: np.asarray(x, np.float64), to_loss_weights(PRESETS[preset], 1))
        targets = make_targets(terms, double, content, [style])
        gradient = np.asarray(losses_and_gradient(terms, double, targets, loss_weights, image)["gradient"])
    assert gradient.dtype == np.float64
    assert parity.relative_error(gradient, expected[-1].numpy()) <= 1e-6


@pytest.mark.parametrize(
    ("gram", "norm", "name", "size"),
    # The presets have every form with the L2 norm.
    [slow(case) if case[1] == "l2" or case[-1] == parity.SIZES[1] else case for case in parity.FORM_CASES],
)
def test_every_form_of_the_losses(gram, norm, name, size, reference):
    form = {"gram": gram, "norm": norm, "content_loss": parity.content_form(gram), "content_weight": 0.5}
    computed = losses(PRESETS["ranka"].replace(**form), name, size)
    assert_equal_losses(computed, reference(f"form/{gram}/{norm}/{name}/{size}"))


def test_several_styles_are_mixed_by_their_weights(reference):
    config = PRESETS["jaiswal"].replace(style_weights=(0.7, 0.3))
    computed = losses(config, "photo", "96x64", ("style", "noise"))
    assert_equal_losses(computed, reference("several styles"))


@functools.cache
def trajectory(config, size):
    """Computes the losses before each step with the solver, as `stylize` runs it on a CPU."""
    problem = to_problem(config)
    content, style = parity.picture("content", size), parity.picture("style", size)
    targets = make_targets(problem.objective, params(), content, [style])
    inputs = solver.Inputs(
        winograd_params(), targets, to_loss_weights(config, 1), np.float32(to_learning_rate(config))
    )
    state = solver.start(problem, inputs, parity.image("photo", size), jax.random.key(0))
    step = jax.jit(solver.step, static_argnums=0)
    totals = []
    for _ in range(config.steps):
        state, parts = step(problem, inputs, state)
        totals.append(float(parts["total"]))
    return np.array(totals)


@pytest.mark.parametrize("optimizer", ["adam", slow("adagrad"), slow("sgd")])
def test_trajectories_are_those_of_torch_optim(optimizer, reference):
    config = PRESETS["ranka"].replace(
        optimizer=optimizer, learning_rate=parity.OPTIMIZERS[optimizer], steps=parity.STEPS
    )
    expected = reference(f"trajectory/{optimizer}")["losses"][: config.steps]
    assert expected[-1] < 0.8 * expected[0]  # the loss has fallen, so agreement means something
    np.testing.assert_allclose(trajectory(config, "96x64"), expected, rtol=1e-3)


@pytest.mark.slow
def test_lbfgs_ends_no_higher_than_torch_optim(reference):
    expected = reference("trajectory/lbfgs")["losses"]
    config = PRESETS["ranka"].replace(learning_rate=1.0, history_size=20, steps=len(expected))
    assert trajectory(config, "128x128")[-1] <= 1.05 * expected[-1]
