"""Paths that users give, and files that appear whole or not at all.

Knows nothing about what is in a file: pictures are `jaxnst.io.save`'s, arrays `jaxnst.io.array_file`'s.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from jaxnst.errors import InputError

PathLike: TypeAlias = str | os.PathLike[str]

ASIDE = f".{'[0-9a-f]' * 32}.tmp"
"""Glob pattern of the files that `written_aside` leaves behind when the process is killed."""


NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""Errors of network file systems that have no locks, or have them switched off."""


def expand(path: PathLike) -> Path:
    """Replaces a leading `~` with the home folder; a name such as `~scan.png` stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no user has this name
        return Path(path)


def reason(error: BaseException) -> str:
    """Returns the operating system's own words for an error, such as "Permission denied"."""
    return getattr(error, "strerror", None) or str(error)


def check_file(path: PathLike, argument: str) -> Path:
    """Checks, before the work starts, that a file can be written to a path.

    Args:
      path: the file to write; `~` is the home folder.
      argument: name of the argument in error messages.

    Returns:
      The absolute path, with symbolic links resolved.

    Raises:
      InputError: the folder does not exist or is not writable, or the path is a folder itself.
    """
    written = os.fspath(path)
    try:
        target = expand(path).resolve()
        is_folder = target.is_dir()
    except (OSError, ValueError) as error:  # the name is too long, or has a null character
        raise InputError(f"{argument}: {written!r} cannot be a path ({reason(error)}); rename it.") from error
    if is_folder:
        raise InputError(f"{argument}: {written!r} is a folder; give the path of a file in it.")
    if not target.parent.is_dir():
        raise InputError(f"{argument}: there is no folder {str(target.parent)!r}; create it first.")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{argument}: no permission to write to {str(target.parent)!r}; choose another.")
    return target


def write_whole(path: PathLike, data: bytes) -> None:
    """Writes a file, so that `path` always holds either the complete old content or the complete new one.

    Args:
      path: the file to write; a symbolic link stays a link.
      data: its new content.

    Raises:
      OSError: the write failed, for example because the disk is full; the old file is unchanged.
    """
    with written_aside(path) as aside:
        aside.write_bytes(data)


def csv_bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    """Encodes a table as CSV; names of files in it need not be UTF-8."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    return table.getvalue().encode(errors="surrogateescape")


@contextlib.contextmanager
def written_aside(path: PathLike, name: str | None = None) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to `path` if the block succeeds.

    Args:
      path: the file to write; a symbolic link stays a link.
      name: 32 hexadecimal digits for the temporary file's name, unused in this folder; default: random ones.

    Yields:
      The temporary path, in the same folder. It is removed if the block fails.

    Raises:
      OSError: the write failed, for example because the disk is full; the old file is unchanged.
    """
    target = expand(path).resolve()
    # Not from `tempfile`: its files are readable by their owner only, and stay so after the rename.
    aside = target.with_name(f".{name or uuid.uuid4().hex}.tmp")
    try:
        yield aside
        with aside.open("r+b") as file:
            os.fsync(file.fileno())  # otherwise a power cut can leave `path` empty
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, argument: str, seconds: float = 0) -> Iterator[bool]:
    """Locks a file that exists for this purpose alone, and says whether that succeeded.

    Where the file system has no locks, it counts as locked.

    Args:
      path: of the lock file.
      argument: name of the argument with its folder, for error messages.
      seconds: time to wait for another process to release it; default 0.

    Raises:
      InputError: the file cannot be made.
    """
    import filelock

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except filelock.Timeout:
        yield False
        return
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise InputError(
                f"{argument}: {str(path.parent)!r} cannot be used ({error.strerror}); choose another."
            ) from error
        yield True
        return
    try:
        yield True
    finally:
        lock.release()
