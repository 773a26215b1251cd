"""Makes jobs for `jaxnst.batch` from the runs of a study, and first checks every run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from jaxnst.batch.jobs import Job
from jaxnst.core import vgg
from jaxnst.errors import InputError
from jaxnst.io import array_file, files, images
from jaxnst.metrics import LEAST_SIDE
from jaxnst.run.plan import Plan, gather, prepare
from jaxnst.studies.runs import Run, with_common_layers

if TYPE_CHECKING:
    from jaxtyping import Float

    from jaxnst.run.networks import Networks
    from jaxnst.studies.study import Study

    Arrays: TypeAlias = Mapping[str, Float[np.ndarray, "h w 3"]]


def read_pictures(study: Study, **pictures: Sequence[images.Picture]) -> Arrays:
    """Reads the pictures of a study.

    Args:
      study: its cells name the pictures that it needs.
      **pictures: the list `content` and the list `style`.

    Returns:
      Arrays by the names that cells use, such as "content 1".

    Raises:
      InputError: a picture is missing, or cannot be read.
    """
    for kind, listed in pictures.items():
        if not listed:
            raise InputError(f"{kind}: no picture is given; give at least one.")
    arrays = {
        f"{kind} {number}": images.read_image(picture, kind)
        for kind, listed in pictures.items()
        for number, picture in enumerate(listed, start=1)
    }
    for cell in study.cells:
        for name in filter(None, (cell.content, *cell.styles)):
            kind, _, _ = name.partition(" ")
            if name not in arrays:
                raise InputError(
                    f"{kind}: the grid {cell.grid} of {study.name} asks for {name}, and there are "
                    f"{len(pictures[kind])}; give more, or leave the grid out with grids."
                )
    return arrays


def jobs_of(
    study: Study, runs: Sequence[Run], pictures: Arrays, measured_size: int, networks: Networks
) -> dict[Run, Job]:
    """Makes the job of each run, after a check that it can be computed, measured and shown.

    Args:
      study: as declared.
      runs: of its cells, in order.
      pictures: from `read_pictures`.
      measured_size: longer side at which pictures will be measured, in pixels.
      networks: those that are loaded already; those of the jobs are added.

    Returns:
      Jobs by run. A job's key names the folder of its run.

    Raises:
      InputError: a cell cannot work; the message has its name.
    """
    configs = with_common_layers(dict.fromkeys(runs))
    digests = {name: array_file.digest(array) for name, array in pictures.items()}
    jobs: dict[Run, Job] = {}
    sizes: dict[Run, tuple[int, int]] = {}
    too_small: list[str] = []
    grids = [grid for grid in study.grids for _ in grid.cells]
    for grid, cell, run in zip(grids, study.cells, runs, strict=True):
        name = f"{study.name}, {cell.name}"
        if run not in jobs:
            content = None if run.content is None else pictures[run.content]
            styles = [pictures[style] for style in run.styles]
            try:
                run_pictures, config = gather(content, styles or None, None, None, configs[run])
                plan = prepare(run_pictures, config, tile="auto", networks=networks)
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
            digests |= {
                file: hashlib.sha256(files.expand(file).read_bytes()).hexdigest() for file in run.files
            }
            key = run.key(digests, plan.weights.sha256)
            snapshot_steps = frozenset(run.snapshot_steps)
            jobs[run] = Job(run_pictures, config, key=key, snapshot_steps=snapshot_steps, final_losses=True)
            sizes[run] = plan.sizes[-1]
            too_small += [f"{name}: {reason}" for reason in _too_small_to_measure(plan, measured_size)]
        too_small += [f"{name}: {reason}" for reason in _too_small_to_show(sizes[run], grid.feature_maps)]
    if too_small:  # last, because the smallest size of all cells may itself be the mistake
        raise InputError(too_small[0])
    return jobs


def _too_small_to_measure(plan: Plan, size: int) -> Iterator[str]:
    picture = images.fit_size(plan.sizes[-1], size)
    styles = [images.fit_size((style.shape[0], style.shape[1]), max(picture)) for style in plan.styles]
    for name, (height, width) in (("size", picture), *(("style", style) for style in styles)):
        if min(height, width) < LEAST_SIDE:
            yield (
                f"{name}: {width}x{height} pixels, as it is compared, are too few to measure; at least "
                f"{LEAST_SIDE} are needed on each side."
            )


def _too_small_to_show(size: tuple[int, int], layers: Sequence[str]) -> Iterator[str]:
    height, width = size
    for layer in layers:
        if min(size) < vgg.stride(layer):
            yield f"feature_maps: {width}x{height} pixels are too few for {layer}; leave it out."
