"""Folders in which long work is kept: made if need be, locked against others, tidied after a kill."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxnst.errors import InputError
from jaxnst.io import save as saving

ASIDE = f".{'[0-9a-f]' * 32}.tmp"
"""What `saving.written_aside` leaves behind when it is killed."""


PATIENCE = 120.0
"""Seconds that a process started again waits for its first self, whose lock a server may hold for long."""

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""What network file systems say that have no locks, or have them switched off."""


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
    with contextlib.ExitStack() as locks:
        try:
            folder.mkdir(exist_ok=True)  # first of all, for another process may do it, too
            whole = locks.enter_context((folder / ".lock").open("w+"))
            own = locks.enter_context((folder / f".lock-{part or 0}").open("w+"))
        except OSError as error:
            if not folder.exists():
                saving.check_file(folder, argument)
            raise InputError(
                f"{argument}: {given!r} cannot be used ({error.strerror}); choose another."
            ) from error
        alone = _lock(whole)
        if alone:
            _tidy(folder)
        refused = alone is False
        if part is not None:
            # Others of the same work hold `whole` together; each does so alone while it tidies, for a moment.
            # That comes first, so that nobody waits for one that waits for its own.
            refused = _lock(whole, shared=True, seconds=60) is False or _lock(own, seconds=PATIENCE) is False
        if refused:
            raise InputError(f"{argument}: another process works in {given!r}; wait, or choose another.")
        yield
        if part is not None and _lock(whole):  # the last one out, after others that were killed
            _tidy(folder)


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep the other processes of the same work out of a moment in which each reads what all have written."""
    with (folder / ".lock-moment").open("w+") as file:
        _lock(file, seconds=60)  # who keeps it for longer hangs, and shall not keep others from their end
        yield


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Whether this process is the only one to hold a file, which is there for no other purpose."""
    with contextlib.ExitStack() as files:
        while True:
            file = files.enter_context(path.open("w+"))
            only = _lock(file) is not False
            if not only or (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
                break  # else another has removed it, at its end, since it was opened
        try:
            yield only
        finally:
            if only:
                path.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    for left_by_a_kill in (*folder.glob(ASIDE), *folder.glob(f"runs/*/{ASIDE}")):
        left_by_a_kill.unlink(missing_ok=True)


def _lock(file: IO[str], shared: bool = False, seconds: float = 0) -> bool | None:
    """Whether the lock could be had within this time; None: there are no locks here.

    Without, two at once only do some work twice.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return None
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)
        else:
            return True
