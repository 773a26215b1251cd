"""Names become values: here, the learning rate that stands for 0."""

import pytest

from jaxnst.config.build import OPTIMIZERS, PARAMETRISATIONS, to_learning_rate, to_problem
from jaxnst.config.config import Config
from jaxnst.core import optimizers

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_has_a_learning_rate_of_its_own(optimizer, parametrisation):
    config = Config(optimizer=optimizer, parametrisation=parametrisation)
    assert to_learning_rate(config) > 0
    assert to_learning_rate(config.replace(learning_rate=0.3)) == 0.3


@pytest.mark.parametrize(
    ("optimizer", "published"),
    [("adam", optimizers.Adam()), ("adagrad", optimizers.Adagrad()), ("sgd", optimizers.SGD())],
)
def test_an_optimiser_with_a_learning_rate_is_the_published_one(optimizer, published):
    config = Config(optimizer=optimizer)
    assert to_problem(config.replace(learning_rate=0.01)).optimizer == published
    assert to_problem(config).optimizer != published


def test_lbfgs_is_the_same_program_with_and_without_a_learning_rate():
    assert to_problem(Config()) == to_problem(Config(learning_rate=0.3))
