"""One arm, one tick: target -> authority -> limits -> command; what arrives in between is copied in and judged here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S, ActionChunk, FloatArray, RobotSpec, frozen_array
from defi_ros.control.authority import Authority, Mode
from defi_ros.control.chunks import ChunkSchedule
from defi_ros.control.gripper import GripperSwitch
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.monitor import LimitMonitor
from defi_ros.control.safety import SafeCommand, SafetyFilter, Verdict
from defi_ros.control.teleop import TeleopInput, TeleopTarget
from defi_ros.sections import Control, Gripper

# At rest for this long, what the arm's own controller still lags behind has died away.
SETTLED_NS = NS_PER_S // 10
# A measured joint this far outside its range is a wrong robot file or a wrong sensor, not a calibration offset.
MEASURED_SLACK_RAD = 0.02
# A tick that comes this much of a period after the last one is a burst; it repeats the last command.
EARLIEST_TICK = 0.5
# Noise of measured joints; a stopped robot that moved by less is commanded where it was [rad].
STOPPED_SLACK_RAD = 0.002
TICK_ITERATIONS = 8
# A policy infers every 0.2 s or so; what was refused longer ago than this is not why there is none now.
REFUSED_LATELY_NS = NS_PER_S
ROBOT = "robot"  # as a source of faults: the robot itself


@dataclass(frozen=True, slots=True)
class ArmCommand:
    """What the arm bridge sends and says after one tick.

    Attributes:
        positions: Joint positions to command, shape (joints,) [rad]; None: send nothing.
        velocities: Joint velocities there, shape (joints,) [rad/s].
        pose: Pose of the tool centre point there, shape (7,); None: send nothing.
        gripper: Opening commanded last, 0..1.
        gripper_goal: Opening to send a goal for now; None: send none.
        mode: Who may move the arm.
        reason: Why.
        source: Who asked for that.
        verdict: What became of the target.
        verdict_reason: Why it did not pass as it was.
        chunk_stamp_ns: Observation time of the chunk in execution [ns]; 0: none.
        chunk_started: Whether this is the first command computed from that chunk.
        at_rest: Whether the commanded joints stand still.
        measured: Newest measured joints, shape (joints,) [rad]; None before the first.
    """

    positions: FloatArray | None
    velocities: FloatArray
    pose: FloatArray | None
    gripper: float
    gripper_goal: float | None
    mode: Mode
    reason: str
    source: str
    verdict: Verdict
    verdict_reason: str
    chunk_stamp_ns: int
    chunk_started: bool
    at_rest: bool
    measured: FloatArray | None


class ArmCore:
    """Decides every command of one arm. All methods are called by one thread; none waits.

    Attributes:
        authority: Who may move the arm.
        monitor: Independent check of the commands; `monitor.violations` must stay 0.
        stale_refusals: Chunks and joint states refused for their age or order; what was seen before a handover is
            not counted.
    """

    def __init__(self, spec: RobotSpec, control: Control, gripper: Gripper, kinematics: Kinematics) -> None:
        """Holds still until the first joint state arrives."""
        self._spec, self._control, self._kinematics = spec, control, kinematics
        self._period_ns = round(NS_PER_S / control.rate_hz)
        self._filter = SafetyFilter(spec, kinematics, control.rate_hz, max_deviation_rad=control.max_deviation_rad)
        self._schedule = ChunkSchedule(
            spec.arm,
            len(spec.joint_names),
            max_age_s=control.chunk_max_age_s,
            blend_s=control.blend_s,
            lookahead_s=control.lookahead_s,
            blending=control.blending,
            ensemble_gain_1_s=control.ensemble_gain_1_s,
        )
        self._gripper = GripperSwitch(gripper)
        self._teleop = TeleopTarget(kinematics, spec, control)
        self.authority = Authority(Mode[control.after_teleop])
        self.monitor = LimitMonitor(spec, control.rate_hz)
        self.stale_refusals = 0
        self._measured: FloatArray | None = None
        self._measured_ns = 0
        self._reference = np.array(spec.home)
        self._resting_since_ns: int | None = None
        self._started_chunk_ns = 0
        self._refused = ("", 0)
        self._tick_ns: int | None = None
        self._command: ArmCommand | None = None
        self._follows_nobody = False
        self._posture_gain = 1.0 - math.exp(-control.posture_gain_hz / control.rate_hz)

    @property
    def limit_violations(self) -> int:
        """Commands found outside the limits of the robot file; must stay 0."""
        return self.monitor.violations

    def on_state(
        self, stamp_ns: int, positions: npt.ArrayLike, now_ns: int, gripper: float | None = None
    ) -> str | None:
        """Notes where the joints are, shape (joints,) [rad]. Returns None, or the reason it was refused."""
        values = np.asarray(positions, dtype=np.float64)
        if values.shape != self._reference.shape:
            return f"joint state: got {values.size} positions, expected {len(self._reference)}"
        if not np.isfinite(values).all():
            return f"joint state: got a position of {self._spec.joint_names[int(np.argmin(np.isfinite(values)))]} that is not finite"
        age_s = (now_ns - stamp_ns) / NS_PER_S
        if abs(age_s) > self._control.state_timeout_s:
            self.stale_refusals += 1
            return f"joint state: stamp is {age_s:.2f} s old, limit {self._control.state_timeout_s:g} s; do the clocks agree?"
        self._measured, self._measured_ns = frozen_array("measured", values, values.shape), now_ns
        if gripper is not None:
            self._gripper.measured(gripper)
        return None

    def on_chunk(self, chunk: ActionChunk, now_ns: int) -> str | None:
        """Puts a policy's chunk into execution. Returns None, or the reason it was refused."""
        refused = self.authority.try_observation(chunk.start_ns)
        if refused is None and self._command is None:
            refused = "no joint state yet, expected one before anything moves"
        if refused is None and (refused := self._schedule.try_time(chunk, now_ns)) is not None:
            self.stale_refusals += 1
        if refused is None:
            refused = self._schedule.accept(chunk, now_ns, self._anchor(chunk))
        if refused is None:
            return None
        self.on_refused_chunk(refused, now_ns)
        return f"chunk refused: {refused}"

    def on_refused_chunk(self, reason: str, now_ns: int) -> None:
        """Notes why a chunk cannot be executed, so that an arm that rests for lack of one can say so."""
        self._refused = (reason, now_ns)

    def on_teleop(self, command: TeleopInput, now_ns: int) -> str | None:
        """Follows a person's input device while its deadman is held. Returns None, or why it was refused or changed."""
        before = self.authority.mode
        refused = self.authority.teleop(command.source, now_ns, deadman=command.deadman)
        if refused is None and self.authority.mode == Mode.TELEOP:
            if before != Mode.TELEOP:
                self._schedule.clear()
                self._reference = self._filter.begin_at_rest()
                self._teleop.start(self._reference)
            return self._teleop.follow(command, now_ns)
        return refused

    def on_emergency_stop(self, pressed: bool, now_ns: int, source: str = "emergency stop") -> None:
        """Latches STOPPED while pressed; released, it stays STOPPED until a reset is asked for."""
        if pressed:
            self.authority.stop(source, f"{source} is pressed", now_ns)
            self._schedule.clear()
        else:
            self.authority.cause_gone(source)

    def on_fault(self, source: str, reason: str | None, now_ns: int, *, follows_nobody: bool = False) -> None:
        """Latches STOPPED while `reason` of `source` stands; with None, a reset may be asked for.

        Where the robot itself `follows_nobody`, commands are where it is, so that nothing jumps when it goes on.
        """
        if source == ROBOT:
            self._follows_nobody = follows_nobody
        if reason is None:
            self.authority.cause_gone(source)
        else:
            self.authority.stop(source, reason, now_ns)
            self._schedule.clear()

    def request(self, mode: Mode, source: str, now_ns: int, *, reset: bool = False) -> str | None:
        """Hands the arm to `mode` on behalf of `source`. Returns None when granted, else the reason it was refused."""
        if mode == Mode.POLICY and self._command is None:
            return "POLICY refused: no joint state yet, expected one before anything moves"
        refused = self.authority.request(mode, source, now_ns, reset=reset)
        if refused is None:
            self._schedule.clear()
            self._gripper.forget()
        return refused

    def tick(self, now_ns: int) -> ArmCommand:
        """The command for now. Called once a period; a burst or a clock set back repeats the last command."""
        if self._measured is None:
            return self._nothing("no joint state yet")
        if self._command is None:
            outside = np.maximum(self._spec.limits.lower - self._measured, self._measured - self._spec.limits.upper)
            worst = int(np.argmax(outside))
            if outside[worst] > MEASURED_SLACK_RAD:
                return self._nothing(
                    f"{self._spec.joint_names[worst]} is at {self._measured[worst]:.3f} rad, expected "
                    f"{self._spec.limits.lower[worst]:.3f}..{self._spec.limits.upper[worst]:.3f} rad; move it by hand"
                )
            self._anchor_to_measured()
        elif self._tick_ns is not None and now_ns - self._tick_ns < EARLIEST_TICK * self._period_ns:
            self._note_clock(self._tick_ns, now_ns)
            self._tick_ns = min(self._tick_ns, now_ns)
            return self._again(self._command)
        self._tick_ns = now_ns
        target, wanted_gripper, why = self._target(now_ns)
        if target is None:
            command = self._filter.rest(why, Verdict.HELD if why else Verdict.PASSED)
            self._reference = command.positions
        else:
            command = self._filter.step(target, self._measured)
            self._reference = target if command.verdict != Verdict.HELD else command.positions
            if command.verdict == Verdict.LIMITED and why:
                command = SafeCommand(
                    command.positions, command.velocities, command.accelerations, Verdict.LIMITED, why
                )
            if command.verdict == Verdict.HELD:
                self.authority.hold(command.reason, now_ns)
                self._schedule.clear()
        self._command = self._say(command, wanted_gripper, now_ns)
        return self._command

    def _note_clock(self, before_ns: int, now_ns: int) -> None:
        """A clock that was set back ends what was dated by it: nothing would be found silent until it has caught up."""
        back_s = (before_ns - now_ns) / NS_PER_S
        if back_s > self._control.state_timeout_s:
            self.authority.hold(f"the clock was set back by {back_s:.2f} s", now_ns)
            self._schedule.clear()
        self._measured_ns = min(self._measured_ns, now_ns)

    def _target(self, now_ns: int) -> tuple[FloatArray | None, float | None, str]:
        """The joints due now, shape (joints,) [rad], the wanted opening, and why there is no target or a changed one."""
        silent_s = (now_ns - self._measured_ns) / NS_PER_S
        mode = self.authority.mode
        if silent_s > self._control.state_timeout_s:
            return None, None, f"no joint state for {silent_s:.2f} s, limit {self._control.state_timeout_s:g} s"
        if mode == Mode.STOPPED:
            self._stay_with_stopped_robot()
            return None, None, f"STOPPED: {self.authority.reason}"
        if mode == Mode.TELEOP:
            silent_s = self._teleop.silent_s(now_ns)
            if silent_s > self._control.teleop_timeout_s:
                why = f"no input from {self.authority.source} for {silent_s:.2f} s: taken as a released deadman"
                self.authority.teleop(self.authority.source, now_ns, deadman=False, why=why)
                return None, None, why
            target, why = self._teleop.step(self._reference)
            return target, self._teleop.gripper, why
        if mode == Mode.POLICY:
            return self._policy_target(now_ns)
        return None, None, self._reanchored(now_ns)

    def _policy_target(self, now_ns: int) -> tuple[FloatArray | None, float | None, str]:
        accepted_ns = self._schedule.accepted_ns
        if accepted_ns is None:
            self._reanchored(now_ns)
            return None, None, self._why_no_chunk(None, now_ns)
        silent_s = (now_ns - accepted_ns) / NS_PER_S
        target = self._schedule.target_at(now_ns)
        if silent_s > self._control.chunk_timeout_s:
            self._reanchored(now_ns)
            return None, None, self._why_no_chunk(silent_s, now_ns)
        if target is None:
            chunk = self._schedule.chunk
            over_s = (now_ns - chunk.end_ns) / NS_PER_S if chunk is not None else 0.0
            if over_s < 0:
                return None, None, f"the action chunk begins in {-over_s:.2f} s"
            return None, None, f"the action chunk was over {over_s:.2f} s ago and none has followed"
        if target.space == "joint_positions":
            return target.row, target.gripper, ""
        box = self._spec.workspace
        pose = target.row.copy()
        pose[:3] = np.minimum(np.maximum(pose[:3], box.lower), box.upper)
        outside = bool((pose[:3] != target.row[:3]).any())
        solution = self._kinematics.inverse(
            pose, self._reference, self._spec.home, posture_gain=self._posture_gain, max_iterations=TICK_ITERATIONS
        )
        why = "target outside the workspace" if outside else solution.reason
        return solution.q, target.gripper, why

    def _stay_with_stopped_robot(self) -> None:
        if not self._follows_nobody or self._resting_since_ns is None or self._measured is None:
            return
        if np.abs(self._measured - self._filter.state.p).max() > STOPPED_SLACK_RAD:
            self._anchor_to_measured()

    def _why_no_chunk(self, silent_s: float | None, now_ns: int) -> str:
        """Why a policy has the arm and there is no target; `silent_s` None: no chunk was accepted since the handover."""
        reason, refused_ns = self._refused
        lately = bool(reason) and 0 <= now_ns - refused_ns < REFUSED_LATELY_NS
        if silent_s is None:
            waiting = "waiting for the first action chunk whose observation is newer than the handover"
            return f"{waiting}; refused: {reason}" if lately else waiting
        if lately:
            return f"no usable action chunk for {silent_s:.2f} s: {reason}"
        return f"no action chunk for {silent_s:.2f} s: imagination_node or action_node silent"

    def _reanchored(self, now_ns: int) -> str:
        """While the arm should stand still but was moved by other means, goes on from where it is now."""
        if self._measured is None or self._resting_since_ns is None or now_ns - self._resting_since_ns < SETTLED_NS:
            return ""
        away = np.abs(self._measured - self._filter.state.p)
        worst = int(np.argmax(away))
        if away[worst] <= self._control.reanchor_rad:
            return ""
        self._anchor_to_measured()
        return f"{self._spec.joint_names[worst]} was moved by {away[worst]:.2f} rad by other means: holding where it is"

    def _anchor_to_measured(self) -> None:
        assert self._measured is not None
        self._filter.reset(self._measured)
        self._reference = self._filter.state.p
        self.monitor.restart()
        self.monitor.check(self._reference, self._kinematics.tip(self._reference))

    def _anchor(self, chunk: ActionChunk) -> tuple[FloatArray, FloatArray] | None:
        """Where the arm is commanded to be, as a row of the chunk's space, and how fast its positions change."""
        state = self._filter.state
        if chunk.space == "joint_positions":
            return state.p, state.v
        return self._kinematics.forward(state.p), (self._kinematics.jacobian(state.p) @ state.v)[:3]

    def _say(self, command: SafeCommand, wanted_gripper: float | None, now_ns: int) -> ArmCommand:
        pose = self._kinematics.forward(command.positions)
        self.monitor.check(command.positions, pose[:3])
        at_rest = bool(np.abs(command.velocities).max() <= self._control.at_rest_rad_s)
        if not at_rest:
            self._resting_since_ns = None
        elif self._resting_since_ns is None or self._resting_since_ns > now_ns:
            self._resting_since_ns = now_ns
        moving = wanted_gripper is not None and command.verdict != Verdict.HELD
        goal = self._gripper.step(wanted_gripper, now_ns) if moving and wanted_gripper is not None else None
        chunk = self._schedule.chunk
        stamp_ns = chunk.start_ns if chunk is not None else 0
        follows = self.authority.mode == Mode.POLICY and command.verdict != Verdict.HELD and stamp_ns != 0
        started = follows and stamp_ns != self._started_chunk_ns
        if started:
            self._started_chunk_ns = stamp_ns
        return ArmCommand(
            positions=command.positions,
            velocities=command.velocities,
            pose=pose,
            gripper=self._gripper.commanded,
            gripper_goal=goal,
            mode=self.authority.mode,
            reason=self.authority.reason,
            source=self.authority.source,
            verdict=command.verdict,
            verdict_reason=command.reason,
            chunk_stamp_ns=stamp_ns,
            chunk_started=started,
            at_rest=at_rest,
            measured=self._measured,
        )

    def _again(self, command: ArmCommand) -> ArmCommand:
        values = {name: getattr(command, name) for name in ArmCommand.__slots__}
        return ArmCommand(**{**values, "gripper_goal": None, "chunk_started": False, "measured": self._measured})

    def _nothing(self, reason: str) -> ArmCommand:
        return ArmCommand(
            positions=None,
            velocities=np.zeros(len(self._reference)),
            pose=None,
            gripper=self._gripper.commanded,
            gripper_goal=None,
            mode=self.authority.mode,
            reason=self.authority.reason,
            source=self.authority.source,
            verdict=Verdict.HELD,
            verdict_reason=reason,
            chunk_stamp_ns=0,
            chunk_started=False,
            at_rest=True,
            measured=self._measured,
        )
