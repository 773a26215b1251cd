"""Commands that end with one file: a picture that is saved whatever happens, lines, an exit status."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxnst.api import variations as recipes
from jaxnst.cli import processes
from jaxnst.cli.options import Output, Resources, Resuming
from jaxnst.cli.processes import Processes
from jaxnst.config.config import Config
from jaxnst.errors import InputError
from jaxnst.io import save as saving
from jaxnst.run.loop import Progress
from jaxnst.run.result import Result
from jaxnst.run.traces import cache_compiled_programs

INTERRUPTED = 130
"""The exit status of a run that Ctrl-C ended, also when it saved what it had."""

STATUS = {"finished": 0, "interrupted": INTERRUPTED}
"""Exit statuses by `Result.ended`; 1 for the others."""


def make(
    run: Callable[..., Result],
    output: Output,
    resources: Resources,
    resuming: Resuming,
    config: Config,
    saved: dict[str, Any],
    given: Processes | None = None,
) -> int:
    """Run something that makes one picture, and write it.

    Args:
      run: takes `config`, `progress`, `callback`, `tile`, `devices`, `checkpoint` and `checkpoint_minutes`.
      output: where to.
      resources: what it may use.
      resuming: from where, if it was begun before.
      config: the settings.
      saved: what the picture says whose settings were taken; empty if there was none.
      given: the processes that make it together; the first of them writes it. None: this one does.

    Returns:
      The exit status.
    """
    with _ready(output):
        first = _is_first(given or Processes(), resources)
        writer = _snapshot_writer(output, config, first) if output.snapshots else None
        settings = {"config": config, "progress": first and not output.quiet, "callback": writer}
        result = run(**settings, **dataclasses.asdict(resources), **dataclasses.asdict(resuming))
    if not first:
        return STATUS.get(result.ended, 1)
    with _undisturbed():
        _save(output, result.array, result.metadata)
        if output.history is not None:
            _write_history(output.history, result)
    height, width, _ = result.array.shape
    _tell(output, f"{width}x{height}, {len(result.history['total'])} steps, {result.seconds:.0f} s")
    if saved.get("config", {}).get("weights") == config.weights:
        _compare_weights(saved, result)
    if resuming.checkpoint is not None and result.ended == "interrupted":
        print("jaxnst: interrupted; the same command goes on from here.", file=sys.stderr)
    return STATUS.get(result.ended, 1)


def _is_first(given: Processes, resources: Resources) -> bool:
    """Bring processes together that make one picture, and say whether this is the first of them."""
    place = processes.connect(given)
    if place.count > 1 and resources.devices != "all":
        raise InputError("devices: several processes make one picture with all their devices; give all.")
    return place.index == 0


def interpolate(
    content: str,
    styles: tuple[str, ...],
    count: int,
    output: Output,
    resources: Resources,
    config: Config,
) -> int:
    """Write a strip of pictures from one style to another; what ends it early costs only what is not done."""
    if output.history is not None or output.snapshots:
        raise InputError("history and snapshots: a strip has several runs; leave them out.")
    done: list[Result] = []
    ended = "finished"
    with _ready(output):
        try:
            shown = {"progress": not output.quiet, **dataclasses.asdict(resources)}
            runs = recipes.interpolate(content, styles, count, config=config, **shown)
            for result in runs:
                ended = result.ended
                if ended != "finished":
                    break
                done.append(result)
        finally:
            if done:
                metadata = done[0].metadata | {"config": config.to_dict(), "pictures": len(done)}
                with _undisturbed():
                    _save(output, recipes.strip([result.array for result in done]), metadata)
                _tell(output, f"{len(done)} of {count} pictures")
    return STATUS.get(ended, 1)


@contextmanager
def _ready(output: Output) -> Iterator[None]:
    """Refuse an output that will not do, and tell the process's own affairs around the work."""
    saving.check_output(output.out, bits=output.bits, dither=output.dither)
    if output.history is not None:
        saving.check_file(output.history, "history")
    if output.snapshots < 0:
        raise InputError(f"snapshots: {output.snapshots} is negative; 0 writes none.")
    _log_to_stderr(output.verbose)
    compiling = _count_compile_seconds()
    cache_compiled_programs()
    yield
    logging.getLogger("jaxnst").info("compile time: %.1f s", sum(compiling))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep Ctrl-C away: what is made gets saved, however often it is pressed now."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _tell(output: Output, what: str) -> None:
    if not output.quiet:
        print(f"{output.out}: {what}", file=sys.stderr)


def _save(output: Output, array: Any, metadata: dict[str, Any]) -> None:
    """Save the picture; if its place fails now (a full disk), in the system's folder for temporary files."""
    options: dict[str, Any] = {"bits": output.bits, "dither": output.dither}
    try:
        saving.save_image(output.out, array, metadata, **options)
    except OSError as error:
        rescued = Path(tempfile.mkdtemp(prefix="jaxnst-")) / Path(output.out).name
        saving.save_image(rescued, array, metadata, **options)
        raise OSError(error.errno, f"{error.strerror}; the picture is in {rescued}", output.out) from error


def _compare_weights(saved: dict[str, Any], result: Result) -> None:
    if saved.get("weights_sha256") != result.weights_sha256:
        warnings.warn(
            f"the settings were saved with other weights than today's {result.config.weights}", stacklevel=1
        )


def _log_to_stderr(verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("jaxnst: %(message)s"))
    logger = logging.getLogger("jaxnst")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


def _count_compile_seconds() -> list[float]:
    """A list to which JAX adds the seconds of each tracing, lowering and compilation from now on."""
    import jax

    seconds = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event.startswith("/jax/core/compile/"):
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seconds


def _snapshot_writer(output: Output, config: Config, first: bool) -> Callable[[Progress], None]:
    """A callback that writes `NAME-0050.png` beside `NAME.png`, if this process is the first."""
    out, digits = Path(output.out), max(4, len(str(config.steps)))

    def write(progress: Progress) -> None:
        if progress.step % output.snapshots == 0:
            path = out.with_name(f"{out.stem}-{progress.step:0{digits}d}{out.suffix}")
            picture = progress.image  # which all processes have a part in
            if first:
                saving.save_image(path, picture, bits=output.bits, dither=output.dither)

    return write


def _write_history(path: str, result: Result) -> None:
    """Write one line a step: `step,total,content,style,tv,...`."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["step", *result.history])
    for step, losses in enumerate(zip(*result.history.values(), strict=True), start=1):
        writer.writerow([step, *losses])
    saving.write_whole(path, table.getvalue().encode())
