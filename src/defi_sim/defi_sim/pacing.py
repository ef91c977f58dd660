"""How many physics steps are due on a clock that only goes forwards; it neither sleeps nor steps."""

from __future__ import annotations

from collections.abc import Callable

# A stall longer than this is not caught up [s]: the arm would race through what it missed, and a host that is too slow
# would fall behind further with every attempt.
MAX_CATCH_UP_S = 0.02
REPORT_S = 1.0


class Pacer:
    """Keeps simulated time next to a monotonic clock.

    Attributes:
        real_time_factor: Simulated seconds per second over the last full `REPORT_S`; 1 until the first is over.
        lost_s: Time given up because the host was too slow, since the start [s].
    """

    def __init__(self, timestep_s: float, now_s: float, max_catch_up_s: float = MAX_CATCH_UP_S) -> None:
        self._timestep_s = timestep_s
        self._max_catch_up_s = max_catch_up_s
        self._done_until_s = now_s
        self._report_from_s = now_s
        self._report_steps = 0
        self.real_time_factor = 1.0
        self.lost_s = 0.0

    def due(self, now_s: float) -> int:
        """Steps to make now so that simulated time reaches `now_s`, which never goes backwards [s]."""
        behind_s = now_s - self._done_until_s
        if behind_s > self._max_catch_up_s:
            self.lost_s += behind_s - self._max_catch_up_s
            self._done_until_s = now_s - self._max_catch_up_s
            behind_s = self._max_catch_up_s
        steps = int(behind_s / self._timestep_s + 1e-9)
        self._done_until_s += steps * self._timestep_s
        self.count(now_s, steps)
        return steps

    def count(self, now_s: float, steps: int) -> None:
        """Notes steps that were made without asking `due`, for `real_time_factor`."""
        self._report_steps += steps
        elapsed_s = now_s - self._report_from_s
        if elapsed_s >= REPORT_S:
            self.real_time_factor = self._report_steps * self._timestep_s / elapsed_s
            self._report_from_s = now_s
            self._report_steps = 0


def every(slice_s: float, rate_hz: float) -> Callable[[], bool]:
    """A function to call once a slice that is true `rate_hz` times a second, or as often as it is called."""
    progress = 0.0

    def due() -> bool:
        nonlocal progress
        progress += slice_s * rate_hz
        if progress < 1.0 - 1e-9:
            return False
        progress = min(progress - 1.0, 1.0)
        return True

    return due
