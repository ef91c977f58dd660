"""One arm, one tick: target -> authority -> limits -> command; what arrives in between is copied in and judged here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S, ActionChunk, FloatArray, RobotSpec
from defi_ros.control.authority import Authority, Mode
from defi_ros.control.command import Alone, ArmCommand
from defi_ros.control.gripper import GripperSwitch
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.measured import MeasuredJoints
from defi_ros.control.monitor import LimitMonitor
from defi_ros.control.policy import PolicyTarget
from defi_ros.control.safety import SafeCommand, SafetyFilter, Verdict
from defi_ros.control.teleop import TeleopInput, TeleopTarget
from defi_ros.control.tick_clock import TickClock
from defi_ros.control.whereabouts import Place, Whereabouts
from defi_ros.sections import Control, Gripper

# After a pause of the loop this long the arm's own controller has brought it to rest, wherever that is.
PAUSE_S = 0.1
# Joint states that stay away this long have their driver restarted: people look before the arm goes on.
BLIND_S = 5.0
ROBOT, MEASURED = "robot", "joint states"  # as sources of faults: the robot itself, and where its joints are said to be


class ArmCore:
    """Decides every command of one arm. All methods are called by one thread; none waits.

    Attributes:
        authority: Who may move the arm.
        monitor: Independent check of the commands; `monitor.violations` must stay 0.
    """

    def __init__(self, spec: RobotSpec, control: Control, gripper: Gripper, kinematics: Kinematics) -> None:
        """Holds still until the first joint state arrives."""
        self._spec, self._control, self._kinematics = spec, control, kinematics
        self._period_ns = round(NS_PER_S / control.rate_hz)
        self._filter = SafetyFilter(spec, kinematics, control.rate_hz, max_deviation_rad=control.max_deviation_rad)
        self._policy = PolicyTarget(kinematics, spec, control)
        self._gripper = GripperSwitch(gripper)
        self._teleop = TeleopTarget(kinematics, spec, control)
        self.authority = Authority(Mode[control.after_teleop])
        self.monitor = LimitMonitor(spec, control.rate_hz)
        self._joints = MeasuredJoints(spec, control.state_timeout_s)
        self._reference = np.array(spec.home)
        self._where = Whereabouts(spec, control)
        self._started_chunk_ns = 0
        self._clock = TickClock(self._period_ns)
        self._command: ArmCommand | None = None
        # Ticks until now, and the last one in which a person was followed.
        self._ticks, self._teleop_tick = 0, -1

    @property
    def limit_violations(self) -> int:
        """Commands found outside the limits of the robot file; must stay 0."""
        return self.monitor.violations

    @property
    def stale_refusals(self) -> int:
        """Chunks and joint states refused for their age or order; what was seen before a handover is not counted."""
        return self._policy.refused_late + self._joints.refused_late

    def forget(self, now_ns: int) -> None:
        """What was commanded and seen counts no more: others may have moved the arm since. Nobody has it."""
        self.authority.hold("the arm bridge begins anew", now_ns)
        self._policy.forget()
        self._gripper.forget()
        self._command = None
        self._clock.forget()
        self._joints.forget()
        self._where.forget()

    def on_state(
        self, stamp_ns: int, positions: npt.ArrayLike, now_ns: int, gripper: float | None = None
    ) -> str | None:
        """Notes where the joints are, shape (joints,) [rad]. Returns None, or the reason it was refused."""
        known = self._joints.positions is not None
        refused, jump = self._joints.hear(stamp_ns, positions, now_ns)
        if refused is not None:
            return refused
        if not known:
            self._where.lose("joint states began", now_ns)
        commanded = self._command is not None or (self._where.was_found and self._where.is_lost)
        if jump is not None and commanded and not self._where.follows_nobody:
            self._where.jumped = True
            self._stop_once(jump, now_ns)
        if gripper is not None:
            self._gripper.measured(gripper)
        return None

    def _stop_once(self, cause: str, now_ns: int) -> None:
        """Latches STOPPED for a cause that is over: a person decides."""
        self.on_fault(MEASURED, cause, now_ns)
        self.on_fault(MEASURED, None, now_ns)

    def on_chunk(self, chunk: ActionChunk, now_ns: int) -> str | None:
        """Puts a policy's chunk into execution. Returns None, or the reason it was refused."""
        unwanted = self.authority.try_observation(chunk.start_ns)
        if unwanted is None:
            unwanted = self._why_idle(now_ns) if self._command is None else self._where.why_lost(self._joints, now_ns)
        leads = self.authority.mode == Mode.POLICY
        refused = self._policy.accept(chunk, now_ns, self._filter.state, unwanted, leads=leads)
        return None if refused is None else f"chunk refused: {refused}"

    def on_refused_chunk(self, reason: str, now_ns: int) -> None:
        """Notes why a chunk cannot be executed, so that an arm that rests for lack of one can say so."""
        self._policy.shortage.refuse(reason, now_ns)

    def on_policy_trouble(self, node: str, trouble: str) -> None:
        """Notes what keeps a node of the policy from its work, for the same end; empty: nothing does any more."""
        self._policy.shortage.tell(node, trouble)

    def on_gripper_trouble(self, reason: str, now_ns: int) -> None:
        """Takes the arm from a policy whose gripper does not do what it is told; a person sees that and goes on."""
        if self.authority.mode == Mode.POLICY:
            self.authority.hold(reason, now_ns)
            self._policy.schedule.clear()

    def on_teleop(self, command: TeleopInput, now_ns: int) -> str | None:
        """Follows a person's input device while its deadman is held. Returns None, or why it was refused or changed."""
        refused = self._why_not_obeyed(command, now_ns) if command.deadman else None
        if refused is not None:
            return self._teleop.refuse(refused, now_ns)
        before = self.authority.mode
        refused = self.authority.teleop(command.source, now_ns, deadman=command.deadman)
        if refused is None and self.authority.mode == Mode.TELEOP:
            if before != Mode.TELEOP:
                self._policy.schedule.clear()
                self._teleop.take(self._begin_at_rest())
                self._teleop_tick = self._ticks
            return self._teleop.follow(command, now_ns)
        return refused

    def _why_not_obeyed(self, command: TeleopInput, now_ns: int) -> str | None:
        late = self._teleop.try_time(command, now_ns)
        if late is None and self._is_idle(now_ns):
            self.authority.spend(command.source, "nothing was commanded")
            return f"TELEOP refused: {self._why_idle(now_ns)}"
        return late

    def _begin_at_rest(self) -> FloatArray:
        """Where the arm comes to rest by itself, shape (joints,) [rad]: there a person's target begins."""
        self._reference = self._filter.begin_at_rest()
        return self._reference

    def on_emergency_stop(self, pressed: bool, now_ns: int, source: str = "emergency stop") -> None:
        """Latches STOPPED while pressed; released, it stays STOPPED until a reset is asked for."""
        if pressed:
            self.authority.stop(source, f"{source} is pressed", now_ns)
            self._policy.schedule.clear()
        else:
            self.authority.cause_gone(source)

    def on_fault(self, source: str, reason: str | None, now_ns: int, *, follows_nobody: bool = False) -> None:
        """Latches STOPPED while `reason` of `source` stands; with None, a reset may be asked for.

        Where the robot itself `follows_nobody`, commands are where it is, so that nothing jumps when it goes on.
        """
        if source == ROBOT:
            self._where.follows_nobody = follows_nobody
        if reason is None:
            self.authority.cause_gone(source)
        else:
            self.authority.stop(source, reason, now_ns)
            self._policy.schedule.clear()

    def request(self, mode: Mode, source: str, now_ns: int, *, reset: bool = False) -> str | None:
        """Hands the arm to `mode` on behalf of `source`. Returns None when granted, else the reason it was refused."""
        if mode == Mode.POLICY and self._is_idle(now_ns):
            return f"POLICY refused: {self._why_idle(now_ns)}"
        refused = self.authority.request(mode, source, now_ns, reset=reset)
        if refused is None:
            self._policy.schedule.clear()
            self._gripper.forget()
            if reset and mode != Mode.STOPPED:
                self._where.forgive()
        return refused

    def tick(self, now_ns: int, late_ns: int = 0, missed: int = 0, alone: Alone = Alone.HOLDS) -> ArmCommand:
        """The command for now. Called once a period; a burst or a clock set back repeats the last command.

        Args:
            now_ns: The time now [ns].
            late_ns: How long ago this tick was due [ns]. Targets are those due then: commands take effect a period apart,
                and a target that is looked up late would be followed with a jerk.
            missed: Ticks that were left out right before this one.
            alone: What the arm's own controller does meanwhile.
        """
        if self._joints.positions is None:
            return self._nothing("no joint state yet")
        why, burst = "", self._note_time(now_ns, late_ns, missed)
        if self._command is not None:
            self._note_pause(now_ns, missed, alone)
            if (lost := self._where.why_lost(self._joints, now_ns)) is not None:
                if self._where.is_lost_for_long(self._joints, now_ns):
                    self.authority.hold(lost, now_ns)
                return self._nothing(lost)
            if burst and not self._where.is_lost:
                return self._command.again(self._joints.positions)
            why = self._follow_whereabouts(now_ns)
        if anew := self._command is None:
            self._where.follow_hand(self._joints)
            if (idle := self._where.why_idle(self._joints, now_ns)) is not None:
                if self._is_idle(now_ns):
                    self.authority.hold(idle, now_ns)
                return self._nothing(idle)
            self._anchor_to_measured(now_ns)
        if (stuck := self._gripper.why_stuck(now_ns)) is not None:
            self.on_gripper_trouble(stuck, now_ns)
        self._ticks += 1
        target, wanted_gripper, why = self._target(now_ns, late_ns, why)
        if target is None:
            command = self._filter.rest(why, Verdict.HELD if why else Verdict.PASSED)
            self._reference = command.positions
        else:
            command = self._filter.step(target, self._joints.positions)
            self._reference = target if command.verdict != Verdict.HELD else command.positions
            if command.verdict != Verdict.HELD and why:
                command = SafeCommand(
                    command.positions, command.velocities, command.accelerations, Verdict.LIMITED, why
                )
            if command.verdict == Verdict.HELD:
                self.authority.hold(command.reason, now_ns)
                self._policy.schedule.clear()
        self._command = self._say(command, wanted_gripper, now_ns, anew=anew)
        return self._command

    def _note_pause(self, now_ns: int, missed: int, alone: Alone) -> None:
        """After a pause of the loop in motion the arm is where its controller has brought it meanwhile.

        Where that is not known it rests somewhere, or is on its way to rest, and is looked for.
        """
        if not missed or not self._filter.state.v.any():
            return
        away_s = missed * self._period_ns / NS_PER_S
        if alone in (Alone.GOES_ON, Alone.LAGS):
            self._filter.go_on(away_s, braking=alone == Alone.LAGS)
            self._reference = self._filter.state.p
            self._policy.let_go()
            if alone == Alone.GOES_ON:
                self._teleop.go_on(away_s)
            elif self.authority.mode == Mode.TELEOP:
                self._teleop.start(self._begin_at_rest())
            state = self._filter.state
            self.monitor.resume(state.p, state.v, state.a, self._filter.tip)
        elif alone != Alone.HOLDS or away_s >= PAUSE_S:
            self._where.lose("the control loop was paused", now_ns, away_s=away_s)
            self._filter.reset(self._filter.state.p, moved=False)

    def _follow_whereabouts(self, now_ns: int) -> str:
        """Goes on from where the arm is, where it was moved by other means; "" or what is to be said of that."""
        mode = self.authority.mode
        idle = mode in (Mode.HOLD, Mode.STOPPED) or (mode == Mode.POLICY and self._policy.is_silent(now_ns))
        place, why = self._where.look(
            self._joints, self._filter.state.p, now_ns, idle=idle, stopped=mode == Mode.STOPPED
        )
        if place in (Place.NEW, Place.FOUND):
            self._command = None
        if place == Place.NEW:
            self.authority.hold(why, now_ns)
        elif place == Place.LOST:
            self._stop_once(why, now_ns)
        return why

    def _is_idle(self, now_ns: int) -> bool:
        """Whether nothing is commanded, and not for a moment only."""
        if self._command is None and not self._where.is_sought(self._joints, now_ns):
            return self._where.why_idle(self._joints, now_ns) is not None
        return self._where.is_lost_for_long(self._joints, now_ns)

    def _why_idle(self, now_ns: int) -> str:
        """Why nothing is commanded."""
        return self._where.why_idle(self._joints, now_ns) or "nothing is commanded yet"

    def _note_time(self, now_ns: int, late_ns: int, missed: int) -> bool:
        """Whether this tick comes too early.

        A clock that was set back ends what was dated by it: nothing would be found silent until it has caught up.
        """
        early, back_ns = self._clock.note(now_ns - late_ns, missed)
        if back_ns > self._control.state_timeout_s * NS_PER_S:
            self.authority.hold(f"the clock was set back by {back_ns / NS_PER_S:.2f} s", now_ns)
            self._policy.schedule.clear()
        if back_ns:
            for dated in (self._joints, self._policy, self._teleop, self._where):
                dated.set_back(back_ns)
        return early

    def _target(self, now_ns: int, late_ns: int, moved: str) -> tuple[FloatArray | None, float | None, str]:
        """The joints due now, shape (joints,) [rad], the wanted opening, and why there is no target or a changed one."""
        mode = self.authority.mode
        if (blind := self._where.note_silence(self._joints, now_ns)) is not None:
            if self._joints.silent_s(now_ns) > BLIND_S:
                self.authority.hold(blind, now_ns)
            return None, None, blind
        if mode == Mode.STOPPED:
            self._gripper.forget()  # its driver has been told to stop
            return None, None, f"STOPPED: {self.authority.reason}"
        if mode == Mode.TELEOP:
            if (silent := self._teleop.why_silent(self.authority.source, now_ns)) is not None:
                self.authority.hold(silent, now_ns)
                return None, None, silent
            if self._teleop_tick != self._ticks - 1:  # the arm rested meanwhile, for want of joint states
                self._teleop.start(self._begin_at_rest())
            self._teleop_tick = self._ticks
            target, why = self._teleop.step(self._reference, self._filter.box)
            return target, self._teleop.gripper, why
        if mode == Mode.POLICY:
            silent_s = self._policy.silent_s(now_ns, self.authority.since_ns)
            if silent_s > self._control.policy_patience_s:
                self.authority.hold(f"no action chunk for {silent_s:.0f} s: ask for the policy anew", now_ns)
                self._policy.schedule.clear()
                return None, None, self.authority.reason
            return self._policy.step(self._filter.state, self._reference, now_ns, late_ns, self._ticks)
        return None, None, moved or self._teleop.lately_refused(now_ns)

    def _anchor_to_measured(self, now_ns: int) -> None:
        """Commands begin anew from where the arm is seen; nothing goes on from what was commanded before."""
        assert self._joints.positions is not None
        moved = self._where.find(now_ns)
        self._filter.reset(self._joints.positions, moved=moved)
        self._reference = self._filter.state.p
        self._teleop_tick = -1
        self._policy.let_go()
        self.monitor.restart(moved=moved)
        self.monitor.check(self._reference, self._kinematics.tip(self._reference))

    def _say(self, command: SafeCommand, wanted_gripper: float | None, now_ns: int, *, anew: bool) -> ArmCommand:
        pose = self._kinematics.forward(command.positions)
        self.monitor.check(command.positions, pose[:3])
        at_rest = bool(np.abs(command.velocities).max() <= self._control.at_rest_rad_s)
        self._where.note(at_rest=at_rest, now_ns=now_ns)
        moving = wanted_gripper is not None and command.verdict != Verdict.HELD
        goal = self._gripper.step(wanted_gripper, now_ns) if moving and wanted_gripper is not None else None
        chunk = self._policy.schedule.chunk
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
            anew=anew,
            measured=self._joints.positions,
            trusted=not self._where.is_blind and self.authority.mode != Mode.STOPPED,
        )

    def _nothing(self, reason: str) -> ArmCommand:
        return ArmCommand(
            velocities=np.zeros(len(self._reference)),
            gripper=self._gripper.commanded,
            mode=self.authority.mode,
            reason=self.authority.reason,
            source=self.authority.source,
            verdict_reason=reason,
            measured=self._joints.positions,
        )
