"""Errors that a user can mend: one sentence each, raised before any work starts."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used; the message names it, what was given and what would work."""


class TooLargeError(InputError):
    """More than the memory that is free; on another day, or another machine, it may work."""


def choose(argument: str, given: str, known: Iterable[str]) -> str:
    """Return `given` if it is one of `known`.

    Args:
      argument: the name of the argument, for the message.
      given: what the user wrote.
      known: every name that would work, in the order to list them.

    Returns:
      `given`, unchanged.

    Raises:
      InputError: `given` is unknown; the message has the nearest names first, or all of them.
    """
    names = list(known)
    if given in names:
        return given
    near = difflib.get_close_matches(str(given), names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(names)}."
    raise InputError(f"{argument}: there is no {given!r}; {hint}")
