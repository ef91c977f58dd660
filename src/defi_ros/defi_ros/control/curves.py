"""Smooth curves through the targets of a chunk: cubic in position and orientation, nearest for the gripper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from defi_models.contract import NS_PER_S, ActionChunk, ActionSpace, FloatArray


class Curve(Protocol):
    """A row of joints [rad], or a pose, as a function of time."""

    def at(self, time_ns: int) -> FloatArray:
        """The row due at `time_ns`, shape (joints,) or (7,)."""
        ...


class ChunkCurve:
    """The targets of one chunk, interpolated; continuous in velocity (Catmull-Rom).

    Orientations are the same cubic through unit quaternions, brought back to unit length: continuous in angular
    velocity, which slerp from target to target is not.
    """

    def __init__(self, chunk: ActionChunk) -> None:
        """Computes the tangents once: central differences, one-sided at the ends."""
        self.chunk = chunk
        self._rows = chunk.targets.copy()
        if chunk.space == "ee_pose":
            _align_signs(self._rows[:, 3:])
        self._tangents = np.gradient(self._rows, axis=0) if len(self._rows) > 1 else np.zeros_like(self._rows)

    def at(self, time_ns: int) -> FloatArray:
        """The row due at `time_ns`; before the first and after the last target it goes on straight."""
        last = len(self._rows) - 1
        place = (time_ns - self.chunk.start_ns) / self.chunk.step_ns  # in steps
        if not 0.0 <= place < last:
            edge = 0 if place < 0 else last
            row = self._rows[edge] + (place - edge) * self._tangents[edge]
        else:
            index = int(place)
            u = place - index
            before, after = self._rows[index], self._rows[index + 1]
            row = before + (u * u * (3 - 2 * u)) * (after - before)
            row += (u * (1 - u) * (1 - u)) * self._tangents[index] - (u * u * (1 - u)) * self._tangents[index + 1]
        if self.chunk.space == "ee_pose":
            row[3:] /= math.sqrt(float(row[3:] @ row[3:]))
        return row

    def gripper_at(self, time_ns: int) -> float:
        """The opening of the target nearest in time, 0..1."""
        nearest = round((time_ns - self.chunk.start_ns) / self.chunk.step_ns)
        return float(self.chunk.gripper[min(max(nearest, 0), len(self._rows) - 1)])


@dataclass(frozen=True, slots=True)
class RestCurve:
    """From a moving start to rest within `stop_s`: what a chunk is blended in from when none came before it.

    Attributes:
        start_ns: Time of the start [ns].
        row: Where, shape (joints,) or (7,).
        rate: How fast its positions change there, shape (joints,) or (3,) [1/s].
        stop_s: Until it rests [s].
    """

    start_ns: int
    row: FloatArray
    rate: FloatArray
    stop_s: float

    def at(self, time_ns: int) -> FloatArray:
        """The row at `time_ns`; orientation stays."""
        u = min(max((time_ns - self.start_ns) / (self.stop_s * NS_PER_S), 0.0), 1.0) if self.stop_s > 0 else 1.0
        row = self.row.copy()
        row[: len(self.rate)] += self.rate * (self.stop_s * (u - 0.5 * u * u))
        return row


def mix(first: FloatArray, second: FloatArray, part: float, space: ActionSpace) -> FloatArray:
    """`part` of the way from one row to another, shape as given."""
    row = first + part * (second - first)
    if space == "ee_pose":
        row[3:] = slerp(first[3:], second[3:], part)
    return row


def smoothstep(u: float) -> float:
    """0 to 1 with zero slope at both ends."""
    u = min(max(u, 0.0), 1.0)
    return u * u * (3.0 - 2.0 * u)


def slerp(first: FloatArray, second: FloatArray, part: float) -> FloatArray:
    """`part` of the shorter turn from one unit quaternion to another, shape (4,)."""
    cosine = float(first @ second)
    if cosine < 0.0:
        second, cosine = -second, -cosine
    if cosine > 0.9995:  # nearly parallel: the sine below loses its digits, the chord is exact to 1e-7
        row = first + part * (second - first)
    else:
        angle = math.acos(cosine)
        row = (math.sin((1 - part) * angle) * first + math.sin(part * angle) * second) / math.sin(angle)
    return row / math.sqrt(float(row @ row))


def _align_signs(quaternions: FloatArray) -> None:
    """Makes neighbours lie on one half sphere, in place, shape (steps, 4); q and -q are one orientation."""
    for index in range(1, len(quaternions)):
        if quaternions[index - 1] @ quaternions[index] < 0:
            quaternions[index] *= -1
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
