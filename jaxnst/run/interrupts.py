"""Ctrl-C as a flag that long work reads between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Says that Ctrl-C ended the work on many pictures between two steps."""


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C into a flag, so that it cannot fall between a picture and its losses.

    The second Ctrl-C interrupts as usual. Outside the main thread Python allows no handler, and none is set.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        del number, frame
        flag.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
