"""The wish of a person, or of the machine, that a run ends: signals noted here, acted on by the main loop."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

from defi_models.contract import DefiError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedByPersonError(DefiError):
    """Someone wants the end."""


class Interruption:
    """Notes signals instead of raising where they come in, so that a second Ctrl-C cannot break the stop."""

    def __init__(self) -> None:
        """Nothing is noted and no handler set yet."""
        self._number: int | None = None
        self._noted_s: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        """Takes over SIGINT, SIGTERM and SIGHUP of this process; main thread only."""
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Gives them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._number is None:
            self._number, self._noted_s = number, time.monotonic()

    @property
    def since_s(self) -> float:
        """How long ago it came in; 0 while nothing did [s]."""
        return 0.0 if self._noted_s is None else time.monotonic() - self._noted_s

    @property
    def reason(self) -> str | None:
        """What came in, in words; None while nothing did."""
        if self._number is None:
            return None
        return (
            "stopped by Ctrl-C" if self._number == signal.SIGINT else f"stopped by {signal.Signals(self._number).name}"
        )

    def check(self) -> None:
        """Raises InterruptedByPersonError once something came in."""
        if self.reason is not None:
            raise InterruptedByPersonError(self.reason)
