"""Experts for the blocks: grasp across the short side, carry, set down, push with two spread fingers, turn.

Angles are chosen near the direction from the base to the block, where the last joint has room on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from defi_models.contract import FloatArray, TaskError
from defi_sim import scene as drawn
from defi_sim.block_tasks import graspable, held_block, stacked_pair, yaw_of
from defi_sim.experts.fixtures import (
    APPROACH_SPEED_M_S,
    SAFE_Z,
    TIP_BELOW,
    TIP_HALF_X,
    TRAVEL_SPEED_M_S,
    Expert,
    is_above,
    travel,
)
from defi_sim.scene import BLOCK_HALF_SIZES, BLOCKS
from defi_sim.starts import BLOCK_ZONE_X, BLOCK_ZONE_Y, down_pose
from defi_sim.state import SceneState
from defi_sim.trajectory import Route

CARRY_Z = 0.20
CAREFUL_SPEED_M_S = 0.14
FINGER_ROOM_M = 0.028  # how much wider than the block the gripper opens
PUSH_OPENING = 0.33  # 2.6 cm between the fingers: no block slips through, two contacts keep it straight
PUSH_SPEED_M_S = 0.16
PUSH_DISTANCE_M = 0.128
TURN_RAD = 1.35
FULL_OPENING_M = 0.08
ROOM_M = 0.12  # between the middles of a block set down and of any other
# The hand's yaw relative to the block's bearing: the last joint reaches -2.1 .. 3.6 there.
YAW_LOW_RAD, YAW_HIGH_RAD = -2.0, 2.6


def _hand_yaws(block: str, pose: FloatArray) -> list[float]:
    """Yaws at which the fingers close across a short side, nearest to the block's bearing first."""
    bearing = math.atan2(pose[1], pose[0])
    half = BLOCK_HALF_SIZES[block]
    period = math.pi / 2 if half[0] == half[1] else math.pi
    first = bearing + math.remainder(yaw_of(pose) - bearing, period)
    return sorted((first + period * k for k in range(-3, 4)), key=lambda yaw: abs(yaw - bearing))


def _opening(block: str) -> float:
    return min(1.0, (2.0 * BLOCK_HALF_SIZES[block][1] + FINGER_ROOM_M) / FULL_OPENING_M)


def _lift_off(route: Route, z: float) -> None:
    if route.pose[2] < z - 0.01:
        risen = route.pose
        risen[2] = z
        route.move(risen, APPROACH_SPEED_M_S, freedom=0.4)


def _grasp(route: Route, block: str, pose: FloatArray, yaw: float) -> None:
    """Opens on the way, comes down over a block and closes on it."""
    opening = _opening(block)
    at = down_pose(np.array([pose[0], pose[1], pose[2] + (0.0 if pose[2] < 0.03 else 0.004)]), yaw)
    if not is_above(route, at, opening):
        if route.pose[2] < SAFE_Z - 0.05:
            _lift_off(route, SAFE_Z)
        above = at.copy()
        above[2] = max(pose[2] + 0.10, 0.13)
        travel(route, above, TRAVEL_SPEED_M_S, gripper=opening)
    route.move(at, APPROACH_SPEED_M_S, freedom=0.25)
    route.rest(0.2)
    route.grip(0.0)


def _release(route: Route, block: str) -> None:
    route.rest(0.2)
    route.grip(_opening(block), 0.35)
    risen = route.pose
    risen[2] += 0.10
    route.move(risen, APPROACH_SPEED_M_S, freedom=0.3)


def _set_down(route: Route, block: str, above_tip_m: float, position: FloatArray, floor_z: float, yaw: float) -> None:
    """Carries the held block to `position` (x, y), lowers it to `floor_z` and lets go.

    Args:
        route: The route, its gripper closed on the block.
        block: The block held.
        above_tip_m: How far the block's middle is above the tool centre point [m].
        position: Where to, x and y [m].
        floor_z: Height of what it shall lie on [m].
        yaw: The hand's yaw there [rad].
    """
    _lift_off(route, CARRY_Z)
    x, y = position[:2]
    high = max(CARRY_Z, floor_z + 0.14)
    travel(route, down_pose(np.array([x, y, high]), yaw), TRAVEL_SPEED_M_S, freedom=0.8)
    low = floor_z + BLOCK_HALF_SIZES[block][2] - above_tip_m + 0.002
    route.move(down_pose(np.array([x, y, low + 0.03]), yaw), APPROACH_SPEED_M_S, freedom=0.3)
    route.move(down_pose(np.array([x, y, low]), yaw), CAREFUL_SPEED_M_S, freedom=0.1)
    _release(route, block)


def _free_spot(scene: SceneState, carried: str, hand: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A place on the table away from the other blocks, near the hand (x, y): what a learner can tell from the images."""
    others = np.array([scene.block(name)[:2] for name in BLOCKS if name != carried])
    spots = np.column_stack([rng.uniform(*BLOCK_ZONE_X, 200), rng.uniform(*BLOCK_ZONE_Y, 200)])
    gaps = np.linalg.norm(spots[:, None] - others[None], axis=-1).min(axis=1)
    roomy = spots[gaps >= ROOM_M]
    if not len(roomy):
        return spots[int(np.argmax(gaps))]
    return min(roomy, key=lambda spot: float(np.linalg.norm(spot - hand)))


def _carried(route: Route, scene: SceneState) -> tuple[str, float]:
    """The block held and how far its middle is above the tool centre point [m].

    Raises:
        TaskError: the gripper holds no block.
    """
    block = held_block(scene)
    if block is None:
        raise TaskError("expert: got an empty gripper, expected it to hold a block; ask to lift one first")
    return block, float(scene.block(block)[2] - route.pose[2])


def put_away(route: Route, scene: SceneState, rng: np.random.Generator) -> None:
    """Sets a held block down on the table before another task begins."""
    block, above_tip_m = _carried(route, scene)
    spot = _free_spot(scene, block, route.pose[:2], rng)
    _set_down(route, block, above_tip_m, spot, 0.0, math.atan2(spot[1], spot[0]))


def _lift(route: Route, scene: SceneState, rng: np.random.Generator, block: str) -> None:
    pose = scene.block(block)
    _grasp(route, block, pose, _hand_yaws(block, pose)[0])
    risen = route.pose
    risen[2] += 0.13 + rng.uniform(-0.01, 0.02)
    route.move(risen, APPROACH_SPEED_M_S, freedom=0.4)


def _place_on_table(route: Route, scene: SceneState, rng: np.random.Generator) -> None:
    put_away(route, scene, rng)


def _place_in_drawer(route: Route, scene: SceneState, rng: np.random.Generator) -> None:
    block, above_tip_m = _carried(route, scene)
    desk = scene.values["desk"]
    front = drawn.DESK_FRONT_X + desk[0] - scene.number("drawer")
    # In the middle of what is open; the hand, 3.2 cm to each side, clears the desk's edge.
    x = min(front + 0.075, drawn.DESK_FRONT_X + desk[0] - 0.05)
    y = _drawer_spot(scene, block, rng)
    # The hand is wider than the drawer, so the block is let go above the walls and falls 3 cm.
    _set_down(route, block, above_tip_m, np.array([x, y]), 0.045, 0.0)


def _drawer_spot(scene: SceneState, carried: str, rng: np.random.Generator) -> float:
    """Where in the drawer a block is let go, the y farthest from those that lie in it [m]."""
    middle = drawn.DRAWER_Y + scene.values["desk"][1]
    inside = [scene.block(name)[1] for name in BLOCKS if name != carried and "drawer" in scene.touching(name)]
    if not inside:
        return middle + rng.uniform(-0.02, 0.02)
    spots = middle + rng.uniform(-0.055, 0.055, 20)
    return float(max(spots, key=lambda y: min(abs(y - other) for other in inside)))


def _push(route: Route, scene: SceneState, rng: np.random.Generator, block: str, direction: float) -> None:
    pose = scene.block(block)
    half, yaw = BLOCK_HALF_SIZES[block], yaw_of(pose)
    reach = abs(half[0] * math.sin(yaw)) + abs(half[1] * math.cos(yaw))  # of the block along y
    z = 0.012 + TIP_BELOW + rng.uniform(-0.002, 0.002)
    x = pose[0]
    hand = min((math.pi / 2, -math.pi / 2), key=lambda angle: abs(angle - math.atan2(pose[1], pose[0])))
    begin = pose[1] - direction * (reach + TIP_HALF_X + 0.022)
    if route.pose[2] < SAFE_Z - 0.05:
        _lift_off(route, SAFE_Z)
    travel(route, down_pose(np.array([x, begin, 0.11]), hand), TRAVEL_SPEED_M_S, gripper=PUSH_OPENING)
    route.move(down_pose(np.array([x, begin, z]), hand), APPROACH_SPEED_M_S, freedom=0.25)
    end = pose[1] + direction * (PUSH_DISTANCE_M - min(half[:2]) - TIP_HALF_X)
    route.move(down_pose(np.array([x, end, z]), hand), PUSH_SPEED_M_S, freedom=0.15)
    route.rest(0.3)
    back = end - direction * 0.015
    route.move(down_pose(np.array([x, back, z + 0.09]), hand), APPROACH_SPEED_M_S, freedom=0.4)


def _rotate(route: Route, scene: SceneState, rng: np.random.Generator, block: str, direction: float) -> None:
    pose = scene.block(block)
    bearing = math.atan2(pose[1], pose[0])
    turn = direction * (TURN_RAD + rng.uniform(0.0, 0.1))
    within = [
        yaw
        for yaw in _hand_yaws(block, pose)
        if min(yaw, yaw + turn) - bearing >= YAW_LOW_RAD and max(yaw, yaw + turn) - bearing <= YAW_HIGH_RAD
    ]
    yaw = min(within, key=lambda angle: max(abs(angle - bearing), abs(angle + turn - bearing)))
    _grasp(route, block, pose, yaw)
    risen = route.pose
    risen[2] += 0.012
    route.move(risen, CAREFUL_SPEED_M_S, freedom=0.1)
    route.move(down_pose(risen[:3], yaw + turn), CAREFUL_SPEED_M_S, freedom=0.1)
    lowered = route.pose
    lowered[2] -= 0.011
    route.move(lowered, CAREFUL_SPEED_M_S, freedom=0.1)
    _release(route, block)


def _stack(route: Route, scene: SceneState, rng: np.random.Generator) -> None:
    del rng
    upper = held_block(scene)
    lying = [name for name in BLOCKS if name != upper and graspable(scene, name)]
    lying.sort(key=lambda name: float(np.linalg.norm(scene.block(name)[:2] - route.pose[:2])))  # no choice by chance
    if upper is None:
        upper, lower = lying[:2]
        _grasp(route, upper, scene.block(upper), _hand_yaws(upper, scene.block(upper))[0])
        above_tip_m = 0.0
    else:
        upper, above_tip_m = _carried(route, scene)
        lower = lying[0]
    below = scene.block(lower)
    _set_down(route, upper, above_tip_m, below, 2.0 * BLOCK_HALF_SIZES[lower][2], _hand_yaws(lower, below)[0])


def _unstack(route: Route, scene: SceneState, rng: np.random.Generator) -> None:
    pair = stacked_pair(scene)
    assert pair is not None, "feasible() said that there is a stack"
    upper = pair[0]
    _grasp(route, upper, scene.block(upper), _hand_yaws(upper, scene.block(upper))[0])
    above_tip_m = float(scene.block(upper)[2] - route.pose[2])
    spot = _free_spot(scene, upper, route.pose[:2], rng)
    _set_down(route, upper, above_tip_m, spot, 0.0, math.atan2(spot[1], spot[0]))


def _of_colour(block: str) -> dict[str, Expert]:
    def lift(route: Route, scene: SceneState, rng: np.random.Generator) -> None:
        _lift(route, scene, rng, block)

    def sideways(act: Callable[..., None], direction: float) -> Expert:
        return lambda route, scene, rng: act(route, scene, rng, block, direction)

    return {
        f"lift_{block}": lift,
        f"push_{block}_left": sideways(_push, 1.0),
        f"push_{block}_right": sideways(_push, -1.0),
        f"rotate_{block}_left": sideways(_rotate, 1.0),
        f"rotate_{block}_right": sideways(_rotate, -1.0),
    }


BLOCK_EXPERTS: Mapping[str, Expert] = MappingProxyType(
    {
        **{name: expert for block in BLOCKS for name, expert in _of_colour(block).items()},
        "place_in_drawer": _place_in_drawer,
        "place_on_table": _place_on_table,
        "stack_blocks": _stack,
        "unstack_blocks": _unstack,
    }
)
NEEDS_HELD_BLOCK = frozenset({"place_in_drawer", "place_on_table", "stack_blocks"})
