"""Differences of poses of shape (7,): metres and a unit quaternion (x, y, z, w); knows no controller."""

from __future__ import annotations

import numpy as np

from defi_models.contract import FloatArray


def pose_difference(start: FloatArray, end: FloatArray) -> FloatArray:
    """What moves `start` onto `end`: translation and rotation vector in axes of the base, shape (6,)."""
    turn = _product(end[3:], start[3:] * (-1.0, -1.0, -1.0, 1.0))
    if turn[3] < 0.0:
        turn = -turn
    sine = float(np.linalg.norm(turn[:3]))
    scale = 2.0 if sine < 1e-9 else 2.0 * np.arctan2(sine, turn[3]) / sine
    return np.concatenate([end[:3] - start[:3], scale * turn[:3]])


def pose_moved(pose: FloatArray, step: FloatArray) -> FloatArray:
    """`pose` moved by a translation and a rotation vector in axes of the base, shape (7,)."""
    angle = float(np.linalg.norm(step[3:]))
    axis_part = 0.5 * step[3:] if angle < 1e-9 else np.sin(0.5 * angle) / angle * step[3:]
    turned = _product(np.array([*axis_part, np.cos(0.5 * angle)]), pose[3:])
    return np.concatenate([pose[:3] + step[:3], turned / np.linalg.norm(turned)])


def _product(a: FloatArray, b: FloatArray) -> FloatArray:
    """Quaternion product a b, both (x, y, z, w)."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )
