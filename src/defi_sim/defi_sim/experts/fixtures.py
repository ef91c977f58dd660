"""Experts for drawer, door, switch and button: the gripper stays closed and its fingertips hook, push or press.

Numbers come from the drawn scene (`defi_sim.scene`) and from the fingertips' size (`defi_sim.arm`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from defi_models.contract import FloatArray
from defi_sim import scene as drawn
from defi_sim.starts import down_pose
from defi_sim.state import SceneState
from defi_sim.trajectory import Route

Expert = Callable[[Route, SceneState, np.random.Generator], None]

# Closed fingertips, seen from the tool centre point [m]: half their extent in x and y, and how far they reach below.
TIP_HALF_X, TIP_HALF_Y, TIP_BELOW = 0.00875, 0.0152, 0.0095
TRAVEL_SPEED_M_S, APPROACH_SPEED_M_S, ACT_SPEED_M_S = 0.32, 0.22, 0.18
SAFE_Z = 0.235
ABOVE_M, ABOVE_RAD, ABOVE_OPENING = 0.006, 0.1, 0.1  # what counts as straight above
# Middle of what the last joint can do, -2.1 .. 3.6 relative to the direction from the base.
WRIST_MIDDLE_RAD, LONG_TURN_RAD = 0.75, 0.9 * math.pi
BAR_HALF_X, HANDLE_HALF_Y, PADDLE_HALF_X = 0.009, 0.011, 0.007


def travel(
    route: Route, pose: FloatArray, speed_m_s: float, gripper: float | None = None, freedom: float = 1.0
) -> None:
    """A leg to a pose that points down, the way round that the last joint can go.

    The shortest turn may lead it past its end, as after a block was turned. Then the hand turns half of the long way
    on the spot first.
    """
    begin, end = _hand_yaw(route.pose), _hand_yaw(pose)
    if abs(end - begin) > LONG_TURN_RAD:
        route.move(down_pose(route.pose[:3], (begin + end) / 2), speed_m_s, freedom=min(freedom, 0.5))
    route.move(pose, speed_m_s, gripper=gripper, freedom=freedom)


def _hand_yaw(pose: FloatArray) -> float:
    """The hand's yaw at a pose that points down, counted in full turns as the last joint has them [rad]."""
    middle = math.atan2(pose[1], pose[0]) + WRIST_MIDDLE_RAD
    return middle + math.remainder(2.0 * math.atan2(pose[4], pose[3]) - middle, math.tau)


def is_above(route: Route, pose: FloatArray, gripper: float) -> bool:
    """Whether the route has come to straight above `pose`, turned and opened as there: the way down is what is left."""
    now = route.pose
    aside_m = float(np.linalg.norm(now[:2] - pose[:2]))
    turn_rad = 2.0 * math.acos(min(1.0, abs(float(now[3:] @ pose[3:]))))
    ready = aside_m < ABOVE_M and turn_rad < ABOVE_RAD and abs(route.gripper - gripper) < ABOVE_OPENING
    return ready and bool(now[2] >= pose[2])


def approach(route: Route, x: float, y: float, z: float, rng: np.random.Generator) -> None:
    """Lifts if low, travels above (x, y) and comes straight down to z, the gripper closed."""
    start, end = route.pose, down_pose(np.array([x, y, z]))
    above = max(z + 0.06, SAFE_Z) + rng.uniform(-0.01, 0.02)
    if not is_above(route, end, 0.0):
        if start[2] < SAFE_Z - 0.03:
            lifted = start.copy()
            lifted[2] = above
            route.move(lifted, APPROACH_SPEED_M_S, freedom=0.3)
        travel(route, down_pose(np.array([x, y, above])), TRAVEL_SPEED_M_S, gripper=0.0)
    route.move(end, APPROACH_SPEED_M_S, freedom=0.5)


def retreat(route: Route, rng: np.random.Generator) -> None:
    """Goes straight up, clear of what was touched."""
    pose = route.pose
    pose[2] += 0.085 + rng.uniform(-0.01, 0.015)
    route.move(pose, APPROACH_SPEED_M_S, freedom=0.5)


def _act(route: Route, x: float, y: float, z: float, freedom: float = 0.3) -> None:
    route.move(down_pose(np.array([x, y, z])), ACT_SPEED_M_S, freedom=freedom)
    route.rest(0.3)  # longer than the smoothing window, so that the end is reached


def _drawer(route: Route, scene: SceneState, rng: np.random.Generator, *, opening: bool) -> None:
    side = 1.0 if opening else -1.0  # fingers behind the bar to pull, before it to push
    to_bar = BAR_HALF_X + TIP_HALF_X
    bar = drawn.DRAWER_BAR_X + scene.values["desk"][0]
    y = drawn.DRAWER_Y + scene.values["desk"][1] + rng.uniform(-0.03, 0.03)
    z = drawn.DRAWER_BAR_Z - 0.014 + TIP_BELOW - 0.003 + rng.uniform(-0.003, 0.003)
    approach(route, bar - scene.number("drawer") + side * (to_bar + 0.012 if opening else to_bar + 0.03), y, z, rng)
    ending = drawn.DRAWER_TRAVEL - 0.004 if opening else -0.002
    _act(route, bar - ending + side * to_bar, y, z)
    retreat(route, rng)


def _door(route: Route, scene: SceneState, rng: np.random.Generator, *, left: bool) -> None:
    side = -1.0 if left else 1.0  # fingers on the right of the handle to push it left
    to_handle = HANDLE_HALF_Y + TIP_HALF_Y
    x = drawn.DOOR_HANDLE_X + scene.values["desk"][0] + rng.uniform(-0.006, 0.006)
    middle = drawn.DOOR_Y + scene.values["desk"][1]
    z = drawn.DOOR_HANDLE_TOP_Z - 0.022 + rng.uniform(-0.004, 0.004)
    approach(route, x, middle + scene.number("door") + side * (to_handle + 0.025), z, rng)
    ending = drawn.DOOR_TRAVEL - 0.003 if left else 0.003
    _act(route, x, middle + ending + side * to_handle, z)
    retreat(route, rng)


def _switch(route: Route, scene: SceneState, rng: np.random.Generator, *, on: bool) -> None:
    side = -1.0 if on else 1.0  # the lever lights the lamp when it leans away from the robot
    x, y = np.array(drawn.SWITCH_XY) + scene.values["desk"]
    y += rng.uniform(-0.008, 0.008)
    z = drawn.DESK_TOP_Z + 0.026 + TIP_BELOW + rng.uniform(-0.002, 0.002)
    lever_tip = drawn.SWITCH_LENGTH * np.sin(drawn.SWITCH_TRAVEL_RAD)
    approach(route, x + side * (lever_tip + PADDLE_HALF_X + TIP_HALF_X + 0.016), y, z, rng)
    _act(route, x + side * (TIP_HALF_X + PADDLE_HALF_X - 0.014), y, z)
    retreat(route, rng)


def _button(route: Route, scene: SceneState, rng: np.random.Generator) -> None:
    x, y = np.array(drawn.BUTTON_XY) + scene.values["desk"] + rng.uniform(-0.006, 0.006, 2)
    top = drawn.DESK_TOP_Z + drawn.BUTTON_HEIGHT + TIP_BELOW
    approach(route, x, y, top + 0.02, rng)
    _act(route, x, y, top - drawn.BUTTON_TRAVEL - 0.002, freedom=0.15)
    retreat(route, rng)


FIXTURE_EXPERTS: Mapping[str, Expert] = MappingProxyType(
    {
        "open_drawer": lambda route, scene, rng: _drawer(route, scene, rng, opening=True),
        "close_drawer": lambda route, scene, rng: _drawer(route, scene, rng, opening=False),
        "move_door_left": lambda route, scene, rng: _door(route, scene, rng, left=True),
        "move_door_right": lambda route, scene, rng: _door(route, scene, rng, left=False),
        "turn_on_lamp": lambda route, scene, rng: _switch(route, scene, rng, on=True),
        "turn_off_lamp": lambda route, scene, rng: _switch(route, scene, rng, on=False),
        "turn_on_led": _button,
        "turn_off_led": _button,
    }
)
