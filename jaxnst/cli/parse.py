"""Parses the words after `jaxnst`: the command, its help, and mistakes, each of which becomes one sentence.

tyro does the parsing. This file adds the nearest names of options that do not exist, short and full help, and
one sentence in place of tyro's boxes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import inspect
import io
import itertools
import re
import typing
from collections.abc import Callable
from typing import Any

import tyro

from jaxnst.cli.options import SHORT_HELP
from jaxnst.config.config import RENAMED, Config
from jaxnst.errors import InputError, choose

DESCRIPTION = (
    "Neural style transfer: the content of a photo in the style of a painting. `jaxnst COMMAND --help` "
    "explains a command; `jaxnst --version` prints the version."
)

COLOURS = re.compile(r"\x1b\[[0-9;]*m")

RULE = re.compile(r"[ ─-]+")
"""A line across a box that tyro prints, in UTF-8 or in ASCII."""

PLAIN_WORDS = (
    (r"^Error parsing (.*?): ", r"\1: "),
    (r"no type matching \S+ could be instantiated from \['(.*?)'\].*", r"'\1' cannot be used"),
    (r"Could not find valid parse for arguments: \[(.*?)\]", r"\1 cannot be used"),
    (r"invalid literal for int\(\) with base 10: (.*)", r"\1 is not a whole number"),
    (r"could not convert string to float: (.*)", r"\1 is not a number"),
    (r"Missing value for argument '(.*?)'.*", r"\1 has no value"),
    (r"Unrecognized options: (.*)", r"\1: there is no place for this"),
)
"""Messages of tyro and Python, and what is printed in their place."""


def run_command(commands: dict[str, Callable[..., int]], arguments: list[str]) -> int:
    """Runs the command that the first word names, with the other words as its arguments.

    Args:
      commands: functions by name; their parameters are the options.
      arguments: the words after `jaxnst`.

    Returns:
      What the function returns.

    Raises:
      InputError: the words cannot be parsed.
      SystemExit: the help was printed.
    """
    if arguments[0] in ("-h", "--help", "--help-all"):
        return tyro.extras.subcommand_cli_from_dict(
            commands, prog="jaxnst", description=DESCRIPTION, args=["--help"]
        )
    name, words = choose("command", arguments[0], commands), arguments[1:]
    command = commands[name]
    _refuse_unknown_options(name, command, words)
    token = SHORT_HELP.set("--help" in words or "-h" in words)
    try:
        words = ["--help" if word == "--help-all" else word for word in words]
        call = _parsed(f"jaxnst {name}", command, words)
    finally:
        SHORT_HELP.reset(token)
    return call()


def _parsed(prog: str, command: Callable[..., int], words: list[str]) -> Callable[[], int]:
    """Returns the command with its arguments, to be called once tyro's messages go to the user again."""

    def hold(*positional: Any, **options: Any) -> Callable[[], int]:
        return lambda: command(*positional, **options)

    held = typing.cast(Any, hold)
    held.__signature__, held.__doc__ = inspect.signature(command), command.__doc__
    held.__annotations__ = typing.get_type_hints(command, include_extras=True)
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(held, prog=prog, args=words, config=(tyro.conf.OmitArgPrefixes,))
    except SystemExit as stop:
        if stop.code:
            raise InputError(f"{_sentence(messages.getvalue())}; see `{prog} --help`.") from stop
        if "settings" in held.__annotations__ and SHORT_HELP.get():
            print(f"`{prog} --help-all` shows the other options too.")
        raise


def _refuse_unknown_options(name: str, command: Callable[..., int], words: list[str]) -> None:
    """Refuses the first word that looks like an option but is none, with the nearest names.

    Raises:
      InputError: there is such a word.
    """
    known = option_names(command)
    for word in words:
        if not re.match(r"--?[A-Za-z]", word) or word in ("-h", "--help", "--help-all"):
            continue
        option = word.partition("=")[0].replace("_", "-")
        dashes, no, rest = re.fullmatch(r"(--?)(no-)?(.*)", option).groups("")  # pyright: ignore
        if dashes == "--" and rest in known:
            continue
        near = difflib.get_close_matches(rest, known, n=3, cutoff=0.7)
        meant = f"did you mean {' or '.join(f'--{no}{other}' for other in near)}?"
        hint = meant if near else f"`jaxnst {name} --help-all` lists all."
        raise InputError(f"there is no option {option}; {hint}")


def option_names(command: Callable[..., int]) -> list[str]:
    """Returns the names of all options of a command, as they are written after `--`."""
    names: list[str] = []
    hints = typing.get_type_hints(command)
    for parameter in inspect.signature(command).parameters.values():
        group = hints[parameter.name]
        if dataclasses.is_dataclass(group):
            names += [field.name for field in dataclasses.fields(group)]
        elif parameter.name == "settings":
            names += [*(field.name for field in dataclasses.fields(Config)), *RENAMED]
        elif parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            names.append(parameter.name)
    return [name.replace("_", "-") for name in names]


def _sentence(box: str) -> str:
    """Reads what is wrong from the box that tyro prints: its text above the first line across."""
    lines = [COLOURS.sub("", line)[1:].rstrip("│╮╯ ") for line in box.splitlines()]  # without the frame
    title, *lines = lines or ["the arguments cannot be parsed"]
    inside = itertools.dropwhile(RULE.fullmatch, lines)
    first = list(itertools.takewhile(lambda line: not RULE.fullmatch(line), inside))
    missing = [line.strip() for line in first if re.match(r" {5}\S", line)]
    if first and first[0].strip().startswith("Missing from") and missing:
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    text = " ".join(line.strip() for line in first) or title.strip()
    for pattern, words in PLAIN_WORDS:
        text = re.sub(pattern, words, text)
    return text
