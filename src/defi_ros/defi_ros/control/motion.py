"""What a joint can do next: jerk-limited states, where they would come to rest, and the way there. Closed forms.

A state is position p [rad], velocity v [rad/s] and acceleration a [rad/s^2] of every joint, each of shape (joints,).
Braking is time-optimal: acceleration to -A at full jerk, held, and back to zero at full jerk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defi_models.contract import FloatArray, JointLimits


@dataclass(frozen=True, slots=True)
class JointState:
    """Position, velocity and acceleration of every joint at one time, each of shape (joints,)."""

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


@dataclass(frozen=True, slots=True)
class Brake:
    """The time-optimal way to rest from one state.

    Attributes:
        first, held, last: Duration of the three phases, shape (joints,) [s].
        jerk: Jerk of the first phase, shape (joints,) [rad/s^3]; the last phase has its negative.
        rest: Position at rest, shape (joints,) [rad].
        turn: Position where the joint turns round on its way, shape (joints,) [rad]; the start if it does not.
    """

    first: FloatArray
    held: FloatArray
    last: FloatArray
    jerk: FloatArray
    rest: FloatArray
    turn: FloatArray

    @property
    def duration_s(self) -> float:
        """Until the last joint rests [s]."""
        return float(np.max(self.first + self.held + self.last))


def brake_from(state: JointState, limits: JointLimits) -> Brake:
    """The time-optimal way to rest. The acceleration must be within its limit."""
    p, v, a = state.p, state.v, state.a
    jerk, top = limits.jerk, limits.acceleration
    coasting = v + a * np.abs(a) / (2 * jerk)  # velocity once the acceleration is taken back
    sign = np.where(coasting >= 0, 1.0, -1.0)
    speed, push = sign * v, sign * a  # seen in the direction of motion
    peak = np.minimum(np.sqrt(np.maximum(jerk * speed + 0.5 * push * push, 0.0)), top)
    peak = np.maximum(peak, -push)
    first = (push + peak) / jerk
    last = peak / jerk
    excess = speed + 0.5 * push * push / jerk - peak * peak / jerk
    held = np.where(peak > 0, np.maximum(excess, 0.0) / np.maximum(peak, 1e-12), 0.0)
    rest = p + sign * _travel(speed, push, -jerk, first, held, last)
    # Moving backwards while already pushed forwards: the joint turns where its speed is zero.
    backwards = speed < 0
    root = np.sqrt(np.maximum(push * push + 2 * jerk * speed, 0.0))
    turn_s = np.where(backwards, (push - root) / jerk, 0.0)
    turn = p + sign * (speed * turn_s + 0.5 * push * turn_s**2 - jerk * turn_s**3 / 6)
    return Brake(first, held, last, -sign * jerk, rest, turn)


def along(brake: Brake, state: JointState, time_s: float) -> JointState:
    """The state `time_s` after the brake began from `state`."""
    p, v, a = state.p, state.v, state.a
    left = np.full(len(p), time_s)
    for duration, jerk in ((brake.first, brake.jerk), (brake.held, 0.0 * brake.jerk), (brake.last, -brake.jerk)):
        t = np.minimum(left, duration)
        p = p + t * (v + t * (0.5 * a + t * jerk / 6))
        v = v + t * (a + 0.5 * t * jerk)
        a = a + t * jerk
        left = left - t
    done = left > 0  # arithmetic leaves 1e-17 where rest is meant
    return JointState(np.where(done, brake.rest, p), np.where(done, 0.0, v), np.where(done, 0.0, a))


def is_safe(state: JointState, limits: JointLimits) -> np.ndarray:
    """Which joints are within their limits and stay so when they brake, shape (joints,) of bool."""
    brake = brake_from(state, limits)
    slack = 1e-9
    low = np.minimum(np.minimum(brake.rest, brake.turn), state.p)
    high = np.maximum(np.maximum(brake.rest, brake.turn), state.p)
    coasting = np.abs(state.v + state.a * np.abs(state.a) / (2 * limits.jerk))
    return (
        (low >= limits.lower - slack)
        & (high <= limits.upper + slack)
        & (np.maximum(np.abs(state.v), coasting) <= limits.velocity * (1 + slack))
        & (np.abs(state.a) <= limits.acceleration * (1 + slack))
    )


class Leap:
    """Whether a wanted state can be reached in exactly one period, with three equal phases of constant jerk."""

    def __init__(self, period_s: float, limits: JointLimits) -> None:
        """For one command period."""
        self._period_s = period_s
        self._limits = limits
        h = period_s / 3
        rows = np.zeros((3, 3))  # what a unit of jerk in each phase adds to a, v and p at the end
        for phase in range(3):
            left = (2 - phase) * h
            rows[0, phase] = h
            rows[1, phase] = h * h / 2 + h * left
            rows[2, phase] = h**3 / 6 + h * h / 2 * left + h * left * left / 2
        self._solve = np.linalg.inv(rows)

    def reaches(self, state: JointState, wanted: JointState) -> np.ndarray:
        """Which joints get from `state` to `wanted` within their limits, shape (joints,) of bool."""
        t, limits = self._period_s, self._limits
        missing = np.stack(
            [wanted.a - state.a, wanted.v - state.v - state.a * t, wanted.p - state.p - t * (state.v + 0.5 * t * state.a)]
        )
        jerks = self._solve @ missing  # (phases, joints)
        accelerations = state.a + np.cumsum(jerks, axis=0) * (t / 3)
        return (
            (np.abs(jerks) <= limits.jerk).all(axis=0)
            & (np.abs(accelerations) <= limits.acceleration).all(axis=0)
            & (np.abs(wanted.v) <= limits.velocity)
            & (np.abs(wanted.p - state.p) <= limits.velocity * t)
        )


def _travel(speed, push, jerk, first, held, last):  # noqa: ANN001, ANN202 - arrays of shape (joints,) throughout
    """Distance covered in three phases of jerk `jerk`, 0 and -`jerk`, shape (joints,) [rad]."""
    far = first * (speed + first * (0.5 * push + first * jerk / 6))
    speed = speed + first * (push + 0.5 * first * jerk)
    push = push + first * jerk
    far = far + held * (speed + 0.5 * held * push)
    speed = speed + held * push
    return far + last * (speed + last * (0.5 * push - last * jerk / 6))
