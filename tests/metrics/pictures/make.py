"""Makes the pictures that the four numbers of `summary` are tested with, at 128 pixels.

Run once as `python tests/metrics/pictures/make.py`; it takes about five minutes on two cores. A person who
sees them side by side says: `painted` is the painting's, with the photo whole. `old_default` has strokes, but
the photo's colours, and dots. `heavy` is the painting's, but the photo is hardly known again. `over_strong`
is a checkerboard of wrong colours without the photo.

The copy of Kandinsky's Composition VIII, 256 pixels wide, is from Debian's gcompris-qt-data. He painted it in
1923 and died in 1944, so it is in the public domain.
"""

import tempfile
from pathlib import Path

import jaxnst
from jaxnst.core.color import match_covariance
from jaxnst.io import images, save

FOLDER, EXAMPLES, SIZE = Path(__file__).parent, Path(__file__).parents[3] / "examples", 128
PAIRS = {
    "astronaut_van_gogh": (EXAMPLES / "astronaut.jpg", EXAMPLES / "village_street_in_auvers.jpg"),
    "chelsea_hokusai": (EXAMPLES / "chelsea.jpg", EXAMPLES / "great_wave.jpg"),
    "astronaut_kandinsky": (EXAMPLES / "astronaut.jpg", FOLDER / "kandinsky.jpg"),
}
OLD_DEFAULT = {
    "steps": 60,
    "start": "content",
    "style_weight": 50.0,
    "tv_weight": 2e6,
    "tv_norm": "l1",
}
COARSE_TO_FINE = {"start_size": 64, "scale_steps": (80, 40), "tv_norm": "l2", "tv_weight": 2e7}
OVER_STRONG = {"start": "noise", "steps": 100, "style_weight": 1e5, "tv_weight": 0.0}


def small(path):
    picture = images.read_image(path)
    return images.resize(picture, images.fit_size(picture.shape[:2], SIZE))


def main():
    for name, (photo, painting) in PAIRS.items():
        with tempfile.TemporaryDirectory() as folder:
            start = f"{folder}/recolored.png"
            save.save_image(start, match_covariance(small(photo), small(painting)))
            settings = {
                "painted": COARSE_TO_FINE | {"start": start, "style_weight": 10.0},
                "old_default": OLD_DEFAULT,
                "heavy": COARSE_TO_FINE | {"start": start, "style_weight": 500.0},
                "over_strong": OVER_STRONG,
            }
            for kind, fields in settings.items():
                picture = jaxnst.stylize(photo, painting, size=SIZE, **fields).image
                # Chroma at full resolution, since speckle is measured.
                picture.save(FOLDER / f"{name}_{kind}.jpg", quality=92, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
