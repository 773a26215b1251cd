"""How good a finished picture is: measures that no setting of a run can change."""

from jaxnst.metrics.measure import (
    CONTENT_LAYERS,
    LAYERS,
    LEAST_SIDE,
    METRICS,
    SEED,
    SIZE,
    SLICED_WASSERSTEIN_LAYERS,
    STYLE_LAYERS,
    Metric,
    kind,
    measure,
    table,
)

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
