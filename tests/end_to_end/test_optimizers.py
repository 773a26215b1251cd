"""Every optimiser makes a picture with its default learning rate, whatever it moves."""

import pytest

import jaxnst
from jaxnst.config.build import OPTIMIZERS
from jaxnst.config.presets import PLAIN

PARAMETRISATIONS = {
    "pixels": {},
    "fourier": {"parametrisation": "fourier"},
    "fourier 0.5": {"parametrisation": "fourier", "fourier_decay": 0.5},
    "decorrelated": {"decorrelate": True},
    "fourier, decorrelated": {"parametrisation": "fourier", "decorrelate": True},
    "laplacian": {"parametrisation": "laplacian"},
}

FACTORS = {"lbfgs": 20, "adam": 20, "adagrad": 10, "rmsprop": 10, "sgd": 20}
"""How many times smaller the loss is after 60 steps; Adagrad slows down as it goes, RMSprop is noisy."""


def losses(content, style, optimizer, parametrisation, size, steps):
    """Returns the total loss at the start and after a number of steps."""
    settings = PARAMETRISATIONS[parametrisation] | {"optimizer": optimizer, "size": size, "steps": steps + 1}
    result = jaxnst.stylize(content, style, config=PLAIN, progress=False, **settings)
    return result.history["total"][0], result.history["total"][steps]


@pytest.mark.slow
@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sixty_steps_lower_the_loss_by_the_stated_factor(optimizer, parametrisation, photo, painting):
    first, last = losses(photo, painting, optimizer, parametrisation, 128, 60)
    assert last < first / FACTORS[optimizer]


@pytest.mark.parametrize(
    ("optimizer", "parametrisation"),
    [
        ("adam", "pixels"),
        pytest.param("adagrad", "pixels", marks=pytest.mark.slow),
        pytest.param("sgd", "pixels", marks=pytest.mark.slow),
        pytest.param("adam", "fourier, decorrelated", marks=pytest.mark.slow),
    ],
)
def test_fifteen_steps_lower_the_loss_to_a_tenth(optimizer, parametrisation, photo, painting):
    """With rate 1 for all, the best of the three reached a fifth."""
    first, last = losses(photo, painting, optimizer, parametrisation, 64, 15)
    assert last < first / 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [("astronaut", "great_wave"), ("chelsea", "village_street_in_auvers"), ("chelsea", "great_wave")],
)
def test_adam_ends_within_one_and_a_half_of_lbfgs(names, photo):
    pictures = [photo.with_name(f"{name}.jpg") for name in names]
    _, lbfgs = losses(*pictures, "lbfgs", "pixels", 128, 60)
    _, adam = losses(*pictures, "adam", "pixels", 128, 60)
    assert adam <= 1.5 * lbfgs
