"""The loop's deadlines and its figures. The clock is played, so nothing here depends on the machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading

import pytest

pytest.importorskip("rclpy")

from defi_models.contract import ConfigError
from defi_ros.bridge import pacing


class FakeClock:
    """Monotonic time that passes only in sleep, and a little at each look."""

    def __init__(self, monkeypatch):
        self.now_ns = 1_000_000_000
        monkeypatch.setattr(pacing.time, "monotonic_ns", self.look)
        monkeypatch.setattr(pacing.time, "sleep", self.sleep)

    def look(self):
        self.now_ns += 1_000
        return self.now_ns

    def sleep(self, duration_s):
        self.now_ns += round(duration_s * 1e9)


def test_ticks_come_at_multiples_of_the_period_whatever_the_work_takes(monkeypatch):
    clock, pacer = FakeClock(monkeypatch), pacing.Pacer(200.0)
    times = []
    for work_ns in (1_000_000, 3_000_000, 200_000, 0, 0):
        assert pacer.wait(threading.Event())
        times.append(clock.now_ns)
        clock.now_ns += work_ns
    steps = {round((later - earlier) / 5e6, 2) for earlier, later in itertools.pairwise(times)}
    assert steps == {1.0}
    assert pacer.lateness.max_ms < 0.01


def test_ticks_that_cannot_be_made_are_skipped_and_counted_as_late(monkeypatch):
    clock, pacer = FakeClock(monkeypatch), pacing.Pacer(200.0)
    pacer.wait(threading.Event())
    clock.now_ns += 17_000_000
    pacer.wait(threading.Event())
    assert pacer.lateness.ticks == 4
    assert pacer.lateness.max_ms == pytest.approx(12.0, abs=0.1)
    before = clock.now_ns
    pacer.wait(threading.Event())
    assert (clock.now_ns - before) / 1e6 == pytest.approx(3.0, abs=0.1)


def test_a_stopped_loop_is_told_so():
    stop = threading.Event()
    stop.set()
    assert not pacing.Pacer(1000.0).wait(stop)


def test_percentiles_are_those_of_the_ticks():
    lateness = pacing.Lateness()
    assert lateness.percentile_ms(99) == 0.0
    for late_ms in range(1, 101):
        lateness.add(late_ms * 1_000_000 // 10)
    assert lateness.percentile_ms(50) == pytest.approx(5.0, abs=0.05)
    assert lateness.percentile_ms(99) == pytest.approx(9.9, abs=0.05)
    assert lateness.max_ms == 10.0


def test_a_tick_knows_how_long_ago_it_was_due(monkeypatch):
    clock, pacer = FakeClock(monkeypatch), pacing.Pacer(200.0)
    assert pacer.late_ns == 0
    assert pacer.wait(threading.Event())
    clock.now_ns += 700_000
    assert pacer.late_ns == pytest.approx(700_000, abs=10_000)


def test_a_very_late_tick_stays_in_the_maximum():
    lateness = pacing.Lateness()
    lateness.add(3_000_000_000)
    assert lateness.max_ms == 3000.0 and lateness.percentile_ms(99) <= 3000.0


def test_the_priority_is_told_in_words():
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(pacing.raise_priority(-1)))
    thread.start()
    thread.join(5.0)
    assert any(word in said[0] for word in ("SCHED_FIFO", "nice"))


def test_a_process_keeps_to_the_core_it_is_told_and_so_do_its_threads():
    allowed = os.sched_getaffinity(0)
    release, seen = threading.Event(), []
    earlier = threading.Thread(target=lambda: (release.wait(5.0), seen.append(os.sched_getaffinity(0))))
    earlier.start()
    try:
        assert pacing.keep_to_core(-1) == max(allowed)
        later = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        later.start()
        later.join(5.0)
        release.set()
        earlier.join(5.0)
        assert seen == [{max(allowed)}] * 2
    finally:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.sched_setaffinity(int(thread), allowed)


def test_a_core_that_the_process_may_not_use_is_refused_with_those_it_may():
    before = os.sched_getaffinity(0)
    with pytest.raises(ConfigError, match=r"arm_bridge_core: got CPU 1000, expected one of \[0"):
        pacing.keep_to_core(1000)
    assert os.sched_getaffinity(0) == before


def test_a_thread_alone_is_favoured():
    nice: list[int] = []

    def look():
        pacing.favour_thread(5)
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=look)
    thread.start()
    thread.join(5.0)
    assert nice == [5] and os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
