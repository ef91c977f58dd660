"""The only way from a target to a command: finite, in range, and within velocity, acceleration and jerk.

Every command is a state from which braking stays inside the joint limits; when a target asks for more, the command is
the nearest mixture with braking that does not. So limits hold for any input, and rest is always one way away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from defi_models.contract import FloatArray, RobotSpec, Workspace
from defi_ros.control.follower import Follower
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.motion import Brake, JointState, Motion

# Targets ask for at most this part of the tip's speed limit, so that one that turns or stops is still followed ...
TARGET_MARGIN = 0.9
# ... and the tip stays below this part of it, on the way and while braking: between the places looked at it may be faster,
# by 3.1 % once in 100,000 targets.
TIP_MARGIN = 0.94
# A command this near its target counts as reaching it; the joints' encoders are no finer.
REACHED_RAD = 1e-4
# Outside the box by less than this is arithmetic, not motion.
BOX_SLACK_M = 1e-4
# An arm that stands outside, as one that was moved by hand, may go so much further on its way back: its joints do not set
# out together, and the tip could not move at all otherwise. The nearer it may come to rest, the less.
WAY_BACK_M = 0.02
# From where it overran a wall by itself, an arm is led back this fast [m/s].
COME_IN_M_S = 0.05
# Parts of the way from braking to the wanted motion that are tried for the tip's sake, boldest first.
MIXTURES = (0.8, 0.5, 0.2)
# Places on the way to rest that are looked at: this far apart in time, but no more than so many.
LOOK_S = 0.01
MOST_LOOKS = 40


class Verdict(IntEnum):
    """What became of a target; the numbers are those of defi_msgs/ControlState."""

    PASSED = 0
    LIMITED = 1
    HELD = 2


@dataclass(frozen=True, slots=True)
class SafeCommand:
    """A command within every limit.

    Attributes:
        positions: Joint positions, shape (joints,) [rad].
        velocities: Joint velocities there, shape (joints,) [rad/s].
        accelerations: Joint accelerations there, shape (joints,) [rad/s^2].
        verdict: PASSED: the target itself. LIMITED: on the way to it. HELD: the target is not followed.
        reason: Why it is not PASSED, in words.
    """

    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray
    verdict: Verdict
    reason: str


class SafetyFilter:
    """Follows targets within the limits of one robot, one call a command period. Called by one thread."""

    def __init__(
        self, spec: RobotSpec, kinematics: Kinematics, rate_hz: float, *, max_deviation_rad: float = 0.35
    ) -> None:
        """For commands at `rate_hz`; a reference `max_deviation_rad` away from the measured joints is held."""
        self._spec, self._limits, self._kinematics = spec, spec.limits, kinematics
        self._period_s = 1.0 / rate_hz
        self._max_deviation_rad = max_deviation_rad
        self._motion = Motion(spec.limits, self._period_s)
        self._follower = Follower(spec.limits, self._period_s)
        self.reset(spec.home)

    @property
    def state(self) -> JointState:
        """The state commanded last."""
        return self._state

    @property
    def box(self) -> Workspace:
        """The workspace, with each wall where the arm stands outside of it: it need not come in, but goes no further out."""
        return self._spec.workspace.moved_out(self._let_out_m)

    @property
    def _let_out_m(self) -> FloatArray:
        """How far outside each wall a target may be, shape (6 + planes,) [m]: no further than where the arm was found."""
        return np.minimum(np.maximum(self._least_outside_m, self._asked_outside_m), self._found_outside_m)

    @property
    def tip(self) -> FloatArray:
        """Where the tip is commanded to be, shape (3,) [m]."""
        return np.array(self._tip)

    def begin_at_rest(self) -> FloatArray:
        """Where the joints come to rest when nothing more is asked, shape (joints,) [rad]: whoever takes over begins there.

        What was asked before is forgotten: a target that stands there is not taken for one that moves.
        """
        place = np.array([brake.rest for brake in self._motion.brakes(self._state)])
        self._follower.forget(place, np.zeros_like(place))
        self._reference_tip = self._tip_at(place)
        self._asked_outside_m = np.maximum(self._outside_m(self._reference_tip), 0.0)
        return place

    def reset(self, positions: npt.ArrayLike, *, moved: bool = True) -> None:
        """Starts anew from rest at `positions`, clamped to the joint limits.

        Args:
            positions: Shape (joints,) [rad].
            moved: Whether others may have put it there. Then it need not come in from outside a wall; from where it went
                by itself, it is led back slowly.
        """
        self._overran = False  # whether it went on by itself, perhaps too near a wall, until it stands
        start = np.clip(np.asarray(positions, dtype=np.float64), self._limits.lower, self._limits.upper)
        self._state = JointState.at_rest(start)
        self._tip = self._tip_at(start)
        self._least_outside_m = self._way_outside_m = np.maximum(self._outside_m(self._tip), 0.0)  # of each wall
        self._found_outside_m = self._least_outside_m
        if moved:
            self._moved_outside_m = self._least_outside_m
        self._forget_references()

    def go_on(self, seconds: float, *, braking: bool) -> None:
        """Goes on from where the arm is after so long [s] of braking, or of even motion, which it made by itself.

        It may be too near a wall by now to stop before it: then it stops behind it. A joint that would be too near the end
        of its range brakes.
        """
        braked = self._motion.along(self._motion.brakes(self._state), self._state, seconds)
        ahead = JointState(self._state.p + self._state.v * seconds, self._state.v, self._state.a)
        safe = self._motion.safe(ahead, self._motion.brakes(ahead))
        self._take(braked if braking else ahead.choose(safe, braked))
        self._overran = not braking
        self._forget_references()

    def rest(self, reason: str = "", verdict: Verdict = Verdict.HELD) -> SafeCommand:
        """The next command on the shortest way to rest; at rest, the same position for ever."""
        self._take(self._braked())
        self._forget_references()
        return self._command(verdict, reason)

    def step(self, target: npt.ArrayLike, measured: npt.ArrayLike | None = None) -> SafeCommand:
        """The next command towards `target`, where the joints should be one period from the last command.

        Args:
            target: Joint positions, shape (joints,) [rad]; any rubbish is held.
            measured: Where the joints are, to hold a command that the arm does not follow, shape (joints,) [rad].
        """
        try:
            wanted = np.asarray(target, dtype=np.float64)
        except (TypeError, ValueError):
            return self.rest(f"target is {type(target).__name__}, expected {len(self._state.p)} numbers")
        if wanted.shape != self._state.p.shape:
            return self.rest(f"target has shape {wanted.shape}, expected {self._state.p.shape}")
        if not np.isfinite(wanted).all():
            return self.rest(f"target of {self._name(~np.isfinite(wanted))} is not finite")
        if measured is not None:
            away = np.abs(np.asarray(measured) - self._state.p)
            if not (away <= self._max_deviation_rad).all():
                worst = int(np.argmax(away))
                return self.rest(
                    f"{self._spec.joint_names[worst]} is {away[worst]:.2f} rad from its command, "
                    f"limit {self._max_deviation_rad:g} rad"
                )
        self._found_outside_m = np.maximum(self._found_outside_m - COME_IN_M_S * self._period_s, self._moved_outside_m)
        reference, reason = self._allowed(wanted)
        return self._follow(reference, reason)

    def _allowed(self, wanted: FloatArray) -> tuple[FloatArray, str]:
        """The target brought inside joint ranges, workspace and tip speed, and what was changed."""
        limits, reason = self._limits, ""
        reference = np.minimum(np.maximum(wanted, limits.lower), limits.upper)
        beyond = np.abs(reference - wanted)
        if beyond.any():
            at = int(np.argmax(beyond))
            reason = (
                f"{self._spec.joint_names[at]}: target {wanted[at]:.3f} rad outside "
                f"{limits.lower[at]:.3f}..{limits.upper[at]:.3f} rad"
            )
        box = self._spec.workspace
        tip = self._tip_at(reference)
        if (self._outside_m(tip) > self._let_out_m + BOX_SLACK_M).any():
            pose = self._kinematics.forward(reference)
            pose[:3] = self.box.nearest(np.array(tip))
            walls = f" and its {len(box.planes)} planes" if len(box.planes) else ""
            reason = (
                f"target at {_metres(tip)} m outside the workspace {_metres(box.lower)}..{_metres(box.upper)} m{walls}"
            )
            reference = self._kinematics.inverse(pose, self._follower.last, max_iterations=8).q
            tip = self._tip_at(reference)
        speed = math.dist(tip, self._reference_tip) / self._period_s
        if speed > TARGET_MARGIN * box.velocity_m_s:
            part = TARGET_MARGIN * box.velocity_m_s / speed
            reference = self._follower.last + part * (reference - self._follower.last)
            reason = f"tip: {speed * self._period_s * 1e3:.0f} mm to its target, limit {box.velocity_m_s:.2f} m/s"
            tip = self._tip_at(reference)
        self._reference_tip = tip
        self._asked_outside_m = np.minimum(self._asked_outside_m, np.maximum(self._outside_m(tip), 0.0))
        return reference, reason

    def _follow(self, reference: FloatArray, reason: str) -> SafeCommand:
        wanted = self._follower.estimated(reference)
        start, motion = self._state, self._motion
        brakes = motion.brakes(wanted)
        fits = motion.reaches(start, wanted) & motion.safe(wanted, brakes)
        proposed = wanted
        if not fits.all():
            caught_up = self._follower.catching_up(start, wanted) or self._braked()
            proposed = self._kept_in_limits(wanted.choose(fits, caught_up))
            brakes = motion.brakes(proposed)
        proposed, tip_reason = self._kept_in_workspace(proposed, brakes)
        self._least_outside_m = np.minimum(self._least_outside_m, self._way_outside_m)
        late = np.abs(proposed.p - reference)
        reason = reason or tip_reason
        if not reason and late.max() > REACHED_RAD:
            reason = self._why_late(reference, late)
        self._take(proposed)
        self._follower.note(reference)
        return self._command(Verdict.LIMITED if reason else Verdict.PASSED, reason)

    def _braked(self) -> JointState:
        """The state one period further on the way to rest."""
        return self._motion.along(self._motion.brakes(self._state), self._state, self._period_s)

    def _kept_in_limits(self, proposed: JointState) -> JointState:
        """Mixes braking in, joint by joint, until braking from the proposed state stays inside the joint limits."""
        motion = self._motion
        safe = motion.safe(proposed, motion.brakes(proposed))
        if safe.all():
            return proposed
        braked = self._braked()
        part = np.ones(len(safe))
        for joint in np.flatnonzero(~safe):
            part[joint] = motion.safe_part(int(joint), braked, proposed)
        return braked.toward(proposed, part)

    def _kept_in_workspace(self, proposed: JointState, brakes: list[Brake]) -> tuple[JointState, str]:
        """Mixes braking in, all joints alike, until the tip is slow enough and can stop inside the box."""
        reason = self._workspace_fault(proposed, brakes)
        if not reason:
            return proposed, ""
        braked = self._braked()
        for part in MIXTURES:
            mixed = braked.toward(proposed, part)
            if not self._workspace_fault(mixed, self._motion.brakes(mixed)):
                return mixed, reason
        return braked, reason

    def _workspace_fault(self, proposed: JointState, brakes: list[Brake]) -> str:
        """Why the tip may not go on like this, judged on the whole way to rest; "" if it may.

        Joints that brake each as fast as it can take the tip off its straight line. So each state that is let through
        is one whose way to rest is within the box and slow enough; the state one period further on that way then is
        one too, whatever is asked meanwhile.
        """
        t, limit = self._period_s, TIP_MARGIN * self._spec.workspace.velocity_m_s
        stop_s = max(brake.lasts_s for brake in brakes)
        looks = min(max(math.ceil(stop_s / LOOK_S), 1), MOST_LOOKS)
        ways = (
            self._motion.path(brakes, proposed, np.linspace(0.0, stop_s, looks + 1)) if stop_s > 0 else proposed.p[None]
        )
        places = [self._tip_at(joints) for joints in ways]
        speed = math.dist(places[0], self._tip) / t
        if speed > limit:
            return f"tip: {speed:.2f} m/s, limit {self._spec.workspace.velocity_m_s:.2f} m/s"
        if stop_s > t:
            speed = max(map(math.dist, places, places[1:])) / (stop_s / looks)
            if speed > limit:
                return f"tip: {speed:.2f} m/s while braking, limit {self._spec.workspace.velocity_m_s:.2f} m/s"
        outside_m = np.maximum(self._outside_m(places).max(0), 0.0)
        least_m = self._least_outside_m
        if (outside_m > np.maximum(least_m + np.minimum(least_m, WAY_BACK_M), BOX_SLACK_M)).any():
            return f"tip could not stop inside the workspace: {outside_m.max() * 1e3:.0f} mm beyond it"
        self._way_outside_m = outside_m
        return ""

    def _why_late(self, reference: FloatArray, late: FloatArray) -> str:
        at = int(np.argmax(late))
        name, limits = self._spec.joint_names[at], self._limits
        return (
            f"{name}: {late[at] * 1e3:.1f} mrad to its target, limits {limits.velocity[at]:.2f} rad/s, "
            f"{limits.acceleration[at]:.1f} rad/s^2, {limits.jerk[at]:.0f} rad/s^3"
        )

    def _take(self, state: JointState) -> None:
        limits = self._limits  # the last 1e-12 of arithmetic
        self._state = JointState(np.minimum(np.maximum(state.p, limits.lower), limits.upper), state.v, state.a)
        self._tip = self._tip_at(self._state.p)
        if self._moved_outside_m.any():  # a wall that it has come in from stands again
            self._moved_outside_m = np.where(self._outside_m(self._tip) < -WAY_BACK_M, 0.0, self._moved_outside_m)
        if self._overran and not self._state.v.any():  # it has come to stand outside, and may go back in from there
            self._least_outside_m = np.maximum(self._least_outside_m, self._outside_m(self._tip))
            self._overran = False

    def _forget_references(self) -> None:
        self._follower.forget(self._state.p, self._state.v)
        self._reference_tip = self._tip
        # Of each wall, what was asked for last: whom the joints' lag takes in by a millimetre is not drawn after it.
        self._asked_outside_m = np.maximum(self._outside_m(self._tip), 0.0)

    def _command(self, verdict: Verdict, reason: str) -> SafeCommand:
        return SafeCommand(self._state.p.copy(), self._state.v.copy(), self._state.a.copy(), verdict, reason)

    def _tip_at(self, q: FloatArray) -> list[float]:
        return self._kinematics.tip(q).tolist()

    def _outside_m(self, tip: npt.ArrayLike) -> FloatArray:
        """How far outside each wall points (..., 3) are, shape (..., 6 + planes) [m]; negative inside."""
        return self._spec.workspace.outside_m(np.asarray(tip))

    def _name(self, mask: np.ndarray) -> str:
        return self._spec.joint_names[int(np.argmax(mask))]


def _metres(point: Iterable[float]) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in point) + ")"
