"""The part that commands which end with one picture share: messages, snapshots, saving, and the exit status.

A picture that exists is saved, whatever happens: Ctrl-C cannot stop it, and a full disk sends it elsewhere.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import logging
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from jaxnst.errors import InputError
from jaxnst.io import files, film, save
from jaxnst.io.weights.load import cache_folder
from jaxnst.run.ended import Ended

if TYPE_CHECKING:
    import numpy as np

    from jaxnst.cli.options import Checkpoints, Output
    from jaxnst.config.config import Config
    from jaxnst.run.loop import Progress
    from jaxnst.run.result import Result

INTERRUPTED = 130
"""Exit status of a run that Ctrl-C ended, even if its picture was saved."""

GOES_ON = "jaxnst: interrupted; the same command goes on from here."

LONGEST_STEM = 60
"""Letters of a name that `free_name` makes; file systems allow 255 bytes, and a letter may take four."""


def exit_status(result: Result) -> int:
    """Returns the exit status that says how a run ended: 0 only if it finished."""
    return {Ended.finished: 0, Ended.interrupted: INTERRUPTED}.get(Ended(result.ended), 1)


def named(output: Output, *words: str) -> Output:
    """Gives the picture a name if the user gave none: `WORD-WORD.png` in the current folder.

    A name that exists gets a number, so that no file is overwritten. Call it again before the picture is
    written: another command may have taken the name.

    Args:
      output: the options.
      *words: parts of the name; of a path its stem.
    """
    if output.out is not None:
        return output
    return dataclasses.replace(output, out=free_name("-".join(Path(word).stem for word in words)))


def free_name(stem: str) -> str:
    """Returns `STEM.png`, or `STEM-2.png` and so on, for which the current folder has no file yet."""
    stem = stem[:LONGEST_STEM]
    names = itertools.chain([f"{stem}.png"], (f"{stem}-{number}.png" for number in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def preview_path(output: Output) -> str | None:
    """Returns the path of the preview, `NAME.preview.png` for `NAME.png`; None if none is wanted."""
    if not output.preview:
        return None
    out = Path(path_of(output))
    return str(out.with_name(f"{out.stem}.preview{out.suffix}"))


def path_of(output: Output) -> str:
    """Returns the path of the picture; `output` is from `named`."""
    assert output.out is not None
    return output.out


@contextmanager
def ready(
    output: Output, inputs: Mapping[str, Sequence[str]], checkpoints: Checkpoints | None = None
) -> Iterator[None]:
    """Checks the output options before a run, sets up its messages, and reports the compile time after it.

    Args:
      output: from `named`.
      inputs: paths of the pictures that the run reads, by the name of the argument.
      checkpoints: holds one more file to write.

    Raises:
      InputError: a file cannot be written, two files are the same, or a number cannot be used.
    """
    save.check_output(path_of(output), bits=output.bits, dither=output.dither)
    outputs = {"out": output.out, "preview": preview_path(output), "evolution": output.evolution}
    outputs |= {"history": output.history, "checkpoint": checkpoints and checkpoints.checkpoint}
    if output.preview:
        save.check_output(str(outputs["preview"]), "preview")
    if output.evolution is not None:
        film.check_film(output.evolution)
    if output.history is not None:
        files.check_file(output.history, "history")
    if output.snapshots < 0:
        raise InputError(f"snapshots: {output.snapshots} is negative; 0 writes none.")
    refuse_same_files({name: path for name, path in outputs.items() if path is not None}, inputs)
    _log_to_stderr(output.verbose)
    seconds = _listen_to_compiler()
    cache_compiled_programs()
    yield
    logging.getLogger("jaxnst").info("compile time: %.1f s", sum(seconds))


def cache_compiled_programs() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX has a place for them already."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def masks_and_start(config: Config) -> dict[str, Sequence[str]]:
    """Returns the paths in the settings of a command, by setting. A start that is no path is no file."""
    return {
        "content_masks": config.content_masks,
        "style_masks": config.style_masks,
        "start": (config.start,),
    }


def refuse_same_files(outputs: Mapping[str, str], inputs: Mapping[str, Sequence[str]]) -> None:
    """Refuses to write two things to one file, or to a picture that is read.

    Args:
      outputs: paths by the name of the argument.
      inputs: lists of paths by the name of the argument.

    Raises:
      InputError: two of the paths are the same file.
    """
    taken = {os.path.realpath(files.expand(path)): name for name, paths in inputs.items() for path in paths}
    for name, path in outputs.items():
        other = taken.setdefault(os.path.realpath(files.expand(path)), name)
        if other != name:
            raise InputError(f"{name}: {path!r} is the file of {other} too; give another path.")


def _log_to_stderr(verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("jaxnst: %(message)s"))
    logger = logging.getLogger("jaxnst")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


def _listen_to_compiler() -> list[float]:
    """Returns a list to which JAX adds the seconds of each tracing, lowering and compilation from now on."""
    seconds = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event.startswith("/jax/core/compile/"):
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seconds


def snapshot_writer(
    output: Output, config: Config, is_writer: bool = True
) -> Callable[[Progress], None] | None:
    """Makes a callback that saves `NAME-0050.png` beside `NAME.png`; None if no snapshots are wanted.

    Args:
      output: says where and how often.
      config: the settings of the run.
      is_writer: whether this process writes files. All processes must compute the picture.
    """
    if not output.snapshots:
        return None
    out, digits = Path(path_of(output)), max(4, len(str(config.steps)))

    def write(progress: Progress) -> None:
        if progress.step % output.snapshots == 0:
            path = out.with_name(f"{out.stem}-{progress.step:0{digits}d}{out.suffix}")
            picture = progress.image
            if is_writer:
                save.save_image(path, picture, bits=output.bits, dither=output.dither)

    return write


def save_result(
    output: Output,
    result: Result,
    saved: dict[str, Any],
    checkpoints: Checkpoints,
    preview: str | None = None,
) -> None:
    """Writes the picture and the losses of a run, removes its preview, and reports the run.

    Args:
      output: says where.
      result: the result of the run.
      saved: metadata of the picture whose settings were used; empty if there was none.
      checkpoints: says whether the run can continue.
      preview: path of the preview, if there is one.
    """
    with without_interrupts():
        save_picture(output, result.array, result.metadata)
        if preview is not None:
            with suppress(OSError):
                Path(preview).unlink(missing_ok=True)
        if output.history is not None:
            _write_history(output.history, result)
    height, width, _ = result.array.shape
    report(output, f"{width}x{height}, {len(result.history['total'])} steps, {result.seconds:.0f} s")
    name, digest = result.config.weights, result.weights_sha256
    if saved and saved["config"].get("weights") == name and saved.get("weights_sha256") != digest:
        warnings.warn(f"the settings were saved with another version of the weights {name}.", stacklevel=2)
    if checkpoints.checkpoint is not None and result.ended == Ended.interrupted:
        print(GOES_ON, file=sys.stderr)


def report(output: Output, message: str) -> None:
    """Prints what was written, unless the user wants no messages."""
    if not output.quiet:
        print(f"{path_of(output)}: {message}", file=sys.stderr)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Ignores Ctrl-C, so that a picture that exists is saved however often the user presses it."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def save_picture(output: Output, array: np.ndarray, metadata: dict[str, Any]) -> None:
    """Writes a picture; if that fails, writes it to the system's folder for temporary files instead.

    Raises:
      OSError: the file could not be written; the message says where the picture is now.
    """
    options: dict[str, Any] = {"bits": output.bits, "dither": output.dither}
    try:
        save.save_image(path_of(output), array, metadata, **options)
    except OSError as error:
        rescued = Path(tempfile.mkdtemp(prefix="jaxnst-")) / Path(path_of(output)).name
        save.save_image(rescued, array, metadata, **options)
        raise OSError(error.errno, f"{error.strerror}; the picture is in {rescued}", output.out) from error


def _write_history(path: str, result: Result) -> None:
    """Writes one line for each step: `step,total,content,style,tv,...`."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["step", *result.history])
    for step, losses in enumerate(zip(*result.history.values(), strict=True), start=1):
        writer.writerow([step, *losses])
    files.write_whole(path, table.getvalue().encode())
