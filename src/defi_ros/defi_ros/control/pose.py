"""A pose: where a frame is and how it is turned, shape (7,), x y z and a quaternion xyzw. Knows no arm."""

from __future__ import annotations

import math

import numpy as np
import pinocchio as pin

from defi_models.contract import FloatArray


def rotation(pose: FloatArray) -> FloatArray:
    """The rotation of a pose, shape (3, 3); its quaternion may be of any length."""
    matrix: FloatArray = pin.Quaternion(pose[3:] / np.linalg.norm(pose[3:])).toRotationMatrix()
    return matrix


def turn_between(first: FloatArray, second: FloatArray) -> FloatArray:
    """The rotation vector from one pose to another, in axes of the base frame, shape (3,) [rad]."""
    turn: FloatArray = pin.log3(rotation(second) @ rotation(first).T)
    return turn


def apart(first: FloatArray, second: FloatArray) -> float:
    """How far two poses are apart; a metre counts as much as a radian."""
    turned_rad = 2.0 * math.acos(min(abs(float(first[3:] @ second[3:])), 1.0))
    return math.hypot(*(first[:3] - second[:3]).tolist(), turned_rad)
