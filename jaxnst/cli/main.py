"""The `jaxnst` command: flags from `Config`, and one sentence for every mistake.

What the commands do is in `jaxnst.cli.making` and `jaxnst.cli.commands`.
"""

from __future__ import annotations

import argparse
import gc
import sys
import warnings
from functools import partial
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from jaxnst.api import variations as recipes
from jaxnst.api.stylize import stylize
from jaxnst.cli import commands, making
from jaxnst.cli.making import INTERRUPTED
from jaxnst.cli.options import Output, Resources, Resuming
from jaxnst.cli.processes import Processes
from jaxnst.config.config import Config
from jaxnst.config.resolve import resolve_config
from jaxnst.errors import InputError
from jaxnst.io import save as saving

BASES = {
    "stylize": Config(),
    "reconstruct": Config(**recipes.RECONSTRUCTION),
    "interpolate": Config(),
    "batch": Config(),
}
"""The commands that have all settings as flags, and where these start from."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
      arguments: what follows `jaxnst`; default: the process's own.

    Returns:
      The exit status: 0 done, 1 the system failed us, 2 something given cannot be used, 130 Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    gc.freeze()  # what is imported stays; looking for garbage in it takes long in JAX
    warnings.showwarning = _show_warning
    try:
        return _run(arguments or ["--help"])
    except InputError as error:
        print(f"jaxnst: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jaxnst: interrupted before there was a picture.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"jaxnst: {error.filename or 'while writing'}: {error.strerror or error}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    base, saved = _base_config(arguments) if arguments[0] in BASES else (Config(), {})

    def stylize_command(
        content: Annotated[str, Positional, arg(metavar="CONTENT")],
        style: Annotated[tuple[str, ...], Positional, arg(metavar="STYLE [STYLE ...]")],
        /,
        output: Annotated[Output, OmitArgPrefixes],
        resources: Annotated[Resources, OmitArgPrefixes],
        resuming: Annotated[Resuming, OmitArgPrefixes],
        processes: Annotated[Processes, OmitArgPrefixes],
        preset: Annotated[str | None, arg(metavar="NAME")] = None,
        config: Annotated[str | None, arg(metavar="FILE")] = None,
        settings: Annotated[Config, OmitArgPrefixes] = base,
    ) -> int:
        """Make a picture with the content of one picture and the style of others.

        Args:
          content: the photo.
          style: one painting, or several to mix.
          output: where the picture goes.
          resources: how the machine is used.
          resuming: where a run that was stopped or killed goes on.
          processes: that make it together.
          preset: start from a published system (see `jaxnst presets`).
          config: start from the settings saved in a picture that jaxnst made.
          settings: every setting of the run.
        """
        del preset, config  # already in `settings`
        run = partial(stylize, content, style)
        return making.make(run, output, resources, resuming, settings, saved, processes)

    def reconstruct_command(
        picture: Annotated[str, Positional, arg(metavar="PICTURE")],
        /,
        output: Annotated[Output, OmitArgPrefixes],
        resources: Annotated[Resources, OmitArgPrefixes],
        resuming: Annotated[Resuming, OmitArgPrefixes],
        layer: Annotated[tuple[str, ...], arg(metavar="LAYER")] = (),
        preset: Annotated[str | None, arg(metavar="NAME")] = None,
        config: Annotated[str | None, arg(metavar="FILE")] = None,
        settings: Annotated[Config, OmitArgPrefixes] = base,
    ) -> int:
        """Make a picture from what layers keep of another, or a texture from its style.

        Args:
          picture: what to reconstruct.
          output: where the picture goes.
          resources: how the machine is used.
          resuming: where a run that was stopped or killed goes on.
          layer: reconstruct the content from these layers; without it, the style from `--style-layers`.
          preset: start from a published system (see `jaxnst presets`).
          config: start from the settings saved in a picture that jaxnst made.
          settings: every setting of the run.
        """
        del preset, config
        run = partial(recipes.reconstruct, picture, layer or None)
        return making.make(run, output, resources, resuming, settings, saved)

    def interpolate_command(
        content: Annotated[str, Positional, arg(metavar="CONTENT")],
        style: Annotated[tuple[str, str], Positional, arg(metavar="STYLE STYLE")],
        /,
        output: Annotated[Output, OmitArgPrefixes],
        resources: Annotated[Resources, OmitArgPrefixes],
        count: int = 5,
        preset: Annotated[str | None, arg(metavar="NAME")] = None,
        config: Annotated[str | None, arg(metavar="FILE")] = None,
        settings: Annotated[Config, OmitArgPrefixes] = base,
    ) -> int:
        """Make a strip of pictures that go from one style to another.

        Args:
          content: the photo.
          style: two paintings.
          output: where the strip goes.
          resources: how the machine is used.
          count: of pictures.
          preset: start from a published system (see `jaxnst presets`).
          config: start from the settings saved in a picture that jaxnst made.
          settings: every setting of the runs.
        """
        del preset, config
        return making.interpolate(content, style, count, output, resources, settings)

    def batch_command(
        sources: Annotated[tuple[str, ...], Positional, arg(metavar="MANIFEST.csv | CONTENTS STYLES")],
        /,
        out: Annotated[str, arg(metavar="DIR")],
        resources: Annotated[Resources, OmitArgPrefixes],
        processes: Annotated[Processes, OmitArgPrefixes],
        extension: Annotated[str, arg(metavar=".png|.jpg|...")] = ".png",
        checkpoint_minutes: float = 10.0,
        quiet: bool = False,
        preset: Annotated[str | None, arg(metavar="NAME")] = None,
        config: Annotated[str | None, arg(metavar="FILE")] = None,
        settings: Annotated[Config, OmitArgPrefixes] = base,
    ) -> int:
        """Make the pictures of many pairs; stopped or killed, the same command goes on.

        Args:
          sources: a CSV file with the columns content, style (several styles with ; between), perhaps out,
            and settings; or a folder of photos and one of paintings, all of which are paired.
          out: the folder for the pictures; what is there already is not made again.
          resources: how the machine is used.
          processes: of which each makes its share, in one folder.
          extension: of the pictures that the manifest does not name.
          checkpoint_minutes: between two checkpoints of a picture so large that it is computed alone.
          quiet: no progress bar, no messages.
          preset: start from a published system (see `jaxnst presets`).
          config: start from the settings saved in a picture that jaxnst made.
          settings: every setting of the runs; those of a row go over them.
        """
        del preset, config
        return commands.batch(
            sources, out, extension, resources, checkpoint_minutes, quiet, settings, processes
        )

    return tyro.extras.subcommand_cli_from_dict(
        {
            "stylize": stylize_command,
            "reconstruct": reconstruct_command,
            "interpolate": interpolate_command,
            "batch": batch_command,
            "evaluate": commands.evaluate,
            "study": commands.study,
            "weights": commands.weights,
            "presets": commands.presets,
        },
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
        return resolve_config(given.preset, None, {}) if given.preset else BASES[arguments[0]], {}
    saved = saving.read_metadata(given.config)
    if not isinstance(saved.get("config"), dict):
        raise InputError(f"config: {given.config!r} has no settings; give a picture saved by jaxnst.")
    config = resolve_config(given.preset, Config.from_dict(saved["config"]), {})
    if saved.get("steps_done", config.steps) != config.steps:
        warnings.warn(
            f"{given.config} was saved after {saved['steps_done']} of its {config.steps} steps", stacklevel=1
        )
    return config, saved


def _show_warning(message: Warning | str, *_: Any) -> None:
    print(f"jaxnst: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
