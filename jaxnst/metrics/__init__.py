"""Measures how good a finished picture is, by metrics that no setting of a run can change."""

from jaxnst.metrics.comparison_table import table
from jaxnst.metrics.definitions import METRICS, SUMMARY, Metric, kind
from jaxnst.metrics.inputs import (
    CONTENT_LAYERS,
    LAYERS,
    LEAST_SIDE,
    SIZE,
    SLICED_WASSERSTEIN_LAYERS,
    STYLE_LAYERS,
    SUMMARY_LAYERS,
)
from jaxnst.metrics.measure import measure
from jaxnst.metrics.palette import palette_distance, palette_ratio
from jaxnst.metrics.sliced_wasserstein import SEED
from jaxnst.metrics.speckle import chroma_grain, speckle
from jaxnst.metrics.strokes import in_colors_of, style_ratio
from jaxnst.metrics.structure import structure_kept
from jaxnst.metrics.summary import summary

__all__ = [
    "CONTENT_LAYERS",
    "LAYERS",
    "LEAST_SIDE",
    "METRICS",
    "SEED",
    "SIZE",
    "SLICED_WASSERSTEIN_LAYERS",
    "STYLE_LAYERS",
    "SUMMARY",
    "SUMMARY_LAYERS",
    "Metric",
    "chroma_grain",
    "in_colors_of",
    "kind",
    "measure",
    "palette_distance",
    "palette_ratio",
    "speckle",
    "structure_kept",
    "style_ratio",
    "summary",
    "table",
]
