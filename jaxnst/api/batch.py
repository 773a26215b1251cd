"""Many pairs of pictures from Python: a result for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxnst.batch.engine import run_jobs
from jaxnst.batch.jobs import Job
from jaxnst.config.config import Config
from jaxnst.config.resolve import resolve_config
from jaxnst.errors import InputError
from jaxnst.io import images
from jaxnst.run.interrupts import stop_on_interrupt
from jaxnst.run.mesh import Devices, for_pairs
from jaxnst.run.networks import Networks
from jaxnst.run.plan import gather, prepare
from jaxnst.run.progress_bar import pairs_bar

if TYPE_CHECKING:
    from jaxnst.io.images import Picture
    from jaxnst.run.memory_budget import Tile
    from jaxnst.run.result import Result


def stylize_batch(
    contents: Picture | Sequence[Picture],
    styles: Any,
    *,
    crossed: bool = False,
    preset: str | None = None,
    config: Config | Sequence[Config] | None = None,
    progress: bool = True,
    tile: Tile = "auto",
    devices: Devices = None,
    **settings: Any,
) -> list[Result | Exception]:
    """Stylises many pairs of pictures; each result is that of `stylize`, but much of the work is shared.

    Args:
      contents: as many pictures as pairs (see `stylize` for what a picture is), or one for all.
      styles: as many styles, each a picture or a list of several, or one for all.
      crossed: whether to pair every content with every style; the styles of the first content come first.
      preset: name of a look or a published system, see `jaxnst.LOOKS` and `jaxnst.PRESETS`.
      config: a whole `Config` instead of a preset, or one for each pair.
      progress: whether to show a progress bar on standard error.
      tile: as for `stylize`; a picture that is cut into tiles is computed alone.
      devices: spread the pairs over several devices: how many, "all" of this process, a sequence of
        `jax.Device`, or a `jax.sharding.Mesh` with axes `pairs`, `rows` or both. Where a picture is too large
        for one device, its rows go over as few as hold it, or it is cut into tiles. None: the first alone.
      **settings: fields of `Config` by name, over the preset or config.

    Returns:
      A `Result` for each pair, in order. A pair that diverges, or for which memory runs out even when it is
      alone, ends with its last good picture, as with `stylize`. A pair without any picture has the exception
      in its place; the other pairs are still made.

    Raises:
      InputError: an argument that cannot work, with the pair's number, before any compilation.
      KeyboardInterrupt: Ctrl-C was pressed.
    """
    pairs = _pairs(images.as_list(contents), images.as_list(styles), crossed)
    configs: list[Any] = list(config) if isinstance(config, list | tuple) else [config] * len(pairs)
    if len(configs) != len(pairs):
        raise InputError(f"config: {len(configs)} for {len(pairs)} pairs; give one for each, or one for all.")
    jobs, networks, placements = [], Networks(), for_pairs(devices)
    for number, ((content, style), pair_config) in enumerate(zip(pairs, configs, strict=True), start=1):
        try:
            resolved = resolve_config(preset, pair_config, settings)
            jobs.append(Job(*gather(content, style, None, None, resolved)))
            prepare(jobs[-1].pictures, jobs[-1].config, None, tile, networks, placements=placements)
        except InputError as error:
            raise InputError(f"pair {number}: {error}") from error
    results: dict[int, Result | Exception] = {}
    with stop_on_interrupt() as interrupted, pairs_bar(progress, len(jobs)) as show:
        for number, result in run_jobs(jobs, tile, interrupted.is_set, networks, placements):
            results[number] = result
            show()
    return [results[number] for number in range(len(jobs))]


def _pairs(contents: list[Picture], styles: list[Any], crossed: bool) -> list[tuple[Picture, Any]]:
    for name, pictures in (("contents", contents), ("styles", styles)):
        if not pictures:
            raise InputError(f"{name}: there is none; give at least one picture.")
    if crossed:
        return [(content, style) for content in contents for style in styles]
    count = max(len(contents), len(styles))
    if {len(contents), len(styles)} - {1, count}:
        raise InputError(
            f"contents, styles: {len(contents)} and {len(styles)} pictures make no pairs; give equal "
            "numbers, or one for all, or crossed=True."
        )
    repeated = [pictures * count if len(pictures) == 1 else pictures for pictures in (contents, styles)]
    return list(zip(*repeated, strict=True))
