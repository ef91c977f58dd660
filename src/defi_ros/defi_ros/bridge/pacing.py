"""A loop that keeps absolute deadlines, and the truth about how well it does; knows nothing of what the loop does."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable

import numpy as np

from defi_models.contract import NS_PER_S, ConfigError

BIN_NS = 20_000  # resolution of the percentiles: 0.02 ms
BINS = 5_000  # up to 0.1 s; later ticks count as that late in percentiles, and fully in the maximum
# Above every ordinary thread, below the kernel's own (50). The thread that spins comes second: while it holds the
# interpreter the loop waits for it, so nobody may take the CPU from it in that moment. So do those of the middleware,
# which bring it its messages. A person's device comes third.
LOOP_PRIORITY, SPIN_PRIORITY, DEVICE_PRIORITY = 20, 10, 8
SPIN_NS = 60_000  # an ordinary thread is woken up to 50 us late (the kernel's default timer slack)


class Lateness:
    """How far ticks were from their time, as a histogram since the start. One thread adds, others read."""

    def __init__(self) -> None:
        """Begins with no ticks."""
        self._counts = np.zeros(BINS, dtype=np.int64)
        self.ticks = 0
        self.max_ms = 0.0

    def add(self, late_ns: int) -> None:
        """Notes one tick that came `late_ns` after its time [ns]."""
        self._counts[min(late_ns // BIN_NS, BINS - 1)] += 1
        self.ticks += 1
        self.max_ms = max(self.max_ms, late_ns / 1e6)

    def percentile_ms(self, percent: float) -> float:
        """Lateness that `percent` of all ticks did not exceed [ms]; 0 before the first."""
        if self.ticks == 0:
            return 0.0
        total = np.cumsum(self._counts)
        at = int(np.searchsorted(total, percent / 100.0 * total[-1]))
        return min((at + 1) * BIN_NS / 1e6, self.max_ms)


class Pacer:
    """Wakes its thread at multiples of a period from the start; a tick that cannot be made is skipped, never made up.

    Attributes:
        lateness: Of every tick; a skipped one counts with how late the loop was for it.
        missed: Ticks that were skipped right before the one under way.
    """

    def __init__(self, rate_hz: float) -> None:
        """Paces at `rate_hz` [Hz] from the first call of `wait` on."""
        self.period_ns = round(NS_PER_S / rate_hz)
        self.lateness = Lateness()
        self._due_ns: int | None = None
        self.missed = 0

    @property
    def late_ns(self) -> int:
        """How long ago the tick under way was due [ns]; 0 before the first."""
        return 0 if self._due_ns is None else max(time.monotonic_ns() - self._due_ns, 0)

    def wait(self, stop: threading.Event) -> bool:
        """Returns True at the next tick's time, False when `stop` is set."""
        now_ns, self.missed = time.monotonic_ns(), 0
        if self._due_ns is None:
            self._due_ns = now_ns + self.period_ns
        else:
            self._due_ns += self.period_ns
            while self._due_ns + self.period_ns <= now_ns:
                self.lateness.add(now_ns - self._due_ns)
                self._due_ns += self.period_ns
                self.missed += 1
        sleep_ns = self._due_ns - now_ns - SPIN_NS
        if sleep_ns > 0:
            time.sleep(sleep_ns / NS_PER_S)
        while (now_ns := time.monotonic_ns()) < self._due_ns:
            pass
        self.lateness.add(now_ns - self._due_ns)
        return not stop.is_set()


def settle_interpreter() -> None:
    """Keeps garbage collection from delaying the loop; call it when all that is long-lived exists."""
    gc.collect()
    gc.freeze()


def raise_process(nice: int, priority: int) -> str:
    """`raise_priority` for the calling thread and all others that the process has by now; returns what the former got."""
    got = raise_priority(nice, priority)
    if got.startswith("SCHED_FIFO"):
        _for_each_thread(lambda thread: os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority)))
    return got


def keep_to_core(core: int) -> int:
    """Lets the calling process run on one of its CPUs only: all its threads, and those to come.

    A real-time thread wakes where it ran last, whoever runs there; those of one process that are spread over two CPUs
    leave nobody else a whole one.

    Args:
        core: Number of the CPU; -1 is the last that the process may use.

    Returns:
        The number of the CPU.

    Raises:
        ConfigError: the process may not use that one.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if core != -1 and core not in allowed:
        raise ConfigError(
            f"nodes.arm_bridge_core: got CPU {core}, expected one of {allowed}, or -1 for the last of them"
        )
    chosen = allowed[-1] if core == -1 else core
    _for_each_thread(lambda thread: os.sched_setaffinity(thread, {chosen}))
    return chosen


def _for_each_thread(act: Callable[[int], None]) -> None:
    """Does something to every thread that the process has by now."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            act(int(thread))


def favour_thread(nice: int) -> None:
    """Gives the calling thread a niceness of its own among those of its process, where the system permits it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def raise_priority(nice: int, priority: int = LOOP_PRIORITY) -> str:
    """Puts the calling thread before others as far as the system permits; returns what it got, in words.

    Args:
        nice: Niceness to fall back to.
        priority: Real-time priority to try first.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        return f"SCHED_FIFO {priority}"
    except OSError as error:  # it needs the limit `rtprio`; said in the words returned, and the next best is tried
        refused = f"SCHED_FIFO {priority} refused: {error.strerror}"
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        return f"nice {nice} ({refused})"
    except OSError:
        return (
            f"ordinary (nice {os.getpriority(os.PRIO_PROCESS, threading.get_native_id())}); the system permits no more"
        )
