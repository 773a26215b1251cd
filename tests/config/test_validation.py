"""Settings that cannot work are refused in one sentence that names them, whatever the pictures."""

import re

import pytest
from pictures import refusal

from jaxnst.config.config import Config

pytestmark = pytest.mark.fast

MISTAKES = [
    ({"size": -1}, "size: -1 is too small; the least is 0."),
    ({"steps": -1}, "steps: -1 is too small; the least is 0."),
    ({"quality": "better"}, "quality: there is no 'better'"),
    ({"strength": 1.5}, "strength: 1.5 is outside 0 to 1."),
    ({"recolor": "sepia"}, "recolor: there is no 'sepia'"),
    ({"weighting": "none"}, "weighting: there is no 'none'"),
    ({"edges": "keep"}, "edges: there is no 'keep'"),
    ({"size": "48"}, "size: '48' is not of the type int."),
    ({"size": True}, "size: True is not of the type int."),
    ({"clamp": 1}, "clamp: 1 is not of the type bool."),
    ({"history_size": 0}, "history_size: 0 is too small; the least is 1."),
    ({"seed": 2**32}, "seed: 4294967296 is too large"),
    ({"blend": 1.5}, "blend: 1.5 is outside 0"),
    ({"random_shift": 0.2}, "random_shift: 0.2 is outside 0.5 to 1"),
    ({"max_step": -1.0}, "max_step: -1.0 is negative"),
    ({"learning_rate": -1.0}, "learning_rate: -1.0 is negative; 0 takes"),
    ({"style_weight": float("nan")}, "style_weight: nan is not a finite number"),
    ({"style_weight": 1e39}, "style_weight: 1e+39 is not a finite number"),
    ({"laplacian_weight": -1.0}, "laplacian_weight: -1.0 is negative"),
    ({"laplacian_windows": (0,)}, "laplacian_windows: 0 is too small"),
    ({"fourier_decay": 9.0}, "fourier_decay: 9.0 is outside"),
    ({"style_scale": 0.0}, "style_scale: 0.0 is outside"),
    ({"style_weights": (0.0,)}, "style_weights: all are zero"),
    ({"style_layer_weights": (0.0,)}, "style_layer_weights: all are zero"),
    ({"content_layer_weights": (0.0,)}, "content_layer_weights: all are zero"),
    (
        {f"{term}_weight": 0.0 for term in ("content", "style", "tv", "laplacian")},
        "content_weight, style_weight, ",
    ),
    ({"color": "sepia"}, "color: there is no 'sepia'"),
    ({"padding": "mirror"}, "padding: there is no 'mirror'"),
    ({"optimizer": "lbgfs"}, "optimizer: there is no 'lbgfs'; did you mean lbfgs?"),
    ({"pooling": "median"}, "pooling: there is no 'median'; choose one of: max, average, l2."),
    ({"style_layers": ("relu6_1",)}, "style_layers: there is no 'relu6_1'; did you mean relu5_1"),
    ({"statistic": ("gramm",)}, "statistic: there is no 'gramm'; did you mean gram"),
    ({"statistic": (3,)}, "statistic: 3 is not usable"),
    ({"statistic": (dict,)}, "statistic: <class 'dict'> is not usable"),
    ({"statistic": ("gram", "gram")}, "statistic: 2 values for 5 style_layers; give 5, or one for all."),
    ({"content_layers": (), "style_layers": ()}, "content_layers and style_layers are both empty"),
    ({"content_layers": ("relu1_1", "relu1_1")}, "content_layers: a layer is named twice"),
    ({"histogram_weight": 1.0, "histogram_layers": ()}, "histogram_layers: none is given"),
    ({"start_size": 512}, "start_size: 512 is larger than size, 256"),
    ({"scale_factor": 1.0}, "scale_factor: 1.0 is outside"),
    ({"size": 64, "scale_steps": (0,)}, "scale_steps: 0 is too small"),
    ({"start_size": 128, "scale_steps": (1,)}, "scale_steps: 1 values for 2 scales (128, 256 pixels)"),
    ({"size": 64, "steps": 7, "scale_steps": (6,)}, "steps: 7, but scale_steps add up to 6"),
    ({"steps": 1, "start_size": 64}, "steps: 1 steps cannot be shared by 3 scales"),
    ({"optimizer": "adam", "line_search": "zoom"}, "line_search: zoom works with lbfgs only"),
    ({"line_search": "zoom", "random_shift": 0.9}, "line_search: with random_shift"),
    ({"line_search": "zoom", "style_balance": 1.0}, "line_search: with style_balance"),
    ({"pooling_rescale": True}, "pooling_rescale: pooling max has nothing to rescale"),
    ({"color": "luminance", "decorrelate": True}, "decorrelate: with color luminance"),
    ({"range_weight": 1.0}, "range_weight: with clamp"),
    ({"statistic": ("remd",)}, "statistic: remd compares hypercolumns only"),
    ({"statistic": ("neighbors",)}, "statistic: neighbors compares hypercolumns only"),
    ({"style_rotations": True}, "style_rotations: it works with hypercolumns only"),
    ({"hypercolumns": True, "statistic": ("neighbors", "remd")}, "statistic: neighbors goes with no other"),
    (
        {"hypercolumns": True, "statistic": ("remd", "remd")},
        "statistic: with hypercolumns a statistic can be",
    ),
    ({"hypercolumns": True, "statistic": ("patches",)}, "statistic: patches needs whole layers"),
    (
        {"hypercolumns": True, "style_layer_weights": (1.0, 2.0)},
        "style_layer_weights: 2 values for 1 statistic",
    ),
    ({"palette_weight": 1.0, "line_search": "zoom"}, "line_search: hypercolumns, palette_weight"),
    ({"samples": 4}, "samples: 4 is too small; the least is 16."),
    ({"content_share": 2.0}, "content_share: 2.0 is outside 0 to 1"),
    ({"style_masks": ("a",), "content_masks": ("a", "b")}, "style_masks: 1 files, and content_masks has 2"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_settings_that_cannot_work(settings, message):
    assert re.match(re.escape(message), refusal(Config(**settings).checked))


def test_a_layer_may_come_twice_with_two_statistics():
    config = Config(style_layers=("relu1_1", "relu1_1"), statistic=("gram", "mean_std")).checked()
    assert config.style_layers == ("relu1_1", "relu1_1")
    assert config.statistic == ("gram", "mean_std")


def test_a_statistic_of_your_own_is_accepted():
    class Means:
        def __call__(self, features, guide):
            return features.mean()

        def distance(self, summary, target):
            return abs(summary - target)

    statistic = Means()
    assert Config(statistic=statistic).checked().statistic == (statistic,)
