"""Makes the page of `docs/gallery` and its pictures, which show the effect of each control side by side.

`python scripts/make_gallery.py` makes the missing pictures; `--only NAME ...` makes the named ones again. All
of them take about half an hour on two CPU cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import jaxnst
from jaxnst.config.presets import PRESETS
from jaxnst.io.images import fit_size, read_image, resize
from jaxnst.io.save import save_image, to_pil
from jaxnst.run.plan import Pictures, prepare
from jaxnst.run.scale import scale_of

ROOT = Path(__file__).parent.parent
GALLERY = ROOT / "docs" / "gallery"
CAT, ASTRONAUT, WAVE, STREET = (
    ROOT / "examples" / f"{name}.jpg"
    for name in ("chelsea", "astronaut", "great_wave", "village_street_in_auvers")
)
SIZE = 256
"""Longer side of every panel, in pixels."""

Panel = Callable[[], np.ndarray]
"""Makes one picture of a sheet, float32 `[H, W, 3]` in [0, 1]."""


class Sheet(NamedTuple):
    """Describes one sheet of the gallery.

    Attributes:
      text: explanation of the sheet; a paragraph of the page.
      panels: the pictures by their labels.
    """

    text: str
    panels: Mapping[str, Panel]


def unchanged(path: Path) -> Panel:
    """Shows a picture without changes, except for its size."""

    def panel() -> np.ndarray:
        image = read_image(path)
        return resize(image, fit_size(image.shape[:2], SIZE))

    return panel


def run(content: Path | None = CAT, style: Any = STREET, **settings: Any) -> Panel:
    """Shows a stylised picture."""
    return lambda: jaxnst.stylize(content, style, size=SIZE, progress=False, **settings).array


def recolored(**settings: Any) -> Panel:
    """Shows the picture that a run starts from."""

    def panel() -> np.ndarray:
        config = jaxnst.Config(size=SIZE, quality="none", **settings).checked()
        plan = prepare(Pictures(CAT, [STREET]), config)
        return np.asarray(scale_of(plan, 0).first()[0])

    return panel


def reconstruct(picture: Path, *layers: str, **settings: Any) -> Panel:
    """Shows a reconstruction of the content from the named layers, or of the style if no layer is named."""
    fields = {"size": SIZE, "quality": "none", "steps": 80, "progress": False, **settings}
    return lambda: jaxnst.reconstruct(picture, layers or None, **fields).array


def ellipse(softness: float, inside: bool = True) -> np.ndarray:
    """Makes a mask over the cat's head, `[H, W]`; `softness` is the width of its edge over its radius."""
    height, width = read_image(CAT).shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    radius = np.hypot((columns - 0.52 * width) / (0.37 * width), (rows - 0.5 * height) / (0.62 * height))
    mask = np.clip((1 - radius) / max(softness, 1e-3) + 0.5, 0, 1).astype(np.float32)
    return mask if inside else 1 - mask


def mask_panel() -> np.ndarray:
    """Shows the mask."""
    mask = ellipse(0.2)[..., None].repeat(3, axis=-1)
    return resize(mask, fit_size(mask.shape[:2], SIZE))


def ramp(dither: bool) -> np.ndarray:
    """Shows a smooth sky in 8 bits, with eight times the contrast so that its levels are visible."""
    rows, columns = np.mgrid[0:150, 0:SIZE] / SIZE
    sky = 0.45 + 0.05 * np.stack([rows, 0.7 * rows + 0.3 * columns, columns], axis=-1)
    rounded = np.asarray(to_pil(sky.astype(np.float32), dither=dither), np.float32) / 255
    return np.clip((rounded - 0.475) * 8 + 0.5, 0, 1)


FIRST = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
ADAM: dict[str, Any] = {"optimizer": "adam"}
BOTH = [WAVE, STREET]
BY_LAYER: dict[str, Any] = {"style_weights": (0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0)}
SOFT: dict[str, Any] = {"content_masks": [ellipse(0.2), ellipse(0.2, inside=False)]}

SHEETS: dict[str, Sheet] = {
    "scales": Sheet(
        "`quality`: the steps at each scale. With `none` there is one scale. `start_size`: the first scale; "
        "from 64 pixels on the painting moves in. `style_scale`: the size of the brush strokes.",
        {
            "none": run(quality="none"),
            "draft": run(quality="draft"),
            "good": run(),
            "best": run(quality="best"),
            "start_size 64": run(start_size=64),
            "style_scale 0.5": run(style_scale=0.5),
            "style_scale 2": run(style_scale=2.0),
        },
    ),
    "published": Sheet(
        "`preset`: the published systems with their own numbers of steps, beside the default with 44 and the "
        "level `best` with 200. [presets.md](../presets.md) has their settings.",
        {
            "the photo": unchanged(CAT),
            "the painting": unchanged(STREET),
            "the default": run(),
            "best": run(quality="best"),
            **{
                f"{name}, {PRESETS[name].steps} steps": run(preset=name)
                for name in (
                    *("gatys", "ranka", "jaiswal", "wang", "danayak"),
                    *("joshi-hu", "joshi-hu-revised", "strotss", "nnst"),
                )
            },
        },
    ),
    "strength": Sheet(
        "`strength`: from a tint to a full painting.",
        {str(strength): run(strength=strength) for strength in (0.0, 0.25, 0.5, 0.75, 1.0)},
    ),
    "start": Sheet(
        "`start` and `recolor`: the picture to begin with. The first four have no step at all.",
        {
            **{kind: recolored(recolor=kind) for kind in ("cholesky", "pca", "histogram", "transport")},
            "from the photo": run(start="content"),
            "from cholesky": run(recolor="cholesky"),
            "from transport": run(),
            "from noise": run(start="noise"),
        },
    ),
    "statistics": Sheet(
        "`statistic`: what is compared of the style. `patches` and `nnfm` are at relu3_1 and relu4_1.",
        {
            "mixed": run(),
            **{
                name: run(statistic=name)
                for name in (
                    *("gram", "covariance", "mean_std", "wasserstein"),
                    *("sliced_wasserstein", "histogram"),
                )
            },
            **{
                name: run(statistic=name, style_layers=("relu3_1", "relu4_1")) for name in ("patches", "nnfm")
            },
        },
    ),
    "color": Sheet(
        "`color`: whose colours the picture gets.",
        {
            "the photo": unchanged(CAT),
            "style": run(),
            "luminance": run(color="luminance"),
            "cholesky": run(color="cholesky"),
            "pca": run(color="pca"),
            "histogram": run(color="histogram"),
        },
    ),
    "regions": Sheet(
        "`content_masks`: one style for each region. Pixels that no mask covers keep the photo.",
        {
            "the mask": mask_panel,
            "wave in, street out": run(style=BOTH, **SOFT),
            "street in, wave out": run(style=BOTH[::-1], **SOFT),
            "photo in, street out": run(content_masks=ellipse(0.2, inside=False)),
            "guidance all": run(style=BOTH, guidance="all", **SOFT),
        },
    ),
    "mixing": Sheet(
        "`style_weights`: two styles, mixed by weight or by layer (one weight for each layer of each style).",
        {
            "the wave": run(style=WAVE),
            "the street": run(),
            "half and half": run(style=BOTH),
            "fine street, coarse wave": run(style=BOTH, **BY_LAYER),
            "fine wave, coarse street": run(style=BOTH[::-1], **BY_LAYER),
        },
    ),
    "interpolation": Sheet(
        "`jaxnst interpolate`: from one style to another.",
        {
            f"{share:.2f}": run(style=BOTH, style_weights=(1 - share, share))
            for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        },
    ),
    "random_shift": Sheet(
        "`random_shift`: each step sees a random crop of the picture, slightly rotated. "
        "With Adam, 100 steps.",
        {str(factor): run(random_shift=factor, steps=100, **ADAM) for factor in (1.0, 0.97, 0.95)},
    ),
    "regularisers": Sheet(
        "`tv_weight`, `laplacian_weight`, `histogram_weight`, `range_weight` (without `clamp`) and "
        "`content_saliency`. The first panel has neither total variation nor the Laplacian loss.",
        {
            "neither": run(tv_weight=0.0, laplacian_weight=0.0),
            "the defaults": run(),
            "tv 10": run(tv_weight=10.0),
            "laplacian 5": run(laplacian_weight=5.0),
            "histogram 5": run(histogram_weight=5.0),
            "range 1e3": run(range_weight=1e3, clamp=False),
            "saliency 1": run(content_saliency=1.0),
        },
    ),
    "pooling": Sheet(
        "`pooling`. With `weighting` relative the style counts alike with each.",
        {kind: run(pooling=kind) for kind in ("max", "average", "l2")},
    ),
    "padding": Sheet(
        "`padding`: what the network sees beyond the border. Look at the corners.",
        {kind: run(padding=kind) for kind in ("zeros", "reflect", "replicate")},
    ),
    "parametrisation": Sheet(
        "`parametrisation` and `decorrelate`: what the optimiser moves. With Adam. "
        "[controls.md](../controls.md#parametrisation) says how many evaluations each takes.",
        {
            "pixels": run(**ADAM),
            "fourier": run(parametrisation="fourier", **ADAM),
            "decorrelated": run(decorrelate=True, **ADAM),
            "both": run(parametrisation="fourier", decorrelate=True, **ADAM),
        },
    ),
    "loss_weights": Sheet(
        "`norm scaled` gives the gradient of each layer the same size. `style_balance` gives more weight to "
        "the style that lags.",
        {
            "norm l2": run(),
            "norm scaled": run(norm="scaled"),
            "two styles": run(style=BOTH),
            "style_balance 1": run(style=BOTH, style_balance=1.0),
            "style_balance 3": run(style=BOTH, style_balance=3.0),
        },
    ),
    "content_reconstruction": Sheet(
        "`jaxnst reconstruct --layer`: what one layer keeps of the photo (Gatys 2016, figure 1, bottom row).",
        {layer: reconstruct(CAT, layer) for layer in FIRST},
    ),
    "style_reconstruction": Sheet(
        "`jaxnst reconstruct --style-layers`: what the first one, two ... five style layers keep of the "
        "painting (Gatys 2016, figure 1, top row).",
        {f"to {FIRST[count - 1]}": reconstruct(STREET, style_layers=FIRST[:count]) for count in range(1, 6)},
    ),
    "dither": Sheet(
        "`--dither`: a smooth sky in 8 bits, shown with eight times the contrast.",
        {"rounded": partial(ramp, False), "dithered": partial(ramp, True)},
    ),
}


def draw(sheet: Sheet) -> np.ndarray:
    """Puts the panels in rows, with their labels below."""
    panels = {label: panel() for label, panel in sheet.panels.items()}
    height, width = np.max([panel.shape[:2] for panel in panels.values()], axis=0)
    columns = {2: 2, 5: 5, 3: 3, 6: 3}.get(len(panels), 4)
    rows = -(-len(panels) // columns)
    page = Image.new("RGB", (columns * (width + 8) - 8, rows * (height + 26)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for index, (label, panel) in enumerate(panels.items()):
        left, top = index % columns * (width + 8), index // columns * (height + 26)
        page.paste(to_pil(panel), (left, top))
        pen.text((left + 1, top + panel.shape[0] + 3), label, "black", font)
    return np.asarray(page, np.float32) / 255


def write_page() -> None:
    """Writes the gallery's README."""
    lines = [
        "# Gallery",
        "",
        "Each section shows one control. `python scripts/make_gallery.py` makes the pictures from those in "
        f"[examples](../../examples/README.md), at {SIZE} pixels, with default settings except where named. "
        "[controls.md](../controls.md) explains the controls.",
    ]
    for name, sheet in SHEETS.items():
        title = name.replace("_", " ").capitalize()
        lines += ["", f"## {title}", "", sheet.text, "", f"![{name}]({name}.jpg)"]
    (GALLERY / "README.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Makes the missing sheets, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SHEETS, default=[], help="sheets to make again")
    named = parser.parse_args().only
    GALLERY.mkdir(parents=True, exist_ok=True)
    write_page()
    for name, sheet in SHEETS.items():
        path = GALLERY / f"{name}.jpg"
        if name in named or not (named or path.exists()):
            print(name, flush=True)
            save_image(path, draw(sheet), quality=85)


if __name__ == "__main__":
    main()
