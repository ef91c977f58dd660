"""What the arm bridge tells of itself: one control_state message from its last command and its figures."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from defi_msgs.msg import ControlState
from defi_ros.bridge.convert import float_array, to_stamp
from defi_ros.bridge.pacing import Lateness
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.command import ArmCommand

LATENCY_SAMPLES = 1000  # the last minutes of chunks
RATE_WINDOW_S = 1.0
FIGURES_S = 0.2  # between two looks at the percentiles; reports are ten times as many


class ArmReport:
    """Builds control_state messages. `note` belongs to the tick thread, `message` to the thread that publishes.

    Args:
        joint_names: Order of the joint arrays.
        base_frame: Frame of the arm.
    """

    def __init__(self, joint_names: tuple[str, ...], base_frame: str) -> None:
        self._joint_names = list(joint_names)
        self._base_frame = base_frame
        self._latencies_ms: deque[float] = deque(maxlen=LATENCY_SAMPLES)
        self._chunks = 0
        self._ticks = 0
        self._noted: tuple[ArmCommand, int] | None = (
            None  # replaced as a whole: a command and the count that goes with it
        )
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._figured_s = -FIGURES_S
        self._jitter_ms, self._latency_ms = (0.0, 0.0), (0, (0.0, 0.0))  # the latter with the number of chunks
        self._unknown = float_array(np.full(len(joint_names), np.nan))

    def note(self, command: ArmCommand, sent_ns: int) -> float | None:
        """Counts a tick; returns camera-to-command latency [ms] when its command was the first of a chunk."""
        self._ticks += 1
        self._noted = command, self._ticks
        if not command.chunk_started:
            return None
        latency_ms = (sent_ns - command.chunk_stamp_ns) / 1e6
        self._latencies_ms.append(latency_ms)
        self._chunks += 1
        return latency_ms

    def _rate_hz(self) -> float:
        now_s = time.monotonic()
        self._recent.append((now_s, self._ticks))
        while len(self._recent) > 2 and now_s - self._recent[1][0] > RATE_WINDOW_S:
            self._recent.popleft()
        began_s, before = self._recent[0]
        return (self._ticks - before) / max(now_s - began_s, 1e-3)

    def message(self, core: ArmCore, lateness: Lateness, now_ns: int, gone: str) -> ControlState | None:
        """The state after the last tick, None before the first; `gone` says which part of the policy is, or is empty."""
        if self._noted is None:
            return None
        command, ticks = self._noted
        lost = gone if command.mode == Mode.POLICY else ""
        message = ControlState()
        message.header.stamp = to_stamp(now_ns)
        message.header.frame_id = self._base_frame
        message.mode = int(command.mode)
        message.reason = command.reason
        message.source = "" if command.mode.name == "HOLD" else command.source
        message.verdict = int(command.verdict)
        message.verdict_reason = lost or command.verdict_reason
        message.joint_names = self._joint_names
        message.measured = self._unknown if command.measured is None else float_array(command.measured)
        message.commanded = self._unknown if command.positions is None else float_array(command.positions)
        message.commanded_velocity = float_array(command.velocities)
        message.gripper_commanded = float(command.gripper)
        message.chunk_stamp = to_stamp(command.chunk_stamp_ns)
        message.at_rest = command.at_rest
        message.tick_rate_hz = self._rate_hz()
        message.ticks = ticks
        self._look_at_figures(lateness)
        message.jitter_p50_ms, message.jitter_p99_ms = self._jitter_ms
        message.jitter_max_ms = lateness.max_ms
        message.limit_violations = core.limit_violations
        message.stale_refusals = core.stale_refusals
        message.camera_to_command_n, (median, late) = self._latency_ms
        message.camera_to_command_p50_ms, message.camera_to_command_p99_ms = median, late
        return message

    def _look_at_figures(self, lateness: Lateness) -> None:
        """Brings medians and 99th percentiles up to date, if it is time."""
        now_s = time.monotonic()
        if now_s - self._figured_s >= FIGURES_S:
            self._figured_s = now_s
            self._jitter_ms = lateness.percentile_ms(50), lateness.percentile_ms(99)
            latencies_ms = list(self._latencies_ms)
            if latencies_ms:
                median, late = np.percentile(latencies_ms, (50, 99))
                self._latency_ms = self._chunks, (float(median), float(late))
