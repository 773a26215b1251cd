"""Errors that a user can mend: one sentence each, raised before any work starts."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used; the message names it, what was given and what would work."""


class TooLargeError(InputError):
    """More than the memory that is free; on another day, or another machine, it may work."""


def choose(argument: str, value: str, choices: Iterable[str]) -> str:
    """Returns `value` if it is one of `choices`.

    Args:
      argument: name of the argument, for the message.
      value: what the user wrote.
      choices: every name that would work, in the order to list them.

    Returns:
      `value`, unchanged.

    Raises:
      InputError: `value` is unknown; the message has the nearest names, or else all of them.
    """
    names = list(choices)
    if value in names:
        return value
    near = difflib.get_close_matches(str(value), names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(names)}."
    raise InputError(f"{argument}: there is no {value!r}; {hint}")
