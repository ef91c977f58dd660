"""One attempt at a task: where it stands and why it must end; knows no publisher, service or thread."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from defi_msgs.msg import ControlState

BRIDGE_SILENCE_S = 1.0  # the arm bridge speaks at 50 Hz; fifty missed messages are no jitter
TAKEN_AWAY_S = 0.5  # between granting POLICY and the first state that says so lie two periods of 20 ms
ANSWER_TIMEOUT_S = 2.0


class Phase(Enum):
    """Where an attempt is."""

    ASKING = "asking for authority"
    RUNNING = "running"
    ENDING = "coming to rest"
    OVER = "over"


@dataclass
class Attempt:
    """One accepted goal; times on the monotonic clock [s]."""

    goal: Any
    task_id: str
    instruction: str
    timeout_s: float
    started_s: float
    phase: Phase = Phase.ASKING
    asked: bool = False
    phase_since_s: float = 0.0
    ended_s: float = 0.0
    not_policy_since_s: float | None = None
    success: bool = False
    canceled: bool = False
    reason: str = ""
    taken_by: str = ""  # the person's device that had the arm meanwhile

    def enter(self, phase: Phase, now_s: float) -> None:
        """Goes on to the next phase."""
        self.phase, self.phase_since_s = phase, now_s

    def why_over(self, state: ControlState | None, silent_s: float, now_s: float) -> str | None:
        """Why it must end now, or None.

        Args:
            state: What the arm bridge said last; None when it said nothing yet.
            silent_s: How long ago that was [s].
            now_s: Monotonic time [s].
        """
        if not self.asked:
            if now_s - self.phase_since_s <= ANSWER_TIMEOUT_S:
                return None
            return "no arm bridge is heard on control_state and set_authority. Start arm_bridge_node first."
        if state is None or silent_s > BRIDGE_SILENCE_S:
            return f"lost the arm bridge: nothing heard on control_state for {silent_s:.1f} s"
        if state.mode == ControlState.STOPPED:
            return f"STOPPED: {state.reason}"
        if self.phase == Phase.ASKING and now_s - self.phase_since_s > ANSWER_TIMEOUT_S:
            return f"set_authority did not answer within {ANSWER_TIMEOUT_S:g} s"
        if state.mode in (ControlState.TELEOP, ControlState.POLICY):
            self.taken_by = state.source if state.mode == ControlState.TELEOP else ""
        if self.phase == Phase.RUNNING and state.mode == ControlState.HOLD:
            self.not_policy_since_s = self.not_policy_since_s or now_s
            if now_s - self.not_policy_since_s > TAKEN_AWAY_S:
                taken = f"{self.taken_by} took the arm and did not give it back" if self.taken_by else ""
                return f"{taken or 'the policy lost the authority'}: {state.reason}"
        else:
            self.not_policy_since_s = None
        if self.phase == Phase.RUNNING and now_s - self.started_s > self.timeout_s:
            rests = f"; the arm rests: {state.verdict_reason}" if state.at_rest and state.verdict_reason else ""
            return f"timeout: not done after {self.timeout_s:g} s{rests}"
        return None
