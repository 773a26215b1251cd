"""Measures how good a finished picture is, by metrics that no setting of a run can change."""

from jaxnst.metrics.comparison_table import table
from jaxnst.metrics.definitions import METRICS, Metric, kind
from jaxnst.metrics.measure import (
    CONTENT_LAYERS,
    LAYERS,
    LEAST_SIDE,
    SIZE,
    SLICED_WASSERSTEIN_LAYERS,
    STYLE_LAYERS,
    measure,
)
from jaxnst.metrics.sliced_wasserstein import SEED

__all__ = [
    "CONTENT_LAYERS",
    "LAYERS",
    "LEAST_SIDE",
    "METRICS",
    "SEED",
    "SIZE",
    "SLICED_WASSERSTEIN_LAYERS",
    "STYLE_LAYERS",
    "Metric",
    "kind",
    "measure",
    "table",
]
