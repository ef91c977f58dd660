"""What a joint can do next: jerk-limited states, where they would come to rest, and the way there. Closed forms.

Braking is time-optimal: the acceleration goes to its peak at full jerk, is held, and goes back to zero at full jerk.
The formulas are written for one joint in plain floats: for seven joints that is five times faster than numpy arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from defi_models.contract import FloatArray, JointLimits

SLACK = 1e-9
MIXING_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class JointState:
    """Every joint at one time, each of shape (joints,): position p [rad], velocity v [rad/s], acceleration a [rad/s^2]."""

    p: FloatArray
    v: FloatArray
    a: FloatArray

    @staticmethod
    def at_rest(positions: FloatArray) -> JointState:
        """Rest at `positions`, shape (joints,) [rad]."""
        return JointState(np.array(positions, dtype=np.float64), np.zeros(len(positions)), np.zeros(len(positions)))

    def toward(self, other: JointState, part: FloatArray | float) -> JointState:
        """Part of the way to another state that is reachable at the same time; then so is the result.

        What a joint can reach within one period is a convex set, so every mixture of two reachable states is reachable.
        """
        return JointState(
            self.p + part * (other.p - self.p), self.v + part * (other.v - self.v), self.a + part * (other.a - self.a)
        )

    def choose(self, mask: np.ndarray, other: JointState) -> JointState:
        """This state where `mask`, shape (joints,) of bool, and `other` elsewhere."""
        return JointState(
            np.where(mask, self.p, other.p), np.where(mask, self.v, other.v), np.where(mask, self.a, other.a)
        )


class Brake(NamedTuple):
    """The time-optimal way to rest of one joint.

    Attributes:
        first_s, held_s, last_s: Duration of the three phases [s].
        jerk: Jerk of the first phase [rad/s^3]; the last phase has its negative.
        rest: Position at rest [rad].
        turn: Position where the joint turns round on its way; the start if it does not [rad].
        coasting: Velocity once the acceleration is taken back, the largest on the way [rad/s].
    """

    first_s: float
    held_s: float
    last_s: float
    jerk: float
    rest: float
    turn: float
    coasting: float

    @property
    def lasts_s(self) -> float:
        """How long it takes to rest [s]."""
        return self.first_s + self.held_s + self.last_s


def brake_of(p: float, v: float, a: float, top: float, jerk: float) -> Brake:
    """The time-optimal way to rest of one joint from position p, velocity v and acceleration a, |a| <= top."""
    coasting = v + a * abs(a) / (2 * jerk)
    sign = 1.0 if coasting >= 0 else -1.0
    speed, push = sign * v, sign * a  # seen in the direction of motion
    peak = max(min(math.sqrt(max(jerk * speed + 0.5 * push * push, 0.0)), top), -push)
    first, last = (push + peak) / jerk, peak / jerk
    held = max(speed + (0.5 * push * push - peak * peak) / jerk, 0.0) / peak if peak > 0 else 0.0
    distance, _, _ = _travel(speed, push, ((first, -jerk), (held, 0.0), (last, jerk)))
    turn = p
    if speed < 0:  # moving backwards while pushed forwards: it turns where its speed is zero
        t = (push - math.sqrt(max(push * push + 2 * jerk * speed, 0.0))) / jerk
        turn = p + sign * t * (speed + t * (0.5 * push - t * jerk / 6))
    return Brake(first, held, last, -sign * jerk, p + sign * distance, turn, coasting)


def longest_stop_s(limits: JointLimits) -> float:
    """How long braking from the fastest motion within the limits takes [s]."""
    rows = zip(limits.velocity.tolist(), limits.acceleration.tolist(), limits.jerk.tolist(), strict=True)
    return max(brake_of(0.0, velocity, 0.0, top, jerk).lasts_s for velocity, top, jerk in rows)


def _travel(v: float, a: float, phases: tuple[tuple[float, float], ...]) -> tuple[float, float, float]:
    """Distance covered, velocity and acceleration after phases of (duration, jerk)."""
    far = 0.0
    for t, jerk in phases:
        far += t * (v + t * (0.5 * a + t * jerk / 6))
        v += t * (a + 0.5 * t * jerk)
        a += t * jerk
    return far, v, a


def _is_safe(
    state: tuple[float, float, float], brake: Brake, lower: float, upper: float, velocity: float, top: float
) -> bool:
    p, v, a = state
    return (
        min(brake.rest, brake.turn, p) >= lower - SLACK
        and max(brake.rest, brake.turn, p) <= upper + SLACK
        and max(abs(v), abs(brake.coasting)) <= velocity * (1 + SLACK)
        and abs(a) <= top * (1 + SLACK)
    )


class Motion:
    """What the joints of one arm can do within one command period."""

    def __init__(self, limits: JointLimits, period_s: float) -> None:
        """Keeps the limits as plain floats, and what three equal phases of constant jerk add up to."""
        self._limits = limits
        self._period_s = period_s
        self._rows = list(
            zip(
                *(getattr(limits, name).tolist() for name in ("lower", "upper", "velocity", "acceleration", "jerk")),
                strict=True,
            )
        )
        h = period_s / 3
        self._sums = h * np.tril(np.ones((3, 3)))
        left = np.array([2, 1, 0]) * h
        self._jerks_of = np.linalg.inv(
            np.stack([np.full(3, h), h * h / 2 + h * left, h**3 / 6 + h * h / 2 * left + h * left**2 / 2])
        )

    def brakes(self, state: JointState) -> list[Brake]:
        """The way to rest of every joint."""
        parts = zip(state.p.tolist(), state.v.tolist(), state.a.tolist(), self._rows, strict=True)
        return [brake_of(p, v, a, row[3], row[4]) for p, v, a, row in parts]

    def along(self, brakes: list[Brake], state: JointState, time_s: float) -> JointState:
        """The state `time_s` after `brakes` began from `state`."""
        p, v, a = np.empty_like(state.p), np.zeros_like(state.v), np.zeros_like(state.a)
        for joint, brake in enumerate(brakes):
            if time_s >= brake.lasts_s:
                p[joint] = brake.rest  # exactly, where arithmetic would leave 1e-17 of velocity
                continue
            first = min(time_s, brake.first_s)
            held = min(time_s - first, brake.held_s)
            phases = ((first, brake.jerk), (held, 0.0), (time_s - first - held, -brake.jerk))
            distance, v[joint], a[joint] = _travel(float(state.v[joint]), float(state.a[joint]), phases)
            p[joint] = state.p[joint] + distance
        return JointState(p, v, a)

    def path(self, brakes: list[Brake], state: JointState, times_s: FloatArray) -> FloatArray:
        """Where the joints are at each of `times_s` after `brakes` began from `state`, shape (times, joints) [rad]."""
        first, held, last, jerk = np.array([brake[:4] for brake in brakes]).T
        since = times_s[:, None]
        t = np.minimum(since, first)
        p = t * (state.v + t * (0.5 * state.a + t * (jerk / 6)))
        v, a = state.v + t * (state.a + 0.5 * t * jerk), state.a + t * jerk
        t = np.minimum(np.maximum(since - first, 0.0), held)
        p += t * (v + 0.5 * t * a)
        v += t * a
        t = np.minimum(np.maximum(since - first - held, 0.0), last)
        return state.p + p + t * (v + t * (0.5 * a - t * (jerk / 6)))

    def safe(self, state: JointState, brakes: list[Brake]) -> np.ndarray:
        """Which joints are within their limits and stay so when they brake, shape (joints,) of bool."""
        parts = zip(state.p.tolist(), state.v.tolist(), state.a.tolist(), brakes, self._rows, strict=True)
        return np.array([_is_safe((p, v, a), brake, *row[:4]) for p, v, a, brake, row in parts])

    def safe_part(self, joint: int, braked: JointState, proposed: JointState) -> float:
        """The largest part of the way from braking to the proposed state that is safe for one joint, 0..1."""
        lower, upper, velocity, top, jerk = self._rows[joint]
        p, v, a = (float(part[joint]) for part in (braked.p, braked.v, braked.a))
        dp, dv, da = float(proposed.p[joint]) - p, float(proposed.v[joint]) - v, float(proposed.a[joint]) - a
        low, high = 0.0, 1.0
        for _ in range(MIXING_ROUNDS):
            part = 0.5 * (low + high)
            here = (p + part * dp, v + part * dv, a + part * da)
            brake = brake_of(*here, top, jerk)
            if _is_safe(here, brake, lower, upper, velocity, top):
                low = part
            else:
                high = part
        return low

    def reaches(self, state: JointState, wanted: JointState) -> np.ndarray:
        """Which joints get from `state` to `wanted` in exactly one period within their limits, shape (joints,) of bool."""
        t, limits = self._period_s, self._limits
        missing = np.empty((3, len(state.p)))
        missing[0] = wanted.a - state.a
        missing[1] = wanted.v - state.v - t * state.a
        step = wanted.p - state.p
        missing[2] = step - t * state.v - (0.5 * t * t) * state.a
        jerks = self._jerks_of @ missing  # (phases, joints)
        accelerations = state.a + self._sums @ jerks
        fits = (np.abs(jerks) <= limits.jerk) & (np.abs(accelerations) <= limits.acceleration)
        return fits.all(axis=0) & (np.abs(wanted.v) <= limits.velocity) & (np.abs(step) <= limits.velocity * t)
