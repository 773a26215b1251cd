"""What the commands beside those of one picture do with their arguments: files, lines, an exit status."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from jaxnst import metrics
from jaxnst.cli import processes
from jaxnst.cli.making import INTERRUPTED
from jaxnst.cli.options import Resources
from jaxnst.cli.processes import Processes
from jaxnst.config.config import Config
from jaxnst.config.presets import PRESETS
from jaxnst.errors import InputError, choose
from jaxnst.io import images
from jaxnst.io import save as saving
from jaxnst.io.weights import load as weight_files
from jaxnst.run.interrupts import Interrupted
from jaxnst.run.traces import cache_compiled_programs


def evaluate(
    image: Annotated[tuple[str, ...], Positional, arg(metavar="IMAGE [IMAGE ...]")],
    /,
    content: Annotated[str | None, arg(metavar="FILE")] = None,
    style: Annotated[tuple[str, ...], arg(metavar="FILE")] = (),
    size: int = metrics.SIZE,
    out: Annotated[str | None, arg(metavar="FILE.json")] = None,
) -> int:
    """Say how near pictures are to a photo and a painting, by a yardstick that no setting changes.

    Args:
      image: pictures to judge, side by side.
      content: the photo.
      style: one painting or several; each is compared with.
      size: longer side at which everything is compared, in pixels.
      out: also write the numbers to this JSON file.
    """
    if out is not None:
        saving.check_file(out, "out")
    names, arrays = _distinct(image), [images.read_image(each, "image") for each in image]
    cache_compiled_programs()
    found = [metrics.measure(array, content, list(style) or None, size) for array in arrays]
    print(metrics.table(dict(zip(names, found, strict=True))))
    if out is not None:
        saving.write_whole(out, json.dumps(dict(zip(image, found, strict=True)), indent=2).encode())
    return 0


def _distinct(paths: tuple[str, ...]) -> list[str]:
    """File names, or whole paths where names are equal."""
    if len(set(paths)) < len(paths):
        raise InputError("image: a picture is named twice; name each once.")
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def study(
    name: Annotated[str, Positional, arg(metavar="NAME")],
    /,
    content: Annotated[tuple[str, ...], arg(metavar="FILE [FILE ...]")],
    style: Annotated[tuple[str, ...], arg(metavar="FILE [FILE ...]")],
    out: Annotated[str, arg(metavar="DIR")],
    quick: bool = False,
    grids: Annotated[tuple[str, ...], arg(metavar="GRID [GRID ...]")] = (),
    size: int | None = None,
    weights: str | None = None,
    quiet: bool = False,
) -> int:
    """Run an experiment over many settings, and write a report of it.

    Args:
      name: ranka, jaiswal, wang, danayak, joshi-hu, or the path of a TOML file of your own.
      content: the photo, or those that the study calls "content 1", "content 2".
      style: the painting, or those that the study calls "style 1", "style 2".
      out: the folder; what it holds of the study already is not done again.
      quick: the study's quick form: small pictures, few steps.
      grids: only these grids of the study.
      size: longer side of the pictures in pixels, where it is not what the study varies.
      weights: network weights in place of the study's.
      quiet: no progress bar, no messages.
    """
    from jaxnst import studies

    cache_compiled_programs()
    given = {"size": size, "weights": weights}
    settings = {name: value for name, value in given.items() if value is not None}
    try:
        done = studies.run_study(
            name, content, style, out, quick=quick, grids=grids, progress=not quiet, **settings
        )
    except (Interrupted, KeyboardInterrupt):
        print("jaxnst: interrupted; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    for row in done.failed:
        print(f"jaxnst: {row.cell.name}: {row.ended}", file=sys.stderr)
    if not quiet:
        print(f"{done.folder / 'report.html'}: {len(done.rows)} cells", file=sys.stderr)
    return 1 if done.failed else 0


def batch(
    sources: tuple[str, ...],
    out: str,
    extension: str,
    resources: Resources,
    checkpoint_minutes: float,
    quiet: bool,
    config: Config,
    given: Processes,
) -> int:
    """Make the pictures of many pairs, or this process's share of them; what is there is not made again."""
    from jaxnst.batch import journal, manifest

    place = processes.find(given)
    processes.keep_to_own_devices(place)

    cache_compiled_programs()
    entries = manifest.read(sources, config, extension)
    try:
        used = {**dataclasses.asdict(resources), "checkpoint_minutes": checkpoint_minutes}
        failures = journal.make_all(entries, Path(out), **used, progress=not quiet, place=place)
    except Interrupted:
        print("jaxnst: interrupted; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    for entry, why in failures:
        print(f"jaxnst: {entry.out}: {why}", file=sys.stderr)
    if not quiet:
        whose = f" of process {place.index}, one of {place.count}" if place.count > 1 else ""
        count = len(place.share(entries))
        print(f"{out}: {count - len(failures)} of {count} pictures{whose}", file=sys.stderr)
    return 1 if failures else 0


def weights(
    action: Positional[str],
    name: Positional[str] = "",
    /,
    file: str | None = None,
) -> int:
    """List, fetch or verify network weights.

    Args:
      action: list, fetch or verify.
      name: caffe, torchvision, or for verify the path of an HDF5 file.
      file: for fetch: a file downloaded by hand.
    """
    choose("action", action, ("list", "fetch", "verify"))
    if action == "fetch":
        print(weight_files.fetch(name or "torchvision", file=file))
    elif action == "verify":
        print(f"{name or 'caffe'}: {weight_files.verify(name or 'caffe')}")
    else:
        for record in weight_files.list_weights():
            print(f"{record.name}: {record.location}\n  {record.source}\n  {record.licence}")
    return 0


def presets() -> int:
    """List the published systems and how each differs from the defaults."""
    defaults = Config().to_dict()
    for name, preset in PRESETS.items():
        print(name)
        for field, value in preset.to_dict().items():
            if value != defaults[field]:
                print(f"  {_flag(field.replace('_', '-'), value)}")
    return 0


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
