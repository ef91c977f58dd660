"""When ticks come: in time, in a burst, or by a clock that was set back."""

from __future__ import annotations

# A tick that comes this much of a period after the last one is a burst.
EARLIEST_TICK = 0.5


class TickClock:
    """The times of one loop's ticks. Called by its thread."""

    def __init__(self, period_ns: int) -> None:
        """For ticks `period_ns` apart [ns]."""
        self._period_ns = period_ns
        self._before_ns: int | None = None

    def forget(self) -> None:
        """The next tick is the first."""
        self._before_ns = None

    def note(self, due_ns: int, missed: int) -> tuple[bool, int]:
        """Whether a tick comes too early, and by how much the clock was set back before it [ns].

        Args:
            due_ns: When it was due [ns].
            missed: Ticks that were left out right before it.
        """
        before_ns, self._before_ns = self._before_ns, due_ns
        if before_ns is None or due_ns - before_ns >= EARLIEST_TICK * self._period_ns:
            return False, 0
        self._before_ns = min(before_ns, due_ns)
        return True, max(before_ns + missed * self._period_ns - due_ns, 0)
