"""A style statistic of a user's own that raises for some pictures while it is computed."""

import jax
import jax.numpy as jnp
import numpy as np

WHITE = 0.8
"""Least activation of conv1_1's maps in a white picture, which no other picture of these tests reaches."""


class FailsOn:
    """Compares mean features, and raises at chosen evaluations of bright pictures.

    With `style_layers=("input",)`-like shallow layers, brightness is what `is_bright` sees.
    """

    additive = True

    def __init__(self, error, at=()):
        """Keeps the error, and at which evaluations of a bright picture (from 1) it is raised; empty: at all."""
        self.error, self.at, self.calls = error, at, 0
