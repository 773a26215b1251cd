"""The published systems as values of `Config`, and looks: small changes to the defaults, under a name.

With L-BFGS all of them keep the default `max_step`, which the reports do not have. It stops the first steps
from overshooting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxnst.config.config import EARLIER, Config

CONV_1_TO_5 = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
RELU_1_TO_5 = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")

FIRST_OF_EACH_BLOCK = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

PLAIN = Config(
    **EARLIER,
    size=256,
    steps=60,
    start="content",
    style_weight=50.0,
    statistic=("gram",),
    tv_weight=2e6,
    tv_norm="l1",
    laplacian_weight=0.0,
)
"""One scale, from the photo, with losses as their formulas say: what the published systems start from."""

PRESETS: dict[str, Config] = {
    # Gatys, Ecker and Bethge 2016, Image style transfer using convolutional neural networks.
    "gatys": PLAIN.replace(
        content_layers=("relu4_2",),
        style_layers=FIRST_OF_EACH_BLOCK,
        style_layer_weights=(0.2,),
        pooling="average",
        gram="gatys",
        content_loss="sum",
        content_weight=1.0,
        style_weight=1e3,
        tv_weight=0.0,
        optimizer="lbfgs",
        steps=500,
        start_size=0,
        start="noise",
        clamp=False,
    ),
    # Ranka: equal loss weights; the start picture is a blend of content and noise.
    "ranka": PLAIN.replace(
        content_layers=("relu4_2",),
        style_layers=FIRST_OF_EACH_BLOCK,
        style_layer_weights=(1.0,),
        pooling="max",
        gram="hw",
        content_loss="mean",
        content_weight=1.0,
        style_weight=1.0,
        tv_weight=1.0,
        optimizer="lbfgs",
        learning_rate=0.7,
        steps=1000,
        start_size=0,
        start="blend",
        clamp=False,
        blend=0.5,
    ),
    # Jaiswal: the layers of the PyTorch tutorial, read before the ReLU, and its clamped picture.
    "jaiswal": PLAIN.replace(
        content_layers=("conv2_2",),
        style_layers=CONV_1_TO_5,
        style_layer_weights=(1.0,),
        pooling="max",
        gram="chw",
        content_loss="mean",
        content_weight=1.0,
        style_weight=1e5,
        tv_weight=0.0,
        optimizer="lbfgs",
        steps=300,
        start_size=0,
        start="content",
        clamp=True,
    ),
    # Wang et al.: content from the middle block, seed 0.
    "wang": PLAIN.replace(
        content_layers=("relu3_1",),
        style_layers=FIRST_OF_EACH_BLOCK,
        style_layer_weights=(0.2,),
        pooling="max",
        gram="gatys",
        content_loss="sum",
        content_weight=1.0,
        style_weight=1e3,
        tv_weight=0.0,
        optimizer="lbfgs",
        steps=1000,
        start_size=0,
        start="noise",
        clamp=False,
        seed=0,
    ),
    # Danayak: the code names conv layers, but reads them after torchvision's ReLU, which works in place.
    "danayak": PLAIN.replace(
        content_layers=("relu4_2",),
        style_layers=FIRST_OF_EACH_BLOCK,
        style_layer_weights=(1.0, 0.75, 0.2, 0.2, 0.2),
        pooling="max",
        gram="dhw",
        content_loss="mean",
        content_weight=1.0,
        style_weight=1e6,
        tv_weight=0.0,
        optimizer="adam",
        learning_rate=0.003,
        steps=2000,
        start_size=0,
        start="content",
        clamp=False,
    ),
    # Joshi and Hu, the baseline: the PyTorch tutorial with average pooling.
    "joshi-hu": PLAIN.replace(
        content_layers=("conv2_2",),
        style_layers=CONV_1_TO_5,
        style_layer_weights=(1.0,),
        pooling="average",
        gram="chw",
        content_loss="mean",
        content_weight=1.0,
        style_weight=1e6,
        tv_weight=0.0,
        optimizer="lbfgs",
        steps=300,
        start_size=0,
        start="content",
        clamp=False,
    ),
    # Joshi and Hu, revised: layers after the ReLU, absolute differences, Adam, a random shift at each step.
    # They tune the loss weights for each picture; 1 : 1e3 is our starting point.
    "joshi-hu-revised": PLAIN.replace(
        content_layers=("relu3_1",),
        style_layers=RELU_1_TO_5,
        style_layer_weights=(1.0,),
        pooling="average",
        gram="chw",
        content_loss="mean",
        norm="l1",
        content_weight=1.0,
        style_weight=1e3,
        tv_weight=0.0,
        optimizer="adam",
        learning_rate=0.05,
        steps=600,
        start_size=0,
        start="content",
        clamp=False,
        random_shift=0.97,
    ),
}

# Two later systems, beside the reports'. Both use VGG16; the layers here are VGG19's at the same places: the
# last of the third block is relu3_4, and the fourth block has one more.
HYPERCOLUMN_TO_5_1 = (*RELU_1_TO_5, "relu3_2", "relu3_4", "relu4_1", "relu5_1")
HYPERCOLUMN_TO_BLOCK_4 = (*RELU_1_TO_5, "relu3_2", "relu3_4", "relu4_1", "relu4_2", "relu4_4")

PRESETS |= {
    # Kolkin, Salavon and Shakhnarovich 2019, Style transfer by relaxed optimal transport and self-similarity.
    # The content's weight falls from 16 to 4 in three scales, the palette's grows from 1/16 to 1/4. Means and
    # covariances count a tenth, not as much as the earth mover's distance: they are that much larger with our
    # network, and with a weight of 1 no face is left.
    "strotss": PLAIN.replace(
        weights="caffe-unit",
        content_layers=HYPERCOLUMN_TO_5_1,
        style_layers=HYPERCOLUMN_TO_5_1,
        hypercolumns=True,
        statistic=("remd", "mean_covariance"),
        style_layer_weights=(1.0, 0.1),
        content_loss="self_similarity",
        content_weight=16.0,
        content_decay=0.5,
        style_weight=1.0,
        palette_weight=1 / 16,
        tv_weight=0.0,
        optimizer="rmsprop",
        learning_rate=0.002,
        parametrisation="laplacian",
        start="detail",
        content_detail=True,
        start_size=64,
        steps=600,
        clamp=False,
    ),
    # Kolkin et al. 2022, Neural neighbor style transfer, the variant that optimises. Cosine distances say
    # nothing of how strong colours are; the paper corrects them at the end, here the palette counts instead.
    "nnst": PLAIN.replace(
        weights="caffe-unit",
        content_layers=(),
        style_layers=HYPERCOLUMN_TO_BLOCK_4,
        hypercolumns=True,
        statistic=("neighbors",),
        style_rotations=True,
        content_share=0.25,
        content_weight=0.0,
        style_weight=1.0,
        palette_weight=1.0,
        tv_weight=0.0,
        optimizer="adam",
        learning_rate=0.002,
        parametrisation="laplacian",
        start="content",
        start_size=64,
        steps=600,
        clamp=False,
    ),
}

# Ranka's four guidelines. The report does not say which numbers of its grid belong to which guideline. Our
# reading: a start near the content preserves it, noise and long steps give a strong style, and short steps
# suit pairs that are hard to combine.
PRESETS |= {
    "ranka-content-preservation": PRESETS["ranka"].replace(blend=0.7, learning_rate=0.4),
    "ranka-strong-style": PRESETS["ranka"].replace(blend=0.3, learning_rate=1.0),
    "ranka-balanced": PRESETS["ranka"].replace(blend=0.5, learning_rate=0.7),
    "ranka-challenging-pairs": PRESETS["ranka"].replace(blend=0.5, learning_rate=0.4),
}


class Look(NamedTuple):
    """Describes a named change to the defaults.

    Attributes:
      description: one line, for people who choose.
      settings: fields of `Config` that differ from the defaults.
    """

    description: str
    settings: Mapping[str, Any]


LOOKS: dict[str, Look] = {
    "bold": Look("large strokes, and less of the photo", {"style_scale": 2.0, "content_weight": 0.2}),
    "fine": Look("small strokes, and more of the photo", {"style_scale": 0.5, "content_weight": 3.0}),
    "soft": Look("smooth areas and soft edges", {"tv_weight": 10.0}),
    "sketch": Look(
        "small strokes that change only the brightness of the photo",
        {"style_scale": 0.5, "color": "luminance"},
    ),
    "keep-colors": Look("the strokes of the painting in the colours of the photo", {"color": "cholesky"}),
}
