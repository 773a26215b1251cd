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


def test_sgd_with_a_learning_rate_is_plain():
    config = Config(optimizer="sgd", learning_rate=1e-9)
    assert to_problem(config).optimizer == optimizers.SGD()
    assert to_problem(config.replace(learning_rate=0.0)).optimizer == optimizers.NormalizedSGD()


@pytest.mark.parametrize("optimizer", sorted({*OPTIMIZERS} - {"sgd"}))
def test_a_learning_rate_changes_no_program(optimizer):
    """Runs that differ in nothing else share one compiled program."""
    config = Config(optimizer=optimizer)
    assert to_problem(config) == to_problem(config.replace(learning_rate=0.3))
