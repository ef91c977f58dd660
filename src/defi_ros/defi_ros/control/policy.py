"""The target of a policy: the chunks in execution, looked up when they are due and led to joints that can follow."""

from __future__ import annotations

from defi_models.contract import NS_PER_S, ActionChunk, FloatArray, RobotSpec
from defi_ros.control.chunks import ChunkSchedule
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.motion import JointState
from defi_ros.control.reach import Reach
from defi_ros.control.shortage import ChunkShortage
from defi_ros.control.tip import TipFollower
from defi_ros.sections import Control


class PolicyTarget:
    """Where a policy wants the arm to be. Called by the thread of the arm core.

    Attributes:
        schedule: The chunks in execution.
        shortage: Why there is none to follow.
        refused_late: Chunks refused for their age.
    """

    def __init__(self, kinematics: Kinematics, spec: RobotSpec, control: Control) -> None:
        """For one arm."""
        self._kinematics, self._workspace = kinematics, spec.workspace
        self._timeout_s = control.chunk_timeout_s
        self.schedule = ChunkSchedule(
            spec.arm,
            len(spec.joint_names),
            max_age_s=control.chunk_max_age_s,
            blend_s=control.blend_s,
            lookahead_s=control.lookahead_s,
            blending=control.blending,
            ensemble_gain_1_s=control.ensemble_gain_1_s,
        )
        self.shortage = ChunkShortage()
        self.refused_late = 0
        self._heard_ns = 0  # when a chunk was accepted last; it outlives what clears the schedule
        self._reach = Reach(kinematics, spec, control)
        self._tip = TipFollower(spec.workspace, 1.0 / control.rate_hz)
        self._tip_tick = -1  # the last one in which the tip followed a pose

    def accept(
        self, chunk: ActionChunk, now_ns: int, state: JointState, unwanted: str | None, *, leads: bool
    ) -> str | None:
        """Puts a chunk into execution. Returns None, or the reason it was refused.

        Args:
            chunk: The chunk.
            now_ns: The time now [ns].
            state: What is commanded now, from which the chunk goes on.
            unwanted: Why it is to be refused whatever its age; None: it is not.
            leads: Whether the policy has the arm: how old a chunk is then tells more than that a handover came later.
        """
        late = self.schedule.try_time(chunk, now_ns)
        if unwanted is None and late is not None:
            self.refused_late += 1
        refused = (late or unwanted) if leads else (unwanted or late)
        if refused is None:
            refused = self.schedule.accept(chunk, now_ns, self._anchor(chunk, state))
        if refused is None:
            self._heard_ns = now_ns
        else:
            self.shortage.refuse(refused, now_ns)
        return refused

    def forget(self) -> None:
        """Nothing that was heard counts any more."""
        self.schedule.clear()
        self._heard_ns = 0

    def set_back(self, by_ns: int) -> None:
        """The clock was set back: what is old stays as old."""
        self._heard_ns -= by_ns

    def let_go(self) -> None:
        """What was commanded counts no more: the tip goes on from what is commanded next."""
        self._tip_tick = -1

    def silent_s(self, now_ns: int, since_ns: int) -> float:
        """How long no chunk was accepted, counted from when the policy was handed the arm [s]."""
        return (now_ns - max(self._heard_ns, since_ns)) / NS_PER_S

    def is_silent(self, now_ns: int) -> bool:
        """Whether no chunk was accepted for so long that none is followed any more."""
        accepted_ns = self.schedule.accepted_ns
        return accepted_ns is None or (now_ns - accepted_ns) / NS_PER_S > self._timeout_s

    def step(
        self, state: JointState, reference: FloatArray, now_ns: int, late_ns: int, tick: int
    ) -> tuple[FloatArray | None, float | None, str]:
        """The joints due now, shape (joints,) [rad], the wanted opening, and why there is no target or a changed one.

        Args:
            state: What was commanded last.
            reference: Where the joints should be, shape (joints,) [rad].
            now_ns: The time now [ns].
            late_ns: How long ago this tick was due [ns].
            tick: Its number; where one was left out, the tip goes on from what is commanded.
        """
        if self.is_silent(now_ns):
            accepted_ns = self.schedule.accepted_ns
            silent_s = None if accepted_ns is None else (now_ns - accepted_ns) / NS_PER_S
            return None, None, self.shortage.why(silent_s, now_ns)
        target = self.schedule.target_at(now_ns - late_ns)
        if target is None:
            chunk = self.schedule.chunk
            over_s = (now_ns - chunk.end_ns) / NS_PER_S if chunk is not None else 0.0
            return None, None, f"the action chunk was over {over_s:.2f} s ago and none has followed"
        if target.space == "joint_positions":
            return target.row, target.gripper, ""
        pose = target.row.copy()
        pose[:3] = self._workspace.nearest(pose[:3])
        outside = bool((pose[:3] != target.row[:3]).any())
        if self._tip_tick != tick - 1:
            self._tip.begin(*self._tip_at(state))
        self._tip_tick = tick
        pose, late = self._tip.step(pose)
        joints, why = self._reach.step(pose, reference)
        return joints, target.gripper, "target outside the workspace" if outside else why or late

    def _anchor(self, chunk: ActionChunk, state: JointState) -> tuple[FloatArray, FloatArray]:
        """What is commanded, as a row of the chunk's space, and how fast its positions change."""
        if chunk.space == "joint_positions":
            return state.p, state.v
        pose, twist = self._tip_at(state)
        return pose, twist[:3]

    def _tip_at(self, state: JointState) -> tuple[FloatArray, FloatArray]:
        """The tool centre point, shape (7,), and its twist, shape (6,) [m/s, rad/s]."""
        return self._kinematics.forward(state.p), self._kinematics.jacobian(state.p) @ state.v
