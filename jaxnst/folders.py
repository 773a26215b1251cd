"""Folders in which long work is kept: made if need be, locked against others, tidied after a kill."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxnst import saving
from jaxnst.errors import InputError

ASIDE = f".{'[0-9a-f]' * 32}.tmp"
"""What `saving.written_aside` leaves behind when it is killed."""


@contextlib.contextmanager
def at_work(folder: Path, argument: str = "out", part: int | None = None) -> Iterator[None]:
    """Make a folder if its parent is there, and keep others from the same work in it meanwhile.

    Args:
      folder: where.
      argument: its name in error messages.
      part: of work that several processes share, this one's; None: it is all one.

    Raises:
      InputError: it cannot be made, or another process is at this work there.
    """
    given = os.fspath(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{argument}: {given!r} is a file; give a folder.")
    if not folder.exists():
        saving.check_file(folder, argument)
    with contextlib.ExitStack() as locks:
        try:
            folder.mkdir(exist_ok=True)
            whole = locks.enter_context((folder / ".lock").open("w"))
            own = locks.enter_context((folder / f".lock-{part or 0}").open("w"))
        except OSError as error:
            raise InputError(
                f"{argument}: {given!r} cannot be used ({error.strerror}); choose another."
            ) from error
        alone = _lock(whole)
        if alone:
            for left_by_a_kill in (*folder.glob(ASIDE), *folder.glob(f"runs/*/{ASIDE}")):
                left_by_a_kill.unlink(missing_ok=True)
        # Others of the same work hold `whole` together; each does so alone while it tidies, for a moment.
        if not (alone if part is None else _lock(own) and _lock(whole, shared=True, seconds=5)):
            raise InputError(f"{argument}: another process works in {given!r}; wait, or choose another.")
        yield


def _lock(file: IO[str], shared: bool = False, seconds: float = 0) -> bool:
    """Whether the lock could be had within this time."""
    try:
        import fcntl
    except ImportError:  # Windows: two at once only do some work twice
        return True
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)
        else:
            return True
