"""The ways a run ends."""

from enum import StrEnum


class Ended(StrEnum):
    """Says why a run ended; each value equals its text, for example `"finished"`."""

    finished = "finished"
    """All steps are done."""
    stopped = "stopped"
    """The callback returned False."""
    interrupted = "interrupted"
    """Ctrl-C was pressed."""
    diverged = "diverged"
    """The loss or the picture became NaN or infinite."""
    out_of_memory = "out of memory"
    """The device or the host had no memory for another step."""

    @property
    def is_final(self) -> bool:
        """Says whether there is nothing to go on with: the run finished or diverged."""
        return self in (Ended.finished, Ended.diverged)
