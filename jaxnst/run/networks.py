"""Loaded networks: each is read and put on the device once, however many runs use it."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import jax

from jaxnst.config.build import to_objective, to_precision
from jaxnst.core import vgg
from jaxnst.io.weights.load import Weights, load_weights

if TYPE_CHECKING:
    from jaxnst.config.config import Config
    from jaxnst.core.sharding import Placement

_for_cpu = jax.jit(vgg.for_cpu)
_in_bfloat16 = jax.jit(vgg.in_bfloat16)


class Networks:
    """Keeps the networks of several plans; threads may share it."""

    def __init__(self) -> None:
        """Creates an empty cache of loaded networks."""
        self._lock = threading.Lock()
        self._loaded: dict[Hashable, tuple[Weights, Mapping[str, Any]]] = {}

    def load(self, config: Config, placement: Placement) -> tuple[Weights, Mapping[str, Any]]:
        """Returns the weights that settings name, and those that their layers need on the device.

        On a CPU they have the form with which it is fastest. Two cases do not: bfloat16 is too coarse for
        Winograd's filters, and XLA does not partition Winograd's blocks by rows.

        Raises:
          InputError: the weights cannot be used.
        """
        layers = to_objective(config).layers
        exact = to_precision(config) != "bf16"
        for_cpu = jax.default_backend() == "cpu" and exact and placement.rows == 1
        deepest = max(map(vgg.LAYERS.index, layers), default=-1)
        key = (config.weights, deepest, for_cpu, placement)
        with self._lock:
            if key not in self._loaded:
                weights = load_weights(config.weights)
                params = vgg.up_to_deepest(weights.params, layers)
                params = _for_cpu(params) if for_cpu else params
                self._loaded[key] = weights, placement.put(params)
            return self._loaded[key]


def step_params(config: Config, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the weights as steps compute with them, which may be less exact than those of targets."""
    return _in_bfloat16(params) if to_precision(config) == "bf16" else params
