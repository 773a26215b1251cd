"""The `jaxnst` command: flags from `Config`, a progress bar, files out, one sentence for every mistake.

What holds for a whole process and not for a library is set here: the cache of compiled programs, logging,
how warnings look.
"""

from __future__ import annotations

import argparse
import csv
import io
import logging
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from jaxnst import saving
from jaxnst import weights as weight_files
from jaxnst.config import Config
from jaxnst.errors import InputError, choose
from jaxnst.presets import PRESETS
from jaxnst.run import Progress
from jaxnst.stylize import Result, resolve_config, stylize

INTERRUPTED = 130
"""The exit status of a run that Ctrl-C ended, also when it saved what it had."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
      arguments: what follows `jaxnst`; default: the process's own.

    Returns:
      The exit status: 0 done, 1 the system failed us, 2 something given cannot be used, 130 Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    warnings.showwarning = _show_warning
    try:
        return _commands(arguments or ["--help"])
    except InputError as error:
        print(f"jaxnst: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jaxnst: interrupted before there was a picture.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"jaxnst: {error.filename or 'while writing'}: {error.strerror or error}", file=sys.stderr)
        return 1


def _commands(arguments: list[str]) -> int:
    base, saved = _base_config(arguments) if arguments[0] == "stylize" else (Config(), {})

    def stylize_command(
        content: Annotated[str, Positional, arg(metavar="CONTENT")],
        style: Annotated[tuple[str, ...], Positional, arg(metavar="STYLE [STYLE ...]")],
        /,
        out: Annotated[str, arg(metavar="FILE")],
        preset: Annotated[str | None, arg(metavar="NAME")] = None,
        config: Annotated[str | None, arg(metavar="FILE")] = None,
        history: Annotated[str | None, arg(metavar="FILE.csv")] = None,
        snapshots: int = 0,
        quiet: bool = False,
        verbose: bool = False,
        settings: Annotated[Config, OmitArgPrefixes] = base,
    ) -> int:
        """Make a picture with the content of one picture and the style of others.

        Args:
          content: the photo.
          style: one painting, or several to mix.
          out: the picture to write: .png, .jpg, .webp or .tif.
          preset: start from a published system (see `jaxnst presets`).
          config: start from the settings saved in a picture that jaxnst made.
          history: write the losses of every step to this CSV file.
          snapshots: also write the picture after every so many steps, beside `out`.
          quiet: no progress bar, no messages.
          verbose: tell device, sizes, memory estimate and compile time.
          settings: every setting of the run.
        """
        del preset, config  # already in `settings`
        result = _stylize(content, style, out, history, snapshots, quiet, verbose, settings)
        if saved.get("config", {}).get("weights") == settings.weights:
            _compare_weights(saved, result)
        return {"finished": 0, "interrupted": INTERRUPTED}.get(result.ended, 1)

    return tyro.extras.subcommand_cli_from_dict(
        {"stylize": stylize_command, "weights": _weights, "presets": _presets},
        prog="jaxnst",
        description="Neural style transfer: the content of a photo in the style of a painting.",
        args=arguments,
    )


def _base_config(arguments: list[str]) -> tuple[Config, dict[str, Any]]:
    """The settings that the flags start from (`--preset`, `--config`, or defaults), and what was saved."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    parser.add_argument("--config")
    given, _ = parser.parse_known_args(arguments)
    if given.config is None:
        return resolve_config(given.preset, None, {}), {}
    saved = saving.read_metadata(given.config)
    if not isinstance(saved.get("config"), dict):
        raise InputError(f"config: {given.config!r} has no settings; give a picture saved by jaxnst.")
    config = resolve_config(given.preset, Config.from_dict(saved["config"]), {})
    if saved.get("steps_done", config.steps) != config.steps:
        warnings.warn(
            f"{given.config} was saved after {saved['steps_done']} of its {config.steps} steps", stacklevel=1
        )
    return config, saved


def _compare_weights(saved: dict[str, Any], result: Result) -> None:
    if saved.get("weights_sha256") != result.weights_sha256:
        warnings.warn(
            f"the settings were saved with other weights than today's {result.config.weights}", stacklevel=1
        )


def _stylize(
    content: str,
    style: tuple[str, ...],
    out: str,
    history: str | None,
    snapshots: int,
    quiet: bool,
    verbose: bool,
    config: Config,
) -> Result:
    saving.check_output(out)
    if history is not None:
        saving.check_file(history, "history")
    if snapshots < 0:
        raise InputError(f"snapshots: {snapshots} is negative; 0 writes none.")
    _log_to_stderr(verbose)
    compiling = _count_compile_seconds()
    _cache_compiled_programs()
    result = stylize(
        content,
        style,
        config=config,
        progress=not quiet,
        callback=_snapshot_writer(Path(out), snapshots, config) if snapshots else None,
    )
    logging.getLogger("jaxnst").info("compile time: %.1f s", sum(compiling))
    # What is made gets saved, however often Ctrl-C is pressed now.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _save(result, out)
        if history is not None:
            _write_history(history, result)
    finally:
        signal.signal(signal.SIGINT, previous)
    steps = len(result.history["total"])
    if not quiet:
        height, width, _ = result.array.shape
        print(f"{out}: {width}x{height}, {steps} steps, {result.seconds:.0f} s", file=sys.stderr)
    return result


def _save(result: Result, out: str) -> None:
    """Save the picture; if its place fails now (a full disk), in the system's folder for temporary files."""
    try:
        result.save(out)
    except OSError as error:
        rescued = Path(tempfile.mkdtemp(prefix="jaxnst-")) / Path(out).name
        result.save(rescued)
        raise OSError(error.errno, f"{error.strerror}; the picture is in {rescued}", out) from error


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


def _snapshot_writer(out: Path, every: int, config: Config) -> Callable[[Progress], None]:
    """A callback that writes `NAME-0050.png` beside `NAME.png`."""
    digits = max(4, len(str(config.steps)))

    def write(progress: Progress) -> None:
        if progress.step % every == 0:
            path = out.with_name(f"{out.stem}-{progress.step:0{digits}d}{out.suffix}")
            saving.save_image(path, progress.image)

    return write


def _write_history(path: str, result: Result) -> None:
    """Write one line a step: `step,total,content,style,tv`."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["step", *result.history])
    for step, losses in enumerate(zip(*result.history.values(), strict=True), start=1):
        writer.writerow([step, *losses])
    saving.write_whole(path, table.getvalue().encode())


def _cache_compiled_programs() -> None:
    """Keep compiled programs between runs, unless the user has chosen a place already."""
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(weight_files.cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _weights(
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


def _presets() -> int:
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


def _show_warning(message: Warning | str, *_: Any) -> None:
    print(f"jaxnst: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
