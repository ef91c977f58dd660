"""How a node fares: its rate, its latency and its troubles, as one diagnostic status; knows no clock of ROS."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

RATE_WINDOW_S = 2.0  # long enough for the slowest loop (about 5 chunks a second), short enough to see it stop
LATENCY_SAMPLES = 200


class Health:
    """Counts and measures; any thread may call it.

    Args:
        name: The node's name, which becomes the status' name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._news: list[tuple[bool, str]] = []
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=2000)
        self._latencies_ms: deque[float] = deque(maxlen=LATENCY_SAMPLES)
        self._troubles: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._work: tuple[str, float, float] | None = None  # what runs now, since when, how long it may take

    def count(self, latency_ms: float | None = None) -> None:
        """One piece of work was done; `latency_ms` is how long it took [ms]."""
        with self._lock:
            self._times.append(time.monotonic())
            if latency_ms is not None:
                self._latencies_ms.append(latency_ms)

    def set(self, **values: object) -> None:
        """Shows these key/values in the diagnostics from now on."""
        with self._lock:
            self._values.update({key: str(value) for key, value in values.items()})

    def trouble(self, subject: str, reason: str | None) -> None:
        """Sets what is wrong with one subject, or None when it is well; a change from well to wrong is news."""
        with self._lock:
            before = self._troubles.get(subject)
            if reason is None:
                self._troubles.pop(subject, None)
            else:
                self._troubles[subject] = reason
            if before is None and reason is not None:
                self._news.append((True, reason))
            elif before is not None and reason is None:
                self._news.append((False, f"{subject}: well again"))

    @contextmanager
    def working(self, on: str, limit_s: float) -> Iterator[None]:
        """While it runs, work that takes longer than `limit_s` [s] is a trouble; one piece of work at a time."""
        with self._lock:
            self._work = on, time.monotonic(), limit_s
        try:
            yield
        finally:
            with self._lock:
                self._work = None

    def take_news(self) -> list[tuple[bool, str]]:
        """What began or ended since the last call: (whether it is bad, what). To be logged where that costs nothing."""
        with self._lock:
            news, self._news = self._news, []
        return news

    @property
    def troubles(self) -> str:
        """All troubles in one line; empty when there are none."""
        with self._lock:
            troubles, work = list(self._troubles.values()), self._work
        if work is not None and (taken_s := time.monotonic() - work[1]) > work[2]:
            troubles.append(f"{work[0]} has taken {taken_s:.1f} s so far, limit {work[2]:g} s")
        return "; ".join(troubles)

    def rate_hz(self) -> float:
        """Pieces of work a second over the last seconds [Hz]."""
        now = time.monotonic()
        with self._lock:
            recent = sum(1 for moment in self._times if now - moment <= RATE_WINDOW_S)
        return recent / RATE_WINDOW_S

    def latency_ms(self, percent: float = 50.0) -> float | None:
        """A percentile of the latest latencies [ms]; None before the first."""
        with self._lock:
            samples = list(self._latencies_ms)
        return float(np.percentile(samples, percent)) if samples else None

    def status(self, state: str) -> DiagnosticStatus:
        """The diagnostic status; `state` is the lifecycle state."""
        troubles = self.troubles
        latency_ms = self.latency_ms()
        values = {
            "state": state,
            "rate_hz": f"{self.rate_hz():.1f}",
            "latency_ms_p50": "" if latency_ms is None else f"{latency_ms:.1f}",
            "mode": state,
            "error": troubles,
        }
        with self._lock:
            values.update(self._values)
        level = DiagnosticStatus.WARN if troubles else DiagnosticStatus.OK
        if state == "failed":
            level = DiagnosticStatus.ERROR
        return DiagnosticStatus(
            level=level,
            name=self._name,
            message=troubles or state,
            hardware_id=f"{socket.gethostname()}:{os.getpid()}",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
